"""Detects that the process did not run: it was stopped, its machine was suspended, or its event loop was blocked.

Data that waits in sockets meanwhile is old when it is read, and nothing in it shows that.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from drivers.timer_grid import wait_for_slot

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.25
"""Seconds between two looks at the clocks."""

LONGEST = LOOK_EVERY + 0.4
"""Seconds between two looks beyond which the process did not run. A look that is late by less is usual where many
processes share few processors."""


class StallWatch:
    """Compares clocks that go on while nothing runs; `run` is its task."""

    def __init__(self) -> None:
        self.stalls = 0
        self._ended = float("-inf")  # the end of the last stall, by the clock of the event loop
        self._now = 0.0
        self._since_boot = 0.0

    async def run(self) -> None:
        """Look at the clocks until cancelled."""
        self._now, self._since_boot = asyncio.get_running_loop().time(), _since_boot()
        while True:
            await wait_for_slot(LOOK_EVERY)
            self._look()

    def stalled_since(self, began: float, now: float | None = None) -> bool:
        """Return whether a stall has ended after `began`; `now` is the present time, if the caller knows it.

        Both are times of the event loop.
        """
        if self._now and (asyncio.get_running_loop().time() if now is None else now) - self._now > LONGEST:
            self._look()  # before the task has had its turn
        return self._ended > began

    def _look(self) -> None:
        now, since_boot = asyncio.get_running_loop().time(), _since_boot()
        gap = max(now - self._now, since_boot - self._since_boot)
        self._now, self._since_boot = now, since_boot
        if gap > LONGEST:
            self.stalls += 1
            self._ended = now
            log.warning("process.suspended", seconds=round(gap, 3), times=self.stalls)


def _since_boot() -> float:
    """Return the seconds since the machine was started, with those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
