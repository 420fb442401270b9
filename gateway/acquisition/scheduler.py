"""Schedule the scans of point groups at monotonic times."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivers.base import Group
    from gateway.model.ledger import ScheduleCounts


SCAN_SECONDS, VALUE_SECONDS = 300e-6, 2e-6
"""Seconds of processor time to plan for a scan, and for each of its values."""

WAVE_SECONDS = 0.02
"""Seconds of processor time to plan for the scans that begin together."""


class Waves:
    """The part of the period (0 to 1) after which the scans of each device begin.

    Scans that begin together are committed, sent and stored together, at a part of the cost that each has alone. But
    the last of them waits for all others, so a wave is full after `WAVE_SECONDS`. The waves are spread evenly over
    the period, however many there are: wave n begins at the radical inverse of n (van der Corput, 1935): 0, 1/2, 1/4,
    3/4, 1/8.
    """

    def __init__(self) -> None:
        self._planned = 0.0

    def add(self, groups: Iterable[Group]) -> float:
        """Add a device with its groups; return the part of the period."""
        wave = int(self._planned / WAVE_SECONDS)
        self._planned += sum(SCAN_SECONDS + VALUE_SECONDS * len(group.names) for group in groups)
        return _radical_inverse(wave)


def _radical_inverse(number: int) -> float:
    """Return the number with its binary digits mirrored at the point."""
    phase, digit = 0.0, 0.5
    while number:
        phase += digit * (number & 1)
        number >>= 1
        digit /= 2
    return phase


class ScanTimer:
    """A schedule on a grid of the monotonic clock: a late scan never shifts the next one.

    The grid has a slot at `origin`, and one every `every` seconds before and after. The present slot is due when the
    schedule begins. Every slot is counted, as acquired or as missed.
    """

    def __init__(self, every: float, origin: float, counts: ScheduleCounts) -> None:
        self._every = every
        self._begun = asyncio.get_running_loop().time()
        self._start = origin + math.floor((self._begun - origin) / every) * every
        self._counts = counts
        self._next = 0
        self._sleep: asyncio.Future[bool] | None = None
        self._stopped: float | None = None

    async def wait(self) -> bool:
        """Wait for the next slot; count slots that have passed as missed. Return False when stopped."""
        if self._stopped is not None:
            return False
        loop = asyncio.get_running_loop()
        now = loop.time()
        # a slot is in time until the next slot is due
        current = math.floor((now - self._start) / self._every)
        if current > self._next:
            self._skip(current - self._next)
        due = self._start + self._next * self._every
        if due <= now:
            return True
        self._sleep = loop.create_future()
        alarm = loop.call_at(due, _wake, self._sleep, True)  # noqa: FBT003 - the future's result
        try:
            return await self._sleep
        finally:
            alarm.cancel()

    def took(self, began: float) -> None:
        """Count the present slot as acquired, by a scan that began at `began` and has ended now."""
        due = max(self._start + self._next * self._every, self._begun)
        self._next += 1
        self._counts.took(began - due, asyncio.get_running_loop().time() - began)

    def stop(self) -> None:
        """End the schedule, and wake the task that waits for it."""
        self._stopped = asyncio.get_running_loop().time()
        if self._sleep is not None:
            _wake(self._sleep, False)  # noqa: FBT003 - the future's result

    def settle(self) -> None:
        """Count the slots that passed while no task was waiting, as in an outage. No task may be waiting now.

        The slot in which the schedule was stopped is not counted: its scan could still have begun.
        """
        if self._stopped is None:
            gone = math.floor((asyncio.get_running_loop().time() - self._start) / self._every) + 1
        else:
            gone = math.floor((self._stopped - self._start) / self._every)
        if gone > self._next:
            self._skip(gone - self._next)

    def _skip(self, slots: int) -> None:
        self._next += slots
        self._counts.skipped(slots)


class Scheduler(dict["Group", ScanTimer]):
    """The timers of a device's groups; the slots of each are after the part `phase` (0 to 1) of its period.

    All devices share a grid: one slot of each period is at the time `origin` of the event loop, and the phase.
    """

    def __init__(self, schedules: Mapping[str, ScheduleCounts], phase: float, origin: float) -> None:
        """Prepare; `schedules` are the counts, by machine path."""
        super().__init__()
        self._schedules = schedules
        self._phase = phase
        self._origin = origin

    def begin(self, groups: Iterable[Group]) -> None:
        """Begin the schedules of the polled groups."""
        for group in groups:
            if not group.pushed and not group.search:
                origin = self._origin + self._phase * group.every
                self[group] = ScanTimer(group.every, origin, self._schedules[group.machine])

    def end(self, groups: Iterable[Group]) -> list[ScanTimer]:
        """Stop the schedules of groups, and return their timers; settle these when their scans have ended."""
        ended = [self.pop(group) for group in groups if group in self]
        for timer in ended:
            timer.stop()
        return ended

    def stop(self) -> None:
        """End all schedules."""
        for timer in self.values():
            timer.stop()

    def settle(self) -> None:
        """Count the passed slots of all timers, see `ScanTimer.settle`."""
        for timer in self.values():
            timer.settle()


def _wake(sleep: asyncio.Future[bool], result: bool) -> None:  # noqa: FBT001 - the future's result
    if not sleep.done():
        sleep.set_result(result)
