"""Read one device on schedule: connect, reconnect, keep the schedule, and deliver the scans.

The driver reads and raises; the worker waits, backs off and logs for all protocols. No exception of a driver ends the
worker, so a fault of one device does not affect other devices.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from drivers.base import DriverError, Fault, Misconfigured, NotConnected, Quality, ReadFailed, Reason, Scan
from gateway.acquisition.device_clock import DeviceClock
from gateway.acquisition.device_warnings import DeviceWarnings
from gateway.acquisition.driver_faults import DriverFault, DriverFaultLog, is_cancelled, translate
from gateway.acquisition.scheduler import Alarms, Scheduler
from gateway.common.backoff import Backoff
from gateway.common.counters import summed
from gateway.common.state_log import StateLog
from gateway.common.tasks import BestEffort, supervise, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from drivers.base import DiscoveredPoint, Driver, Group, PointMetadata
    from gateway.acquisition.scheduler import ScanTimer
    from gateway.common.stall import StallWatch
    from gateway.model.ledger import ScheduleCounts

log = structlog.get_logger(__name__)

SEARCH_EVERY = 60.0
"""Seconds between two searches for points on the device."""

BACKOFF_FIRST, BACKOFF_MAX = 0.5, 5.0
"""Seconds between two attempts to connect: the first, and the longest. Each is jittered by half."""

FAULT_BACKOFF_FIRST, FAULT_BACKOFF_MAX = 1.0, 60.0
"""Seconds between a driver fault and the next driver, likewise; after a driver that runs for the longest time, the
back-off starts again at the first."""

CLOSE_SECONDS = 1.0
"""Seconds that a driver has to close its connection; then the worker stops waiting."""


PUSHED_STALE = 0.05
"""Seconds after a stall in which pushed scans may have waited in the socket."""

_SUSPENDED = Fault(Quality.UNCERTAIN, Reason.STALE, "process was suspended")


def _ignore(*values: object) -> None:
    del values


class Room(Protocol):
    """Whether scans without a task may be read."""

    has_room: bool


class _NoRoom:
    has_room = False


class _Helpers(dict[str, BestEffort]):
    """The contexts of the calls of a driver that may fail, by name; most of them are never needed."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __missing__(self, name: str) -> BestEffort:
        made = BestEffort(f"driver.{name}", passing=(NotConnected, Misconfigured), device=self._device)
        self[name] = made
        return made


def _has_metadata(group: Group) -> bool:
    return not (group.events or group.search)


class _DriverReplaced(Exception):
    """The groups have changed, so another driver is needed to read them."""


