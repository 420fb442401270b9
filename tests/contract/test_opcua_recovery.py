"""What comes after an outage of an OPC UA server, and what is lost and found while it publishes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from fakes.fickle_opcua import URI, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import KEEP_ALIVE, SECONDS, START, connect, driver_of, faults, lost, named, received, taken
from processes import LOOPBACK, free_port
from proxy import Proxy

from drivers.base import Group, NotConnected, ReadFailed, Reason, Scan
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Driver

OUTAGES = 20


def fickle_driver(port: int, *nodes: str, mode: str = "subscribe", **options: Any) -> OpcUaDriver:
    given = {"security": "none", "namespace": URI, "keep_alive": KEEP_ALIVE, "retry_missing": 1.0} | options
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", given)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}", "mode": mode}) for node in nodes)
    group = Group("machine", connection, nodes, sources, 0.1, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def until_told(driver: Driver, node: str, value: object) -> list[Scan]:
    """Receive until a node has a value; return all scans up to there."""
    scans = []
    async with asyncio.timeout(SECONDS):
        while not scans or named(scans[-1]).get(node, ...) != value:
            scans.append(await driver.receive())
    return scans


async def read_until_lost(driver: Driver) -> None:
    """Read while that fails for want of an answer only."""
    while True:
        with suppress(ReadFailed):
            await driver.read(driver.groups[0])


# -- outages --


async def test_twenty_outages_leave_one_session_and_one_subscription(tmp_path: Path) -> None:
    """Devices have few of either: one more with each outage, and nobody gets in any more."""
    peer = await NodeOpcUa.start(tmp_path)
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, "Setpoint", "Level") as driver:
        await taken(driver)
        for _ in range(OUTAGES):
            await proxy.cut()
            await lost(driver)
            await proxy.heal()
            await connect(driver)
            await taken(driver)
        await peer.has(90, sessions=1, subscriptions=1, items=2, channels=1)
        peer.set("Level", 55)
        await received(driver, "Level", 55.0)
    await peer.has(sessions=0, subscriptions=0, items=0, channels=0)


async def test_what_was_told_before_an_outage_is_told_as_of_now(opcua: NodeOpcUa, opcua_node: str) -> None:
    """Its point was bad meanwhile. What has changed in the outage has the time of the change."""
    first, second = 1_764_000_000_123_456, 1_764_000_100_000_000
    opcua.add(f"{opcua_node}.b", 1, "Double")
    async with Proxy(opcua.port) as proxy, driver_of(proxy.port, opcua_node, f"{opcua_node}.b") as driver:
        for node in (opcua_node, f"{opcua_node}.b"):
            opcua.set(node, 60, time=first)
            await received(driver, node, 60.0)
        await proxy.cut()
        await lost(driver)
        opcua.set(opcua_node, 70, time=second)
        await proxy.heal()
        before = time.time_ns() // 1000
        await connect(driver)
        changed = await received(driver, opcua_node, 70.0)
        same = changed if f"{opcua_node}.b" in named(changed) else await received(driver, f"{opcua_node}.b", 60.0)
    times = dict(zip(named(changed), changed.times or [], strict=True))
    assert times[opcua_node] == second
    assert dict(zip(named(same), same.times or [], strict=True))[f"{opcua_node}.b"] >= before
    opcua.delete(f"{opcua_node}.b")


async def test_a_connection_that_fails_goes_on_at_the_backup(tmp_path: Path) -> None:
    """And stays there, until that one fails: going back would be one more outage."""
    first, second = await NodeOpcUa.start(tmp_path / "a"), await NodeOpcUa.start(tmp_path / "b")
    options = {
        "security": "none",
        "namespace": MACHINE,
        "keep_alive": KEEP_ALIVE,
        "backup": f"{LOOPBACK}:{second.port}",
    }
    connection = OpcUaConnection.from_url(first.url, options)
    source = OpcUaSource.model_validate({"node": "s=Setpoint"})
    group = Group("machine", connection, ("Setpoint",), (source,), 0.1, pushed=True)
    second.set("Setpoint", 70)
    async with OpcUaDriver(connection, [group], Clock()) as driver:
        await received(driver, "Setpoint", START)
        first.kill()
        await lost(driver)
        await connect(driver)
        await received(driver, "Setpoint", 70.0)
        assert driver.counts()["failovers"] == 1
        await first.restart()
        second.kill()
        await lost(driver)
        await connect(driver)
        await received(driver, "Setpoint", START)
        assert driver.counts()["failovers"] == 2


async def test_nobody_at_any_address_is_not_connected() -> None:
    """All are tried; the last one's reason is told."""
    ports = [free_port(), free_port()]
    with pytest.raises(NotConnected, match=str(ports[1])):
        await fickle_driver(ports[0], "Node", backup=f"{LOOPBACK}:{ports[1]}").connect()


# -- slow, silent, quiet --


async def test_a_slow_server_costs_scans_and_no_connection() -> None:
    """A PLC under load answers after seconds: connecting anew would make it worse, for ever."""
    async with fickle_server(Node=1.0) as fickle:
        driver = fickle_driver(fickle.port, "Node", mode="poll", timeout=0.5)
        async with driver:
            fickle.slow = 1.0
            for _ in range(2 + int(3 * KEEP_ALIVE / 0.5)):
                with pytest.raises(ReadFailed, match="no answer") as caught:
                    await driver.read(driver.groups[0])
                assert caught.value.fault.reason is Reason.NO_RESPONSE
            fickle.slow = 0.0
            async with asyncio.timeout(SECONDS):
                while True:
                    try:
                        assert named(await driver.read(driver.groups[0])) == {"Node": 1.0}
                        break
                    except ReadFailed:
                        continue
            assert fickle.asked["CreateSession"] == 1


