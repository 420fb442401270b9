"""Machines, gateway, broker, ingest and three stores, all of them real: they store the served values.

Two machines are those of the test, of which it knows every value; two are simulated, and read by clients of the
test's own at the same time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import pytest
import yaml
from asyncua import Client, ua
from fakes.known_modbus import Known, KnownModbus
from fakes.known_opcua import URI, KnownOpcUa
from processes import Lineside, free_port, until, write_factory
from pymodbus.client import AsyncModbusTcpClient
from read_back import InfluxTarget, SqliteTarget, VictoriaMetricsTarget, exactly
from servers import Mosquitto
from stored import report, rows

from drivers.base import Quality
from drivers.float32 import shortest
from drivers.opcua.codec.values import microseconds
from gateway.model.reading import Reading
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.opcua.variable_values import SAMPLING_INTERVAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from read_back import Target
    from servers import Influxd, VictoriaMetrics

    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine

SCANS = 30
"""Scans of the known Modbus machine that are waited for."""

COUNTS = 40
"""Changes of the known OPC UA machine's counter."""

Change = tuple[str, int, Any]
"""Point, source time in microseconds, value."""


class Look(NamedTuple):
    """The curing press as a client of the test's own saw it, somewhere between two times."""

    begun: int
    done: int
    values: dict[str, Any]


class Story:
    """The served values, and the stores that have them."""

    def __init__(self) -> None:
        self.meter: KnownModbus
        self.panel: KnownOpcUa
        self.factory: Any
        self.counted: list[tuple[int, int]] = []  # the panel's counter: value, source time
        self.looks: list[Look] = []
        self.changes: list[Change] = []
        self.watched = (0, 0)  # from when to when all changes were seen, and the gateway was reading
        self.targets: dict[str, Target] = {}
        self.events: list[dict[str, Any]] = []  # of the gateway's log
        self.run: dict[str, Any] = {}
        self.ingest: dict[str, Any] = {}

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.factory.machines if machine.path.machine == name)

    def connected(self, machine: Machine) -> int:
        """Return when the gateway had connected, and subscribed, to a machine."""
        [event] = [
            e for e in self.events if e["event"] == "driver.connected" and e["device"] == str(machine.connection)
        ]
        return microseconds(datetime.fromisoformat(event["time"]))

    def looks_near(self, reading: Any) -> list[Look]:
        """Return the looks at the press around a reading; none if they are too rare to know its value."""
        around = 250_000  # the machine moves every 200 ms, and a scan takes some requests
        time = reading.time
        near = [one for one in self.looks if one.done >= time - around and one.begun <= time + around]
        gaps = [after.done - before.begun for before, after in pairwise(near)]
        close = reading.point in self.looks[0].values and len(near) >= 5 and max(gaps) <= 150_000
        return near if close else []

    def stored(self, name: str) -> list[Reading]:
        """Return all readings that a machine serves, of the store that holds them as they were.

        The results of the gateway, its alarms and its production, are left out.
        """
        own = {point.name for point in self.machine(name).results}
        readings = [one.reading for one in self.targets["sqlite"].held() if one.reading.path.machine == name]
        return [reading for reading in readings if reading.point not in own]


def now() -> int:
    return time.time_ns() // 1000


