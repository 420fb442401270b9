"""Schedule the scans of point groups at monotonic times."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Protocol

from drivers.timer_grid import clock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drivers.base import Group
    from gateway.model.ledger import ScheduleCounts


SCAN_SECONDS, VALUE_SECONDS = 50e-6, 0.6e-6
"""Seconds of processor time to plan for a scan, and for each of its values."""

TICKS, TOLERANCE = 1000, 0.01
"""Ticks of alarms in a second, and the part of a tick by which an alarm may ring early."""

SOON = 1.0
"""Seconds until the next slot in which a schedule waits for it: at the start of many devices, a scan of each at once
would delay those in time. With a longer period nobody should wait for the first reading."""

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
        """Add a device with its groups; return the part of the period. Groups with a phase take no place."""
        wave = int(self._planned / WAVE_SECONDS)
        planned = [len(group.names) for group in groups if group.phase is None]
        self._planned += SCAN_SECONDS * len(planned) + VALUE_SECONDS * sum(planned)
        return _radical_inverse(wave)


def _radical_inverse(number: int) -> float:
    """Return the number with its binary digits mirrored at the point."""
    phase, digit = 0.0, 0.5
    while number:
        phase += digit * (number & 1)
        number >>= 1
        digit /= 2
    return phase


class Watch(Protocol):
    """Follows whether any scan is under way."""

    def begin(self) -> None:
        """Note that a scan begins while no other is under way."""

    def end(self) -> None:
        """Note that no scan is under way any more."""


class _NoWatch:
    def begin(self) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""


class Alarms:
    """Calls at times of the event loop; those of one millisecond share a timer of the loop.

    `scans` are under way; `watch` follows whether any is.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self._calls: dict[int, list[Callable[[], object]]] = {}
        self.watch = _NoWatch() if watch is None else watch
        self.scans = 0

    def at(self, when: float, call: Callable[[], object]) -> None:
        """Call a function at a time, or up to a millisecond later. It can't be cancelled, and must not raise."""
        tick = math.ceil(when * TICKS - TOLERANCE)
        calls = self._calls.get(tick)
        if calls is None:
            calls = self._calls[tick] = []
            asyncio.get_running_loop().call_at(tick / TICKS, self._ring, tick)
        calls.append(call)

    def _ring(self, tick: int) -> None:
        for call in self._calls.pop(tick):
            call()


