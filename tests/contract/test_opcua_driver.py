"""The OPC UA driver against a server of asyncua's, on a free port of the loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from processes import free_port

from drivers.base import Group, NotConnected, Quality, Reason, Scan
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.trace import Direction
from gateway.common.clock import Clock
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncua import Server

    from drivers.trace import WireEvent

URI = "urn:test:machine"
SECONDS = 20.0


@asynccontextmanager
async def served(
    port: int, *, before: tuple[str, ...] = (), nodes: dict[str, Any] | None = None
) -> AsyncIterator[Server]:
    """Serve nodes by name in `URI`; `before` are namespaces that are registered first."""
    server = new_server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for uri in before:
        await server.register_namespace(uri)
    index = await server.register_namespace(URI)
    for name, value in (
        nodes if nodes is not None else {"Speed": 12.5, "Count": 7, "On": True, "Badge": "A1"}
    ).items():
        await server.nodes.objects.add_variable(ua.NodeId.from_string(f"ns={index};s={name}"), name, value)
    async with server:
        yield server


async def write(server: Server, name: str, value: ua.DataValue) -> None:
    index = await server.get_namespace_index(URI)
    await server.write_attribute_value(ua.NodeId.from_string(f"ns={index};s={name}"), value)


def driver(
    port: int, names: tuple[str, ...] = ("Speed", "Count", "On", "Badge"), mode: str = "subscribe"
) -> OpcUaDriver:
    url = f"opc.tcp://127.0.0.1:{port}"
    connection = OpcUaConnection.from_url(url, {"security": "none", "namespace": URI, "keep_alive": 1.0})
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}", "mode": mode}) for name in names)
    group = Group("machine", connection, names, sources, 0.1, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def receive(reader: OpcUaDriver) -> Scan:
    async with asyncio.timeout(SECONDS):
        return await reader.receive()


def named(scan: Scan) -> dict[str, Any]:
    names = scan.group.names
    positions = scan.points if scan.points is not None else range(len(names))
    return {names[position]: value for position, value in zip(positions, scan.values, strict=True)}


async def test_subscribed_nodes_arrive_with_value_type_and_source_time():
    """The time of a pushed value is when it changed, as the source says, not when it arrived."""
    port = free_port()
    async with served(port) as server, driver(port) as reader:
        assert named(await receive(reader)) == {"Speed": 12.5, "Count": 7, "On": True, "Badge": "A1"}
        time = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
        await write(server, "Speed", ua.DataValue(ua.Variant(13.5), SourceTimestamp=time))
        scan = await receive(reader)
        assert named(scan) == {"Speed": 13.5}
        assert scan.times == [round(time.timestamp() * 1e6)]


async def test_several_changes_between_two_publishings_all_arrive_in_order():
    """A scan holds a point once, so the second change is a second scan, not a lost value."""
    port = free_port()
    async with served(port) as server, driver(port) as reader:
        await receive(reader)
        for value in (1, 2, 3):
            await write(server, "Count", ua.DataValue(ua.Variant(value, ua.VariantType.Int64)))
        seen: list[Any] = []
        while len(seen) < 3:
            seen += named(await receive(reader)).values()
        assert seen == [1, 2, 3]


async def test_polled_nodes_are_read_together():
    """Polling is for servers whose subscriptions can't be trusted."""
    port = free_port()
    async with served(port), driver(port, mode="poll") as reader:
        scan = await reader.read(reader.groups[0])
        assert named(scan) == {"Speed": 12.5, "Count": 7, "On": True, "Badge": "A1"}
        assert scan.faults == {}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_that_is_not_there_is_that_points_fault_alone(mode: str):
    """One renamed tag must not cost the machine."""
    port = free_port()
    async with served(port), driver(port, ("Speed", "Gone", "Count"), mode) as reader:
        scans = (
            [await reader.read(reader.groups[0])]
            if mode == "poll"
            else [await receive(reader), await receive(reader)]
        )
        values = {name: value for scan in scans for name, value in named(scan).items()}
        assert values == {"Speed": 12.5, "Gone": None, "Count": 7}
        [fault] = [fault for scan in scans for fault in scan.faults.values()]
        assert (fault.quality, fault.reason) == (Quality.BAD, Reason.NOT_FOUND)
        assert fault.code == "0x80340000 BadNodeIdUnknown"