def connectable(host: str | None, port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


# -- the test's own clients of the simulated machines --


@asynccontextmanager
async def looking(machine: Machine, looks: list[Look]) -> AsyncIterator[None]:
    """Read the press again and again, with pymodbus."""
    connection = cast("Any", machine.connection)
    client = AsyncModbusTcpClient(connection.host, port=connection.port)
    assert await client.connect()
    stop = asyncio.Event()

    async def look() -> None:
        while not stop.is_set():
            begun = now()
            registers = (await client.read_holding_registers(0, count=20, device_id=connection.unit)).registers
            coils = (await client.read_coils(0, count=3, device_id=connection.unit)).bits
            values = {}
            for point in machine.points:
                source = cast("Any", point.source)
                at = source.address.offset
                if source.address.table == "coil" and at < 3:
                    values[point.name] = coils[at]
                elif source.address.table == "holding" and at + source.size <= 20:
                    values[point.name] = decoded(client, point, source, registers[at : at + source.size])
            looks.append(Look(begun, now(), values))
            await asyncio.sleep(0.02)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        stop.set()  # and not cancelled: pymodbus may take that for silence
        await task
        client.close()


def decoded(client: AsyncModbusTcpClient, point: Any, source: Any, registers: list[int]) -> Any:
    """Return what registers say, by pymodbus and decimal arithmetic."""
    order = "little" if source.order == "CDAB" else "big"
    raw = client.convert_from_registers(registers, client.DATATYPE[source.raw.value.upper()], word_order=order)
    if point.type == "float" and isinstance(raw, int):
        return float(raw * Decimal(str(point.scale)) + Decimal(str(point.offset)))
    return shortest(raw) if source.raw == "float32" else raw


@asynccontextmanager
async def watching(machine: Machine, changes: list[Change]) -> AsyncIterator[None]:
    """Subscribe to all nodes of the machine, with asyncua."""
    connection = cast("Any", machine.connection)
    names = {}

    class Handler:
        def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
            source = data.monitored_item.Value.SourceTimestamp
            changes.append((names[node.nodeid], microseconds(source), value))

    parts = urlsplit(connection.url)
    # the simulator says that it has started before its OPC UA server has
    await until(lambda: connectable(parts.hostname, parts.port), "the building machine is served")
    async with Client(connection.url, timeout=20, watchdog_intervall=20) as client:
        index = await client.get_namespace_index(connection.namespace)
        for point in machine.points:
            identifier = cast("Any", point.source).node.identifier
            names[ua.NodeId.from_string(f"ns={index};{identifier}")] = point.name
        subscription = await client.create_subscription(100, Handler())
        await subscription.subscribe_data_change([client.get_node(node) for node in names], queuesize=100)
        yield
        await subscription.delete()


# -- the story, run once --


def configure(folder: Path, enterprise: str, broker: str, story: Story) -> Path:
    """Write the configuration with the two machines that are simulated."""
    (folder / "machines").mkdir()
    for name, machine in (("meter", story.meter), ("panel", story.panel)):
        text = yaml.safe_dump(machine.template(), sort_keys=False, allow_unicode=True)
        (folder / "machines" / f"{name}.yaml").write_text(text, encoding="utf-8")
    for name in ("curing-press", "tire-building-machine"):
        template = yaml.safe_load((bundled_config() / "machines" / f"{name}.yaml").read_text(encoding="utf-8"))
        for results in ("alarms", "part", "production"):  # several in a millisecond are one time in VictoriaMetrics
            template.pop(results, None)
        text = yaml.safe_dump(template, sort_keys=False, allow_unicode=True)
        (folder / "machines" / f"{name}.yaml").write_text(text, encoding="utf-8")
    machines = {
        "press-01": {"template": "curing-press", "connection": "modbus+tcp://10.20.1.11:502?unit=3"},
        "tbm-01": {
            "template": "tire-building-machine",
            "connection": "opc.tcp://10.20.2.21:4840?security=none&namespace=urn:test:tbm-01",
        },
    }
    return write_factory(
        folder / "factory.yaml",
        factory={"enterprise": enterprise, "site": "huangdao"},
        broker={"url": broker},
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        ingest={"folder": str(folder)},
        stores=[story.targets[name].entry for name in ("victoria_metrics", "influxdb", "sqlite")],
        lines={"line-1": {"area": "curing", "machines": machines}},
    )


def add_known_machines(moved: Path, story: Story) -> None:
    """Add the test's own machines to the configuration that the simulation wrote."""
    data = yaml.safe_load(moved.read_text(encoding="utf-8"))
    data["lines"]["line-1"]["machines"] |= {
        "meter-01": {"template": "meter", "connection": f"modbus+tcp://127.0.0.1:{story.meter.port}?unit=1"},
        "panel-01": {"template": "panel", "connection": f"{story.panel.url}?security=none&namespace={URI}"},
    }
    moved.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


async def run_through(folder: Path, story: Story, config: Path) -> None:
    """Let it run until enough was served and all of it is stored, then stop everything in order."""
    database = cast("SqliteTarget", story.targets["sqlite"]).file
    moved = folder / "moved.yaml"
    simulator = await Lineside.simulate(config, moved)
    add_known_machines(moved, story)
    story.factory = load_factory(moved)
    ingest = await Lineside.start("ingest", moved, "--report", str(folder / "ingest.json"))
    async with watching(story.machine("tbm-01"), story.changes), looking(story.machine("press-01"), story.looks):
        begun = now()
        gateway = await Lineside.start("run", moved, "--report", str(folder / "run.json"))
        await until(lambda: story.panel.subscriptions() == 1, "the gateway is subscribed")
        await until(lambda: {row.machine for row in rows(database)} >= MACHINES, "every machine is stored")
        for value in range(1, COUNTS + 1):
            story.counted.append((value, now()))
            await story.panel.count(*story.counted[-1])
            await asyncio.sleep(0.05)  # a machine's pace: its changes come at times, not all at once
        await until(lambda: count_stored(database, "panel-01", "counter", COUNTS), "the counter is stored")
        await until(lambda: count_stored(database, "meter-01", "count", SCANS), "the scans are stored")
        await until(
            lambda: sum(bool(story.looks_near(row)) for row in rows(database, "press-01")) > SEEN,
            "the press was looked at closely enough for many of its readings",
        )
        story.watched = (begun, now())
        await until(
            lambda: newest(database, "tbm-01") > story.watched[1], "the building machine is stored until here"
        )
        assert await gateway.stop() == 0
    story.events = gateway.events()
    story.run = report(folder / "run.json")
    ledger = story.run["ledger"]
    acquired = ledger["confirmed"] + ledger["pending"]
    await until(lambda: len(rows(database)) == acquired, "all acquired readings are stored")
    for name, target in story.targets.items():  # ingest writes to all of them at once
        await until(lambda target=target: len(target.held()) == acquired, f"{name} has it all")  # type: ignore[misc]
    assert await ingest.stop() == 0
    story.ingest = report(folder / "ingest.json")
    assert await simulator.stop() == 0


SEEN = 30
"""Readings of the press, at least, whose value another client saw at the same time; a busy machine looks rarely."""

MACHINES = {"press-01", "tbm-01", "meter-01", "panel-01"}


def count_stored(database: Path, machine: str, point: str, value: int) -> bool:
    return any(row.value == value for row in rows(database, machine, point))


def newest(database: Path, machine: str) -> int:
    return max((row.time for row in rows(database, machine)), default=0)


@pytest.fixture
async def story(
    tmp_path: Path, enterprise: str, influxd: Influxd, influx_database: str, victoria_metrics: VictoriaMetrics
) -> Story:
    story = Story()
    mosquitto = await Mosquitto.start(tmp_path)
    story.targets = {
        "sqlite": SqliteTarget(tmp_path / "readings.db"),
        "influxdb": InfluxTarget(influxd, influx_database),
        "victoria_metrics": VictoriaMetricsTarget(
            victoria_metrics, enterprise, "curing-press", "tire-building-machine", "meter", "panel"
        ),
    }
    async with KnownModbus() as story.meter, KnownOpcUa(free_port(), now() - 1_000_000).served() as story.panel:
        await run_through(tmp_path, story, configure(tmp_path, enterprise, mosquitto.url, story))
    return story


async def test_stores_hold_the_values_that_machines_serve(story: Story) -> None:
    """The promise of the whole: every reading, its value, type, unit, quality and time, none lost, none twice.

    One test, since a run of the story takes ten seconds; each of its parts says what it looks at.
    """
    the_books_balance(story)
    every_store_holds_the_same(story)
    the_known_modbus_machine_is_stored_exactly(story)
    the_known_opcua_machine_is_stored_exactly(story)
    the_press_is_stored_as_it_was_seen(story)
    the_building_machine_is_stored_as_it_was_seen(story)


def the_books_balance(story: Story) -> None:
    """The acquired readings are the stored readings, by the gateway's count and by ingest's."""
    ledger = story.run["ledger"]
    stored = len(story.targets["sqlite"].held())
    assert story.run["balanced"]
    assert ledger["dropped"] == {}
    assert stored == ledger["confirmed"] + ledger["pending"]
    # records that are confirmed late on a busy machine are sent again, written again, and still there once
    again = story.run["broker"]["again"]
    assert story.ingest["stored_readings"] == stored or (again and story.ingest["stored_readings"] > stored)
    assert (story.ingest["set_aside"], story.ingest["dead_letters"]) == (0, 0)


def every_store_holds_the_same(story: Story) -> None:
    """Each as far as it can: VictoriaMetrics has numbers, labels and milliseconds."""
    whole = [one.reading for one in story.targets["sqlite"].held()]
    for target in story.targets.values():
        assert target.held() == target.expected(whole)


def known_readings(path: MachinePath, points: list[Known], time: int) -> list[Reading]:
    return [Reading(path, one.name, time, one.value, one.unit, one.quality, one.reason, one.code) for one in points]


def the_known_modbus_machine_is_stored_exactly(story: Story) -> None:
    """Every scan with every point; a bad point is reported at least once, and never has a value."""
    path = story.machine("meter-01").path
    stored = story.stored("meter-01")
    counts = sorted((reading for reading in stored if reading.point == "count"), key=lambda reading: reading.time)
    began = story.meter.began
    assert [reading.value for reading in counts] == list(range(1, len(counts) + 1))
    assert len(began) - 1 <= len(counts) <= len(began)
    for i, reading in enumerate(counts):
        assert reading.unit == "{scan}"
        assert i == 0 or began[i - 1] < reading.time
        assert i + 1 == len(began) or reading.time < began[i + 1]
    times = [reading.time for reading in counts]
    with_value = [known for known in story.meter.points if known.value is not None]
    expected = [reading for time in times for reading in known_readings(path, with_value, time)]
    assert exactly(r for r in stored if r.value is not None and r.point != "count") == exactly(expected)
    bad = {reading for reading in stored if reading.quality is Quality.BAD}
    without = [known for known in story.meter.points if known.value is None]
    assert bad >= set(known_readings(path, without, times[0]))
    assert bad <= {reading for time in times for reading in known_readings(path, without, time)}


def the_known_opcua_machine_is_stored_exactly(story: Story) -> None:
    """Every change with its source time; an unchanged value once, with the time at which it began."""
    path = story.machine("panel-01").path
    stored = story.stored("panel-01")
    counter = [Reading(path, "counter", time, value, "{part}", Quality.GOOD) for value, time in story.counted]
    counter.append(Reading(path, "counter", story.panel.since, 0, "{part}", Quality.GOOD))
    assert exactly(r for r in stored if r.point == "counter") == exactly(counter)
    present = [known for known in story.panel.points if known.reason != "not_found"]
    expected = known_readings(path, present, story.panel.since)
    assert exactly(r for r in stored if r.point not in {"counter", "missing"}) == exactly(expected)
    [missing] = [known for known in story.panel.points if known.reason == "not_found"]
    found = [reading for reading in stored if reading.point == "missing"]
    assert found
    assert found == [reading for one in found for reading in known_readings(path, [missing], one.time)]


def units_and_types_are_declared(machine: Machine, stored: list[Reading]) -> None:
    types: dict[str, type] = {"float": float, "int": int, "bool": bool, "string": str}
    declared = {point.name: (point.unit, types[point.type.value]) for point in machine.points}
    assert {reading.point for reading in stored} == set(declared)
    assert {(r.point, r.unit, type(r.value)) for r in stored} == {(name, *both) for name, both in declared.items()}


def the_press_is_stored_as_it_was_seen(story: Story) -> None:
    """Each value is one that another client read at that time, from the first request of the scan to the last."""
    stored = story.stored("press-01")
    units_and_types_are_declared(story.machine("press-01"), stored)
    judged = 0
    for reading in stored:
        if near := story.looks_near(reading):
            judged += 1
            assert reading.value in {look.values[reading.point] for look in near}, reading
    assert judged > SEEN


def the_building_machine_is_stored_as_it_was_seen(story: Story) -> None:
    """Another client got the same changes: point, source time and value."""
    machine = story.machine("tbm-01")
    stored = story.stored("tbm-01")
    units_and_types_are_declared(machine, stored)
    begun, done = story.watched
    seen = {change for change in story.changes if begun <= change[1]}
    held = {(reading.point, reading.time, reading.value) for reading in stored if reading.time >= begun}
    assert held <= seen
    # a point that is sampled less often than the machine changes it may have had another value in between
    every_change = {
        point.name
        for point in machine.points
        if point.deadband is None and not point.on_change and point.every <= SAMPLING_INTERVAL
    }
    assert {"drum_speed", "ply_tension"} <= every_change
    subscribed = story.connected(machine)
    last = {name: max((time for point, time, _ in held if point == name), default=0) for name in every_change}
    # a point whose interval is long may have had a change on its way when the gateway was stopped
    late = {name: max(time, done - 2_000_000) for name, time in last.items()}
    certain = {change for change in seen if change[0] in every_change and subscribed < change[1] <= late[change[0]]}
    assert certain <= held
    assert len(certain) > 5
