"""Users, their roles, and how they prove who they are.

| file | contains |
|---|---|
| `roles.py` | roles, their permissions, and the identity of somebody who is signed in |
| `role_changes.py` | the changes of an administrator to roles |
| `passwords.py` | the rules of passwords, and their hashes |
| `users_file.py` | the file of users: read, changed and replaced as a whole |
| `throttle.py` | growing delays after failures, by name and by address |
| `authenticator.py` | name, password and address to an identity or a refusal |
"""
