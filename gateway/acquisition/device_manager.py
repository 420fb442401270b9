"""Which machines are read, and how one set of them becomes another while they are read.

A group's scans go into its sink; groups behind one connection share a runner. When the configuration changes, a
group that is the same before and after stays the same object: its schedule, its subscriptions, its filter and what
waits in its outbox are left alone.
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

    Sink = Callable[[Scan], Awaitable[None]]
    from gateway.acquisition.device_worker import DeviceWorker
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


class Device(NamedTuple):
    """One device: the connection to it, and the groups that are read over that."""

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
    """What a new set of machines is, beside the old one."""

    machines: Mapping[MachinePath, ConfiguredMachine]
    added: Sequence[MachinePath] = ()
    changed: Sequence[MachinePath] = ()
    removed: Sequence[MachinePath] = ()
    devices: Mapping[Connection, Device] = field(default_factory=dict)

    @property
    def touched(self) -> list[Machine]:
        """The machines that are new, or not what they were."""
        return [self.machines[path].machine for path in (*self.added, *self.changed)]

    def as_dict(self) -> dict[str, list[str]]:
        """Return the paths of the machines, by what has become of them."""
        return {name: [str(path) for path in getattr(self, name)] for name in ("added", "changed", "removed")}


class DeviceManager:
    """The runners and sinks of all machines of a gateway."""

    def __init__(
        self,
        make_sink: Callable[[Machine, Group, Sequence[Point]], Sink],
        make_runner: Callable[[Device, int, int], DeviceWorker],
    ) -> None:
        """Prepare; `make_sink` says where a group's scans go.

        `make_runner` is told which of all runners it is, and how many begin with it, before it.
        """
        self.schedules: dict[str, ScheduleCounts] = {}
        """By the paths of machines."""
        self.past = ScheduleCounts()
        """What the schedules of machines have come to that are not read any more."""
        self._make_sink = make_sink
        self._make_runner = make_runner
        self._machines: dict[MachinePath, ConfiguredMachine] = {}
        self._sinks: dict[Group, Sink] = {}
        self._runners: dict[Connection, DeviceWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[DeviceWorker, asyncio.Task[None]] = {}
        self._made = 0

    @property
    def runners(self) -> list[DeviceWorker]:
        """All runners."""
        return list(self._runners.values())

    @property
    def machines(self) -> list[Machine]:
        """All machines."""
        return [known.machine for known in self._machines.values()]

    async def deliver(self, scan: Scan) -> None:
        """Give a scan to the sink of its group."""
        await self._sinks[scan.group](scan)

    # -- from one set of machines to another --

    def compare(self, machines: Iterable[Machine]) -> MachineChanges:
        """Return what these machines are beside those that are read now; changes nothing."""
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
            # without its place, which would keep a document that is read no more
            wanted[machine.path] = ConfiguredMachine(replace(machine, place=None), _groups(machine, known))
        removed = [path for path in self._machines if path not in wanted]
        return MachineChanges(wanted, added, changed, removed, _devices(wanted))

    def take_up(self, change: MachineChanges) -> None:
        """Make the sinks, schedules and runners that a change needs, and forget those that it does not.

        What is not needed any more has to be `released` before, and what is new is read after `adopt`.
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
            self.schedules[str(path)] = ScheduleCounts()
        self._machines = dict(change.machines)
        new = [connection for connection in change.devices if connection not in self._runners]
        for before, connection in enumerate(new):
            self._runners[connection] = self._make_runner(change.devices[connection], self._made, before)
            self._made += 1

    async def release(self, change: MachineChanges) -> None:
        """Stop reading what the change has not; all of its scans are delivered when this returns."""
        gone = {
            connection: self._runners.pop(connection) for connection in self._runners.keys() - change.devices.keys()
        }
        stays = {group for device in change.devices.values() for group in device.groups}
        await asyncio.gather(
            *(self._end(runner) for runner in gone.values()),
            *(
                runner.regroup([group for group in change.devices[connection].groups if group in self._sinks])
                for connection, runner in self._runners.items()
                if not stays.issuperset(runner.groups)
            ),
        )

    async def _end(self, runner: DeviceWorker) -> None:
        await runner.stop()
        if (task := self._running.pop(runner, None)) is not None:
            await cancel_and_wait(task)

    async def adopt(self, change: MachineChanges) -> None:
        """Read what is new."""
        self._start()
        await asyncio.gather(
            *(self._runners[connection].regroup(device.groups) for connection, device in change.devices.items())
        )

    # -- running --

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Read all machines, in tasks of this group."""
        self._tasks = tasks
        self._start()

    def _start(self) -> None:
        for runner in self._runners.values():
            if runner not in self._running and self._tasks is not None:
                self._running[runner] = self._tasks.create_task(runner.run(), name=f"run {runner.name}")

    async def stop(self, seconds: float) -> None:
        """Stop reading; scans under way have so many seconds to end."""
        await asyncio.wait(
            [asyncio.ensure_future(runner.stop()) for runner in self._runners.values()], timeout=seconds
        )
        await cancel_and_wait(*self._running.values())


class _Same:
    """Whether a machine is what it was; the points of a type, which many machines share, are compared once."""

    def __init__(self) -> None:
        self._points: dict[tuple[int, int], bool] = {}

    def __call__(self, one: Machine, other: Machine) -> bool:
        return (
            (one.template, one.connection) == (other.template, other.connection)
            and one.protocol is other.protocol
            and self._same_points(one.points, other.points)
            and one.searches == other.searches
        )

    def _same_points(self, one: tuple[Point, ...], other: tuple[Point, ...]) -> bool:
        key = id(one), id(other)
        if key not in self._points:
            self._points[key] = one == other
        return self._points[key]


def _groups(machine: Machine, before: ConfiguredMachine | None) -> dict[Group, Sequence[Point]]:
    """Return the groups of a machine; those that it had before are the same objects."""
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
