"""Reading real machines, once or for a while: some devices at a time, and none for longer than it should take."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import DriverError, NotConnected, Reason, Sampler, Scan, bad
from drivers.sampling import RawValue, Sample
from gateway.acquisition.discovery import fitting, points_of
from gateway.acquisition.groups import by_connection, groups_of, searches_of
from gateway.check.flags import Taken
from gateway.check.results import doubt, wrong
from gateway.pipeline.normalize import Normalizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drivers.base import Connection, DeviceWarning, Driver, Fault, Group, Protocol
    from drivers.trace import Tracer
    from gateway.check.results import Finding
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

KEPT = 1000
"""The largest number of readings kept of a point: enough to see whether it changes."""

READINGS = 10
"""How often a slow point is read in the time that is given, at the least where the device allows it."""

FASTEST = 0.2
"""Seconds between two readings that are not asked for by the point itself."""


MOST_SAMPLES = 20
"""The most samples of a group in a row, while its driver learns how the device answers."""


class Patience(NamedTuple):
    """How long a check takes, in seconds: for one answer of a device, and for reading on; and devices at once."""

    answer: float
    seconds: float
    at_once: int


@dataclass(slots=True)
class GroupTaken:
    """The result of one group: the readings of its points, the registers behind them, and the durations of scans."""

    group: Group
    points: Sequence[Point]
    readings: list[list[Taken]] = field(default_factory=list)
    held: Sequence[RawValue] = ()
    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Device:
    """One connection, the machines behind it, and the results.

    `error` is the reason why it can't be reached at all; `warnings` are those of the driver, with instructions.
    """

    connection: Connection
    protocol: Protocol
    machines: list[tuple[Machine, list[GroupTaken]]] = field(default_factory=list)
    error: str = ""
    ahead: float | None = None
    searched: dict[str, list[Finding]] = field(default_factory=dict)  # machine -> findings about its searches
    warnings: list[DeviceWarning] = field(default_factory=list)

    @property
    def groups(self) -> list[GroupTaken]:
        """All groups of all machines."""
        return [taken for _, groups in self.machines for taken in groups]


def devices_of(machines: Iterable[Machine]) -> list[Device]:
    """Return the devices that machines are behind, in the order of their first machines."""
    return [
        Device(connection, behind[0].protocol, [(machine, _groups(machine)) for machine in behind])
        for connection, behind in by_connection(machines).items()
    ]


def _groups(machine: Machine) -> list[GroupTaken]:
    return [GroupTaken(group, points) for group, points in groups_of(machine)]


async def read_devices(
    devices: Sequence[Device], patience: Patience, finished: Callable[[], None], tracer: Tracer | None = None
) -> None:
    """Read all devices, and call `finished` after each. The results, errors included, are stored in the devices.

    `tracer` receives the messages of all devices whose drivers can be traced.
    """
    turns = asyncio.Semaphore(patience.at_once)

    async def one(device: Device) -> None:
        async with turns:
            await _Look(device, patience, tracer).run()
        finished()

    async with asyncio.TaskGroup() as tasks:
        for device in devices:
            tasks.create_task(one(device), name=f"check {device.connection}")


class _Look:
    """The look at one device."""

    def __init__(self, device: Device, patience: Patience, tracer: Tracer | None) -> None:
        self._device = device
        self._patience = patience
        self._tracer = tracer
        self._driver: Driver
        self._normalizers: dict[Group, Normalizer] = {}

    async def run(self) -> None:
        try:
            if not (await self._begun() and (not await self._found_more() or await self._begun())):
                return
            until = asyncio.get_running_loop().time() + self._patience.seconds
            for taken in self._device.groups:
                await self._take(taken)
            self._device.ahead = self._driver.clock_offset
            if self._patience.seconds:
                await self._read_on(until)
        finally:
            self._device.warnings += self._driver.warnings() or ()
            await self._driver.close()

    async def _begun(self) -> bool:
        """Connect with a driver for all groups that are known; returns whether the device is there."""
        device = self._device
        searches = [group for machine, _ in device.machines for group, _ in searches_of(machine)]
        groups = [*(taken.group for taken in device.groups), *searches]
        self._normalizers = {taken.group: Normalizer(taken.points) for taken in device.groups}
        # in a thread: it may have to import the protocol's library
        make = device.protocol.sampler or device.protocol.driver
        self._driver = await asyncio.to_thread(make, device.connection, groups, _now)
        if self._tracer is not None:
            self._driver.trace(self._tracer)
        return await self._connected()

    async def _found_more(self) -> bool:
        """Ask for the points that only the device knows; returns whether there are any, which a new driver needs."""
        found = False
        for i, (machine, _) in enumerate(self._device.machines):
            for group, searches in searches_of(machine):
                more = [point for n, one in enumerate(searches) for point in await self._search(group, n, one)]
                points = {point.name: point for point in (*more, *machine.points)}
                whole = replace(machine, points=tuple(points.values()))
                self._device.machines[i] = whole, _groups(whole)
                found |= bool(more)
        if found:
            await self._driver.close()
        return found

    async def _search(self, group: Group, position: int, search: Point) -> list[Point]:
        said = self._device.searched.setdefault(group.machine, [])
        try:
            async with asyncio.timeout(self._patience.answer):
                matches = await self._driver.search(group, position)
        except (TimeoutError, DriverError) as error:
            said.append(wrong("search", f"{search.name}: {error or 'no answer'}"))
            return []
        points = list(points_of(search, fitting(search, matches)))
        if not points:
            said.append(doubt("search", f"{search.name}: nothing of its type was found there"))
        return points

    async def _connected(self) -> bool:
        patience = self._patience.answer + self._device.connection.patience
        try:
            async with asyncio.timeout(patience):
                await self._driver.connect()
        except TimeoutError:
            self._device.error = f"no answer within {patience:g} s"
        except DriverError as error:
            self._device.error = str(error)
        else:
            return True
        return False

    async def _read_on(self, until: float) -> None:
        """Read again and again, each group at its own rate, until the time is over."""
        clock = asyncio.get_running_loop().time
        began = clock()
        periods = {id(taken): _period(taken.group, self._patience.seconds) for taken in self._device.groups}
        due = [(began + periods[id(taken)], i, taken) for i, taken in enumerate(self._device.groups)]
        while due:
            due.sort()
            at, i, taken = due.pop(0)
            if at >= until:
                continue
            await asyncio.sleep(max(0.0, at - clock()))
            late = clock() - at
            if await self._take(taken):
                taken.late.append(late)
            period = periods[id(taken)]
            due.append((at + period * (1 + max(0.0, clock() - at) // period), i, taken))

    async def _take(self, taken: GroupTaken) -> bool:
        """Read one group, repeatedly while the driver learns; returns whether the device answered."""
        sample: Sample | None = None
        took = 0.0
        try:
            async with asyncio.timeout(self._patience.answer):
                for _ in range(MOST_SAMPLES):
                    began = time.perf_counter()
                    sample = await self._sample(taken.group)
                    took = time.perf_counter() - began
                    if not isinstance(self._driver, Sampler) or self._driver.settled(taken.group):
                        break
        except TimeoutError:
            if sample is None:
                self._failed(taken, bad(Reason.NO_RESPONSE, f"not within {self._patience.answer:g} s"))
                return False
        except NotConnected as error:
            self._failed(taken, bad(Reason.NOT_CONNECTED, str(error)))
            await self._again()
            return False
        except DriverError as error:
            self._failed(taken, error.fault)
            return False
        if sample is not None:
            taken.took.append(took)
            self._note(taken, sample)
        return True

    async def _again(self) -> None:
        """Connect once more where the connection was lost: one group may be to blame, and the others not."""
        try:
            async with asyncio.timeout(self._patience.answer):
                await self._driver.connect()
        except (TimeoutError, DriverError):
            return  # the next group reports it

    async def _sample(self, group: Group) -> Sample:
        if isinstance(self._driver, Sampler):
            return await self._driver.sample(group)
        if not group.pushed:
            return Sample(await self._driver.read(group), ())
        whole = Scan(group, _now(), [None] * len(group.names))
        missing = set(range(len(group.names)))
        while missing and not group.events:
            scan = await self._driver.receive()
            if scan.group is group:
                missing -= _merge(whole, scan)
        return Sample(whole, ())

    def _failed(self, taken: GroupTaken, fault: Fault) -> None:
        self._note(taken, Sample(Scan.failed(taken.group, _now(), fault), ()))

    def _note(self, taken: GroupTaken, sample: Sample) -> None:
        raw = list(sample.scan.values)
        self._normalizers[taken.group].apply(sample.scan)
        values, faults = sample.scan.values, sample.scan.faults
        held = sample.held or [RawValue()] * len(raw)
        taken.held = sample.held or taken.held
        taken.readings = taken.readings or [[] for _ in raw]
        for i, readings in enumerate(taken.readings):
            if taken.group.events and i not in faults:
                continue
            if len(readings) < KEPT:
                readings.append(Taken(raw[i], values[i], faults.get(i), held[i].others))


def _merge(whole: Scan, part: Scan) -> set[int]:
    """Merge a pushed scan into a scan of the whole group; return the positions of its points."""
    positions = list(part.points) if part.points is not None else list(range(len(part.values)))
    for i, position in enumerate(positions):
        whole.values[position] = part.values[i]
        if i in part.faults:
            whole.faults[position] = part.faults[i]
    return set(positions)


def _period(group: Group, seconds: float) -> float:
    """Return the time between two readings of a group: its own, or less where there would be few."""
    return min(group.every, max(FASTEST, seconds / READINGS))


def _now() -> int:
    return time.time_ns() // 1000
