"""A machine that another worker reads from now on takes its totals, discovered points and metadata with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drivers.base import Group, PointMetadata, ValueType
from drivers.modbus import PROTOCOL
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.source import ModbusSource
from gateway.acquisition.device_metadata import DeviceMetadata
from gateway.acquisition.discovery import Discovery, read_found
from gateway.model.ledger import Ledger
from gateway.model.part import Part, gateway_of, part_name
from gateway.model.path import MachinePath
from gateway.mqtt.topics import Topics
from gateway.pipeline.totals import CounterTotals, read_totals
from gateway.settings.factory import Machine
from gateway.settings.point import Point
from gateway.settings.sections import WhenFull
from gateway.spool.adopt import other_spools
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.spool.siblings import retired_ledger, spools_of, workers_with_spools

if TYPE_CHECKING:
    from pathlib import Path

PATH = MachinePath("e", "s", "a", "l", "m")
CONNECTION = ModbusConnection(host="127.0.0.1")


def machine(path: MachinePath = PATH) -> Machine:
    point = Point(name="count", type=ValueType.INT, source=ModbusSource(address="holding 0"))
    return Machine(path, "counter", PROTOCOL, CONNECTION, (point,))


async def test_totals_of_the_machines_that_move_go_on_and_no_others(tmp_path: Path):
    """A total that began again at the count would fall."""
    (tmp_path / "one.json").write_bytes(b'{"e/s/a/l/m/count": [7, 100, 0], "e/s/a/l/n/count": [8, 200, 0]}')
    (tmp_path / "two.json").write_bytes(b'{"e/s/a/l/m/count": [1, 5, 0], "e/s/a/l/n/count": [2, 6, 0]}')
    totals = CounterTotals(tmp_path / "two.json")
    totals.load()
    totals.inherit(read_totals(tmp_path / "one.json"), {"e/s/a/l/m"})
    await totals.save()
    states = read_totals(tmp_path / "two.json")
    assert (states["e/s/a/l/m/count"].added, states["e/s/a/l/n/count"].added) == (100, 6)


async def test_points_that_another_worker_has_found_are_kept(tmp_path: Path):
    """A search may take minutes, and the device may be off."""
    (tmp_path / "one.json").write_bytes(b'{"e/s/a/l/m all {}": {"p": {"node": "s=P"}}, "e/s/a/l/n all {}": {}}')
    discovery = Discovery(tmp_path / "two.json")
    discovery.load()
    discovery.inherit(read_found(tmp_path / "one.json"), {"e/s/a/l/m"})
    await discovery.save()
    assert read_found(tmp_path / "two.json") == {"e/s/a/l/m all {}": {"p": {"node": "s=P"}}}


async def test_reported_metadata_and_earlier_descriptions_move_with_a_machine(tmp_path: Path):
    """The first readings have their units, and ingest learns what records in the other spool mean."""
    topics = Topics("root")
    one = DeviceMetadata([machine()], topics, tmp_path, "edge-01")
    await one.begin()
    group = Group(str(PATH), CONNECTION, ("count",), (ModbusSource(address="holding 0"),), 1.0)
    plain = one.id_of(PATH)
    assert one.learn(group, [PointMetadata(unit="bar")])
    one.switch(await one.prepare([machine()]), [machine()])
    with_unit = one.id_of(PATH)
    assert with_unit != plain
    two = DeviceMetadata([machine()], topics, tmp_path, "edge-01@2")
    await two.begin({"edge-01": {str(PATH)}})
    assert two.id_of(PATH) == with_unit
    assert two.describe([plain, with_unit, "0"]).keys() == {plain, with_unit}
    other = DeviceMetadata([machine()], topics, tmp_path, "edge-01@3")
    await other.begin({"edge-01": {"e/s/a/l/another"}})
    assert other.id_of(PATH) == plain


def write_spool(folder: Path, name: str) -> None:
    """Make an empty spool."""
    database = SpoolDatabase(SpoolFiles(folder, name), 2**20, WhenFull.DROP_OLDEST)
    database.open()
    database.close()


def test_spools_of_workers_are_found_and_are_not_those_of_another_gateway(tmp_path: Path):
    """Their records are not to be adopted, and a gateway's id may contain any other character of a file's name."""
    for name in ("edge-01", "edge-01@2", "edge-01@10", "edge-01@x", "edge-01@02", "edge-01@65", "edge-011@3", "edge"):
        write_spool(tmp_path, name)
    assert workers_with_spools(tmp_path, "edge-01") == [2, 10]
    assert [files.gateway for files in spools_of(tmp_path, "edge-01")] == ["edge-01", "edge-01@2", "edge-01@10"]
    assert retired_ledger(tmp_path, "edge-01", {2}) == Ledger()
    assert other_spools(tmp_path, "edge-01") == []


@pytest.mark.parametrize(("worker", "name", "client"), [
    (0, "edge-01", "lineside-edge-01"),
    (1, "edge-01", "lineside-edge-01@1"),
    (2, "edge-01@2", "lineside-edge-01@2"),
])  # fmt: skip
def test_a_part_has_files_and_a_client_id_of_its_own(worker: int, name: str, client: str):
    """The first worker has the files of a gateway without workers, but not its client id: the supervisor has that."""
    assert part_name("edge-01", worker) == name
    assert gateway_of(name) == "edge-01"
    assert Part(worker).client("edge-01") == client
    assert Part(worker).has_identity is (worker == 0)
