"""The gateway's time: UTC in microseconds, never twice the same and never backwards."""

from __future__ import annotations

import time


class Clock:
    """Wall time that only moves forward.

    When the wall clock is set back, time goes on from where it was at the pace of the monotonic clock, until
    the wall clock has caught up.
    """

    def __init__(self) -> None:
        self._last = 0
        self._last_monotonic = 0

    def __call__(self) -> int:
        """Return microseconds since the epoch, UTC."""
        wall, monotonic = time.time_ns() // 1000, time.monotonic_ns() // 1000
        if wall <= self._last:
            wall = self._last + max(1, monotonic - self._last_monotonic)
        self._last, self._last_monotonic = wall, monotonic
        return wall
