"""One set of machines becomes another: equal parts stay the same objects, and only the others are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from gateway.acquisition.device_manager import Device, DeviceManager, MachineChanges
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from drivers.base import Group, Scan
    from gateway.acquisition.device_worker import DeviceWorker
    from gateway.settings.factory import Machine

PRESS = {
    "protocol": "modbus",
    "points": {
        "fast": {"address": "holding 0", "raw": "uint16", "every": "100ms"},
        "slow": {"address": "holding 1", "raw": "uint16", "every": "1s"},
    },
}


class Reader:
    """A runner that records the groups that it is asked to read."""

    def __init__(self, device: Device) -> None:
        self.groups: tuple[Group, ...] = tuple(device.groups)
        self.regrouped: list[list[Group]] = []
        self.stopped = False

    async def regroup(self, groups: Sequence[Group]) -> None:
        if set(groups) != set(self.groups):
            self.regrouped.append(list(groups))
        self.groups = tuple(groups)

    async def stop(self) -> None:
        self.stopped = True


class Bench:
    """An acquisition whose runners only record the calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sinks: list[Group] = []
        self.readers: dict[str, Reader] = {}
        self.acquisition = DeviceManager(self._sink, self._runner, self._room)

    def _sink(self, machine: Machine, group: Group, points: Sequence[object]) -> Callable[[Scan], Any]:
        assert len(points) == len(group.names)
        assert str(machine.path) == group.machine
        self.sinks.append(group)

        def take(scan: Scan) -> None:
            del scan

        return take

    async def _room(self) -> None:
        pass

    def _runner(self, device: Device, before: int) -> DeviceWorker:
        assert 0 <= before <= len(self.readers)
        reader = self.readers[str(device.connection)] = Reader(device)
        return cast("DeviceWorker", reader)

    def machines(self, lines: dict[str, Any], template: dict[str, Any] | None = None) -> Sequence[Machine]:
        (self.folder / "machines").mkdir(exist_ok=True)
        data = {"format": 1} | (template or PRESS)
        (self.folder / "machines" / "press.yaml").write_text(yaml.safe_dump(data))
        factory = {
            "format": 1,
            "factory": {"enterprise": "acme", "site": "north"},
            "gateway": {"id": "edge"},
            "broker": {"url": "mqtt://localhost"},
            "lines": {"line": {"area": "area", "machines": lines}},
        }
        (self.folder / "factory.yaml").write_text(yaml.safe_dump(factory, sort_keys=False))
        return load_factory(self.folder / "factory.yaml").machines

    async def change(self, lines: dict[str, Any], template: dict[str, Any] | None = None) -> MachineChanges:
        change = self.acquisition.compare(self.machines(lines, template))
        await self.acquisition.release(change)
        self.acquisition.apply(change)
        await self.acquisition.start(change)
        return change


def at(unit: int, host: str = "10.0.0.1", **more: Any) -> dict[str, Any]:
    return {"template": "press", "connection": f"modbus+tcp://{host}?unit={unit}"} | more


def names(paths: Sequence[Any]) -> list[str]:
    return [path.machine for path in paths]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_the_same_configuration_changes_nothing(bench: Bench):
    """Comments, order and file names may differ."""
    await bench.change({"one": at(1), "two": at(2)})
    sinks = list(bench.sinks)
    change = await bench.change({"two": at(2), "one": at(1)})
    assert (change.added, change.changed, change.removed) == ([], [], [])
    assert bench.sinks == sinks
    assert [reader.regrouped for reader in bench.readers.values()] == [[]]


async def test_a_machine_is_added_beside_others_of_its_connection(bench: Bench):
    """They share it, and are read on by the same groups."""
    await bench.change({"one": at(1)})
    [reader] = bench.readers.values()
    before = set(reader.groups)
    change = await bench.change({"one": at(1), "two": at(2)})
    assert names(change.added) == ["two"]
    [groups] = reader.regrouped
    assert before < set(groups)
    assert len(groups) == 4
    assert set(bench.acquisition.schedules) == {"acme/north/area/line/one", "acme/north/area/line/two"}


async def test_a_machine_is_removed_and_its_schedule_counts_on_in_the_sum(bench: Bench):
    """The total of a gateway never goes down."""
    await bench.change({"one": at(1), "two": at(2, "10.0.0.2")})
    bench.acquisition.schedules["acme/north/area/line/two"].skipped(3)
    change = await bench.change({"one": at(1)})
    assert names(change.removed) == ["two"]
    assert bench.acquisition.past.missed == 3
    by_host = {name: reader.stopped for name, reader in bench.readers.items()}
    assert sorted(by_host.values()) == [False, True]
    assert len(bench.acquisition.workers) == 1


async def test_a_machine_that_moves_leaves_one_connection_and_joins_another(bench: Bench):
    """Re-pointed, as when a PLC gets another address."""
    await bench.change({"one": at(1), "two": at(2)})
    change = await bench.change({"one": at(1), "two": at(2, "10.0.0.9")})
    assert names(change.changed) == ["two"]
    left, joined = bench.readers.values()
    assert [len(groups) for groups in left.regrouped] == [2]
    assert len(joined.groups) == 2


async def test_of_a_changed_machine_only_the_groups_that_changed_are_new(bench: Bench):
    """A deadband of a slow point does not concern the fast points."""
    await bench.change({"one": at(1)})
    fast, slow = bench.sinks
    change = await bench.change({"one": at(1, points={"slow": {"deadband": 2}})})
    assert names(change.changed) == ["one"]
    [reader] = bench.readers.values()
    assert fast in reader.groups
    assert slow not in reader.groups
    assert len(bench.sinks) == 3
    assert reader.regrouped[0] == [fast], "the old group is released before the new group is read"


async def test_a_changed_phase_starts_the_groups_of_the_machine_again(bench: Bench):
    """Their schedules begin at another time; those of other machines of the connection go on."""
    await bench.change({"one": at(1), "two": at(2)})
    two = [group for group in bench.sinks if group.machine.endswith("/two")]
    change = await bench.change({"one": at(1, phase="250ms"), "two": at(2)})
    assert names(change.changed) == ["one"]
    [reader] = bench.readers.values()
    assert {group.phase for group in reader.groups} == {0.25, None}
    assert set(two) < set(reader.groups)


async def test_a_changed_template_changes_its_machines(bench: Bench):
    """One file changes many machines."""
    lines = {"one": at(1), "two": at(2)}
    await bench.change(lines)
    points = PRESS["points"] | {"slow": PRESS["points"]["slow"] | {"unit": "bar"}}  # type: ignore[index,operator] # of this test
    change = await bench.change(lines, PRESS | {"points": points})
    assert names(change.changed) == ["one", "two"]
    assert len(bench.sinks) == 6, "the fast groups are as they were"


async def test_a_machine_without_its_document_is_kept(bench: Bench):
    """A thousand reloads must not keep a thousand files."""
    await bench.change({"one": at(1)})
    assert [machine.place for machine in bench.acquisition.machines] == [None]
