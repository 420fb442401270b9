"""Whether the storage below the folders of the services is encrypted: found out, reported, and required on request.

| file | contains |
|---|---|
| `verdict.py` | the state of one folder, or of the swap space |
| `mounts.py` | the mount that a folder is on, from mountinfo |
| `block_devices.py` | the chain of block devices below a mount, from sysfs |
| `fscrypt.py` | the encryption policy of a folder of ext4, F2FS or UBIFS |
| `folder.py` | the verdict of a folder, from the three above |
| `swap.py` | the verdict of the swap space |

`gateway/settings/encrypted_storage.py` has the folders of each service, and compares them with the configuration.

Lineside encrypts no spool and no store of its own: the key would be on the same disk, and freed pages, write-ahead
logs and worn blocks of flash would keep the plain text. IEC 62443-4-2: CR 4.1 and CR 4.2.
"""
