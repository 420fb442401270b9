"""Integrity and authenticity of the installed software.

| file | contains |
|---|---|
| `manifest.py` | the list of all files of a release with their hashes, and its signature |
| `release_keys.py` | the public keys of those whose releases this machine accepts |
| `installation.py` | the files that belong to this installation, out of a manifest or of the records of pip |
| `compiled.py` | the code of compiled files, compared with their sources |
| `integrity.py` | the check: files that were changed, removed or added |
| `delivery.py` | a package to install: its checksums, their signature, the key of later releases |
| `version_order.py` | the order of versions |
| `required.py` | the check before a service starts, if the policy requires it |

IEC 62443-4-2: CR 3.4 and EDR 3.10 RE 1.
"""
