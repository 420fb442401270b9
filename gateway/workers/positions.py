"""Positions in all spools of a gateway, as one number each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_MARKS = 1_000
"""Marks that are kept; beyond it the oldest is forgotten, and its records count as unconfirmed a little longer."""


class Position(NamedTuple):
    """The numbers of the oldest unconfirmed record of a spool, and of its next record."""

    oldest: int
    next: int


class Marks:
    """Marks in the streams of records of several spools.

    A mark is a time in microseconds, so it is above all marks of former runs, and above the sequence numbers that a
    gateway without workers uses in their place.
    """

    def __init__(self, positions: Callable[[], Mapping[str, Position]]) -> None:
        """Prepare; `positions` returns the present position of each spool, by its id."""
        self._positions = positions
        self._marks: dict[int, dict[str, int]] = {}  # the next record of each spool at that time
        self._passed = 0

    def mark(self) -> int:
        """Return a mark at the present end of all spools."""
        number = max(time.time_ns() // 1000, self._passed + 1, *(mark + 1 for mark in self._marks))
        self._marks[number] = {spool: position.next for spool, position in self._positions().items()}
        if len(self._marks) > MAX_MARKS:
            del self._marks[next(iter(self._marks))]
        return number

    def passed(self) -> int:
        """Return the latest mark before which every record is confirmed; 0 before the first."""
        now = self._positions()
        for number, ends in list(self._marks.items()):
            if any(now[spool].oldest < end for spool, end in ends.items() if spool in now):
                break
            self._passed = number
            del self._marks[number]
        return self._passed
