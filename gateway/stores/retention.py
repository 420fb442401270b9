"""The time that the age of stored readings is counted from. Pure.

It is the time of the newest reading, as long as that moves on no faster than a monotonic clock. After a jump ahead
(a clock that was set wrongly, a store that was off for days) it moves on with the monotonic clock, and follows the
jump only when that has lasted for hours: a clock that is wrong for a minute deletes nothing.
"""

from __future__ import annotations

SLACK = 60.0
"""Seconds by which the newest reading may be further ahead than the monotonic clock explains."""

CONFIRMATION = 4 * 3600.0
"""Seconds that a jump has to last before it is believed."""

STEADY = 600.0
"""Seconds by which a jump may grow further and be the same jump."""


class AgeReference:
    """The reference, in microseconds since the epoch; None before the first look. `now` is in seconds."""

    def __init__(self, reference: int | None, now: float) -> None:
        self.reference = reference
        self._looked = now
        self._jump: tuple[float, float] | None = None

    def advance(self, newest: int, now: float, *, clock_is_set: bool = True) -> int:
        """Return the reference, given the time of the newest reading and the monotonic clock.

        Without a clock that is set nobody knows which readings are of the future: no jump is believed.
        """
        elapsed, self._looked = now - self._looked, now
        expected = newest if self.reference is None else self.reference + round(elapsed * 1e6)
        if newest <= expected + round(SLACK * 1e6) or (clock_is_set and self._believes(newest, now)):
            self._jump = None
            self.reference = newest
        else:
            self.reference = expected
        return self.reference

    def _believes(self, newest: int, now: float) -> bool:
        """Return whether the newest reading has been as far ahead as now for long enough."""
        ahead = newest / 1e6 - now
        if self._jump is None or ahead - self._jump[0] > STEADY:
            self._jump = ahead, now
        return now - self._jump[1] >= CONFIRMATION
