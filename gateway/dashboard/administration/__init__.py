"""The rights of the role admin on the page: to see users and the audit log, and to unlock users.

| file | contains |
|---|---|
| `sign_ins.py` | the last sign-in of each user, as the audit log has it |
| `audit_entries.py` | entries of the audit log that match a search, page by page |
| `routes.py` | the routes, for the role admin alone |
"""
