"""The size limits of the spool's files, and the reserve of room for a full disk."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.spool.files import PAGE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.files import Spooled

_LEAST_LOG, _MOST_LOG = 64, 1000
"""Pages of the write-ahead log after which it is brought into the database."""

_IN_PAGE = PAGE - 35
"""Bytes of the largest entry that is stored in a page whole."""

_ROW = 64
"""Bytes that a record takes beside its topic and payload, at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that follow from `max_size`, the bytes that the database may have.

    The write-ahead log and a reserve come on top: together `slack` bytes, 16 MiB for all but small spools.
    """

    max_size: int

    @property
    def log_pages(self) -> int:
        """Pages of the write-ahead log after which it is brought into the database."""
        return min(max(self.max_size // PAGE, _LEAST_LOG), _MOST_LOG)

    @property
    def commit(self) -> int:
        """Bytes of payload of one commit, where it has more than one record."""
        return self.log_pages * PAGE // 2

    @property
    def reserve(self) -> int:
        """Bytes that are kept for a full disk: room to checkpoint the log into the database, and to go on."""
        return 2 * self.log_pages * PAGE

    @property
    def slack(self) -> int:
        """Bytes beside `max_size` that log and reserve take."""
        return self.reserve + 2 * self.log_pages * PAGE


def cost_of(record: Spooled) -> int:
    """Return the bytes of pages that a record needs, at most."""
    entry = len(record.payload) + len(record.topic.encode()) + _ROW
    if entry <= _IN_PAGE:
        return PAGE // (_IN_PAGE // entry)
    return (entry // (PAGE - 4) + 2) * PAGE


class Reserve:
    """A file that only occupies room, and is removed when the disk is full, so that confirming goes on.

    Only confirmations can free the spool, and to remove a record needs room, too.
    """

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._size = size
        self._allocated = False

    def release(self) -> None:
        """Give up the room."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
        self._allocated = False

    def allocate(self) -> None:
        """Allocate the room for the first time, or a part of it where the disk has no more."""
        sizes = (self._size, self._size // 4)
        self._size = next((size for size in sizes if self._allocate(size)), self._size // 16)
        self.restore()

    def restore(self) -> bool:
        """Allocate the room again if it was given up; returns True if it is there."""
        self._allocated = self._allocated or self._allocate(self._size)
        return self._allocated

    def _allocate(self, size: int) -> bool:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()
            return False
        return True
