"""Two redundant asyncua servers, and a driver that uses the better by their service levels (Part 4, 6.6.2.4)."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from asyncua import ua
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_reader import SECONDS, connect, lost, named
from processes import LOOPBACK, free_port

from drivers.base import Driver, Group, NotConnected
from drivers.opcua.connection import redundancy
from drivers.opcua.connection.redundancy import is_better
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock


def driver_of(fickle: Fickle, backup: int, mode: str = "subscribe", timeout: float = 4.0) -> Driver:
    options = {
        "security": "none",
        "namespace": URI,
        "keep_alive": 1.0,
        "timeout": timeout,
        "backup": [f"{LOOPBACK}:{backup}"],
    }
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", options)
    source = OpcUaSource.model_validate({"node": "s=Speed", "mode": mode})
    group = Group("machine", connection, ("Speed",), (source,), 0.1, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def set_level(fickle: Fickle, level: int) -> None:
    node = fickle.server.get_node(ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServiceLevel)))
    await node.write_value(ua.Variant(level, ua.VariantType.Byte))


async def speed(driver: Driver) -> Any:
    [group] = driver.groups
    async with asyncio.timeout(SECONDS):
        return named(await (driver.receive() if group.pushed else driver.read(group)))["Speed"]


@pytest.fixture(autouse=True)
def _fast() -> Any:
    with patch.object(redundancy, "LOOK_EVERY", 0.1), patch.object(redundancy, "OTHERS_EVERY", 0.2):
        yield


@pytest.mark.parametrize("level", [0, 1, 150])
async def test_a_server_that_is_no_longer_healthy_is_left_for_a_healthy_server(level: int) -> None:
    """It still answers, with the values of a controller that it no longer reaches."""
    async with fickle_server(Speed=1.0) as first, fickle_server(Speed=2.0) as second:
        driver = driver_of(first, second.port)
        await connect(driver)
        assert await speed(driver) == 1.0
        await set_level(first, level)
        async with asyncio.timeout(SECONDS):
            with pytest.raises(NotConnected, match=f"service level is {level}, and that of .* is 255"):
                await receive_all(driver)
        await connect(driver)
        assert await speed(driver) == 2.0
        assert driver.counts()["failovers"] == 1
        # both are alike now, and no reason to go back
        await set_level(first, 255)
        await set_level(second, 100)
        assert await stays(driver)
        await driver.close()
        assert first.counts() == (0, 0)


async def receive_all(driver: Driver) -> None:
    """Receive until an error."""
    while True:
        await driver.receive()


async def poll_all(driver: Driver) -> None:
    """Poll until an error."""
    while True:
        await speed(driver)
        await asyncio.sleep(0.02)


async def stays(driver: Driver, seconds: float = 1.0) -> bool:
    """Return whether a driver keeps its connection for a while."""
    try:
        async with asyncio.timeout(seconds):
            await receive_all(driver)
    except TimeoutError:
        return True
    except NotConnected:
        return False


@pytest.mark.parametrize("backup_level", [None, 120, 100])
async def test_a_degraded_server_stays_where_no_other_is_clearly_better(backup_level: int | None) -> None:
    """Two degraded servers would take turns otherwise; and a server that is away is not a choice."""
    async with fickle_server(Speed=1.0) as first, fickle_server(Speed=2.0) as second:
        await set_level(first, 100)
        if backup_level is not None:
            await set_level(second, backup_level)
        driver = driver_of(first, free_port() if backup_level is None else second.port)
        await connect(driver)
        assert await stays(driver)
        await driver.close()


async def test_a_server_that_is_slow_once_is_still_watched() -> None:
    """One response that comes too late says nothing of its service level."""
    async with fickle_server(Speed=1.0) as first, fickle_server(Speed=2.0) as second:
        driver = driver_of(first, second.port, timeout=1.0)
        await connect(driver)
        second.slow = 1.5  # it answers for both: the last that began
        await second.asked_for("Read", second.asked["Read"] + 2)
        assert await stays(driver)
        second.slow = 0.0
        await set_level(first, 0)
        await lost(driver)
        await connect(driver)
        assert await speed(driver) == 2.0
        await driver.close()


async def test_a_polled_machine_changes_too() -> None:
    """It has no subscription that could report anything."""
    async with fickle_server(Speed=1.0) as first, fickle_server(Speed=2.0) as second:
        driver = driver_of(first, second.port, "poll")
        await connect(driver)
        assert await speed(driver) == 1.0
        await set_level(first, 0)
        with pytest.raises(NotConnected):
            await poll_all(driver)
        await connect(driver)
        assert await speed(driver) == 2.0
        await driver.close()


async def test_an_outage_is_still_an_outage() -> None:
    """The address that answers is used, whatever the level."""
    async with fickle_server(Speed=2.0) as second:
        await set_level(second, 50)
        async with fickle_server(Speed=1.0) as first:
            driver = driver_of(first, second.port)
            await connect(driver)
        await lost(driver)
        await connect(driver)
        assert await speed(driver) == 2.0
        await driver.close()


@pytest.mark.parametrize(
    ("other", "present", "better"),
    [(255, 200, False), (200, 199, True), (199, 150, False), (200, 2, True), (52, 2, True), (2, 1, True),
     (1, 0, True), (0, 0, False), (1, 1, False), (40, 2, False)],
)  # fmt: skip
def test_only_a_clearly_better_server_is_worth_a_change(other: int, present: int, *, better: bool) -> None:
    """A healthy server is never left; degraded servers differ by steps of which none means anything."""
    assert is_better(other, present) is better
