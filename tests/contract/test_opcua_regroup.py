"""Points that come and go during an OPC UA session: the others' subscriptions are left alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import KEEP_ALIVE, SECONDS, START, faults, named, received
from processes import LOOPBACK

from drivers.base import Group, Reason
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from drivers.base import Driver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    server = NodeOpcUa(tmp_path_factory.mktemp("regroup"), scope="module", counterPeriod=20)
    server.up_and_wait()
    return server


@pytest.fixture
async def peer(server: NodeOpcUa) -> NodeOpcUa:
    """A server that nobody is connected to."""
    server.set("Setpoint", START)
    await server.has(sessions=0)
    return server


def group(port: int, *nodes: str, every: float = 0.1, **keys: Any) -> Group:
    options = {"security": "none", "namespace": MACHINE, "keep_alive": KEEP_ALIVE}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", options)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}"} | keys) for node in nodes)
    mode = keys.get("mode", "subscribe")
    return Group("machine", connection, nodes, sources, every, pushed=mode != "poll", events=mode == "events")


@asynccontextmanager
async def connected(groups: Sequence[Group]) -> AsyncIterator[Driver]:
    driver = PROTOCOL.driver(groups[0].connection.shared(), groups, Clock())
    async with asyncio.timeout(SECONDS):
        await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


async def test_groups_come_and_go_in_one_session(peer: NodeOpcUa) -> None:
    """Counted on the server: one session, and the items and subscriptions that are wanted, and no others."""
    stays = group(peer.port, "Setpoint")
    slow = group(peer.port, "Scalar.Double", "Scalar.Int32", every=0.5)
    polled = group(peer.port, "Scalar.Float", mode="poll")
    async with connected([stays]) as driver:
        await received(driver, "Setpoint", START)
        await peer.has(sessions=1, subscriptions=1, items=1)
        assert await driver.regroup([stays, slow, polled])
        await received(driver, "Scalar.Double", 0.1)
        assert named(await driver.read(polled)) == {"Scalar.Float": 1.5}
        await peer.has(sessions=1, subscriptions=2, items=3)
        changed = group(peer.port, "Scalar.Double", every=0.1)
        assert await driver.regroup([stays, changed])
        scan = await received(driver, "Scalar.Double", 0.1)
        assert scan.group is changed
        await peer.has(sessions=1, subscriptions=1, items=2)
        peer.set("Setpoint", 61.5)
        scan = await received(driver, "Setpoint", 61.5)
        assert scan.group is stays
        assert not scan.faults
        assert driver.counts()["lost_messages"] == 0


async def test_a_missing_node_is_reported_at_once_and_a_removed_point_no_more(peer: NodeOpcUa) -> None:
    """Also where nothing else happens on the server; values of the removed point on their way are dropped."""
    counter, wrong = group(peer.port, "Counter"), group(peer.port, "Missing", "Setpoint")
    async with connected([counter]) as driver, asyncio.timeout(SECONDS):
        await driver.receive()
        assert await driver.regroup([wrong])
        found: dict[str, Any] = {}
        while len(found) < 2:
            scan = await driver.receive()
            assert scan.group is wrong
            found |= {name: faults(scan).get(name) for name in named(scan)}
        assert found["Missing"].reason is Reason.NOT_FOUND
        assert found["Setpoint"] is None
        await peer.has(items=1)


async def test_a_connection_without_groups_begins_to_publish_when_it_gets_some(peer: NodeOpcUa) -> None:
    """All points of a machine may change at once."""
    first = group(peer.port, "Setpoint")
    async with connected([first]) as driver:
        assert await driver.regroup([])
        await peer.has(sessions=1, subscriptions=0, items=0)
        again = group(peer.port, "Setpoint")
        assert await driver.regroup([again])
        scan = await received(driver, "Setpoint", START)
        assert scan.group is again
        await peer.has(sessions=1, subscriptions=1, items=1)


async def test_events_come_and_go_too(peer: NodeOpcUa) -> None:
    """They are items of their own."""
    stays = group(peer.port, "Setpoint")
    events = group(peer.port, "Machine", mode="events")
    async with connected([stays]) as driver, asyncio.timeout(SECONDS):
        await received(driver, "Setpoint", START)
        assert await driver.regroup([stays, events])
        await peer.has(items=2)
        peer.event("oil is low")
        while (scan := await driver.receive()).group is not events or "oil is low" not in str(scan.values):
            pass
        assert await driver.regroup([stays])
        await peer.has(items=1)
        peer.event("oil is high")
        peer.set("Setpoint", 62.0)
        while (scan := await driver.receive()).values != [62.0]:
            assert scan.group is stays


async def test_a_session_that_is_lost_meanwhile_is_read_with_the_new_groups_after_it(peer: NodeOpcUa) -> None:
    """The runner makes another driver then; it subscribes to the groups that were asked for last."""
    first, second = group(peer.port, "Setpoint"), group(peer.port, "Scalar.Double")
    async with connected([first]) as driver:
        await received(driver, "Setpoint", START)
        assert await driver.regroup([second])
        await driver.close()
        async with asyncio.timeout(SECONDS):
            await driver.connect()
        scan = await received(driver, "Scalar.Double", 0.1)
        assert scan.group is second
        await peer.has(sessions=1, subscriptions=1, items=1)


async def test_a_reading_of_another_group_before_is_not_repeated_with_its_old_time(peer: NodeOpcUa) -> None:
    """Or the same reading would be stored and counted twice; the present value comes with the present time."""
    peer.set("Setpoint", START, time=1_764_000_000_000_000)
    first = group(peer.port, "Setpoint", "Scalar.Double")
    async with connected([first]) as driver:
        scan = await received(driver, "Setpoint", START)
        assert scan.times is not None
        assert 1_764_000_000_000_000 in scan.times
        again = group(peer.port, "Scalar.Double", "Setpoint", "Counter")
        assert await driver.regroup([again])
        scan = await received(driver, "Setpoint", START)
        place = list(named(scan)).index("Setpoint")
        assert scan.group is again
        assert scan.times is not None
        assert scan.times[place] > 1_764_000_000_000_000
        assert not scan.late
