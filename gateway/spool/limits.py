"""How large the spool's files may become, and the room that is kept for the time when the disk is full."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.spool.files import PAGE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.files import Spooled

_LEAST_LOG, _MOST_LOG = 64, 1000
"""Pages of the write-ahead log after which it is brought into the database."""

_IN_PAGE = PAGE - 35
"""Bytes of an entry that stands in a page whole."""

_ROW = 64
"""Bytes that a record takes beside its topic and payload, at the most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What follows from `max_size`, the bytes that the database may have.

    The write-ahead log comes on top, and a reserve: together `slack` bytes, 16 MiB for all but small spools.
    """

    max_size: int

    @property
    def log_pages(self) -> int:
        """Pages of the write-ahead log after which it is brought into the database."""
        return min(max(self.max_size // PAGE, _LEAST_LOG), _MOST_LOG)

    @property
    def commit(self) -> int:
        """Bytes of payload that one commit takes, where it is more than one record."""
        return self.log_pages * PAGE // 2

    @property
    def reserve(self) -> int:
        """Bytes that are kept for a full disk: what the log needs to be brought into the database, and to go on."""
        return 2 * self.log_pages * PAGE

    @property
    def slack(self) -> int:
        """Bytes beside `max_size` that log and reserve take."""
        return self.reserve + 2 * self.log_pages * PAGE


def cost_of(record: Spooled) -> int:
    """Return the bytes of pages that a record needs, at the most."""
    entry = len(record.payload) + len(record.topic.encode()) + _ROW
    if entry <= _IN_PAGE:
        return PAGE // (_IN_PAGE // entry)
    return (entry // (PAGE - 4) + 2) * PAGE


class Reserve:
    """A file that only takes room, and gives it up when the disk is full: so that confirming goes on.

    Nothing else can free the spool; and to forget a record needs room, too.
    """

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._size = size
        self._taken = False

    def spend(self) -> None:
        """Give up the room."""
        self._file.unlink(missing_ok=True)
        self._taken = False

    def take(self) -> None:
        """Take the room for the first time, or a part of it where that is all there is."""
        self._size = next((size for size in (self._size, self._size // 4) if self._take(size)), self._size // 16)
        self.restore()

    def restore(self) -> bool:
        """Take the room again if it was given up, and return whether it is there."""
        self._taken = self._taken or self._take(self._size)
        return self._taken

    def _take(self, size: int) -> bool:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:
            self._file.unlink(missing_ok=True)
            return False
        return True
