"""Gateway and ingest with the brokers of a plant: with TLS, in pairs, and with a box that somebody copied."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from fakes.authority import Authority
from processes import COUNTER, LOOPBACK, POLL, Lineside, free_port, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0
STATES = "lineside/v1/enterprise/site/area/line/+/state"


def plant(folder: Path, broker: dict[str, Any], ports: dict[str, int], spool: str = "spool", **gateway: Any) -> Path:
    """Write a factory with a machine at each port."""
    folder.mkdir(exist_ok=True)
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "counter.yaml").write_text(COUNTER)
    machines = {
        name: {"template": "counter", "connection": f"modbus+tcp://{LOOPBACK}:{port}"} for name, port in ports.items()
    }
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / spool)}} | gateway,
        broker=broker,
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": machines}},
    )


async def stored(folder: Path, more_than: int, seconds: float = SECONDS) -> int:
    """Wait until there are more rows than so many, and return how many."""
    database = folder / "readings.db"
    return await until(
        lambda: count if (count := len(rows(database))) > more_than else 0, f"more than {more_than} rows", seconds
    )


@pytest.mark.parametrize("order", ["fresh", "strict"])
async def test_a_pair_of_brokers_with_certificates_loses_nothing_when_one_is_killed(tmp_path: Path, order: str):
    """Each gateway has a certificate, brokers verify it, and the first one dies with messages in its queue."""
    authority = Authority(tmp_path, "plant")
    shown = authority.pair("broker", LOOPBACK)
    ours = authority.pair("edge-01")
    tls = [f"certfile {shown.certificate}", f"keyfile {shown.key}", f"cafile {authority.file}"]
    ports = [free_port(), free_port()]
    brokers = [
        await Mosquitto.start(tmp_path, f"listener {port} {LOOPBACK}", *tls, "require_certificate true")
        for port in ports
    ]
    first, backup = (f"mqtts://{LOOPBACK}:{port}" for port in ports)
    broker = {"url": first, "backup": backup, "ca": str(authority.file), "keep_alive": "5s"}
    broker |= {"certificate": str(ours.certificate), "key": str(ours.key)}
    config = plant(tmp_path, broker, {"m-01": free_port(), "m-02": free_port()}, order=order)
    simulator = await Lineside.start("simulate", config)
    await simulator.logged("simulation.started")
    await Lineside.start("ingest", config)
    gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
    before = await stored(tmp_path, more_than=20)
    brokers[0].kill()
    await stored(tmp_path, more_than=before + 20)
    await gateway.stop()
    closing = report(tmp_path / "run.json")
    assert [event["broker"] for event in gateway.events("mqtt.connected")] == [first, backup]
    assert closing["ledger"]["pending"] == 0
    assert closing["ledger"]["confirmed"] == closing["ledger"]["acquired"] == len(rows(tmp_path / "readings.db"))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_copied_box_is_logged_and_one_of_the_two_works_on(tmp_path: Path, version: str):
    """It happens with every image that is cloned; both would disconnect each other several times a second."""
    mosquitto = await Mosquitto.start(tmp_path)
    broker = {"url": mosquitto.url, "version": version}
    ports = {"m-01": free_port()}
    config = plant(tmp_path / "one", broker, ports)
    copy = plant(tmp_path / "two", broker, ports)
    simulator = await Lineside.start("simulate", config)
    await simulator.logged("simulation.started")
    await Lineside.start("ingest", config)
    one = await Lineside.start("run", config)
    await stored(tmp_path / "one", more_than=3)
    two = await Lineside.start("run", copy)
    events = await until(
        lambda: one.events("gateway.id_in_use") or two.events("gateway.id_in_use"), "the mistake is logged", SECONDS
    )
    assert events[0]["gateway"] == "edge-01"
    assert "gateway.id" in events[0]["hint"]
    connects = len(one.events("mqtt.connected")) + len(two.events("mqtt.connected"))
    before = await stored(tmp_path / "one", more_than=0)
    await stored(tmp_path / "one", more_than=before + 30)
    assert len(one.events("mqtt.connected")) + len(two.events("mqtt.connected")) <= connects + 2
    for gateway in (one, two):
        assert len(gateway.events("gateway.id_in_use")) <= 1


async def test_a_machine_that_was_removed_from_the_configuration_vanishes_from_the_broker(tmp_path: Path):
    """Its state would else remain retained, and be shown as online."""
    mosquitto = await Mosquitto.start(tmp_path)
    ports = {"m-01": free_port(), "m-02": free_port()}
    config = plant(tmp_path, {"url": mosquitto.url}, ports)
    simulator = await Lineside.start("simulate", config)
    await simulator.logged("simulation.started")
    await Lineside.start("ingest", config)
    gateway = await Lineside.start("run", config)
    assert await retained(mosquitto, "state", {"m-01", "m-02"}) == {"edge-01"}
    await stored(tmp_path, more_than=5)
    await gateway.stop()
    plant(tmp_path, {"url": mosquitto.url}, {"m-01": ports["m-01"]})
    gateway.launch()
    await gateway.logged("machine.cleared")
    await retained(mosquitto, "state", {"m-01"})
    await retained(mosquitto, "meta", {"m-01"})


async def retained(mosquitto: Mosquitto, leaf: str, machines: set[str]) -> set[str]:
    """Wait until a new client gets messages of these machines alone; returns the gateways that sign the messages."""
    async with asyncio.timeout(SECONDS):
        while True:
            signed = await _retained(mosquitto, leaf)
            if signed.keys() == machines:
                return {message.get("gateway", "") for message in signed.values()}
            await asyncio.sleep(POLL)


async def _retained(mosquitto: Mosquitto, leaf: str) -> dict[str, dict[str, Any]]:
    found = {}
    async with aiomqtt.Client(LOOPBACK, mosquitto.port) as client:
        await client.subscribe(STATES.replace("state", leaf))
        await client.subscribe("end")
        await client.publish("end", "", qos=1)  # comes behind all that is retained
        async for message in client.messages:
            if str(message.topic) == "end":
                return found
            machine = str(message.topic).split("/")[-2]
            if message.payload:
                found[machine] = json.loads(message.payload)
            else:  # cleared meanwhile: a client that is subscribed already gets this
                found.pop(machine, None)
    return found


async def swallowing(ports: list[int]) -> asyncio.Server:
    """Start a server that takes connections and says nothing."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()

    server = await asyncio.start_server(swallow, LOOPBACK, 0)
    ports.append(server.sockets[0].getsockname()[1])
    return server


