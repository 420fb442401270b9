"""The descriptions that an OPC UA server has of its types and variables: structures, names, ranges, units."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from processes import LOOPBACK
from proxy import Proxy

from drivers.base import Group, PointMetadata, Reason
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.acquisition.device_worker import DeviceWorker
from gateway.common.clock import Clock
from gateway.common.tasks import cancel_and_wait

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Driver, Fault, Scan

SECONDS = 60.0


def driver_of(port: int, points: dict[str, dict[str, Any]], mode: str) -> Driver:
    """Return a driver of one group; `points` are sources by name."""
    connection = OpcUaConnection.from_url(
        f"opc.tcp://{LOOPBACK}:{port}", {"security": "none", "namespace": MACHINE, "keep_alive": 1.0}
    )
    sources = tuple(OpcUaSource.model_validate(source | {"mode": mode}) for source in points.values())
    group = Group("machine", connection, tuple(points), sources, 0.1, pushed=mode == "subscribe")
    return PROTOCOL.driver(connection.shared(), [group], Clock())


async def taken(driver: Driver) -> tuple[dict[str, Any], dict[str, Fault]]:
    """Return value and fault of every point, as soon as each has come once."""
    [group] = driver.groups
    values: dict[str, Any] = {}
    faults: dict[str, Fault] = {}
    async with asyncio.timeout(SECONDS):
        while len(values) < len(group.names):
            scan = await (driver.receive() if group.pushed else driver.read(group))
            positions = scan.points if scan.points is not None else range(len(group.names))
            for place, position in enumerate(positions):
                values[group.names[position]] = scan.values[place]
                if place in scan.faults:
                    faults[group.names[position]] = scan.faults[place]
    return values, faults


RECIPE = {
    "name": {"node": "s=Recipe", "field": "Name"},
    "seconds": {"node": "s=Recipe", "field": "Seconds"},
    "pressure": {"node": "s=Recipe", "field": "Pressure.High"},
    "temperature": {"node": "s=Recipe", "field": "Temperatures", "element": 1},
}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_fields_of_a_servers_own_structure_are_points(opcua: NodeOpcUa, mode: str) -> None:
    """The server says how its bytes lie; nobody has to write that down again."""
    async with driver_of(opcua.port, RECIPE, mode) as driver:
        values, faults = await taken(driver)
    assert values == {"name": "winter", "seconds": 900, "pressure": 21.5, "temperature": 171.5}
    assert faults == {}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_field_that_a_structure_lacks_is_reported_with_the_fields_that_it_has(
    opcua: NodeOpcUa, mode: str
) -> None:
    """Half of the way to the right name."""
    points = {"gone": {"node": "s=Recipe", "field": "Presure"}, "whole": {"node": "s=Recipe", "field": "Pressure"}}
    async with driver_of(opcua.port, points, mode) as driver:
        values, faults = await taken(driver)
    assert values == {"gone": None, "whole": None}
    assert {fault.reason for fault in faults.values()} == {Reason.TYPE_MISMATCH}
    assert faults["gone"].code == "a structure of Name, Seconds, Temperatures, Pressure has no field Presure"
    assert faults["whole"].code == "the server sent a structure of Low, High"


async def test_a_servers_range_unit_and_names_are_described(opcua: NodeOpcUa) -> None:
    """The template need not repeat them: EURange and EngineeringUnits, EnumStrings and EnumValues."""
    nodes = ["Temperature", "Pressure", "State", "Mode", "Setpoint", "Gone"]
    points = {node: {"node": f"s={node}"} for node in nodes} | {"field": RECIPE["name"]}
    async with driver_of(opcua.port, points, "poll") as driver:
        described = dict(zip(points, await driver.describe(driver.groups[0]), strict=True))
    assert described == {
        "Temperature": PointMetadata(unit="Cel", range=(0.0, 200.0)),
        "Pressure": PointMetadata(unit="bar", range=(0.0, 25.0)),
        "State": PointMetadata(labels={0: "Stopped", 1: "Running", 2: "Faulted"}),
        "Mode": PointMetadata(labels={10: "Manual", 20: "Automatic"}),
        "Setpoint": PointMetadata(),
        "Gone": PointMetadata(),
        "field": PointMetadata(),
    }


async def test_more_is_asked_than_the_server_takes_at_once(tmp_path: Path) -> None:
    """Types and properties are asked for within its limits, too."""
    limits = {"maxNodesPerRead": 7, "maxNodesPerBrowse": 3}
    peer = await NodeOpcUa.start(tmp_path, bulk=20, limits=limits)
    points = {f"p{i}": {"node": f"s=Bulk.{i}"} for i in range(20)}
    points |= {"state": {"node": "s=State"}, "temperature": {"node": "s=Temperature"}}
    async with driver_of(peer.port, points, "poll") as driver:
        described = await driver.describe(driver.groups[0])
    assert described[-2].labels[1] == "Running"
    assert described[-1].unit == "Cel"
    assert peer.most("Read") <= 8, "the first request finds the limits out"
    assert peer.most("Browse") <= 3


async def test_the_gateway_asks_for_it_once(opcua: NodeOpcUa) -> None:
    """At the first connect: a machine is not asked for everything again after each short outage."""
    points = {"temperature": {"node": "s=Temperature"}, "state": {"node": "s=State"}}
    described: list[Any] = []
    asked = asyncio.Event()

    def note(group: Group, said: Any) -> None:
        described.append(dict(zip(group.names, said, strict=True)))
        asked.set()

    async with Proxy(opcua.port) as proxy:
        driver = driver_of(proxy.port, points, "subscribe")
        delivered: asyncio.Queue[Scan] = asyncio.Queue()
        runner = DeviceWorker("device", driver.groups, lambda _: driver, delivered.put, {}, Clock(), on_metadata=note)
        running = asyncio.create_task(runner.run())
        async with asyncio.timeout(SECONDS):
            await asked.wait()
            await proxy.cut()
            while not (await delivered.get()).faults:
                pass
            await proxy.heal()
            while (await delivered.get()).faults:
                pass
        await cancel_and_wait(running)
    assert runner.counts()["connects"] == 2
    assert [one["temperature"].unit for one in described] == ["Cel"]
    assert described[0]["state"].labels[2] == "Faulted"
