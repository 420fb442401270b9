"""Counts of a counter of a machine, minute by minute, for the last hours."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MINUTE = 60_000_000
"""Microseconds of a minute."""

MINUTES = 8 * 60 + 1
"""Minutes that are remembered: a shift, and the present minute."""


class MinuteCounts:
    """Increments of a counter by the minute. `since` is the time from which on they are known, 0 before a reading.

    A counter that falls was reset or has wrapped: its value was counted since.
    """

    __slots__ = ("_at", "_counts", "_first", "_last", "since")

    def __init__(self) -> None:
        self.since = 0
        self._first = self._last = 0.0
        self._at = 0  # the latest minute that has a place
        self._counts = array("d", bytes(8 * MINUTES))

    def take(self, time: int, value: float) -> None:
        """Take a reading of the counter, in the order of their times."""
        if not self.since:
            self.since, self._at, self._first = time, time // MINUTE, value
        else:
            more = value - self._last if value >= self._last else value
            self._advance(time // MINUTE)
            if more and self._at - time // MINUTE < MINUTES:
                self._counts[time // MINUTE % MINUTES] += more
        self._last = value

    def _advance(self, minute: int) -> None:
        """Give the minutes up to `minute` a place, with a count of 0."""
        for one in range(max(self._at + 1, minute - MINUTES + 1), minute + 1):
            self._counts[one % MINUTES] = 0.0
        self._at = max(self._at, minute)

    def take_history(self, readings: Iterable[tuple[int, float]]) -> None:
        """Add the counts before the first reading, out of times and values in their order."""
        earlier = MinuteCounts()
        for time, value in readings:
            if not self.since or time < self.since:
                earlier.take(time, value)
        if not earlier.since:
            return
        if self.since:
            earlier.take(self.since, self._first)
            begin = earlier._at
            earlier._advance(self._at)
            for minute in range(max(begin, self._at - MINUTES + 1), self._at + 1):
                earlier._counts[minute % MINUTES] += self._counts[minute % MINUTES]
            earlier._last = self._last
        self.since, self._first, self._last = earlier.since, earlier._first, earlier._last
        self._at, self._counts = earlier._at, earlier._counts

    def within(self, begin: int, end: int) -> float:
        """Return the count between two times, by whole minutes; the minute of `begin` is left out."""
        first, last = max(begin // MINUTE + 1, self._at - MINUTES + 1), min(end // MINUTE, self._at)
        return sum(self._counts[minute % MINUTES] for minute in range(first, last + 1))

    def per_hour(self, begin: int, end: int) -> float | None:
        """Return the mean rate between two times, of the part that is known; None if that is less than a minute."""
        begin = max(begin, self.since) // MINUTE * MINUTE + MINUTE
        if not self.since or end - begin < MINUTE:
            return None
        return self.within(begin - MINUTE, end) / (end - begin) * 60 * MINUTE
