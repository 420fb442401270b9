"""A store compared with the truth, reading by reading: from simulated machines through all of Lineside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import Lineside, until, write_factory
from servers import Mosquitto
from simulated import client_of, simulated
from stored import report, rows, times

from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from stored import Row

    from gateway.settings.factory import Machine

PRESS = "modbus+tcp://10.20.1.11:502?unit="
DRUM = "opc.tcp://10.20.2.21:4840?security=none&namespace=urn:test:tbm-01"


@pytest.mark.parametrize("publish", ["machine", "gateway"])
async def test_every_stored_value_was_shown_at_its_time(tmp_path: Path, publish: str):
    """Nothing is invented, swapped or late: also while a sensor is broken, and a value is stuck."""
    mosquitto = await Mosquitto.start(tmp_path)
    database, truth_file = tmp_path / "readings.db", tmp_path / "truth.jsonl"
    machines = {
        "press-01": {"template": "curing-press", "connection": f"{PRESS}1"},
        "press-02": {"template": "curing-press", "connection": f"{PRESS}2"},
        "tbm-01": {"template": "tire-building-machine", "connection": DRUM},
    }
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "publish": publish, "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path)},
        stores=[{"sqlite": {"path": str(database)}}],
        lines={"line": {"area": "area", "machines": machines}},
    )
    faults = ("press-01.clamp_force:sensor_break@1s", "press-02.mould_position:stuck@1s")
    async with simulated(tmp_path, config, truth=truth_file, faults=faults) as factory:
        ingest = await Lineside.start("ingest", factory.file)
        gateway = await Lineside.start("run", factory.file)

        def enough() -> bool:
            found = rows(database)
            each = [sum(row.machine == name for row in found) for name in machines]
            return min(each) > 100 and len({row.time // 1_000_000 for row in found}) > 5

        await until(enough, "readings of some seconds are stored", 60)
        assert await gateway.stop() == 0
        assert await ingest.stop() == 0
    compare(truth_file, rows(database), set(machines))


def compare(file: Path, found: list[Row], machines: set[str]) -> None:
    truth = Truth(file)
    shown = set(truth.points())  # results of calculations are not among them
    good = [row for row in found if row.quality == "good" and (f"area/line/{row.machine}", row.point) in shown]
    assert len(good) > 250
    assert {row.machine for row in good} == machines
    wrong = []
    for row in good:
        held = truth.values_between(f"area/line/{row.machine}", row.point, row.time - 1_500_000, row.time + 1_500_000)
        # the embedded store keeps booleans as 0 and 1
        alike = [int(one) if isinstance(one, bool) else one for one in held]
        if not any(one is not None and _same(one, row.value) for one in alike):
            wrong.append((row, held))
    assert wrong == []
    broken = [row for row in found if row.machine == "press-01" and row.point == "clamp_force"]
    assert any(row.quality == "bad" and row.value is None for row in broken)


SPEED, SECONDS = 3.0, 20.0
"""Simulated seconds a second, and how long the store is compared: a minute of production."""

SHOWN = 1.5
"""Seconds by which a value that is read, or sent by a server, may be older than its time."""

LATE = 3.0
"""Seconds, besides a point's own interval, after which a change that lasts must be in the store."""


@pytest.mark.parametrize("plant", ["tire-plant", "appliance-plant"])
async def test_a_minute_of_a_whole_plant_is_stored_as_it_was_none_missing(tmp_path: Path, plant: str):
    """Modbus and OPC UA: every stored value was shown, and every change that lasted is stored."""
    mosquitto = await Mosquitto.start(tmp_path)
    database, truth_file = tmp_path / "readings.db", tmp_path / "truth.jsonl"
    sections = read_document(bundled_config() / f"{plant}.yaml").data | {
        "broker": {"url": mosquitto.url},
        "ingest": {"folder": str(tmp_path)},
        "stores": [{"sqlite": {"path": str(database)}}],
    }
    sections["gateway"]["spool"] = {"folder": str(tmp_path / "spool")}
    for line in sections["lines"].values():
        for machine in line["machines"].values():
            # on a test machine with more to do than it can, an answer may be late: that is not an outage
            url = machine["connection"].replace("&timeout=2", "")
            machine["connection"] = f"{url}&timeout=20"
    config = write_factory(tmp_path / "factory.yaml", **sections)
    moved = tmp_path / "moved.yaml"
    simulator = await Lineside.simulate(config, moved, "--truth", str(truth_file), "--speed", str(SPEED))
    factory = load_factory(moved)
    served = {str(one.connection): one for one in factory.machines if one.protocol.name == "opcua"}
    for one in served.values():
        await (await client_of(one)).disconnect()  # it is up: nothing is not connected from here on
    ingest = await Lineside.start("ingest", moved)
    gateway = await Lineside.start("run", moved, "--report", str(tmp_path / "report.json"))
    points = {(one.path.machine, point.name) for one in factory.machines for point in one.points}
    await until(lambda: points <= times(database).keys(), "every point of every machine is stored", 60)
    began = max(times(database).values())
    enough = began + (SECONDS + LATE) * 1e6
    await until(lambda: max(times(database).values()) >= enough, "a minute of production is stored", 60)
    for process in (gateway, ingest, simulator):
        assert await process.stop() == 0
    found, closing = rows(database), report(tmp_path / "report.json")
    assert [row for row in found if row.quality != "good"] == []
    assert closing["ledger"]["dropped"] == {}
    assert closing["ledger"]["pending"] == 0
    assert closing["ledger"]["confirmed"] == len(found)
    truth = Truth(truth_file)
    for machine in factory.machines:
        mine = [row for row in found if row.machine == machine.path.machine and (row.machine, row.point) in points]
        assert untrue(truth, machine, mine) == []
        assert missing(truth, machine, mine, began) == []


def untrue(truth: Truth, machine: Machine, found: list[Row]) -> list[Row]:
    """Return the readings whose values were not shown at about their time."""
    path = f"{machine.path.area}/{machine.path.line}/{machine.path.machine}"
    around = round(SHOWN * 1e6)
    return [
        row
        for row in found
        if not any(
            _alike(held, row.value)
            for held in truth.values_between(path, row.point, row.time - around, row.time + around)
        )
    ]


def missing(truth: Truth, machine: Machine, found: list[Row], began: int) -> list[tuple[str, int, object]]:
    """Return points, times and values that were in the store though the machine had shown others for long."""
    path = f"{machine.path.area}/{machine.path.line}/{machine.path.machine}"
    wrong: list[tuple[str, int, object]] = []
    for point in machine.points:
        mine = [row for row in found if row.point == point.name]
        late = round((point.every + LATE) * 1e6)
        for second in range(int(SECONDS)):
            time = began + second * 1_000_000
            last = [row for row in mine if row.time <= time][-1]
            held = truth.values_between(path, point.name, time - late, time + round(SHOWN * 1e6))
            if not any(_alike(one, last.value, point.dead) for one in held):
                wrong.append((point.name, time, last.value))
    return wrong


def _alike(held: object, value: float | str, within: float = 0.0) -> bool:
    """Return whether a value is the shown value, or less than a deadband off; the store keeps booleans as 0 and 1."""
    if isinstance(held, str) or isinstance(value, str):
        return held == value
    return isinstance(held, int | float) and abs(held - value) <= within + 1e-9 * max(1.0, abs(held))


def _same(truth: float | str, value: float | str) -> bool:
    if isinstance(truth, str) or isinstance(value, str):
        return truth == value
    return abs(truth - value) <= 1e-9 * max(1.0, abs(truth))