class ScanTimer:
    """A schedule on a grid of the monotonic clock: a late scan never shifts the next one.

    The grid has a slot at `origin`, and one every `every` seconds before and after. The present slot is due when the
    schedule begins, unless the next is due soon. Every slot is counted, as acquired or as missed.

    A task waits for the slots. It can start the scan of a slot without being woken, see `wait`.
    """

    __slots__ = (
        "_alarms",
        "_begun",
        "_clock",
        "_counts",
        "_every",
        "_loop",
        "_next",
        "_sleep",
        "_start",
        "_start_scan",
        "_stopped",
        "began",
        "scanning",
    )

    def __init__(self, every: float, origin: float, counts: ScheduleCounts, alarms: Alarms) -> None:
        self._every = every
        self._loop = asyncio.get_running_loop()
        self._clock = clock_of(self._loop)
        self._begun = self._clock()
        self._start = origin + math.floor((self._begun - origin) / every) * every
        if self._begun > self._start and self._start + every - self._begun <= SOON:
            self._start += every
        self._counts = counts
        self._alarms = alarms
        self._next = 0
        self._sleep: asyncio.Future[bool] | None = None
        self._start_scan = _no_scan
        self.scanning = False
        """Whether a scan is under way."""
        self.began = self._begun
        """When the last scan began, by the clock of the event loop."""
        self._stopped: float | None = None

    async def wait(self, start: Callable[[], bool] | None = None) -> bool:
        """Wait for a slot that the task has to read; return False when stopped. Passed slots are counted as missed.

        `start` is called in each slot. If it returns True, a scan has started that needs no task. Its end is told by
        `took` and `proceed`, or by `wake`, after which the task reads the same slot. What `start` raises is raised
        here.
        """
        if self._stopped is not None:
            return False
        self._start_scan = _no_scan if start is None else start
        self._finish()
        self._sleep = self._loop.create_future()
        self._arm(self._loop.time())
        try:
            return await self._sleep
        finally:
            self._sleep = None
            self._finish()

    def proceed(self, now: float) -> None:
        """Go on to the next slot after a scan that needed no task, and that ended `now`."""
        if self._stopped is not None:
            self._end(False)  # noqa: FBT003 - the future's result
        elif self._sleep is not None:
            self._arm(now)

    def wake(self) -> None:
        """Let the task read the present slot."""
        self._finish()
        self._end(True)  # noqa: FBT003 - the future's result

    def fail(self, error: Exception) -> None:
        """Raise an error in the task."""
        self._finish()
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_exception(error)

    def _arm(self, now: float) -> None:
        # a slot is in time until the next slot is due
        current = math.floor((now - self._start) / self._every)
        if current > self._next:
            self._skip(current - self._next)
        due = self._start + self._next * self._every
        if due > now:
            self._alarms.at(due, partial(self._ring, self._sleep))
        else:
            self._loop.call_soon(self._ring, self._sleep)

    def _ring(self, sleep: asyncio.Future[bool] | None) -> None:
        if sleep is None or sleep is not self._sleep or sleep.done():  # an alarm of a former wait
            return
        self.begin()
        try:
            started = self._start_scan()
        except Exception as error:  # noqa: BLE001 - it is raised in the task
            self.fail(error)
            return
        if not started:
            self.wake()

    def _end(self, result: bool) -> None:  # noqa: FBT001 - the future's result
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(result)

    def begin(self) -> None:
        """Note that the scan of the present slot begins now."""
        self.began = self._clock()
        self.scanning = True
        self._alarms.scans += 1
        if self._alarms.scans == 1:
            self._alarms.watch.begin()

    def _finish(self) -> None:
        if self.scanning:
            self.scanning = False
            self._alarms.scans -= 1
            if not self._alarms.scans:
                self._alarms.watch.end()

    def took(self) -> float:
        """Count the present slot as acquired, by the scan that has ended now; return the present time."""
        due, now = self._start + self._next * self._every, self._clock()
        self._next += 1
        self._counts.took(self.began - max(due, self._begun), now - self.began)
        self._finish()
        return now

    def stop(self) -> None:
        """End the schedule, and wake the task that waits for it, if need be after the scan under way."""
        self._stopped = self._loop.time()
        if not self.scanning:
            self._end(False)  # noqa: FBT003 - the future's result

    def settle(self) -> None:
        """Count the slots that passed while no task was waiting, as in an outage. No task may be waiting now.

        The slot in which the schedule was stopped is not counted: its scan could still have begun.
        """
        self._finish()
        if self._stopped is None:
            gone = math.floor((self._loop.time() - self._start) / self._every) + 1
        else:
            gone = math.floor((self._stopped - self._start) / self._every)
        if gone > self._next:
            self._skip(gone - self._next)

    def _skip(self, slots: int) -> None:
        self._next += slots
        self._counts.skipped(slots)


def _no_scan() -> bool:
    return False


class Scheduler(dict["Group", ScanTimer]):
    """The timers of a device's groups; the slots of each are after the part `phase` (0 to 1) of its period.

    A group that has a phase of its own, in seconds, has its slots after that.

    All devices share a grid: one slot of each period is at the time `origin` of the event loop, and the phase.
    """

    def __init__(self, schedules: Mapping[str, ScheduleCounts], phase: float, origin: float, alarms: Alarms) -> None:
        """Prepare; `schedules` are the counts, by machine path."""
        super().__init__()
        self._schedules = schedules
        self._phase = phase
        self._origin = origin
        self._alarms = alarms

    def begin(self, groups: Iterable[Group]) -> None:
        """Begin the schedules of the polled groups."""
        for group in groups:
            if not group.pushed and not group.search:
                phase = self._phase * group.every if group.phase is None else group.phase
                counts = self._schedules[group.machine]
                self[group] = ScanTimer(group.every, self._origin + phase, counts, self._alarms)

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
