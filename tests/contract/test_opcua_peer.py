"""The OPC UA driver against a server that is not asyncua, straight and through a proxy that breaks the connection."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, SCALARS, NodeOpcUa
from processes import LOOPBACK
from proxy import Proxy

from drivers.base import Driver, Group, NotConnected, Quality, Reason, Scan
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEEP_ALIVE = 1.0
"""The shortest that a connection may have: three of them without a sign of life is death."""

START = 50.0
"""What `node` holds at first."""

SECONDS = 30.0
"""So long anything may take. Silence is noticed in a tenth of it."""


def driver_of(port: int, *nodes: str, mode: str = "subscribe") -> Driver:
    """Return a driver of one group, whose points are nodes of the peer's machine."""
    options = {"security": "none", "namespace": MACHINE, "keep_alive": KEEP_ALIVE}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", options)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}", "mode": mode}) for node in nodes)
    group = Group("machine", connection, nodes, sources, 0.1, pushed=mode == "subscribe")
    return PROTOCOL.driver(connection.shared(), [group], Clock())


def named(scan: Scan) -> dict[str, Any]:
    """Return the values of a scan by the names of their points."""
    names = scan.group.names
    positions = scan.points if scan.points is not None else range(len(names))
    return {names[position]: value for position, value in zip(positions, scan.values, strict=True)}


def faults(scan: Scan) -> dict[str, Any]:
    """Return the faults of a scan by the names of their points."""
    positions = scan.points if scan.points is not None else range(len(scan.group.names))
    return {scan.group.names[positions[place]]: fault for place, fault in scan.faults.items()}


async def taken(driver: Driver) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the newest value, and fault, of every point as soon as each has been told once."""
    [group] = driver.groups
    values: dict[str, Any] = {}
    wrong: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while len(values) < len(group.names):
            scan = await (driver.receive() if group.pushed else driver.read(group))
            values |= named(scan)
            wrong |= faults(scan)
    return values, wrong


async def received(driver: Driver, node: str, value: object) -> Scan:
    """Receive until a node has a value, and return the scan that said so."""
    async with asyncio.timeout(SECONDS):
        while True:
            scan = await driver.receive()
            if node in named(scan) and named(scan)[node] == value:
                return scan


async def lost(driver: Driver) -> float:
    """Receive until the connection is lost, and return after how many seconds that was told."""
    start = time.monotonic()
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await driver.receive()
            except NotConnected:
                return time.monotonic() - start


async def connect(driver: Driver) -> None:
    """Connect as the runner does: again, and again, until it works."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await driver.connect()
            except NotConnected:
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """One server for the tests that do not break it. What they change is theirs: see `node`."""
    server = NodeOpcUa(tmp_path_factory.mktemp("node-opcua"), shared=True)
    server.up_and_wait()
    return server


@pytest.fixture
def node(peer: NodeOpcUa) -> Iterator[str]:
    """A variable that no other test has, a Double of 50."""
    name = f"Node.{uuid.uuid4().hex}"
    peer.add(name, 50, "Double")
    yield name
    peer.delete(name)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_every_scalar_type_arrives_as_the_server_holds_it(peer: NodeOpcUa, mode: str) -> None:
    """The limits of every type, too: encoders differ there."""
    async with driver_of(peer.port, *(f"Scalar.{kind}" for kind in SCALARS), mode=mode) as driver:
        values, wrong = await taken(driver)
    assert values == {f"Scalar.{kind}": value for kind, value in SCALARS.items()}
    assert {name: type(value) for name, value in values.items()} == {
        f"Scalar.{kind}": type(value) for kind, value in SCALARS.items()
    }
    assert wrong == {}


async def test_changes_arrive_in_order_with_the_time_of_their_source(peer: NodeOpcUa, node: str) -> None:
    """To the microsecond: the server's clock says when something happened, not ours."""
    first = 1_764_000_000_123_456
    async with driver_of(peer.port, node) as driver:
        await received(driver, node, START)
        for i in range(3):
            peer.set(node, 100.5 + i, time=first + i)
            scan = await received(driver, node, 100.5 + i)
            assert scan.times == [first + i]


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_what_one_node_lacks_is_its_points_fault_alone(peer: NodeOpcUa, mode: str) -> None:
    """One renamed tag, or one broken sensor, must not cost the machine."""
    async with driver_of(peer.port, "Setpoint", "Gone", "Broken", "Old", "Hidden", mode=mode) as driver:
        values, wrong = await taken(driver)
    assert values == {"Setpoint": 50.0, "Gone": None, "Broken": None, "Old": 7.0, "Hidden": None}
    assert {name: (fault.quality, fault.reason) for name, fault in wrong.items()} == {
        "Gone": (Quality.BAD, Reason.NOT_FOUND),
        "Broken": (Quality.BAD, Reason.DEVICE_FAULT),
        "Old": (Quality.UNCERTAIN, Reason.STALE),
        "Hidden": (Quality.BAD, Reason.REFUSED),
    }


