"""Detects that the process did not run: it was stopped, its machine was suspended, or its event loop was blocked.

Data that waits in sockets meanwhile is old when it is read, and nothing in it shows that.
"""

from __future__ import annotations

import asyncio
import math
import time

import structlog

from drivers.timer_grid import on_grid

log = structlog.get_logger(__name__)

LOOK_EVERY, LOOK_IDLE = 0.25, 1.0
"""Seconds between two looks at the clocks: the first while a scan is under way. Most scans end before a look is due.
Each look of an idle process wakes it."""

LATE = 0.4
"""Seconds by which a look may be late. That is usual where many processes share few processors."""


class StallWatch:
    """Compares clocks that go on while nothing runs; `run` is its task.

    Between `begin` and `end` scans are under way, or data may wait in sockets, and it looks more often.
    """

    def __init__(self) -> None:
        self.stalls = 0
        self._ended = -math.inf  # the end of the last stall, by the clock of the event loop
        self._looked = 0.0
        self._suspended = math.inf  # for how long the machine was suspended until the last look, plus a constant
        self._due = math.inf  # when a look is due
        self._due_idle = self._due_watching = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._begun = 0

    async def run(self) -> None:
        """Look at the clocks until cancelled."""
        loop = asyncio.get_running_loop()
        self._looked = loop.time()
        self._suspended = seconds_suspended(self._looked)
        try:
            while True:
                now = loop.time()
                self._due_idle = on_grid(now + LOOK_EVERY, LOOK_IDLE)
                self._due = min(self._due_idle, self._due_watching)
                await asyncio.sleep(self._due_idle - now)
                self._look(loop.time())
        finally:
            self._due_idle, self._due = math.inf, self._due_watching

    def begin(self) -> None:
        """Look often, until as many calls of `end`."""
        self._begun += 1
        if self._begun == 1:
            self._arm(asyncio.get_running_loop())

    def end(self) -> None:
        """Look rarely again, after as many calls as of `begin`."""
        self._begun -= 1
        if not self._begun and self._timer is not None:
            now = asyncio.get_running_loop().time()
            if now - self._due > LATE:  # before the look that is due has had its turn
                self._look(now)
            self._timer.cancel()
            self._timer, self._due_watching, self._due = None, math.inf, self._due_idle

    def stalled_since(self, began: float, now: float) -> bool:
        """Return whether a stall has ended after `began`. Both are times of the event loop, `now` is the present."""
        if now - self._due > LATE or seconds_suspended(now) - self._suspended > LATE:
            self._look(now)  # as in `end`
        return self._ended > began

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_watching = on_grid(loop.time() + LOOK_EVERY / 2, LOOK_EVERY)
        self._due = min(self._due_idle, self._due_watching)
        self._timer = loop.call_at(self._due_watching, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._look(loop.time())
        self._arm(loop)

    def _look(self, now: float) -> None:
        suspended = seconds_suspended(now)
        missing = max(0.0, suspended - self._suspended)
        if now - self._due > LATE or missing > LATE:
            self.stalls += 1
            self._ended = now
            log.warning("process.suspended", seconds=round(now - self._looked + missing, 3), times=self.stalls)
        self._looked, self._suspended = now, suspended
        # a look that is due already will come late, which says nothing more
        self._due_idle, self._due_watching = max(self._due_idle, now), max(self._due_watching, now)
        self._due = min(self._due_idle, self._due_watching)


def seconds_suspended(now: float) -> float:
    """Return the seconds for which the machine was suspended, plus a constant.

    `now` is the present by the monotonic clock, which does not run meanwhile.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) - now
