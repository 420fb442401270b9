"""Events and alarms of an OPC UA server, from what happens there to a stored row."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import KEEP_ALIVE, SECONDS, connect, lost
from processes import LOOPBACK, Lineside, until, write_factory
from proxy import Proxy
from servers import Mosquitto
from stored import report, rows

from drivers.base import Group
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Driver

FOLDER = "Machine"
"""The object that notifies of the peer's events."""


def driver_of(port: int) -> Driver:
    """Return a driver of one group, whose point are the events of the peer's machine."""
    options = {"security": "none", "namespace": MACHINE, "keep_alive": KEEP_ALIVE}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", options)
    source = OpcUaSource.model_validate({"node": f"s={FOLDER}", "mode": "events"})
    group = Group("machine", connection, ("alarms",), (source,), 0.1, pushed=True, events=True)
    return PROTOCOL.driver(connection.shared(), [group], Clock())


async def event(driver: Driver, message: str) -> dict[str, Any]:
    """Receive until an event with a message comes, and return its content."""
    async with asyncio.timeout(SECONDS):
        while True:
            scan = await driver.receive()
            for value in scan.values:
                content: dict[str, Any] = json.loads(str(value))
                if content["message"] == message:
                    return content


@pytest.fixture(scope="module")
def alarming(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """A server whose alarm nobody else sees, and which may be restarted."""
    server = NodeOpcUa(tmp_path_factory.mktemp("alarming"), scope="module")
    server.up_and_wait()
    return server


async def test_an_event_is_reported_with_its_source_severity_and_message(alarming: NodeOpcUa):
    """What happened, where, and how bad it is."""
    peer = alarming
    async with driver_of(peer.port) as driver:
        peer.event("door open", severity=300)
        content = await event(driver, "door open")
        assert content["severity"] == 300
        assert content["type"] == "BaseEventType"
        assert content["source"]
        assert (content["active"], content["acknowledged"], content["condition"]) == (None, None, None)
        # an alarm: it is active, is acknowledged, and returns to normal
        peer.set("Level", 90.0)
        seen = []
        async with asyncio.timeout(SECONDS):
            while not (seen and seen[-1]["active"]):
                seen += [json.loads(str(value)) for value in (await driver.receive()).values]
        assert seen[-1]["condition"] == "LevelAlarm"
        assert seen[-1]["acknowledged"] is False
        peer.control("acknowledge", comment="seen")
        async with asyncio.timeout(SECONDS):
            while not seen[-1]["acknowledged"]:
                seen += [json.loads(str(value)) for value in (await driver.receive()).values]
        peer.set("Level", 50.0)  # as before: it is acknowledged, so it is over


async def test_an_active_alarm_is_reported_once_and_its_end_in_an_outage_too(alarming: NodeOpcUa):
    """A gateway that comes late must know of it; a gateway that comes back must not report it twice.

    No event reports that it returned to normal with a restart of the server, say: the store would keep it as active.
    """
    peer = alarming
    peer.set("Level", 90.0)
    async with Proxy(peer.port) as proxy:
        driver = driver_of(proxy.port)
        await connect(driver)
        async with asyncio.timeout(SECONDS):
            first = json.loads(str((await driver.receive()).values[0]))
        assert (first["active"], first["condition"]) == (True, "LevelAlarm")
        await proxy.cut()
        await lost(driver)
        await proxy.heal()
        await connect(driver)
        peer.event("after")
        async with asyncio.timeout(SECONDS):
            following = json.loads(str((await driver.receive()).values[0]))
        assert following["message"] == "after", "the alarm is not reported a second time"
        peer.kill()
        await lost(driver)
        peer.launch()
        await connect(driver)
        async with asyncio.timeout(SECONDS):
            scan = await driver.receive()
        content = json.loads(str(scan.values[0]))
        assert content == first | {"id": "", "active": False, "retain": False}
        peer.event("after the restart")
        assert await event(driver, "after the restart")
        await driver.close()


async def test_events_are_stored_and_leave_the_machine_online(tmp_path: Path, opcua_alone: NodeOpcUa):
    """They go the way of readings; a machine where nothing happens is no worse for it."""
    peer, mosquitto = opcua_alone, await Mosquitto.start(tmp_path)
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "peer.yaml").write_text(
        "format: 1\nprotocol: opcua\npoints:\n"
        "  setpoint: {node: s=Setpoint, type: float}\n"
        f"  alarms: {{node: s={FOLDER}, mode: events}}\n"
    )
    connection = f"opc.tcp://{LOOPBACK}:{peer.port}?security=none&namespace={MACHINE}"
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path)},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": {"template": "peer", "connection": connection}}}},
    )
    ingest = await Lineside.start("ingest", config)
    gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
    await gateway.logged("machine.online")
    await peer.has(subscriptions=1, items=2)  # an event from before the subscription reaches nobody
    peer.event("door open", severity=300)
    database = tmp_path / "readings.db"
    [row] = await until(lambda: rows(database, point="alarms"), "the event is stored")
    assert json.loads(row.value)["message"] == "door open"
    assert row.quality == "good"
    await gateway.stop()
    await ingest.stop()
    closing = report(tmp_path / "run.json")
    assert closing["balanced"]
    assert closing["never_good"] == []