async def test_a_status_comes_and_goes_with_a_change(peer: NodeOpcUa, node: str) -> None:
    """A sensor that breaks has no value, and has one when it is mended."""
    async with driver_of(peer.port, node) as driver:
        await received(driver, node, START)
        peer.set(node, status="BadSensorFailure")
        assert faults(await received(driver, node, None))[node].reason is Reason.DEVICE_FAULT
        peer.set(node, 51)
        assert (await received(driver, node, 51.0)).faults == {}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_that_is_removed_goes_bad(peer: NodeOpcUa, mode: str) -> None:
    """Its last value must not stand as if it were true."""
    name = f"Node.{uuid.uuid4().hex}"
    peer.add(name, 1, "Double")
    async with driver_of(peer.port, name, mode=mode) as driver:
        assert (await taken(driver))[0] == {name: 1.0}
        peer.delete(name)
        values, wrong = await taken(driver)
    assert values == {name: None}
    assert {name: fault.reason for name, fault in wrong.items()} == {name: Reason.NOT_FOUND}


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_restarted_server_is_read_again_with_its_namespaces_renumbered(tmp_path: Path, end: str) -> None:
    """After an update a server may number its namespaces otherwise; a power cut says no farewell."""
    peer = await NodeOpcUa.start(tmp_path)
    driver = driver_of(peer.port, "Setpoint")
    async with driver:
        await received(driver, "Setpoint", 50.0)
        if end == "kill":
            peer.kill()
        else:
            assert await peer.stop() == 0
        await lost(driver)
        with pytest.raises(NotConnected):
            await driver.connect()
        peer.options["namespaces"] = ["urn:new:one", MACHINE, "urn:new:two"]
        await peer.restart()
        await connect(driver)
        await received(driver, "Setpoint", 50.0)
        peer.set("Setpoint", 60)
        await received(driver, "Setpoint", 60.0)
    await peer.has(sessions=0, subscriptions=0, items=0)


async def test_silence_is_noticed_and_read_again(peer: NodeOpcUa, node: str) -> None:
    """A pulled cable ends no connection: only the missing keep-alives tell."""
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, node) as driver:
        await received(driver, node, START)
        proxy.drop()
        assert await lost(driver) >= KEEP_ALIVE, "that was no silence"
        await proxy.heal()
        await connect(driver)
        await received(driver, node, START)


async def test_a_server_that_hangs_is_noticed(tmp_path: Path) -> None:
    """Its system still takes connections and data for it."""
    peer = await NodeOpcUa.start(tmp_path)
    async with driver_of(peer.port, "Setpoint") as driver:
        await received(driver, "Setpoint", 50.0)
        peer.freeze()
        await lost(driver)
        with pytest.raises(NotConnected):
            await driver.connect()
        peer.thaw()
        await connect(driver)
        await received(driver, "Setpoint", 50.0)


async def test_a_quiet_machine_is_no_silence(peer: NodeOpcUa, node: str) -> None:
    """Nothing changes for hours, and keep-alives say that all is well."""
    async with driver_of(peer.port, node) as driver:
        await received(driver, node, START)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4 * KEEP_ALIVE):
                await driver.receive()
        peer.set(node, 60)
        await received(driver, node, 60.0)


async def test_a_short_outage_that_tcp_gets_over_costs_no_connection(peer: NodeOpcUa, node: str) -> None:
    """What changed meanwhile arrives with its time."""
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, node) as driver:
        await received(driver, node, START)
        proxy.hold()
        peer.set(node, 60, time=1_764_000_000_000_000)
        await proxy.heal()
        assert (await received(driver, node, 60.0)).times == [1_764_000_000_000_000]
        assert proxy.accepted == 1


async def test_a_slow_line_is_no_outage(peer: NodeOpcUa, node: str) -> None:
    """The way to a PLC behind a mobile network must not make the driver connect for ever."""
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, node) as driver:
        proxy.delay(0.2)
        for value in (60.0, 70.0, 80.0):
            peer.set(node, value)
            await received(driver, node, value)
        assert proxy.accepted == 1


@pytest.mark.parametrize("what", ["sessions", "subscriptions"])
async def test_what_the_server_has_forgotten_is_made_again(tmp_path: Path, what: str) -> None:
    """A server that ran out of memory, or was reset behind its network card, tells nobody."""
    peer = await NodeOpcUa.start(tmp_path)
    async with driver_of(peer.port, "Setpoint") as driver:
        await received(driver, "Setpoint", START)
        peer.tell("forget", what=what)
        await lost(driver)
        await connect(driver)
        await received(driver, "Setpoint", START)
    await peer.has(sessions=0, subscriptions=0, items=0)


async def test_a_server_without_a_free_session_is_not_connected(tmp_path: Path) -> None:
    """Many have room for few. It is tried again, and nothing is left open by that."""
    peer = await NodeOpcUa.start(tmp_path, sessions=1)
    async with driver_of(peer.port, "Setpoint") as first:
        await received(first, "Setpoint", START)
        second = driver_of(peer.port, "Setpoint")
        with pytest.raises(NotConnected, match="maximum number of sessions"):
            await second.connect()
        await peer.has(sessions=1, channels=1)
    await connect(second)
    await received(second, "Setpoint", START)
    await second.close()


async def test_garbage_ends_the_connection_and_no_more(peer: NodeOpcUa, node: str) -> None:
    """A broken message must neither stand as a value nor be waited out for ever."""
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, node) as driver:
        await received(driver, node, START)
        proxy.corrupt()
        await lost(driver)
        await connect(driver)
        await received(driver, node, START)


async def test_no_session_is_left_behind_by_outages(tmp_path: Path) -> None:
    """Devices have few sessions: what a lost connection leaves there must end by itself, and soon."""
    peer = await NodeOpcUa.start(tmp_path)
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, "Setpoint", "Level") as driver:
        await taken(driver)
        assert peer.counts() == (1, 1, 2, 1)
        for _ in range(3):
            await proxy.cut()
            await lost(driver)
            await proxy.heal()
            await connect(driver)
            await taken(driver)
        await peer.has(60, sessions=1, subscriptions=1, items=2, channels=1)
        peer.set("Level", 55)
        await received(driver, "Level", 55.0)
    await peer.has(sessions=0, subscriptions=0, items=0, channels=0)
