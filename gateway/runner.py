"""Reads one device in time: connects, connects again, keeps the schedule, and hands over what was read.

The driver reads and raises; waiting, backing off and telling are done here, once for all protocols.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from drivers.base import DriverError, Misconfigured, NotConnected, ReadFailed, Scan
from gateway.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from drivers.base import About, Driver, Group
    from gateway.ledger import Schedule

log = structlog.get_logger()

CLOCKS_APART = 5.0
"""Seconds that a device's clock may differ from ours without a word."""

COMPARE_EVERY = 60.0
"""Seconds between two looks at how far it differs."""

BACKOFF_FIRST, BACKOFF_MAX = 0.5, 30.0
"""Seconds between two attempts to connect: the first, and the ceiling. Each is jittered by half."""


class Timer:
    """A schedule of fixed phase on the monotonic clock: what is late never shifts what follows.

    Every slot is either taken or missed, and both are counted.
    """

    def __init__(self, every: float, start: float, counts: Schedule) -> None:
        self._every = every
        self._start = start
        self._counts = counts
        self._next = 0
        self._sleep: asyncio.Future[bool] | None = None
        self._stopped: float | None = None

    async def wait(self) -> bool:
        """Wait for the next slot; slots that went by meanwhile are missed. Returns False when stopped."""
        if self._stopped is not None:
            return False
        loop = asyncio.get_running_loop()
        now = loop.time()
        # a slot is still in time as long as the one after it has not come
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
        """Count the slot that was waited for as taken, by a scan that began at `began` and has ended now."""
        due = self._start + self._next * self._every
        self._next += 1
        self._counts.took(began - due, asyncio.get_running_loop().time() - began)

    def stop(self) -> None:
        """End the schedule here; who waits is woken."""
        self._stopped = asyncio.get_running_loop().time()
        if self._sleep is not None:
            _wake(self._sleep, False)  # noqa: FBT003 - the future's result

    def settle(self) -> None:
        """Count the slots that went by without anybody waiting, as in an outage. Nobody may be waiting now.

        The slot in which the schedule was stopped is neither taken nor missed: its scan could still have begun.
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


def _nobody(group: Group, told: Sequence[About]) -> None:
    del group, told


def _wake(sleep: asyncio.Future[bool], result: bool) -> None:  # noqa: FBT001 - the future's result
    if not sleep.done():
        sleep.set_result(result)


class Runner:
    """The life of one driver, for all groups of all machines behind its connection."""

    def __init__(
        self,
        name: str,
        groups: Sequence[Group],
        make_driver: Callable[[], Driver],
        deliver: Callable[[Scan], Awaitable[None]],
        schedules: Mapping[str, Schedule],
        clock: Callable[[], int],
        phase: float = 0.0,
        delay: float = 0.0,
        described: Callable[[Group, Sequence[About]], None] = _nobody,
    ) -> None:
        """Prepare to run.

        `described` is told, once, what the device says of the points of each group. `phase` (0 to 1) is where in its
        period this device's scans begin; `delay` are the seconds before the first attempt to connect.
        """
        self.name = name
        self._groups = groups
        self._make_driver = make_driver
        self._deliver = deliver
        self._schedules = schedules
        self._clock = clock
        self._phase = phase
        self._delay = delay
        self._described = described
        self._undescribed = [group for group in groups if not group.events]
        self._timers: dict[Group, Timer] = {}
        self._polls: set[asyncio.Task[None]] = set()
        self._driver: Driver | None = None
        self._connects = 0
        self.ahead: float | None = None
        """Seconds by which the device's clock was ahead of ours when it was seen last; None where it is not told."""
        self._clock_wrong = False
        self._down = False
        self._stopped = False

    async def run(self) -> None:
        """Read until cancelled. `Misconfigured` ends only this device."""
        await asyncio.sleep(self._delay)
        # in a thread: it may have to import the protocol's library, and the others' first scan shall not wait
        driver = self._driver = await asyncio.to_thread(self._make_driver)
        backoff = Backoff(BACKOFF_FIRST, BACKOFF_MAX)
        try:
            while True:
                try:
                    try:
                        await driver.connect()
                    finally:
                        self._begin()
                    self._down = False
                    self._connects += 1
                    log.info("driver.connected", device=self.name)
                    backoff.reset()
                    await self._read_all(driver)
                except NotConnected as error:
                    await self._lost("driver.not_connected", error)
                except Misconfigured as error:
                    await self._lost("driver.misconfigured", error)
                    await asyncio.Event().wait()  # until cancelled; its slots are counted as missed at the end
                await backoff.wait()
                self._settle()
        finally:
            self._settle()
            await driver.close()

    def _compare_clocks(self, driver: Driver) -> None:
        """Tell of a clock that is far from ours, once until it is right: its times go into the store."""
        ahead = self.ahead = driver.ahead
        wrong = ahead is not None and abs(ahead) > CLOCKS_APART
        if wrong and not self._clock_wrong:
            log.warning("device.clock_differs", device=self.name, ahead_seconds=round(ahead or 0.0, 1))
        self._clock_wrong = wrong

    def _begin(self) -> None:
        """Begin the schedule, once: when it is known for the first time whether the device is there."""
        if self._timers or self._stopped:
            return
        start = asyncio.get_running_loop().time()
        self._timers = {
            group: Timer(group.every, start + self._phase * group.every, self._schedules[group.machine])
            for group in self._groups
            if not group.pushed
        }

    def counts(self) -> dict[str, int]:
        """Return how often the device was connected, and what its driver counts."""
        return {"connects": self._connects} | dict(self._driver.counts() if self._driver else {})

    async def stop(self) -> None:
        """Begin no further scan, and wait for those that are under way; then `run` may be cancelled."""
        self._stopped = True
        for timer in self._timers.values():
            timer.stop()
        if self._polls:
            await asyncio.wait(self._polls)

    async def _read_all(self, driver: Driver) -> None:
        """Poll and receive until the connection is lost."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._polls = {
                    tasks.create_task(self._poll(driver, group), name=f"poll {group.machine} {group.every:g}s")
                    for group in self._timers
                }
                if any(group.pushed for group in self._groups):
                    tasks.create_task(self._receive(driver), name=f"receive {self.name}")
                tasks.create_task(self._describe(driver), name=f"describe {self.name}")
                self._compare_clocks(driver)
                if self.ahead is not None:
                    tasks.create_task(self._follow_clock(driver), name=f"clock of {self.name}")
        except* DriverError as errors:
            await driver.close()
            raise _first(errors) from None
        finally:
            self._polls = set()
        await asyncio.Event().wait()  # stopped: until cancelled

    async def _poll(self, driver: Driver, group: Group) -> None:
        timer = self._timers[group]
        clock = asyncio.get_running_loop().time
        while await timer.wait():
            began = clock()
            try:
                scan = await driver.read(group)
            except ReadFailed as error:
                scan = Scan.failed(group, self._clock(), error.fault)
            timer.took(began)
            await self._deliver(scan)

    async def _describe(self, driver: Driver) -> None:
        """Ask the device what its points are, where it was not asked yet."""
        while self._undescribed:
            group = self._undescribed[-1]
            with suppress(ReadFailed):  # it can't say
                self._described(group, await driver.describe(group))
            self._undescribed.pop()

    async def _follow_clock(self, driver: Driver) -> None:
        while True:
            await asyncio.sleep(COMPARE_EVERY)
            self._compare_clocks(driver)

    async def _receive(self, driver: Driver) -> None:
        while True:
            await self._deliver(await driver.receive())

    async def _lost(self, event: str, error: DriverError) -> None:
        """Tell once of an outage, in the log and as the fault of every point."""
        self._settle()
        if self._down:
            return
        self._down = True
        log.warning(event, device=self.name, error=str(error))
        for group in self._groups:
            if not group.events:  # what happens can't be bad
                await self._deliver(Scan.failed(group, self._clock(), error.fault))

    def _settle(self) -> None:
        for timer in self._timers.values():
            timer.settle()


def _first(errors: BaseExceptionGroup[DriverError]) -> DriverError:
    """Return what to act on: `Misconfigured` before `NotConnected`, since it is final."""
    found = [error for error in errors.exceptions if isinstance(error, DriverError)]
    return next((error for error in found if isinstance(error, Misconfigured)), found[0])
