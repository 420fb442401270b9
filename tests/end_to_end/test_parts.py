"""The history of parts of the bundled plants beside the truth of the simulators, over outages of all between them."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from processes import Lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.operation import Function
from gateway.settings.templates import bundled_config
from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory, Machine
    from gateway.settings.operation import Operation

SPEED = 6.0
"""Simulated seconds a second: the shortest part that is followed takes three seconds."""

TOO_FAST = {"bead-winder", "electrical-safety", "sheet-metal-press"}
"""Templates of machines that work on a part for less than three seconds at this speed."""

SEEN = 2_500_000
"""Microseconds after which a change is surely read, on a busy test machine."""

ABOUT = 5_000_000
"""Microseconds by which a begin or end may be off: after a short interruption it is as old as three periods."""


class Shown(NamedTuple):
    """A serial number that a machine showed, from `since` to before `until` in microseconds; 0 for the first."""

    serial: str
    since: int
    until: int


class Plant:
    """A bundled plant, its gateway and ingest."""

    def __init__(self, folder: Path, name: str, broker: Mosquitto) -> None:
        self.folder, self.broker = folder, broker
        self.database, self.truth = folder / "readings.db", folder / "truth.jsonl"
        sections = read_document(bundled_config() / f"{name}.yaml").data | {
            "broker": {"url": broker.url},
            "ingest": {"folder": str(folder)},
            "stores": [{"sqlite": {"path": str(self.database)}}],
        }
        sections["gateway"]["spool"] = {"folder": str(folder / "spool")}
        for line in sections["lines"].values():
            kept = {key: one for key, one in line["machines"].items() if one["template"] not in TOO_FAST}
            for machine in kept.values():
                machine["connection"] = f"{machine['connection'].replace('&timeout=2', '')}&timeout=5"
            line["machines"] = kept
        sections["lines"] = {key: line for key, line in sections["lines"].items() if line["machines"]}
        self.config = write_factory(folder / "factory.yaml", **sections)
        self.moved = folder / "moved.yaml"
        self.down: list[tuple[int, int]] = []
        """Times in microseconds in which no machine was read."""

    async def start(self) -> Factory:
        control = self.folder / "control.txt"
        control.touch()
        options = ("--truth", str(self.truth), "--speed", str(SPEED), "--control", str(control))
        self.simulator = await Lineside.simulate(self.config, self.moved, *options)
        self.ingest = await Lineside.start("ingest", self.moved)
        self.gateway = await Lineside.start("run", self.moved, "--report", str(self.folder / "run.json"))
        await self.gateway.logged("gateway.started")
        self.factory = load_factory(self.moved)
        return self.factory

    def records(self) -> list[dict[str, Any]]:
        """Return the records that are stored, with their machines."""
        names = {one.point.name for machine in self.factory.machines for one in machine.operations}
        found = [row for row in rows(self.database, "%", "part%") if row.point in names]
        return [orjson.loads(row.value) | {"machine": row.machine, "time": row.time} for row in found]

    def count(self) -> int:
        """Return how many parts are stored."""
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db,
        ):
            count: int = db.execute("select count(*) from parts").fetchone()[0]
            return count
        return 0

    async def more(self, count: int) -> None:
        before = self.count()
        await until(lambda: self.count() >= before + count, "more parts")

    async def kill_gateway(self) -> None:
        began = micros()
        self.gateway.kill()
        self.gateway.launch()
        await self.gateway.logged("gateway.started", times=2)
        ready = micros()
        fresh = (
            "select count(*) from samples join series on series.id = series where time > ? and point = 'heartbeat'"
        )
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            await until(
                lambda: db.execute(fresh, (ready,)).fetchone()[0] >= len(self.factory.machines),
                "all machines are read",
            )
        self.down.append((began, micros()))

    async def silence(self, machine: Machine) -> None:
        """Let a machine not answer for some seconds."""
        name = f"{machine.path.line}/{machine.path.machine}"

        def count() -> int:
            events = [*self.gateway.events("machine.offline"), *self.gateway.events("machine.degraded")]
            return sum(one["machine"].endswith(name) for one in events)

        before = count()
        (self.folder / "control.txt").write_text(f"{name}:silence+{8 * SPEED:g}s\n", encoding="utf-8")
        await until(lambda: count() > before, "the machine does not answer")

    async def stop(self) -> None:
        assert await self.gateway.stop() == 0
        await self.ingest.stop()
        await self.simulator.stop()


def micros() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize("name", ["tire-plant", "appliance-plant"])
async def test_every_part_is_recorded_once_and_none_is_invented(tmp_path: Path, name: str):
    """While the broker, ingest, the store's file, the gateway and a machine go down, one after another."""
    broker = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, name, broker)
    factory = await plant.start()
    await plant.more(3)
    broker.kill()
    await asyncio.sleep(4)  # the time of an outage
    await broker.restart()
    await plant.more(10)
    plant.ingest.kill()
    await asyncio.sleep(4)  # the time of an outage
    plant.ingest.launch()
    await plant.more(10)
    with closing(sqlite3.connect(plant.database)) as db:
        db.execute("begin exclusive")
        await asyncio.sleep(6)  # longer than ingest waits for a lock
        db.execute("rollback")
    await plant.more(10)
    await plant.kill_gateway()
    await plant.more(5)
    await plant.silence(factory.machines[0])
    await plant.more(10)
    ended = micros()
    await until(lambda: max((one["time"] for one in plant.records()), default=0) > ended, "a part after the end")
    await plant.stop()

    closing_report = report(tmp_path / "run.json")
    assert closing_report["balanced"]
    assert closing_report["ledger"]["dropped"] == {}
    truth, records = Truth(plant.truth), plant.records()
    assert_tables(plant.database, records)
    for machine in factory.machines:
        for operation in machine.operations:
            mine = [
                one for one in records if (one["machine"], one["place"]) == (machine.path.machine, operation.place)
            ]
            compare(truth, machine, operation, mine, plant.down, ended)
    assert len(records) > 40