def stopped_within(process: Lineside, service: str) -> float:
    """Return the seconds that a stop took, by the times in the log."""
    began, ended = (
        datetime.fromisoformat(process.events(f"{service}.{name}")[-1]["time"]) for name in ("stopping", "stopped")
    )
    return (ended - began).total_seconds()


async def test_a_stop_takes_at_most_five_seconds_whatever_the_broker_does(tmp_path: Path):
    """systemd and a person wait for it: a broker that is frozen, or takes connections and says nothing, must not."""
    mosquitto = await Mosquitto.start(tmp_path)
    ports: list[int] = []
    server = await swallowing(ports)
    frozen = plant(tmp_path / "frozen", {"url": mosquitto.url}, {"m-01": free_port()})
    silent = plant(tmp_path / "silent", {"url": f"mqtt://{LOOPBACK}:{ports[0]}"}, {"m-01": free_port()}, id="edge-02")
    simulator = await Lineside.start("simulate", frozen)
    await simulator.logged("simulation.started")
    gateway, other = await Lineside.start("run", frozen), await Lineside.start("run", silent)
    ingest = await Lineside.start("ingest", frozen)
    await gateway.logged("mqtt.connected")
    await ingest.logged("ingest.subscribed")
    await other.logged("gateway.started")
    mosquitto.signal(signal.SIGSTOP)
    try:
        await asyncio.gather(gateway.stop(), other.stop(), ingest.stop())
    finally:
        mosquitto.signal(signal.SIGCONT)
        server.close()
    assert stopped_within(gateway, "gateway") < 5
    assert stopped_within(other, "gateway") < 5
