"""A flood of alarms: the main supply of a plant fails, and 500 conditions become true at once."""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml
from fakes.modbus_server import Asked, FakeModbusServer
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = 90.0
MACHINES, EACH = 10, 50
ALARMS = MACHINES * EACH
BASE = "lineside/v1/enterprise/site"
NAMES = [f"m-{number:02d}" for number in range(1, MACHINES + 1)]


class Supply:
    """The main supply of machines whose coils report what has no voltage; each scan is numbered."""

    def __init__(self) -> None:
        self.fails = False
        self.scans: Counter[int] = Counter()

    def answer(self, asked: Asked) -> Sequence[bytes]:
        """Answer a request for all coils of a unit, or for the number of its scan."""
        if asked.function == 1:
            size = (asked.count + 7) // 8
            return [asked.frame(bytes((size,)) + (b"\xff" if self.fails else b"\0") * size)]
        number = self.scans[asked.unit]
        self.scans[asked.unit] += 1
        return [asked.frame(b"\x04" + number.to_bytes(4, "big"))]


def write(folder: Path, servers: Sequence[FakeModbusServer], broker: Mosquitto, workers: int) -> Path:
    """Write the configuration of gateway and ingest."""
    points: dict[str, Any] = {"scan": {"address": "holding 0", "raw": "uint32"}}
    points |= {f"lost_{i}": {"address": f"coil {i}", "on_change": True} for i in range(EACH)}
    alarms = {f"a{i}": {"point": f"lost_{i}", "state": True, "message": "No voltage"} for i in range(EACH)}
    template = {"format": 1, "protocol": "modbus", "defaults": {"every": "2s"}, "points": points, "alarms": alarms}
    (folder / "machines").mkdir()
    (folder / "machines" / "panel.yaml").write_text(yaml.safe_dump(template))
    machines = {
        name: {
            "template": "panel",
            "connection": f"modbus+tcp://{LOOPBACK}:{servers[unit % 2].port}?timeout=20&unit={unit}",
        }
        for unit, name in enumerate(NAMES, 1)
    }
    return write_factory(
        folder / "factory.yaml",
        gateway={
            "id": "edge-01", "workers": workers, "spool": {"folder": str(folder / "spool")},
            "commands": {"unsigned_alarms": True},
        },
        broker={"url": broker.url},
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": machines}},
    )  # fmt: skip


class Panel:
    """A client that knows the retained alarms, as an operator's panel does, and the answers to its commands."""

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self.standing: dict[tuple[str, str], str] = {}
        self.outcomes: Counter[str] = Counter()
        self.ready = asyncio.Event()

    async def follow(self) -> None:
        """Follow all alarms until cancelled."""
        async with aiomqtt.Client(LOOPBACK, self._broker.port) as client:
            await client.subscribe([(f"{BASE}/area/line/+/alarm/+", 1), (f"{BASE}/_gateways/edge-01/answer", 1)])
            self.ready.set()
            async for message in client.messages:
                if message.topic.matches(f"{BASE}/_gateways/edge-01/answer"):
                    self.outcomes[json.loads(bytes(message.payload))["outcome"]] += 1
                    continue
                machine, _, alarm = str(message.topic).split("/")[-3:]
                if message.payload:
                    self.standing[machine, alarm] = json.loads(bytes(message.payload))["state"]
                else:
                    self.standing.pop((machine, alarm), None)

    async def acknowledge_all(self) -> None:
        """Send a command for each alarm at once."""
        now = time.time_ns() // 1000
        async with aiomqtt.Client(LOOPBACK, self._broker.port, max_inflight_messages=1000) as client:
            commands = [
                {
                    "v": 1, "gateway": "edge-01", "id": secrets.token_hex(8), "issued": now, "user": "anna",
                    "expires": now + 60_000_000, "action": "acknowledge",
                    "target": {"machine": f"enterprise/site/area/line/{name}", "alarm": f"a{i}"},
                } for name in NAMES for i in range(EACH)
            ]  # fmt: skip
            topic = f"{BASE}/_gateways/edge-01/command"
            await asyncio.gather(*(client.publish(topic, json.dumps(one), qos=1) for one in commands))

    def has(self, state: str) -> bool:
        """Return whether all alarms have a state."""
        return len(self.standing) == ALARMS and set(self.standing.values()) == {state}


def transitions(database: Path) -> Counter[tuple[str, str, str]]:
    """Return how often each transition is in the store: machine, alarm and state."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as db:
        return Counter(db.execute("select machine, alarm, state from alarms"))
    return Counter()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_flood_is_delivered_once_and_delays_no_scan(tmp_path: Path, workers: int):
    """500 alarms are raised, acknowledged and over; each transition is stored, and each scan is read in time."""
    broker, supply = await Mosquitto.start(tmp_path), Supply()
    async with FakeModbusServer(supply.answer) as first, FakeModbusServer(supply.answer) as second:
        config = write(tmp_path, (first, second), broker, workers)
        database, panel = tmp_path / "readings.db", Panel(broker)
        following = asyncio.create_task(panel.follow())
        await panel.ready.wait()
        ingest = await Lineside.start("ingest", config)
        gateway = await Lineside.start("run", config, "--report", tmp_path / "run.json")
        await until(lambda: len(rows(database, "%", "scan")) >= 2 * MACHINES, "the first scans", SECONDS)
        supply.fails = True
        await until(lambda: panel.has("unacknowledged"), "all alarms are retained", SECONDS)
        await panel.acknowledge_all()
        await until(lambda: panel.has("acknowledged"), "all are acknowledged", SECONDS)
        await until(lambda: panel.outcomes.total() == ALARMS, "all answers", SECONDS)
        assert panel.outcomes == {"done": ALARMS}
        supply.fails = False
        await until(lambda: not panel.standing, "all retained messages are cleared", SECONDS)
        assert (await lineside("alarms", str(config))).text == "0 alarms\n"
        assert await gateway.stop() == 0
        assert await ingest.stop() == 0
        following.cancel()
    states = ("unacknowledged", "acknowledged", "normal")
    assert transitions(database) == {(name, f"a{i}", one): 1 for name in NAMES for i in range(EACH) for one in states}
    closed = report(tmp_path / "run.json")
    ledger, schedule = closed["ledger"], closed["schedule"]
    assert closed["balanced"]
    assert (ledger["pending"], ledger["dropped"]) == (0, {})
    assert ledger["confirmed"] == len(rows(database)) >= 3 * ALARMS
    assert (schedule["missed"], schedule["due"]) == (0, schedule["taken"])
    for unit, name in enumerate(NAMES, 1):
        read = [row.value for row in rows(database, name, "scan")]
        assert read == list(range(supply.scans[unit])), "each scan is there, once"