def compare(
    truth: Truth,
    machine: Machine,
    operation: Operation,
    records: list[dict[str, Any]],
    down: list[tuple[int, int]],
    end: int,
) -> None:
    """Compare the records of a place with the serial numbers that the machine has shown."""
    name = f"{machine.path.area}/{machine.path.line}/{machine.path.machine}"
    shown = shown_at(truth, name, operation.serial.program.inputs[0].name)
    made = Counter(one["serial"] for one in records)
    known = Counter(one.serial for one in shown)
    assert {serial: count for serial, count in made.items() if count > known[serial]} == {}, (name, made - known)
    first = min((one["time"] for one in records), default=end)
    waited = SEEN + round((operation.settle + operation.wait * (operation.results_of is not None)) * 1e6)
    expected = [
        one.serial for one in shown
        if one.serial and one.since and one.until and first - 30_000_000 < one.since and is_surely_read(one, down)
        and one.since > first and (one.until if not operation.finished else one.since) + waited < end
    ]  # fmt: skip
    assert [serial for serial in expected if not made[serial]] == [], name
    for record in records:
        began, ended = record["began"], record["ended"]
        here = [one for one in shown if one.serial == record["serial"]]
        if began is not None:
            assert any(abs(one.since - began) < ABOUT for one in here), record
        if ended is not None and not operation.finished:
            assert any(abs(one.until - ended) < ABOUT for one in here), record
        assert_results(truth, name, operation, record)
        for material in record["materials"]:
            point = next(e.program.inputs[0].name for n, e in operation.materials if n == material["name"])
            since, until_ = min(one.since for one in here), max(one.until or record["time"] for one in here)
            assert material["lot"] in truth.values_between(name, point, since - ABOUT, until_ + ABOUT), record


def assert_results(truth: Truth, name: str, operation: Operation, record: dict[str, Any]) -> None:
    """Check that results are those that were shown with the serial number of the part."""
    if operation.results_of is None:
        return
    of = shown_at(truth, name, operation.results_of.program.inputs[0].name)
    spans = [one for one in of if one.serial == record["serial"]]
    for captured in operation.values:
        entry = next(one for one in record["values"] if one["name"] == captured.name)
        if captured.function is Function.RESULT and ("value" in entry or "text" in entry):
            point = captured.expression.program.inputs[0].name
            ends = [(one.since, one.until or record["time"]) for one in spans]
            held = [value for since, until_ in ends for value in truth.values_between(name, point, since, until_)]
            assert entry.get("value", entry.get("text")) in held, (name, record, held)


def shown_at(truth: Truth, machine: str, point: str) -> list[Shown]:
    """Return the serial numbers that a point has shown, in their order; the last has no end."""
    times, values = truth.changes(machine, point)
    ends = [*times[1:], 0]
    return [
        Shown(str(value), since if at else 0, until_)
        for at, (value, since, until_) in enumerate(zip(values, times, ends, strict=True))
    ]


def is_surely_read(one: Shown, down: list[tuple[int, int]]) -> bool:
    """Return whether a serial number was shown for long enough while the gateway read the machine."""
    parts = [(one.since, one.until)]
    for began, ended in down:
        cut = [side for since, until_ in parts for side in ((since, min(until_, began)), (max(since, ended), until_))]
        parts = [(since, until_) for since, until_ in cut if until_ > since]
    return any(until_ - since >= SEEN for since, until_ in parts)


def assert_tables(database: Path, records: list[dict[str, Any]]) -> None:
    """Check that the tables have the content of the records, each once."""
    with closing(sqlite3.connect(database)) as db:
        parts = Counter(db.execute("select machine, serial, place, began, ended, result from parts").fetchall())
        values = Counter(db.execute("select machine, serial, name from part_values").fetchall())
        materials = Counter(db.execute("select machine, serial, name, lot from part_materials").fetchall())
    keys = ("machine", "serial", "place", "began", "ended", "result")
    assert parts == Counter(tuple(one[key] for key in keys) for one in records)
    assert values == Counter((r["machine"], r["serial"], one["name"]) for r in records for one in r["values"])
    assert materials == Counter(
        (r["machine"], r["serial"], one["name"], one["lot"]) for r in records for one in r["materials"]
    )
