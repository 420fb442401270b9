"""A plant with an intruder at its broker: a machine, its gateway, an ingest, and clients with some rights.

The machine counts tenths of a second, so every reading that should exist is known.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
from processes import COUNTER, LOOPBACK, Lineside, free_port, until, write_factory
from servers import Mosquitto
from stored import report, rows

from gateway.mqtt.messages import BadMessage, parse_gateway_state, parse_ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROOT = "lineside/v1/enterprise/site"
CONFIRMED = f"{ROOT}/_gateways/edge-01/confirmed"
OTHER_LINE = f"{ROOT}/evil/evil-1/m/data"


RIGHTS = """
user edge-01
topic readwrite lineside/v1/enterprise/site/area/#
topic readwrite lineside/v1/enterprise/site/_gateways/edge-01/#
topic read lineside/v1/+/+/_ingests/#
user ingest
topic readwrite lineside/v1/#
user edge-02
topic write lineside/v1/enterprise/site/evil/evil-1/+/data
user viewer
topic read lineside/v1/#
"""


class Plant:
    """A machine, its gateway, an ingest and a broker; and a viewer that hears all messages."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        self.folder, self.mosquitto = folder, mosquitto
        self.environment: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        """Further settings of the gateway."""
        self.ingest_settings: dict[str, Any] = {}
        """Further settings of ingest."""
        self.births = 0
        self.ends: list[bytes] = []
        """The states of the gateway that say that it is gone."""
        self.codec = "json"
        self.spool = ""
        self.pending = self.acquired = 0
        self.confirmations: list[bytes] = []
        self.records: list[bytes] = []
        (folder / "machines").mkdir()
        (folder / "machines" / "counter.yaml").write_text(COUNTER)
        self._connection = f"modbus+tcp://{LOOPBACK}:{free_port()}?unit=1&timeout=10"

    def configuration(self, user: str, **ingest: Any) -> Path:
        keys = {
            name: {"secret": name}
            for name in ("confirm_key", "sign_key")
            if f"LINESIDE_SECRET_{name.upper()}" in self.environment
        }
        if "LINESIDE_SECRET_INGEST_SIGN_KEY" in self.environment:
            ingest = {"sign_key": {"secret": "ingest_sign_key"}} | ingest
        machine = {"template": "counter", "connection": self._connection}
        own = {"id": "edge-01", "spool": {"folder": str(self.folder / "spool")}, "codec": self.codec}
        return write_factory(
            self.folder / f"{user}.yaml",
            gateway=own | keys | self.settings,
            broker={"url": self.mosquitto.url, "username": user},
            ingest={"folder": str(self.folder / "ingest")} | self.ingest_settings | ingest,
            stores=[{"sqlite": {"path": str(self.folder / "readings.db")}}],
            lines={"line": {"area": "area", "machines": {"m-01": machine}}},
        )

    async def acquire(self) -> None:
        """Start the machine and its gateway."""
        simulator = await Lineside.start("simulate", self.configuration("edge-01"))
        await simulator.logged("simulation.started")
        await self.run()

    async def run(self) -> None:
        """Start the gateway."""
        self.gateway = await Lineside.start(
            "run",
            self.configuration("edge-01"),
            "--report",
            str(self.folder / "run.json"),
            environment=self.environment,
        )
        await until(lambda: self.spool and self.pending, "records wait")

    async def ingest(self, **settings: Any) -> Lineside:
        """Start an ingest."""
        started = await Lineside.start(
            "ingest",
            self.configuration("ingest", **settings),
            "--report",
            str(self.folder / "ingest.json"),
            environment=self.environment,
        )
        await started.logged("ingest.subscribed")
        return started

    async def hear(self) -> None:
        """Hear all messages until cancelled."""
        async with aiomqtt.Client(LOOPBACK, self.mosquitto.port, username="viewer") as client:
            await client.subscribe("lineside/v1/#", qos=1)
            async for message in client.messages:
                with suppress(BadMessage):  # of an intruder
                    self._note(str(message.topic), bytes(message.payload))

    def _note(self, topic: str, payload: bytes) -> None:
        if topic == f"{ROOT}/_gateways/edge-01/state":
            state = parse_gateway_state(payload)
            self.spool = state.spool or self.spool
            if state.state == "offline":
                self.ends.append(payload)
            else:
                self.births += 1
        elif topic.endswith("edge-01/ledger"):
            found = parse_ledger(payload)
            assert found.balanced
            self.pending, self.acquired = found.ledger.pending, found.ledger.acquired
        elif topic == CONFIRMED and payload:
            self.confirmations.append(payload)
        elif topic.endswith("m-01/data") and payload:
            self.records.append(payload)

    async def grown(self, by: int = 5) -> None:
        """Wait until the gateway has acquired some more readings."""
        before = self.acquired
        await until(lambda: self.acquired >= before + by, "readings are acquired")

    def stored(self) -> list[Any]:
        return rows(self.folder / "readings.db", machine="m-01")

    async def closed(self) -> dict[str, Any]:
        """Stop the gateway when all is stored; return the ledger, after the check that each reading is there once."""
        await self.grown()
        await until(lambda: self.pending < 10, "the backlog is stored")
        await self.gateway.stop()
        closing = report(self.folder / "run.json")
        assert closing["balanced"]
        ledger: dict[str, Any] = closing["ledger"]
        found = self.stored()
        assert ledger["dropped"] == {}
        assert ledger["confirmed"] <= len(found) <= ledger["confirmed"] + ledger["pending"]
        assert ledger["acquired"] == ledger["confirmed"] + ledger["pending"] + ledger["unchanged"]
        assert len({row.time for row in found}) == len(found)
        return ledger

    def reasons(self) -> set[str]:
        return {event["reason"] for event in self.gateway.events("records.confirmation_refused")}


@asynccontextmanager
async def intruded_plant(tmp_path: Path) -> AsyncIterator[Plant]:
    rights = tmp_path / "acl"
    rights.write_text(RIGHTS)
    rights.chmod(0o644)
    mosquitto = await Mosquitto.start(tmp_path, f"acl_file {rights}")
    made = Plant(tmp_path, mosquitto)
    hearing = asyncio.create_task(made.hear(), name="viewer")
    yield made
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


async def publish(plant: Plant, topic: str, *payloads: bytes, user: str = "edge-01", retain: bool = False) -> None:
    async with aiomqtt.Client(LOOPBACK, plant.mosquitto.port, username=user) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1, retain=retain)


async def retained(plant: Plant) -> set[str]:
    """Return the topics with a retained message."""
    found: set[str] = set()
    async with aiomqtt.Client(LOOPBACK, plant.mosquitto.port, username="ingest") as client:
        await client.subscribe("lineside/v1/#", qos=1)
        await client.publish("lineside/v1/end", b"end", qos=1)
        async for message in client.messages:
            if str(message.topic) == "lineside/v1/end":
                break
            found.add(str(message.topic))
    return found
