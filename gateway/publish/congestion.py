"""Limit the backlog in flight, so that it does not delay fresh records.

Fresh records queue behind everything that was sent before them, at the broker, at ingest and at the store. So the
backlog may cause a delay up to a target, as in LEDBAT (RFC 6817): the bytes in flight are rate times delay.
"""

from __future__ import annotations

import math

TARGET = 0.15
"""Seconds by which the backlog may lengthen the way of a record from sending to confirmation."""

FIRST, LEAST, MOST = 64 * 2**10, 32 * 2**10, 4 * 2**20
"""Bytes of the backlog that may be unconfirmed: at first, and the bounds."""

MEASURE_EVERY = 30.0
"""Seconds after which the way's own delay is measured again, with little of the backlog in flight."""

INSTANT = 0.001
"""Seconds: a shorter delay counts as this."""


class BacklogLimit:
    """`size` is how many bytes of the backlog may be unconfirmed."""

    def __init__(self) -> None:
        self.size = FIRST
        self._base = math.inf
        self._measure_at = math.inf

    def learn(self, delay: float, size: int, used: int, now: float) -> None:
        """Learn from a record of `size` bytes that took `delay` seconds, with `used` bytes of the backlog under way.

        `used` is 0 for a record that is not of the backlog: it tells of the way's own delay alone.
        """
        delay = max(delay, INSTANT)
        if now >= self._measure_at and used:
            self._base, self.size = math.inf, LEAST
        if self._base == math.inf:
            self._measure_at = now + MEASURE_EVERY
        self._base = min(self._base, delay)
        if not used:
            return
        ideal = self.size * (self._base + TARGET) / delay
        step = (ideal - self.size) * min(1.0, size / self.size)
        if step < 0 or used > self.size / 2:  # an unused window says nothing about a larger window
            self.size = round(min(MOST, max(LEAST, self.size + min(step, size))))