async def test_silence_is_noticed_where_everything_is_polled() -> None:
    """There are no keep-alives of a subscription then: the server is asked."""
    async with (
        fickle_server(Node=1.0) as fickle,
        Proxy(fickle.port) as proxy,
        fickle_driver(proxy.port, "Node", mode="poll", timeout=0.5) as driver,
    ):
        await driver.read(driver.groups[0])
        proxy.drop()
        async with asyncio.timeout(SECONDS):
            with pytest.raises(NotConnected, match="no sign of life"):
                await read_until_lost(driver)
        await proxy.heal()
        await connect(driver)
        assert named(await driver.read(driver.groups[0])) == {"Node": 1.0}


async def test_a_session_that_is_seldom_asked_is_kept_alive() -> None:
    """An hourly energy counter must not be a new session every hour; and its outage is known before it is due."""
    async with fickle_server(Node=1.0) as fickle, fickle_driver(fickle.port, "Node", mode="poll") as driver:
        await driver.read(driver.groups[0])
        await fickle.asked_for("Read", fickle.asked["Read"] + 3)
        assert named(await driver.read(driver.groups[0])) == {"Node": 1.0}
        assert driver.ahead is not None
        assert abs(driver.ahead) < SECONDS


# -- messages that get lost --


async def test_a_message_that_got_lost_is_asked_for_again() -> None:
    """And delivered before the one that showed that it was missing."""
    async with fickle_server(Node=0.0) as fickle, fickle_driver(fickle.port, "Node") as driver:
        await until_told(driver, "Node", 0.0)
        fickle.lose = 1
        await fickle.write("Node", 1.0)
        async with asyncio.timeout(SECONDS):
            await fickle.lost.wait()
        await fickle.write("Node", 2.0)
        scans = await until_told(driver, "Node", 2.0)
        assert [value for scan in scans for value in scan.values] == [1.0, 2.0]
        assert driver.counts()["republished"] == 1
        assert driver.counts()["lost_messages"] == 0


async def test_the_last_message_that_got_lost_is_found_by_the_keep_alive() -> None:
    """Else the value before would stand until the next change, which may be tomorrow."""
    async with fickle_server(Node=0.0) as fickle, fickle_driver(fickle.port, "Node") as driver:
        await until_told(driver, "Node", 0.0)
        fickle.lose = 1
        await fickle.write("Node", 1.0)
        await until_told(driver, "Node", 1.0)
        assert driver.counts()["republished"] == 1


async def test_what_a_lost_message_was_about_is_read() -> None:
    """It is counted as lost; and no old value is left standing for the present one."""
    async with fickle_server(Node=0.0, Other=5.0) as fickle, fickle_driver(fickle.port, "Node", "Other") as driver:
        await taken(driver)
        fickle.lose, fickle.forget = 1, True
        await fickle.write("Node", 1.0, SourceTimestamp=ua.DateTime.now())
        scans = await until_told(driver, "Node", 1.0)
        assert driver.counts()["lost_messages"] == 1
        assert all("Other" not in named(scan) for scan in scans), "what has not changed is not told again"


async def test_a_full_queue_is_counted_as_a_loss(opcua: NodeOpcUa) -> None:
    """The server says so with the value that was kept."""
    connection = OpcUaConnection.from_url(opcua.url, {"security": "none", "namespace": MACHINE})
    source = OpcUaSource.model_validate({"node": "s=Counter", "sampling": 0.1, "queue": 2})
    group = Group("machine", connection, ("counter",), (source,), 2.0, pushed=True)
    async with OpcUaDriver(connection, [group], Clock()) as driver:
        async with asyncio.timeout(SECONDS):
            while not driver.counts()["overflows"]:
                assert (await driver.receive()).faults == {}, "what was kept is as good as ever"


# -- nodes that come and go --


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_that_appears_later_is_picked_up(mode: str) -> None:
    """A PLC program that is loaded in the afternoon, and nobody restarts the gateway for it."""
    async with fickle_server(Node=1.0) as fickle, fickle_driver(fickle.port, "Node", "Late", mode=mode) as driver:
        values, wrong = await taken(driver)
        assert values == {"Node": 1.0, "Late": None}
        assert wrong["Late"].reason is Reason.NOT_FOUND
        await fickle.add("Late", 7.5)
        async with asyncio.timeout(SECONDS):
            while values["Late"] is None:
                scan = await (driver.receive() if mode == "subscribe" else driver.read(driver.groups[0]))
                values |= named(scan)
        assert values == {"Node": 1.0, "Late": 7.5}


async def test_a_node_that_goes_and_comes_back_is_monitored_again(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A server does not take its item up again by itself."""
    name = f"{opcua_node}.gone"
    opcua.add(name, 1, "Double")
    connection = OpcUaConnection.from_url(
        opcua.url, {"security": "none", "namespace": MACHINE, "keep_alive": KEEP_ALIVE, "retry_missing": 1.0}
    )
    source = OpcUaSource.model_validate({"node": f"s={name}"})
    group = Group("machine", connection, ("node",), (source,), 0.1, pushed=True)
    async with OpcUaDriver(connection, [group], Clock()) as driver:
        await until_told(driver, "node", 1.0)
        opcua.delete(name)
        [scan] = (await until_told(driver, "node", None))[-1:]
        assert faults(scan)["node"].reason is Reason.NOT_FOUND
        opcua.add(name, 2, "Double")
        await until_told(driver, "node", 2.0)
    opcua.delete(name)


async def test_an_endpoint_that_answers_with_something_else_is_not_connected() -> None:
    """Another server has taken the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(SECONDS):
            with pytest.raises(NotConnected):
                await fickle_driver(port, "Node").connect()
