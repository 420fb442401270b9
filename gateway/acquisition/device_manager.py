"""Manage the devices of a gateway, and change from one configured set of machines to another at run time.

The scans of a group go into its sink; groups of the same connection share a worker. When the configuration changes,
an unchanged group stays the same object: its schedule, subscriptions, filter and unfinished record continue.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Group
from gateway.acquisition.groups import by_connection, groups_of, searches_of
from gateway.common.tasks import cancel_and_wait
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from drivers.base import Connection, Protocol, Scan

    Sink = Callable[[Scan], None]
    from gateway.acquisition.device_worker import DeviceWorker
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


class Device(NamedTuple):
    """One device: its connection, and the groups that are read over it."""

    connection: Connection
    protocol: Protocol
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class ConfiguredMachine:
    """A machine, and its groups with their points."""

    machine: Machine
    groups: Mapping[Group, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class MachineChanges:
    """The difference between two sets of machines."""

    machines: Mapping[MachinePath, ConfiguredMachine]
    added: Sequence[MachinePath] = ()
    changed: Sequence[MachinePath] = ()
    removed: Sequence[MachinePath] = ()
    devices: Mapping[Connection, Device] = field(default_factory=dict)

    @property
    def touched(self) -> list[Machine]:
        """The machines that are added or changed."""
        return [self.machines[path].machine for path in (*self.added, *self.changed)]

    def as_dict(self) -> dict[str, list[str]]:
        """Return the paths of the machines, as `added`, `changed` and `removed`."""
        return {name: [str(path) for path in getattr(self, name)] for name in ("added", "changed", "removed")}


class DeviceManager:
    """The workers and sinks of all machines of a gateway."""

    def __init__(
        self,
        make_sink: Callable[[Machine, Group, Sequence[Point]], Sink],
        make_worker: Callable[[Device, int], DeviceWorker],
        room: Callable[[], Awaitable[None]],
        times: list[float] | None = None,
    ) -> None:
        """Prepare; `make_sink` returns the sink of a group's scans, and `room` waits while the sinks take no more.

        `make_worker` gets a device, and the number of workers that start together with it and before it. The
        delay and the duration of each acquired scan are appended to `times`, if there is a list.
        """
        self.schedules: dict[str, ScheduleCounts] = {}
        """The counts of each machine, by machine path."""
        self.past = ScheduleCounts()
        """The sum of the counts of machines that are no longer read."""
        self._make_sink = make_sink
        self._make_worker = make_worker
        self._room = room
        self._times = times
        self._machines: dict[MachinePath, ConfiguredMachine] = {}
        self._sinks: dict[Group, Sink] = {}
        self._workers: dict[Connection, DeviceWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._tasks_by_worker: dict[DeviceWorker, asyncio.Task[None]] = {}

    @property
    def workers(self) -> list[DeviceWorker]:
        """All workers."""
        return list(self._workers.values())

    @property
    def machines(self) -> list[Machine]:
        """All machines."""
        return [known.machine for known in self._machines.values()]

    def take(self, scan: Scan) -> None:
        """Pass a scan to the sink of its group; ignore scans that a device still pushes for a removed group."""
        if (sink := self._sinks.get(scan.group)) is not None:
            sink(scan)

    async def deliver(self, scan: Scan) -> None:
        """Pass a scan to the sink of its group, and wait until there is room for another."""
        self.take(scan)
        await self._room()

    # -- change of the machines --

    def compare(self, machines: Iterable[Machine]) -> MachineChanges:
        """Return the difference between the present machines and these; change nothing."""
        same = _Same()
        wanted: dict[MachinePath, ConfiguredMachine] = {}
        changed: list[MachinePath] = []
        added: list[MachinePath] = []
        for machine in machines:
            known = self._machines.get(machine.path)
            if known is not None and same(known.machine, machine):
                wanted[machine.path] = known
                continue
            (added if known is None else changed).append(machine.path)
            # without its place, which would keep the document in memory
            wanted[machine.path] = ConfiguredMachine(replace(machine, place=None), _groups(machine, known))
        removed = [path for path in self._machines if path not in wanted]
        return MachineChanges(wanted, added, changed, removed, _devices(wanted))

    def apply(self, change: MachineChanges) -> None:
        """Create the sinks, schedules and workers that a change adds, and drop those that it removes.

        Call `release` before. Call `start` after, which begins to read the new groups.
        """
        groups = {
            group: (known, points) for known in change.machines.values() for group, points in known.groups.items()
        }
        self._sinks = {
            group: self._sinks.get(group) or self._make_sink(known.machine, group, points)
            for group, (known, points) in groups.items()
        }
        for path in change.removed:
            self.past.add(self.schedules.pop(str(path)))
        for path in change.added:
            self.schedules[str(path)] = ScheduleCounts(times=self._times)
        self._machines = dict(change.machines)
        new = [connection for connection in change.devices if connection not in self._workers]
        for before, connection in enumerate(new):
            self._workers[connection] = self._make_worker(change.devices[connection], before)

    async def release(self, change: MachineChanges) -> None:
        """Stop reading the groups that the change removes; their scans are delivered when this returns."""
        gone = {
            connection: self._workers.pop(connection) for connection in self._workers.keys() - change.devices.keys()
        }
        stays = {group for device in change.devices.values() for group in device.groups}
        await asyncio.gather(
            *(self._end(worker) for worker in gone.values()),
            *(
                worker.regroup([group for group in change.devices[connection].groups if group in self._sinks])
                for connection, worker in self._workers.items()
                if not stays.issuperset(worker.groups)
            ),
        )

    async def _end(self, worker: DeviceWorker) -> None:
        await worker.stop()
        if (task := self._tasks_by_worker.pop(worker, None)) is not None:
            await cancel_and_wait(task)

    async def start(self, change: MachineChanges) -> None:
        """Start reading the new groups."""
        self._start()
        regrouped = (
            (worker, device.groups)
            for connection, device in change.devices.items()
            if (worker := self._workers[connection]).groups != tuple(device.groups)
        )
        await asyncio.gather(*(worker.regroup(groups) for worker, groups in regrouped))

    # -- running --

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Read all machines, in tasks of this group."""
        self._tasks = tasks
        self._start()

    def _start(self) -> None:
        for worker in self._workers.values():
            if worker not in self._tasks_by_worker and self._tasks is not None:
                self._tasks_by_worker[worker] = self._tasks.create_task(worker.run(), name=f"run {worker.name}")

    async def stop(self, seconds: float) -> None:
        """Begin no further scan, and wait at most `seconds` for the scans in progress."""
        stopping = [asyncio.ensure_future(worker.stop()) for worker in self._workers.values()]
        if stopping:
            await asyncio.wait(stopping, timeout=seconds)

    async def close(self) -> None:
        """Close the connections to all devices."""
        await cancel_and_wait(*self._tasks_by_worker.values())


