"""Read a file that other people may have put there, without waiting for one of them."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = "/dev/"
"""The begin of paths that a shell gives to a command: `/dev/stdin`, and `/dev/fd/63` for `<(...)`."""


def read_regular(file: Path, most: int) -> bytes:
    """Return at most `most` bytes of a regular file, or of a pipe that a shell gives to a command.

    A FIFO in a folder would stop its reader until somebody writes to it. Raises `OSError`, or `ValueError` for a null
    character in the path.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as opened:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        if not stat.S_ISREG(kind) and not str(file).startswith(DEVICES):
            raise OSError(errno.EINVAL, "is not a regular file", str(file))
        os.set_blocking(descriptor, True)
        return opened.read(most)
