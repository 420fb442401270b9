"""What node-opcua grants of a subscription, and what becomes of points that it grants less."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, START, named, received

from drivers.base import Group
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import SLOWER
from gateway.common.clock import Clock


def driver_of(
    peer: NodeOpcUa, *nodes: str, every: float = 0.1, repeats: float = 0.0, events: bool = False, **keys: Any
) -> OpcUaDriver:
    connection = OpcUaConnection.from_url(peer.url, {"security": "none", "namespace": MACHINE, "keep_alive": 5.0})
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}"} | keys) for node in nodes)
    again = (repeats,) * len(nodes) if repeats else ()
    group = Group("machine", connection, nodes, sources, every, pushed=True, repeats=again, events=events)
    return OpcUaDriver(connection, [group], Clock())


async def all_received(driver: OpcUaDriver, nodes: list[str]) -> None:
    values: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while values.keys() != set(nodes):
            values |= named(await driver.receive())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """A server with room for four items in a subscription, and for ten in all."""
    limits = {"maxMonitoredItemsPerSubscription": 4, "maxMonitoredItems": 10}
    server = NodeOpcUa(tmp_path_factory.mktemp("small"), scope="module", bulk=18, capabilities=limits)
    server.up_and_wait()
    return server


async def test_a_full_subscription_is_followed_by_another(small: NodeOpcUa) -> None:
    """Many PLCs limit the items of a subscription, and not those of a session."""
    peer = small
    await peer.has(sessions=0, subscriptions=0, items=0)
    nodes = [f"Bulk.{i}" for i in range(10)]
    async with driver_of(peer, *nodes) as driver:
        await all_received(driver, nodes)
        assert driver.counts()["polled_instead"] == 0
        assert peer.counts()[:3] == (1, 3, 10)


async def test_where_the_session_is_full_the_rest_is_polled(small: NodeOpcUa) -> None:
    """And no empty subscription is left."""
    peer = small
    await peer.has(sessions=0, subscriptions=0, items=0)
    nodes = [f"Bulk.{i}" for i in range(18)]
    async with driver_of(peer, *nodes) as driver:
        await all_received(driver, nodes)
        assert driver.counts()["polled_instead"] == 8
        assert peer.counts()[:3] == (1, 3, 10)


async def test_a_shorter_queue_and_a_longer_interval_are_reported(opcua: NodeOpcUa) -> None:
    """node-opcua samples a variable no more often than that says, and has a queue of its own size."""
    async with driver_of(opcua, "Setpoint", sampling="1ms", queue=10_000) as driver:
        await all_received(driver, ["Setpoint"])
        texts = {warning.text for warning in driver.warnings()}
        assert any(text.startswith(SLOWER.split("{")[0]) for text in texts), texts
        [described] = await driver.describe(driver.groups[0])
        assert described.revised["sampling"] > 0.001


async def test_a_weighing_that_repeats_the_value_is_a_new_reading(opcua_alone: NodeOpcUa) -> None:
    """Two tyres of one weight are two tyres."""
    peer, now = opcua_alone, time.time_ns() // 1_000_000 * 1000
    async with driver_of(peer, "Setpoint", trigger="timestamp") as driver:
        await received(driver, "Setpoint", START)
        times = []
        for i in range(3):
            peer.set("Setpoint", 9.5, time=now + i * 1000)
            times += (await received(driver, "Setpoint", 9.5)).times or []
        assert times == [now, now + 1000, now + 2000]


async def test_a_stable_value_is_sent_again_by_the_keep_alives(opcua_alone: NodeOpcUa) -> None:
    """The server sends one after each interval without a change, and the value is known to be the same."""
    async with driver_of(opcua_alone, "Setpoint", repeats=1.0) as driver:
        await received(driver, "Setpoint", START)
        times = []
        for _ in range(4):
            times += (await received(driver, "Setpoint", START)).times or []
        assert all(600_000 < later - earlier < 1_400_000 for earlier, later in pairwise(times)), times


async def test_a_first_value_does_not_wait_for_a_long_interval(opcua: NodeOpcUa) -> None:
    """And comes once."""
    began = time.monotonic()
    async with driver_of(opcua, "Setpoint", every=4.0) as driver:
        async with asyncio.timeout(3.5):
            await driver.receive()
        assert time.monotonic() - began < 3.5
        try:
            async with asyncio.timeout(5.0):
                assert "Setpoint" not in named(await driver.receive())
        except TimeoutError:
            pass


async def test_an_alarm_is_reported_with_its_identity(opcua_alone: NodeOpcUa) -> None:
    """Its node and branch distinguish it from another alarm of the same names."""
    peer = opcua_alone
    async with driver_of(peer, "Machine", events=True, mode="events") as driver:
        peer.set("Level", 90.0)
        async with asyncio.timeout(SECONDS):
            alarm = json.loads(str((await driver.receive()).values[0]))
        assert alarm["condition"] == "LevelAlarm"
        assert alarm["condition_id"].endswith("s=LevelAlarm")
        assert alarm["source_node"].endswith("s=Level")
        assert (alarm["branch_id"], alarm["retain"]) == (None, True)


async def test_events_are_selected_by_severity(opcua_alone: NodeOpcUa) -> None:
    """By the server: node-opcua evaluates conditions as the standard says."""
    peer = opcua_alone
    async with driver_of(
        peer, "Machine", events=True, mode="events", severity=500, event_types="ns=0;i=2041"
    ) as driver:
        peer.event("remark", severity=499)
        peer.event("trouble", severity=500)
        async with asyncio.timeout(SECONDS):
            assert json.loads(str((await driver.receive()).values[0]))["message"] == "trouble"
