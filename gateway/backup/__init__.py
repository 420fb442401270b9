"""Save a gateway, put it back on another box, and remove it from a box.

| file | contains |
|---|---|
| `places.py` | the files that belong to a gateway and the ingest of its configuration |
| `manifest.py` | the list of the members of an archive: a bounded model |
| `container.py` | the form of an archive: a compressed tar of regular files, read in bounded pieces |
| `encrypted.py` | the encryption of a whole archive, with a passphrase or for a public key |
| `sealed.py` | keys and secrets, encrypted with a passphrase |
| `save.py` | `lineside backup` |
| `restore.py` | `lineside restore` |
| `decommission.py` | `lineside decommission` |
| `retained.py` | the retained messages of a gateway at its broker |

IEC 62443-4-2: CR 4.2, 7.3 and 7.4.
"""
