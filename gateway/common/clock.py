"""The gateway's time: UTC in microseconds, never twice the same and never backwards; and whether it can be trusted.

Schedules do not hang on it: they run by the monotonic clock.
"""

from __future__ import annotations

import ctypes
import time

import structlog

from drivers.base import Fault, Quality, Reason

log = structlog.get_logger()

STEP = 500_000
"""Microseconds: what the wall clock moves by more than that, against the monotonic clock, is a step and is told."""

AHEAD = 1_000_000
"""Microseconds by which time may be ahead of the wall clock, after a step back, and still be trusted."""

FLOOR = 1_735_689_600_000_000
"""2025 began then, in microseconds since the epoch: a clock that stands before it was not set."""

LOOK_EVERY = 10_000_000
"""Microseconds between two questions to the kernel whether the clock is synchronised."""

_TIMEX_BYTES = 512
"""More than the kernel's `struct timex` has anywhere; all zero, it asks and changes nothing."""

_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronised."""

_NOT_SET = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not set")
_NOT_SYNCHRONISED = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not synchronised")
_SET_BACK = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock set back")


class Clock:
    """Wall time that only moves forward.

    When the wall clock is set back, time goes on from where it was at half the pace of the monotonic clock, until the
    wall clock has caught up: an hour back is two hours of doubt. `fault` marks the readings of such a time.
    """

    def __init__(self, *, require_sync: bool = False) -> None:
        """Prepare; with `require_sync` a clock that the kernel does not call synchronised is not trusted."""
        self.fault: Fault | None = None
        """What is to be said of readings that are taken now; None while time can be trusted."""
        self.steps = 0
        """How often the wall clock was set since the start."""
        self._require_sync = require_sync
        self._synchronised = True
        self._look = 0
        self._last = self._last_monotonic = self._offset = 0

    def __call__(self) -> int:
        """Return microseconds since the epoch, UTC."""
        wall, monotonic = time.time_ns() // 1000, time.monotonic_ns() // 1000
        offset = wall - monotonic
        moved = offset - self._offset
        if not -STEP < moved < STEP and self._last:
            self.steps += 1
            log.warning("clock.stepped", seconds=round(moved / 1e6, 3), steps=self.steps)
        self._offset = offset
        now = wall if wall > self._last else self._last + max(1, (monotonic - self._last_monotonic) // 2)
        self._last, self._last_monotonic = now, monotonic
        if self._require_sync and monotonic >= self._look:
            self._look = monotonic + LOOK_EVERY
            self._synchronised = synchronised()
        if self.fault is not None or now - wall > AHEAD or wall < FLOOR or not self._synchronised:
            self._judge(wall, now - wall)
        return now

    @property
    def ahead(self) -> float:
        """Seconds by which time is ahead of the wall clock: 0 but after a step back."""
        return max(0, self._last - self._last_monotonic - self._offset) / 1e6

    def _judge(self, wall: int, ahead: int) -> None:
        """Decide whether time can be trusted; each change is told once."""
        fault = None
        if wall < FLOOR:
            fault = _NOT_SET
        elif ahead > AHEAD:
            fault = _SET_BACK
        elif not self._synchronised:
            fault = _NOT_SYNCHRONISED
        if fault is self.fault:
            return
        self.fault = fault
        if fault is None:
            log.info("clock.trusted")
        else:
            log.warning("clock.not_trusted", reason=fault.code, ahead=round(ahead / 1e6, 3))


def synchronised() -> bool:
    """Return whether the kernel says that something keeps its clock right: chrony, ntpd, systemd-timesyncd.

    See adjtimex(2); where it can't be asked, nobody knows, and the answer is no.
    """
    state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < _TIME_ERROR
