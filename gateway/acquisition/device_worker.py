"""Reads one device in time: connects, connects again, keeps the schedule, and hands over what was read.

The driver reads and raises; waiting, backing off and telling are done here, once for all protocols.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from drivers.base import DriverError, Misconfigured, NotConnected, ReadFailed, Scan
from gateway.acquisition.device_clock import DeviceClock
from gateway.acquisition.device_warnings import DeviceWarnings
from gateway.acquisition.scheduler import Scheduler
from gateway.common.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from drivers.base import About, Driver, Group, Match
    from gateway.acquisition.scheduler import ScanTimer
    from gateway.model.ledger import ScheduleCounts

log = structlog.get_logger()

SEARCH_EVERY = 60.0
"""Seconds between two searches for points that only the device knows."""

BACKOFF_FIRST, BACKOFF_MAX = 0.5, 5.0
"""Seconds between two attempts to connect: the first, and the ceiling. Each is jittered by half."""


def _nobody(*told: object) -> None:
    del told


def _describable(group: Group) -> bool:
    return not (group.events or group.search)


class _Stale(Exception):
    """The driver does not read what it should any more: another one is made."""


class DeviceWorker:
    """The life of one driver, for all groups of all machines behind its connection."""

    def __init__(
        self,
        name: str,
        groups: Sequence[Group],
        make_driver: Callable[[Sequence[Group]], Driver],
        deliver: Callable[[Scan], Awaitable[None]],
        schedules: Mapping[str, ScheduleCounts],
        clock: Callable[[], int],
        phase: float = 0.0,
        delay: float = 0.0,
        described: Callable[[Group, Sequence[About]], None] = _nobody,
        found: Callable[[Group, int, Sequence[Match]], None] = _nobody,
    ) -> None:
        """Prepare to run.

        `described` is told, once, what the device says of the points of each group; `found` again and again, what the
        searches have found. `phase` (0 to 1) is where in its period this device's scans begin; `delay` are the
        seconds before the first attempt to connect.
        """
        self.name = name
        self.groups = tuple(groups)
        self._make_driver = make_driver
        self._deliver = deliver
        self._clock = clock
        self._delay = delay
        self._described = described
        self._found = found
        self._undescribed = [group for group in groups if _describable(group)]
        self._timers = Scheduler(schedules, phase)
        self._polls: dict[Group, asyncio.Task[None]] = {}
        self._receiving: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[None] | None = None
        self._searching: asyncio.Task[None] | None = None
        self._reading: tuple[Driver, asyncio.TaskGroup] | None = None  # while the connection stands
        self._driver: Driver | None = None
        self._past: Counter[str] = Counter()  # what former drivers counted
        self._connects = 0
        self._clocks, self._remarks = DeviceClock(name), DeviceWarnings(name)
        self._outage: DriverError | None = None
        self._begun = self._stopped = False
        self._stale = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled. `Misconfigured` ends only this device."""
        await asyncio.sleep(self._delay)
        backoff = Backoff(BACKOFF_FIRST, BACKOFF_MAX)
        driver = await self._new_driver()
        try:
            while True:
                try:
                    if self._stale.is_set():
                        driver = await self._new_driver()
                    await self._connect(driver)
                    backoff.reset()
                    await self._read_all(driver)
                except _Stale:
                    continue
                except NotConnected as error:
                    await self._lost("driver.not_connected", error)
                except Misconfigured as error:
                    await self._lost("driver.misconfigured", error)
                    await self._stale.wait()  # else until cancelled; its slots are counted as missed at the end
                    continue
                await backoff.wait()
                self._timers.settle()
        finally:
            self._timers.settle()
            await driver.close()

    async def _new_driver(self) -> Driver:
        if self._driver is not None:
            await self._driver.close()
            self._past.update(self._driver.counts())
        self._stale.clear()
        # in a thread: it may have to import the protocol's library, and the others' first scan shall not wait
        self._driver = await asyncio.to_thread(self._make_driver, self.groups)
        return self._driver

    async def _connect(self, driver: Driver) -> None:
        try:
            await driver.connect()
        finally:
            self._begin()
        self._outage = None
        self._connects += 1
        log.info("driver.connected", device=self.name)

    def _begin(self) -> None:
        """Begin the schedule, once: when it is known for the first time whether the device is there."""
        if not self._begun and not self._stopped:
            self._begun = True
            self._timers.begin(self.groups)

    @property
    def ahead(self) -> float | None:
        """Seconds by which the device's clock was ahead of ours when it was seen last; None where it is not told."""
        return self._clocks.ahead

    def counts(self) -> dict[str, int]:
        """Return how often the device was connected, and what its drivers have counted."""
        counts = Counter(self._past)
        counts.update(self._driver.counts() if self._driver else {})
        return {"connects": self._connects} | counts

    async def stop(self) -> None:
        """Begin no further scan, and wait for those that are under way; then `run` may be cancelled."""
        self._stopped = True
        self._timers.stop()
        if self._polls:
            await asyncio.wait(self._polls.values())

    # -- while it runs --

    async def regroup(self, groups: Sequence[Group]) -> None:
        """Read these groups from now on. Those that stay are read on as if nothing had happened.

        When this returns, the scans of what was left out have been delivered.
        """
        added = [group for group in groups if group not in self.groups]
        removed = [group for group in self.groups if group not in groups]
        if not added and not removed:
            return
        await self._let_go(removed)
        self.groups = tuple(groups)
        self._undescribed = [one for one in (*self._undescribed, *added) if one in groups and _describable(one)]
        if self._begun:
            self._timers.begin(added)
        if not await self._regrouped():
            self._stale.set()
        if self._outage is not None:
            await self._fail(added, self._outage)

    async def _let_go(self, groups: Sequence[Group]) -> None:
        """End the schedules of groups, and wait for the scans that are under way."""
        timers = self._timers.end(groups)
        polls = [self._polls.pop(group) for group in groups if group in self._polls]
        if polls:
            await asyncio.wait(polls)
        for timer in timers:
            timer.settle()

    async def _regrouped(self) -> bool:
        """Return whether the driver reads the groups as they are now."""
        if self._reading is None:
            return False  # it is being connected, or will be: then with all of them
        driver, tasks = self._reading
        try:
            took = await driver.regroup(self.groups)
        except DriverError:
            return False  # the new one tells why
        if took and self._reading == (driver, tasks):
            self._start(driver, tasks)
            return True
        return False

    def _start(self, driver: Driver, tasks: asyncio.TaskGroup) -> None:
        """Let every group be read that is not read yet."""
        for group, timer in self._timers.items():
            if group in self._polls:
                continue
            poll = self._poll(driver, group, timer)
            self._polls[group] = tasks.create_task(poll, name=f"poll {group.machine} {group.every:g}s")
        pushed = any(group.pushed for group in self.groups)
        if pushed and self._receiving is None:
            self._receiving = tasks.create_task(self._receive(driver), name=f"receive {self.name}")
        elif not pushed and self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None
        if self._searching is None and any(group.search for group in self.groups):
            self._searching = tasks.create_task(self._search(driver), name=f"search {self.name}")
        if self._undescribed and (self._describing is None or self._describing.done()):
            self._describing = tasks.create_task(self._describe(driver), name=f"describe {self.name}")

    async def _read_all(self, driver: Driver) -> None:
        """Poll and receive until the connection is lost, or until another driver is needed."""
        if self._stale.is_set():
            raise _Stale
        try:
            async with asyncio.TaskGroup() as tasks:
                self._reading = driver, tasks
                tasks.create_task(self._watch(), name=f"watch {self.name}")
                self._start(driver, tasks)
                tasks.create_task(self._clocks.follow(driver), name=f"clock of {self.name}")
                tasks.create_task(self._remarks.follow(driver), name=f"remarks on {self.name}")
        except* (DriverError, _Stale) as errors:
            await driver.close()
            raise _first(errors) from None
        finally:
            self._reading = self._receiving = self._describing = self._searching = None
            self._polls = {}

    async def _watch(self) -> None:
        await self._stale.wait()
        raise _Stale

    async def _poll(self, driver: Driver, group: Group, timer: ScanTimer) -> None:
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
            self._undescribed = [other for other in self._undescribed if other is not group]

    async def _search(self, driver: Driver) -> None:
        """Ask the device again and again for points that only it knows: some may come later."""
        while True:
            for group in self.groups:
                for position in range(len(group.names)) if group.search else ():
                    with suppress(ReadFailed):
                        self._found(group, position, await driver.search(group, position))
            await asyncio.sleep(SEARCH_EVERY)

    async def _receive(self, driver: Driver) -> None:
        while True:
            await self._deliver(await driver.receive())

    async def _lost(self, event: str, error: DriverError) -> None:
        """Tell once of an outage, in the log and as the fault of every point."""
        self._timers.settle()
        if self._outage is None:
            self._outage = error
            log.warning(event, device=self.name, error=str(error))
            await self._fail(self.groups, error)

    async def _fail(self, groups: Iterable[Group], error: DriverError) -> None:
        for group in groups:
            if not (group.events or group.search):  # what happens can't be bad
                now = self._clock() if self._driver is None else self._driver.now(group)
                await self._deliver(Scan.failed(group, now, error.fault))


def _first(errors: BaseExceptionGroup[DriverError | _Stale]) -> DriverError | _Stale:
    """Return what to act on: `Misconfigured` before `NotConnected`, since it is final."""
    found = [error for error in errors.exceptions if isinstance(error, DriverError | _Stale)]
    return next((error for error in found if isinstance(error, Misconfigured)), found[0])