class _Same:
    """Compare machines; the points of a template, which many machines share, are compared once."""

    def __init__(self) -> None:
        self._points: dict[tuple[int, int], bool] = {}

    def __call__(self, one: Machine, other: Machine) -> bool:
        return (
            (one.template, one.connection) == (other.template, other.connection)
            and one.protocol is other.protocol
            and self._same_points(one.points, other.points)
            and self._same_points(one.derived, other.derived)
            and self._same_points(one.results, other.results)
            and (one.alarms is other.alarms or one.alarms == other.alarms)
            and (one.operations is other.operations or one.operations == other.operations)
            and one.production == other.production
            and one.searches == other.searches
            and one.phase == other.phase
        )

    def _same_points(self, one: tuple[Point, ...], other: tuple[Point, ...]) -> bool:
        key = id(one), id(other)
        if key not in self._points:
            self._points[key] = one == other
        return self._points[key]


def _groups(machine: Machine, before: ConfiguredMachine | None) -> dict[Group, Sequence[Point]]:
    """Return the groups of a machine; unchanged groups are the same objects as before."""
    had = [] if before is None else list(before.groups.items())
    found: dict[Group, Sequence[Point]] = {}
    for new, points in chain(groups_of(machine), searches_of(machine)):
        same = (group for group, known in had if _alike(group, new) and known == points)
        found[next(same, new)] = points
    return found


def _alike(one: Group, other: Group) -> bool:
    return all(getattr(one, key.name) == getattr(other, key.name) for key in fields(Group))


def _devices(known: Mapping[MachinePath, ConfiguredMachine]) -> dict[Connection, Device]:
    together = by_connection(one.machine for one in known.values())
    return {
        connection: Device(
            connection, behind[0].protocol, [group for machine in behind for group in known[machine.path].groups]
        )
        for connection, behind in together.items()
    }