@pytest.mark.parametrize(
    ("status", "value", "quality", "reason"),
    [
        (ua.StatusCodes.BadSensorFailure, None, Quality.BAD, Reason.DEVICE_FAULT),
        (ua.StatusCodes.BadNoCommunication, None, Quality.BAD, Reason.NO_RESPONSE),
        (ua.StatusCodes.UncertainLastUsableValue, 99.0, Quality.UNCERTAIN, Reason.STALE),
    ],
)
async def test_status_codes_become_quality_and_reason(status: int, value: Any, quality: Quality, reason: Reason):
    """A value under a bad status is dropped; a value under an uncertain status is kept, and marked."""
    port = free_port()
    async with served(port) as server, driver(port, ("Speed",)) as reader:
        await receive(reader)
        await write(server, "Speed", ua.DataValue(ua.Variant(99.0), StatusCode=ua.StatusCode(status)))
        scan = await receive(reader)
        assert scan.values == [value]
        assert (scan.faults[0].quality, scan.faults[0].reason) == (quality, reason)


async def test_a_server_that_is_not_there_is_not_connected():
    """The runner tries again on this error, and on no other."""
    with pytest.raises(NotConnected):
        await driver(free_port()).connect()


async def test_a_server_that_dies_is_noticed_and_read_again_with_its_namespaces_renumbered():
    """After an update a server may number its namespaces otherwise: they are looked up at each connect."""
    port = free_port()
    reader = driver(port, ("Count",))
    async with served(port):
        await reader.connect()
        assert named(await receive(reader)) == {"Count": 7}
    with pytest.raises(NotConnected):
        await receive(reader)
    async with served(port, before=("urn:new:one", "urn:new:two"), nodes={"Count": 8}):
        await reader.connect()
        assert named(await receive(reader)) == {"Count": 8}
        await reader.close()


async def test_a_missing_namespace_is_every_points_fault_and_not_an_error():
    """Another machine behind the same server may well be right."""
    port = free_port()
    reader = driver(port, ("Count",))
    async with served(port, nodes={}) as server:
        index = await server.get_namespace_index(URI)
        uris = await server.get_namespace_array()
        uris[index] = "urn:another"
        await server.get_node(ua.ObjectIds.Server_NamespaceArray).write_value(uris)
        async with reader:
            scan = await receive(reader)
        assert scan.values == [None]
        assert scan.faults[0].reason is Reason.NOT_FOUND
        assert URI in scan.faults[0].code


async def test_the_trace_has_services_and_sizes_and_no_bodies() -> None:
    """Bodies have passwords, keys and process data."""
    port = free_port()
    events: list[WireEvent] = []
    async with served(port):
        one = driver(port)
        assert one.trace(events.append)
        async with asyncio.timeout(SECONDS):
            await one.connect()
            await one.receive()
            await one.close()
    texts = [event.text.partition(",")[0] for event in events]
    assert [event.direction for event in events][:1] == [Direction.OPENED]
    for name in ("Hello", "Acknowledge", "OpenSecureChannel", "CreateSessionRequest", "CreateSessionResponse",
                 "ReadRequest", "ReadResponse", "CreateMonitoredItemsRequest", "PublishResponse"):  # fmt: skip
        assert name in texts, name
    assert all(len(event.data) <= 8 for event in events)
    sizes = [event for event in events if event.data]
    assert all(int.from_bytes(event.data[4:8], "little") == int(event.text.split()[1]) for event in sizes)
    assert {event.machine for event in events} == {"machine"}