class DeviceWorker:
    """The worker of one device: it runs the drivers for all groups of all machines of the connection."""

    __slots__ = (
        "_begun",
        "_best_effort",
        "_clock",
        "_connected",
        "_connects",
        "_delay",
        "_deliver",
        "_delivering",
        "_describing",
        "_device_clock",
        "_device_warnings",
        "_driver",
        "_fault_backoff",
        "_faults",
        "_make_driver",
        "_on_discovered",
        "_on_metadata",
        "_outage",
        "_past",
        "_polls",
        "_receiving",
        "_replace",
        "_room",
        "_searching",
        "_stall",
        "_state",
        "_stopped",
        "_take",
        "_timers",
        "_undescribed",
        "groups",
        "name",
    )

    def __init__(
        self,
        name: str,
        groups: Sequence[Group],
        make_driver: Callable[[Sequence[Group]], Driver],
        deliver: Callable[[Scan], Awaitable[None]],
        schedules: Mapping[str, ScheduleCounts],
        clock: Callable[[], int],
        phase: float = 0.0,
        origin: float = 0.0,
        delay: float = 0.0,
        on_metadata: Callable[[Group, Sequence[PointMetadata]], object] = _ignore,
        on_discovered: Callable[[Group, int, Sequence[DiscoveredPoint]], None] = _ignore,
        stall: StallWatch | None = None,
        take: Callable[[Scan], None] = _ignore,
        room: Room | None = None,
        alarms: Alarms | None = None,
    ) -> None:
        """Prepare to run.

        `deliver` takes a scan, and waits until there is room for another. `take` takes one at once, of a driver that
        reads without a task (`Driver.start_read`), which it may do while `room` has room; without both of
        them each scan has its task. `alarms` are shared by all devices.

        `on_metadata` is called once for each group with the metadata that the device reports; `on_discovered` after
        every search with the points that it found. `phase` (0 to 1) is the part of the period after which the scans
        of this device begin, on a grid with a slot at the time `origin` of the event loop; `delay` are the seconds
        before the first attempt to connect. Scans that were in progress while the process was suspended, as `stall`
        reports, are uncertain.
        """
        self.name = name
        self.groups = tuple(groups)
        self._make_driver = make_driver
        self._deliver = deliver
        self._clock = clock
        self._delay = delay
        self._on_metadata = on_metadata
        self._on_discovered = on_discovered
        self._stall = stall
        self._state = StateLog(log, "driver.unstable", device=name)
        self._undescribed = [group for group in groups if _has_metadata(group)]
        self._take, self._room = take, _NoRoom() if room is None else room
        self._timers = Scheduler(schedules, phase, origin, Alarms(stall) if alarms is None else alarms)
        self._polls: dict[Group, asyncio.Task[None]] = {}
        self._receiving: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[None] | None = None
        self._searching: asyncio.Task[None] | None = None
        self._connected: tuple[Driver, asyncio.TaskGroup] | None = None  # while it is connected
        self._driver: Driver | None = None
        self._past: dict[str, int] = {}  # of former drivers
        self._connects = 0
        self._device_clock, self._device_warnings = DeviceClock(name), DeviceWarnings(name)
        self._outage: DriverError | None = None
        self._begun = self._stopped = False
        self._replace = asyncio.Event()
        self._faults = DriverFaultLog(name)
        self._fault_backoff = Backoff(FAULT_BACKOFF_FIRST, FAULT_BACKOFF_MAX)
        self._best_effort = _Helpers(name)
        self._delivering = BestEffort("deliver", device=name)

    async def run(self) -> None:
        """Read until cancelled. No exception of the driver ends this."""
        await asyncio.sleep(self._delay)
        backoff = Backoff(BACKOFF_FIRST, BACKOFF_MAX)
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                try:
                    await self._read_device(backoff)
                except _DriverReplaced:
                    continue
                except asyncio.CancelledError as error:
                    if is_cancelled():
                        raise
                    failure: DriverError = DriverFault(error)
                except Exception as error:
                    if is_cancelled():  # at once with the error, which a task group raises in its place
                        raise asyncio.CancelledError from error
                    failure = translate(error)
                if loop.time() - began > FAULT_BACKOFF_MAX:
                    self._fault_backoff.reset()
                await self._recover(failure, backoff)
        finally:
            self._timers.settle()
            await self._close()

    async def _read_device(self, backoff: Backoff) -> None:
        """Connect and read until an exception is raised."""
        driver = self._driver
        if driver is None or self._replace.is_set():
            driver = await self._new_driver()
        try:
            await driver.connect()
        finally:
            self._begin()
        self._outage = None
        self._connects += 1
        self._state.enter("driver.connected", healthy=True)
        backoff.reset()
        # a task of its own: before Python 3.13 a task whose task group has failed looks cancelled from then on
        await asyncio.create_task(self._read_all(driver), name=f"read {self.name}")

    async def _recover(self, failure: DriverError, backoff: Backoff) -> None:
        """Close the connection, report the outage, and wait until the next attempt."""
        await self._close()
        if isinstance(failure, Misconfigured):
            await self._report_outage("driver.misconfigured", failure)
            await self._replace.wait()  # else until cancelled; its slots are counted as missed at the end
            return
        if isinstance(failure, DriverFault):
            self._faults.add(failure)
            self._begin()
            self._replace.set()
            await self._report_outage("driver.failed", failure)
            await self._fault_backoff.wait()
        else:
            await self._report_outage("driver.not_connected", failure)
            await backoff.wait()
        self._timers.settle()

    async def _new_driver(self) -> Driver:
        await self._close()
        if self._driver is not None:
            self._past = self._driver_counts()
            self._driver = None
        self._replace.clear()
        # in a thread: it may import the protocol's library, which must not delay the first scans of other devices
        self._driver = await asyncio.to_thread(self._make_driver, self.groups)
        return self._driver

    async def _close(self) -> None:
        if self._driver is not None:
            with self._best_effort["close"]:
                await within(CLOSE_SECONDS, self._driver.close(), f"close {self.name}")

    def _begin(self) -> None:
        """Begin the schedule once, after the first attempt to connect."""
        if not self._begun and not self._stopped:
            self._begun = True
            self._timers.begin(self.groups)

    @property
    def connected(self) -> bool:
        """Whether the device is connected, and read."""
        return self._connected is not None

    @property
    def clock_offset(self) -> float | None:
        """Device time minus gateway time in seconds, at the last comparison; None if the device clock is unknown."""
        return self._device_clock.offset

    def counts(self) -> dict[str, int]:
        """Return the number of connections to the device, and the counters of its drivers."""
        faults = {"driver_faults": self._faults.count} if self._faults.count else {}
        return {"connects": self._connects} | faults | self._driver_counts()

    def _driver_counts(self) -> dict[str, int]:
        if self._driver is not None:
            with self._best_effort["counts"]:
                return summed((self._past, self._driver.counts()))
        return dict(self._past)

    async def stop(self) -> None:
        """Begin no further scan, and wait for the scans in progress; then `run` may be cancelled."""
        self._stopped = True
        self._timers.stop()
        if self._polls:
            await asyncio.wait(self._polls.values())

    # -- while it runs --

    async def regroup(self, groups: Sequence[Group]) -> None:
        """Read these groups from now on. Reading of unchanged groups continues.

        When this returns, the scans of the removed groups have been delivered.
        """
        added = [group for group in groups if group not in self.groups]
        removed = [group for group in self.groups if group not in groups]
        if not added and not removed:
            return
        await self._end_polls(removed)
        self.groups = tuple(groups)
        self._undescribed = [one for one in (*self._undescribed, *added) if one in groups and _has_metadata(one)]
        if self._begun:
            self._timers.begin(added)
        if not await self._regrouped():
            self._replace.set()
        if self._outage is not None:
            await self._fail(added, self._outage)

    async def _end_polls(self, groups: Sequence[Group]) -> None:
        """End the schedules of groups, and wait for the scans in progress."""
        timers = self._timers.end(groups)
        polls = [self._polls.pop(group) for group in groups if group in self._polls]
        if polls:
            await asyncio.wait(polls)
        for timer in timers:
            timer.settle()

    async def _regrouped(self) -> bool:
        """Return True if the driver reads the present groups."""
        if self._connected is None:
            return False  # it connects now or later, with all of them
        driver, tasks = self._connected
        try:
            took = await driver.regroup(self.groups)
        except DriverError:
            return False  # the new driver raises the reason again
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self._faults.add(DriverFault(error))
            return False
        except Exception as error:  # noqa: BLE001 - as in `run`
            self._faults.add(DriverFault(error))
            return False
        if took and self._connected == (driver, tasks):
            self._start(driver, tasks)
            return True
        return False

    def _start(self, driver: Driver, tasks: asyncio.TaskGroup) -> None:
        """Start reading every group that is not read yet."""
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
        if self._replace.is_set():
            raise _DriverReplaced
        try:
            async with asyncio.TaskGroup() as tasks:
                self._connected = driver, tasks
                tasks.create_task(self._watch_replacement(), name=f"watch {self.name}")
                self._start(driver, tasks)
                for helper, follow in (
                    ("clock_offset", self._device_clock.follow),
                    ("warnings", self._device_warnings.follow),
                ):
                    following = supervise(partial(follow, driver), self._best_effort[helper])
                    tasks.create_task(following, name=f"{helper} {self.name}")
        except BaseExceptionGroup as errors:
            _, others = errors.split(_DriverReplaced)
            raise (_DriverReplaced() if others is None else others) from None
        finally:
            self._connected = self._receiving = self._describing = self._searching = None
            self._polls = {}

    async def _watch_replacement(self) -> None:
        await self._replace.wait()
        raise _DriverReplaced

    async def _poll(self, driver: Driver, group: Group, timer: ScanTimer) -> None:
        """Read a group in its slots: by `start_read` without this task, or by `read`."""
        start = partial(self._start_read, driver, group, timer, partial(self._read, timer))
        while await timer.wait(start):
            timer.begin()
            try:
                scan = await driver.read(group)
            except ReadFailed as error:
                scan = Scan.failed(group, self._clock(), error.fault)
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                raise DriverFault(error) from error
            self._note_end(timer, scan)
            await self._deliver(scan)

    def _start_read(self, driver: Driver, group: Group, timer: ScanTimer, done: Callable[[Scan], None]) -> bool:
        """Let the driver read a group without a task; return False if it does not."""
        return self._room.has_room and driver.start_read(group, done, timer.wake)

    def _read(self, timer: ScanTimer, scan: Scan) -> None:
        """Take a scan that was read without a task."""
        if not timer.scanning:  # its poll has ended meanwhile
            return
        try:
            now = self._note_end(timer, scan)
            self._take(scan)
        except Exception as error:  # noqa: BLE001 - it is raised in the task
            timer.fail(error)
        else:
            timer.proceed(now)

    def _note_end(self, timer: ScanTimer, scan: Scan) -> float:
        """Count a scan that has ended, and return the present time."""
        now = timer.took()
        if self._stall is not None and self._stall.stalled_since(timer.began, now):
            _doubt(scan)
        return now

    async def _receive(self, driver: Driver) -> None:
        stall = self._stall
        if stall is None:
            while True:
                await self._deliver(await self._pushed(driver))
        clock = asyncio.get_running_loop().time
        watching = True  # a look at the clocks may be needed until a scan has times
        stall.begin()
        try:
            while True:
                began = clock()
                scan = await self._pushed(driver)
                if watching != (scan.times is None):
                    watching = not watching
                    (stall.begin if watching else stall.end)()
                if watching and stall.stalled_since(began - PUSHED_STALE, clock()):
                    _doubt(scan)
                await self._deliver(scan)
        finally:
            if watching:
                stall.end()

    async def _pushed(self, driver: Driver) -> Scan:
        """Wait for the next scan that the device sends by itself."""
        try:
            return await driver.receive()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise DriverFault(error) from error

    async def _describe(self, driver: Driver) -> None:
        """Read the metadata of the points of the device that was not read yet."""
        while self._undescribed:
            group = self._undescribed[-1]
            with self._best_effort["describe"], suppress(ReadFailed):  # the device has none
                self._on_metadata(group, await driver.describe(group))
            self._undescribed = [other for other in self._undescribed if other is not group]

    async def _search(self, driver: Driver) -> None:
        """Search the device repeatedly for points: some may be added later."""
        while True:
            for group in self.groups:
                for position in range(len(group.names)) if group.search else ():
                    with self._best_effort["search"], suppress(ReadFailed):  # the next search finds it
                        self._on_discovered(group, position, await driver.search(group, position))
            await asyncio.sleep(SEARCH_EVERY)

    async def _report_outage(self, event: str, error: DriverError) -> None:
        """Report an outage once, in the log and as the fault of every point; repeat it when its reason changes."""
        self._timers.settle()
        self._state.enter(event, error=str(error))
        if self._outage is not None and self._outage.fault.reason is error.fault.reason:
            return
        self._outage = error
        await self._fail(self.groups, error)

    async def _fail(self, groups: Iterable[Group], error: DriverError) -> None:
        for group in groups:
            if not (group.events or group.search):  # an event can't be bad
                with self._delivering:
                    await self._deliver(Scan.failed(group, self._now(group), error.fault))

    def _now(self, group: Group) -> int:
        if self._driver is not None:
            with self._best_effort["now"]:
                return self._driver.now(group)
        return self._clock()


def _doubt(scan: Scan) -> None:
    """Mark the values of a scan as uncertain: they may be as old as the suspension of the process."""
    for position, value in enumerate(scan.values):
        if value is not None:
            scan.faults.setdefault(position, _SUSPENDED)
