"""The gateway's time: UTC in microseconds, unique in a run, and marked where it can't be trusted.

Schedules do not depend on it: they run by the monotonic clock.
"""

from __future__ import annotations

import ctypes
import time
from typing import NamedTuple

import structlog

from drivers.base import Fault, Quality, Reason
from gateway.model.time import FLOOR, GRAIN

log = structlog.get_logger(__name__)

STEP = 500_000
"""Microseconds by which the wall clock moves against the monotonic clock: from here on it is a step, and logged."""

AHEAD = 1_000_000
"""Microseconds by which the wall clock may be set back and time goes on slowly; beyond that it follows at once."""

CHECK_EVERY = 10_000_000
"""Microseconds between two calls that ask the kernel whether the clock is synchronised."""

MAX_ERAS = 64
"""Eras whose times are remembered."""

MOST_ERROR = 5.0
"""Seconds of the maximum error from which on a synchronised clock has had no correction for hours."""

_TIMEX_BYTES = 512
"""More than the rest of the kernel's `struct timex` has anywhere."""

_TIME_ERROR = 5
"""The value that adjtimex(2) returns while the clock is not synchronised."""

_NOT_SET = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not set")
_NOT_SYNCHRONISED = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not synchronised")
_SET_BACK = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock set back")


class _Era(NamedTuple):
    """The times between two steps of the wall clock, first and last."""

    first: int
    last: int


class Clock:
    """Wall time that is unique, and that increases as long as the wall clock is not set back far.

    An era is the time between two steps of the wall clock. A step forward, or back by more than `AHEAD`, begins a new
    era, and time follows the wall clock at once. A smaller step back is made up for at half the pace of the monotonic
    clock. While a time was used in an era before, `fault` is set; no time is returned twice all the same.
    """

    def __init__(self, *, require_sync: bool = False) -> None:
        """Prepare; with `require_sync` a clock that the kernel does not call synchronised is not trusted."""
        self.fault: Fault | None = None
        """The fault of readings that are acquired now; None while time can be trusted."""
        self.steps = 0
        """How often the wall clock was set since the start."""
        self.era = 0
        """How often time went back since the start."""
        self.last = 0
        """The latest time of this era."""
        self._require_sync = require_sync
        self._synchronised = True
        self._check_at = 0
        self._last_monotonic = self._offset = 0
        self._first = 0
        self._eras: list[_Era] = []
        self._uses = 0  # how often the present time was used in eras before
        self._uses_until = 0  # the time at which that changes

    def __call__(self) -> int:
        """Return microseconds since the epoch, UTC."""
        wall, monotonic = time.time_ns() // 1000, time.monotonic_ns() // 1000
        offset = wall - monotonic
        moved = offset - self._offset
        if (not -STEP < moved < STEP) or wall < self.last - AHEAD:
            self._step(wall, moved)
        self._offset = offset
        now = wall - wall % GRAIN
        if now <= self.last:
            slow = (monotonic - self._last_monotonic) // 2
            now = self.last + max(GRAIN, slow - slow % GRAIN)
        self.last, self._last_monotonic = now, monotonic
        if now >= self._uses_until:
            self._count_uses(now)
        if self._require_sync and monotonic >= self._check_at:
            self._check_at = monotonic + CHECK_EVERY
            self._synchronised = synchronised()
        if self.fault is not None or self._uses or wall < FLOOR or not self._synchronised:
            self._judge(wall)
        return now + self._uses

    @property
    def ahead(self) -> float:
        """Seconds by which time is ahead of the wall clock, after a small step back."""
        return max(0, self.last - self._last_monotonic - self._offset) / 1e6

    def _step(self, wall: int, moved: int) -> None:
        """Begin a new era where the wall clock was set forward, or back by more than is made up for slowly."""
        if not self.last:
            self._first = wall - wall % GRAIN
            return
        if not -STEP < moved < STEP:
            self.steps += 1
            log.warning("clock.stepped", seconds=round(moved / 1e6, 3), steps=self.steps)
        back = moved < -AHEAD or wall < self.last - AHEAD
        if back or moved >= STEP:
            self._eras = [*self._eras, _Era(self._first, self.last)][-MAX_ERAS:]
            self._first = wall - wall % GRAIN
            self._uses_until = 0
        if back:
            self.era += 1
            self.last = 0

    def _count_uses(self, now: int) -> None:
        """Count the eras that had this time too, and find out until when that holds."""
        within = [era for era in self._eras if era.first <= now <= era.last]
        self._uses = min(len(within), GRAIN - 1)
        ends = [era.last + 1 for era in within] + [era.first for era in self._eras if era.first > now]
        self._uses_until = min(ends, default=2**63)

    def _judge(self, wall: int) -> None:
        """Decide whether time can be trusted; each change is logged once."""
        fault = None
        if wall < FLOOR:
            fault = _NOT_SET
        elif self._uses:
            fault = _SET_BACK
        elif not self._synchronised:
            fault = _NOT_SYNCHRONISED
        if fault is self.fault:
            return
        self.fault = fault
        if fault is None:
            log.info("clock.trusted")
        else:
            log.warning("clock.not_trusted", reason=fault.code)


class KernelClock(NamedTuple):
    """The kernel's account of its clock, see adjtimex(2). Errors in seconds; uncorrected, the maximum grows."""

    synchronised: bool
    maximum_error: float
    estimated_error: float

    @property
    def problem(self) -> str:
        """Why times of this machine may be wrong; empty where something keeps the clock right."""
        if not self.synchronised:
            return "nothing synchronises the clock; start chrony or systemd-timesyncd with a time server of the plant"
        if self.maximum_error > MOST_ERROR:
            return f"the clock may be wrong by {self.maximum_error:.1f} s; check that the time server answers"
        return ""


class _Timex(ctypes.Structure):
    """The first fields of the kernel's `struct timex`."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_char * _TIMEX_BYTES),
    )  # fmt: skip


def kernel_clock() -> KernelClock | None:
    """Return the kernel's account of its clock: whether chrony, ntpd or systemd-timesyncd keep it right.

    Returns None where the kernel can't be asked.
    """
    asked = _Timex()  # all zero, it changes nothing
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(asked))
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    return KernelClock(state < _TIME_ERROR, asked.maxerror / 1e6, asked.esterror / 1e6)


def synchronised() -> bool:
    """Return whether the kernel says that something keeps its clock right; where it can't be asked, no."""
    found = kernel_clock()
    return found is not None and found.synchronised
