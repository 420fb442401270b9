"""What happens between a server's messages: some are lost, some come late, and nodes come and go meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, START, connect, faults, lost, named
from processes import LOOPBACK, free_port
from proxy import Proxy

from drivers.base import Group, NotConnected, ReadFailed, Reason
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from drivers.base import Scan


def driver_of(port: int, *nodes: str, mode: str = "subscribe", every: float = 0.1, **options: Any) -> OpcUaDriver:
    given = {"security": "none", "namespace": URI, "keep_alive": 1.0, "retry_missing": 1.0} | options
    queue = {} if mode == "poll" else {"queue": given.pop("queue", 10), "sampling": 0.0}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", given)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}", "mode": mode} | queue) for node in nodes)
    group = Group("machine", connection, nodes, sources, every, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def values_until(driver: OpcUaDriver, node: str, value: Any) -> list[Any]:
    """Receive until a node has a value; return all its values."""
    values: list[Any] = []
    async with asyncio.timeout(SECONDS):
        while value not in values:
            scan: Scan = await driver.receive()
            if node in named(scan):
                values.append(named(scan)[node])
    return values


async def write_and_lose(fickle: Fickle, node: str, value: float) -> None:
    """Let the message of a change vanish on its way."""
    fickle.lost.clear()
    fickle.lose = 1
    await fickle.write(node, value)
    async with asyncio.timeout(SECONDS):
        await fickle.lost.wait()


async def test_a_lost_message_is_requested_again_and_keeps_its_place() -> None:
    """The number of the next message shows that a message is missing (Part 4, 5.14.1.4)."""
    async with fickle_server(Speed=1.0) as fickle, driver_of(fickle.port, "Speed") as driver:
        await values_until(driver, "Speed", 1.0)
        await write_and_lose(fickle, "Speed", 2.0)
        await fickle.write("Speed", 3.0)
        assert await values_until(driver, "Speed", 3.0) == [2.0, 3.0]
        assert driver.counts()["republished"] == 1
        assert driver.counts()["lost_messages"] == 0


async def test_the_present_values_are_read_where_a_lost_message_can_not_be_repeated() -> None:
    """Otherwise the last reading would be an old value, for as long as nothing changes."""
    async with fickle_server(Speed=1.0, Torque=1.0) as fickle, driver_of(fickle.port, "Speed", "Torque") as driver:
        await values_until(driver, "Torque", 1.0)
        fickle.forget = True
        await write_and_lose(fickle, "Speed", 2.0)
        await fickle.write("Torque", 3.0)
        assert await values_until(driver, "Speed", 2.0) == [2.0]
        assert driver.counts()["lost_messages"] == 1
        assert driver.counts()["republished"] == 0


async def test_a_queue_that_is_too_short_is_counted_as_loss(opcua: NodeOpcUa, opcua_node: str) -> None:
    """The server reports it in the status of the values that it has kept."""
    options = {"namespace": MACHINE, "queue": 2, "every": 2.0}
    async with driver_of(opcua.port, opcua_node, **options) as driver:
        await values_until(driver, opcua_node, START)
        for value in range(1, 6):
            await asyncio.to_thread(opcua.set_and_sample, opcua_node, value)
        assert (await values_until(driver, opcua_node, 5.0))[-2:] == [4.0, 5.0]
        assert driver.counts()["overflows"] >= 1


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_that_appears_later_is_picked_up(mode: str) -> None:
    """A PLC loads its program after its server is up; nothing has to be restarted for that."""
    async with fickle_server(Speed=1.0) as fickle, driver_of(fickle.port, "Speed", "Late", mode=mode) as driver:
        [group] = driver.groups
        values: dict[str, Any] = {}
        wrong: dict[str, Any] = {}
        async with asyncio.timeout(SECONDS):
            while values.get("Late") != 5.0:
                scan = await (driver.receive() if mode == "subscribe" else driver.read(group))
                values |= named(scan)
                wrong |= faults(scan)
                if "Late" in wrong and len(values) == 2 and not fickle.asked["added"]:
                    assert wrong["Late"].reason is Reason.NOT_FOUND
                    fickle.asked["added"] += 1
                    await fickle.add("Late", 5.0)
                await asyncio.sleep(0)
        assert values == {"Speed": 1.0, "Late": 5.0}


async def test_a_slow_server_costs_that_scan_and_keeps_its_session() -> None:
    """Its network card, or its program, has other things to do: connecting again would be more of them."""
    async with (
        fickle_server(Speed=1.0) as fickle,
        driver_of(fickle.port, "Speed", mode="poll", timeout=1.0) as driver,
    ):
        [group] = driver.groups
        assert (await driver.read(group)).values == [1.0]
        fickle.slow = 1.5
        with pytest.raises(ReadFailed, match="no answer within 1 s") as caught:
            await driver.read(group)
        assert caught.value.fault.reason is Reason.NO_RESPONSE
        fickle.slow = 0.0
        assert (await driver.read(group)).values == [1.0]
        assert fickle.asked["CreateSession"] == 1


async def test_a_redundant_server_is_gone_to_when_the_first_does_not_answer() -> None:
    """And stayed with: going back would cost another outage."""
    async with fickle_server(Speed=1.0) as first, fickle_server(Speed=2.0) as second, Proxy(first.port) as proxy:
        backup = [f"{LOOPBACK}:{second.port}"]
        async with driver_of(proxy.port, "Speed", backup=backup, timeout=2.0) as driver:
            await values_until(driver, "Speed", 1.0)
            await proxy.cut()
            await lost(driver)
            await connect(driver)
            assert await values_until(driver, "Speed", 2.0) == [2.0]
            assert driver.counts()["failovers"] == 1
            await proxy.heal()
            await driver.connect()
            await values_until(driver, "Speed", 2.0)
            assert driver.counts()["failovers"] == 1
        nowhere = driver_of(free_port(), "Speed", backup=[f"{LOOPBACK}:{free_port()}"])
        with pytest.raises(NotConnected):
            await nowhere.connect()


async def test_a_server_that_ends_a_subscription_is_connected_to_again() -> None:
    """It says so once, in a message: from then on there would be silence."""
    async with fickle_server(Speed=1.0) as fickle, driver_of(fickle.port, "Speed") as driver:
        await values_until(driver, "Speed", 1.0)
        fickle.refuse["Publish"] = ua.StatusCodes.BadNoSubscription
        await lost(driver)
        fickle.refuse.clear()
        await connect(driver)
        await values_until(driver, "Speed", 1.0)
