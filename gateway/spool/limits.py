"""Calculate the size limits of the spool's files, and reserve space for a full disk."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.common.own_files import open_or_make
from gateway.spool.files import PAGE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.files import Spooled

_LEAST_LOG, _MOST_LOG = 64, 1000
"""Pages of the write-ahead log after which it is checkpointed: the lowest and the highest number."""

_IN_PAGE = PAGE - 35
"""Bytes of the largest entry that needs no overflow page."""

LEAST_FREE = 200 * 2**20
"""Bytes that should be free on the disk of a spool."""

_ROW = 64
"""Most bytes that a record needs beside its topic and payload."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that follow from `max_size`, the largest size of the database in bytes.

    The write-ahead log and a reserve need `slack` bytes more: 16 MiB for all but small spools.
    """

    max_size: int

    @property
    def log_pages(self) -> int:
        """Pages of the write-ahead log after which it is checkpointed."""
        return min(max(self.max_size // PAGE, _LEAST_LOG), _MOST_LOG)

    @property
    def commit(self) -> int:
        """Most bytes of payload in a commit of more than one record."""
        return self.log_pages * PAGE // 2

    @property
    def reserve(self) -> int:
        """Bytes that are reserved for a full disk: room to checkpoint the log, and to continue."""
        return 2 * self.log_pages * PAGE

    @property
    def slack(self) -> int:
        """Bytes of log and reserve, in addition to `max_size`."""
        return self.reserve + 2 * self.log_pages * PAGE


def cost_of(record: Spooled) -> int:
    """Return the most bytes of pages that a record can need."""
    entry = len(record.payload) + len(record.topic.encode()) + _ROW
    if entry <= _IN_PAGE:
        return PAGE // (_IN_PAGE // entry)
    return (entry // (PAGE - 4) + 2) * PAGE


class Reserve:
    """The reserve file: it occupies space, and is removed when the disk is full, so that confirming continues.

    Only confirmations free space in the spool, and removing a record needs space too.
    """

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._size = size
        self._allocated = False

    def release(self) -> None:
        """Remove the file, which frees its space."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._allocated = False

    def allocate(self) -> None:
        """Allocate the space for the first time, or a part of it if the disk has no more."""
        sizes = (self._size, self._size // 4)
        self._size = next((size for size in sizes if self._allocate(size)), self._size // 16)
        self.restore()

    def restore(self) -> bool:
        """Allocate the space again if it was released; return True if it is allocated."""
        self._allocated = self._allocated or self._allocate(self._size)
        return self._allocated

    def _allocate(self, size: int) -> bool:
        try:
            descriptor = open_or_make(self._file, os.O_WRONLY)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()
            return False
        return True
