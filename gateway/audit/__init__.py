"""The audit log: who did what and when, chained by hashes and signed, so that a change is found.

| file | contains |
|---|---|
| `entry.py` | one entry: its bytes, its hash, and what is allowed in it |
| `keys.py` | the key that signs, and the public keys that verify |
| `files.py` | the files of a log: their names, order and sizes, the head, the lock |
| `writer.py` | commits: chain, sign, write, rotate, and repair after a power cut |
| `lifecycle.py` | starts and ends of services |
| `life_file.py` | the state of a service, by which its next start knows that it was killed |
| `trust_files.py` | changes of certificates, keys and users by hand |
| `certificates.py` | the certificates in changed files |
| `incidents.py` | refused messages: the first of a kind, then their number |
| `apart.py` | entries of services that have no log open, by a process of its own |
| `log.py` | the log for others: `record` never waits, a thread commits |
| `verify.py` | the check of a whole log |
| `syslog.py` | the follower that copies entries to a syslog server |

IEC 62443-4-2: CR 2.8 to 2.12, 3.9 and 6.1.
"""
