"""The self-test of a box: rights of files, certificates, disk, encryption, clock, audit log, spool, software.

| file | contains |
|---|---|
| `outcome.py` | the result of a check, and the file with the results of the last self-test |
| `checks.py` | the checks, each a function of the configuration; their table |
| `certificates.py` | the check of certificates and keys |
| `runner.py` | the helper of a service: runs the command in a process of its own after the start and each day |

A service runs it in a process of its own: a check that hangs or fails, and the libraries that checks need, do not
affect the service. IEC 62443-4-2: CR 3.3.
"""
