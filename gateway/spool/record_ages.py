"""The times at which records were made, for the age of the oldest record."""

from __future__ import annotations

from collections import deque

GRAIN = 1.0
"""Seconds between two notes, at least."""

MAX_NOTES = 8_192
"""Notes that are kept: when there are more, every other is removed, so an age in a long outage is less exact."""


class RecordAges:
    """Notes of the next sequence number at some times; the times are in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._notes: deque[tuple[int, float]] = deque()

    def note(self, next_seq: int, now: float) -> None:
        """Note that the next record has this number."""
        if self._notes and next_seq == self._notes[-1][0]:
            self._notes[-1] = (next_seq, now)  # no record was made meanwhile
            return
        if self._notes and now - self._notes[-1][1] < GRAIN:
            return
        self._notes.append((next_seq, now))
        if len(self._notes) > MAX_NOTES:
            self._notes = deque(note for place, note in enumerate(self._notes) if place % 2 == 0)

    def age(self, seq: int, now: float) -> float | None:
        """Return the seconds since a record was made, and forget earlier records; None if it is not known."""
        while len(self._notes) > 1 and self._notes[1][0] <= seq:
            self._notes.popleft()
        if not self._notes or self._notes[0][0] > seq:
            return None
        return max(0.0, now - self._notes[0][1])
