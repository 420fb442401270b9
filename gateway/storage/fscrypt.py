"""The encryption policy of a folder: fscrypt of ext4, F2FS, UBIFS and CephFS (kernel documentation, fscrypt)."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GET_POLICY_EX = 0xC0096616
"""FS_IOC_GET_ENCRYPTION_POLICY_EX of linux/fscrypt.h: _IOWR('f', 22, __u8[9])."""

LARGEST = 24
"""Bytes of the largest policy, that of version 2."""


def has_policy(folder: Path) -> bool:
    """Return whether the files of a folder are encrypted by a policy; false too where no policy is possible."""
    argument = bytearray(struct.pack("=Q", LARGEST) + bytes(LARGEST))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.ioctl(descriptor, GET_POLICY_EX, argument)
    except OSError:  # ENODATA without a policy, ENOTTY or EOPNOTSUPP of a file system without the function
        return False
    finally:
        os.close(descriptor)
    return True
