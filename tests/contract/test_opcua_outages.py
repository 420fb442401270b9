"""The OPC UA driver against a server that is not asyncua: outages of every kind, some made by a proxy."""

from __future__ import annotations

import asyncio

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import KEEP_ALIVE, START, connect, driver_of, lost, received, taken
from proxy import Proxy

from drivers.base import NotConnected


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """A server with room for one session, which may be restarted."""
    server = NodeOpcUa(tmp_path_factory.mktemp("single"), scope="module", sessions=1)
    server.up_and_wait()
    return server


async def test_a_restarted_server_is_read_again_with_its_namespaces_renumbered(single: NodeOpcUa) -> None:
    """After an update a server may number its namespaces otherwise; at a power cut it closes no connection."""
    peer = single
    await restarted_and_read(peer, "kill", ["urn:new:one", MACHINE, "urn:new:two"])
    await peer.has(sessions=0, subscriptions=0, items=0)
    await restarted_and_read(peer, "stop", ["urn:new:one", "urn:new:two", MACHINE])
    await peer.has(sessions=0, subscriptions=0, items=0)


async def restarted_and_read(peer: NodeOpcUa, end: str, namespaces: list[str]) -> None:
    driver = driver_of(peer.port, "Setpoint")
    async with driver:
        await received(driver, "Setpoint", START)
        if end == "kill":
            peer.kill()
        else:
            assert await peer.stop() == 0
        await lost(driver)
        with pytest.raises(NotConnected):
            await driver.connect()
        peer.options["namespaces"] = namespaces
        await peer.restart()
        await connect(driver)
        await received(driver, "Setpoint", START)
        peer.set("Setpoint", 60)
        await received(driver, "Setpoint", 60.0)
    peer.set("Setpoint", START)


async def test_silence_is_noticed_and_read_again(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A pulled cable ends no connection: only the missing keep-alives show it."""
    async with Proxy(opcua.port) as proxy, driver_of(proxy.port, opcua_node) as driver:
        await received(driver, opcua_node, START)
        proxy.drop()
        await lost(driver)
        await proxy.heal()
        await connect(driver)
        await received(driver, opcua_node, START)


async def test_a_server_that_hangs_is_noticed(opcua_alone: NodeOpcUa) -> None:
    """Its system still takes connections and data for it."""
    peer = opcua_alone
    async with driver_of(peer.port, "Setpoint", timeout=2.0) as driver:
        await received(driver, "Setpoint", START)
        peer.freeze()
        await lost(driver)
        with pytest.raises(NotConnected):
            await driver.connect()
        peer.thaw()
        await connect(driver)
        await received(driver, "Setpoint", START)


async def test_a_quiet_machine_is_not_silence(opcua: NodeOpcUa, opcua_node: str) -> None:
    """Nothing changes for hours, and keep-alives say that all is well."""
    keep_alive = 2.5 * KEEP_ALIVE  # a busy machine is not to be late with three of them
    async with driver_of(opcua.port, opcua_node, keep_alive=keep_alive) as driver:
        await received(driver, opcua_node, START)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.2 * keep_alive):
                await driver.receive()
        opcua.set(opcua_node, 60)
        await received(driver, opcua_node, 60.0)


async def test_a_short_outage_that_tcp_gets_over_costs_no_connection(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A change meanwhile arrives with its time."""
    async with Proxy(opcua.port) as proxy, driver_of(proxy.port, opcua_node) as driver:
        await received(driver, opcua_node, START)
        proxy.hold()
        opcua.set(opcua_node, 60, time=1_764_000_000_000_000)
        await proxy.heal()
        assert (await received(driver, opcua_node, 60.0)).times == [1_764_000_000_000_000]
        assert proxy.accepted == 1


async def test_a_slow_line_is_not_an_outage(opcua: NodeOpcUa, opcua_node: str) -> None:
    """The way to a PLC behind a mobile network must not make the driver connect again and again."""
    async with Proxy(opcua.port) as proxy, driver_of(proxy.port, opcua_node) as driver:
        proxy.delay(0.2)
        for value in (60.0, 70.0, 80.0):
            opcua.set(opcua_node, value)
            await received(driver, opcua_node, value)
        assert proxy.accepted == 1


@pytest.mark.parametrize("what", ["sessions", "subscriptions"])
async def test_sessions_and_subscriptions_that_the_server_lost_are_renewed(opcua_alone: NodeOpcUa, what: str) -> None:
    """A server that ran out of memory, or was reset behind its network card, notifies nobody."""
    peer = opcua_alone
    async with driver_of(peer.port, "Setpoint") as driver:
        await received(driver, "Setpoint", START)
        peer.control("forget", what=what)
        await lost(driver)
        await connect(driver)
        await received(driver, "Setpoint", START)
    await peer.has(sessions=0, subscriptions=0, items=0)


async def test_a_server_without_a_free_session_is_not_connected(single: NodeOpcUa) -> None:
    """Many have room for few. It is tried again, and nothing is left open by that."""
    peer = single
    async with driver_of(peer.port, "Setpoint") as first:
        await received(first, "Setpoint", START)
        second = driver_of(peer.port, "Setpoint")
        with pytest.raises(NotConnected, match="maximum number of sessions"):
            await second.connect()
        await peer.has(sessions=1, channels=1)
    await connect(second)
    await received(second, "Setpoint", START)
    await second.close()


async def test_garbage_ends_the_connection_and_no_more(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A broken message must neither become a value nor be waited for without limit."""
    async with Proxy(opcua.port) as proxy, driver_of(proxy.port, opcua_node) as driver:
        await received(driver, opcua_node, START)
        proxy.corrupt()
        await lost(driver)
        await connect(driver)
        await received(driver, opcua_node, START)


async def test_no_session_is_left_behind_by_outages(opcua_alone: NodeOpcUa) -> None:
    """Devices have few sessions: the session of a lost connection must end by itself, and soon."""
    peer = opcua_alone
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
