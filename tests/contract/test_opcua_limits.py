"""An OPC UA server with too little room, with limits, or with abilities missing: everything is read all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, faults, named
from processes import LOOPBACK

from drivers.base import DeviceWarning, Group, NotConnected, ReadFailed, Reason
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import NO_DEADBAND, NO_ITEM, NO_PERCENT
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drivers.base import Driver

NODES = {f"Node{i}": float(i) for i in range(10)}
TOO_MANY = ua.StatusCodes.BadTooManyOperations


def driver_of(
    fickle: Fickle, *nodes: str, mode: str = "subscribe", deadband: float = 0.0, **options: Any
) -> OpcUaDriver:
    """Return a driver of one group, on nodes of a fickle server."""
    given = {"security": "none", "namespace": URI, "keep_alive": 1.0, "retry_missing": 1.0} | options
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", given)
    sources = tuple(
        OpcUaSource.model_validate({"node": node if node.startswith("/") else f"s={node}", "mode": mode})
        for node in nodes
    )
    dead = (deadband,) * len(nodes) if deadband else ()
    group = Group("machine", connection, nodes, sources, 0.1, pushed=mode == "subscribe", deadbands=dead)
    return OpcUaDriver(connection, [group], Clock())


async def taken(driver: Driver, **wanted: object) -> dict[str, Any]:
    """Return the newest values as soon as they are as wanted; without wanted values, as soon as all have come."""
    [group] = driver.groups
    values: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while not (wanted.items() <= values.items() if wanted else values.keys() == set(group.names)):
            values |= named(await (driver.receive() if group.pushed else driver.read(group)))
    return values


def at_most(size: int, where: int) -> Callable[[bytes], int | None]:
    """Return what refuses requests whose number of operations, at a place of their parameters, is larger."""
    return lambda body: TOO_MANY if int.from_bytes(body[where : where + 4], "little") > size else None


# -- requests too large --


async def test_requests_keep_within_the_limits_of_the_server(tmp_path: Path) -> None:
    """It closes the session of a client that does not, or does worse."""
    limits = {"maxNodesPerRead": 30, "maxMonitoredItemsPerCall": 7, "maxNodesPerTranslateBrowsePathsToNodeIds": 3}
    peer = await NodeOpcUa.start(tmp_path, bulk=50, limits=limits)
    connection = OpcUaConnection.from_url(peer.url, {"security": "none", "namespace": MACHINE})
    names = [f"Bulk.{i}" for i in range(50)]
    nodes = [f"s={name}" if i % 2 else f"/Machine/{name}" for i, name in enumerate(names)]
    for mode, items in ("poll", 0), ("subscribe", 7):
        sources = tuple(OpcUaSource.model_validate({"node": node, "mode": mode}) for node in nodes)
        group = Group("machine", connection, tuple(names), sources, 0.1, pushed=mode == "subscribe")
        async with OpcUaDriver(connection, [group], Clock()) as driver:
            assert await taken(driver) == {name: i for i, name in enumerate(names)}, mode
        assert peer.most("Read") <= 30
        assert peer.most("TranslateBrowsePathsToNodeIds") == 3
        assert peer.most("CreateMonitoredItems") == items


@pytest.mark.parametrize(
    ("mode", "service", "where"),
    [("poll", "Read", 12), ("subscribe", "CreateMonitoredItems", 8), ("poll", "TranslateBrowsePathsToNodeIds", 0)],
)
async def test_a_limit_that_is_not_published_is_found(mode: str, service: str, where: int) -> None:
    """Many servers have limits, and no node that says so."""
    async with fickle_server(**NODES) as fickle:
        fickle.refuse[service] = at_most(3, where)
        nodes = [f"/2:{node}" for node in NODES] if service.startswith("Translate") else list(NODES)
        async with driver_of(fickle, *nodes, mode=mode) as driver:
            assert list((await taken(driver)).values()) == list(NODES.values())
            asked = fickle.asked[service]
            if service == "Read":
                await taken(driver)
                assert fickle.asked[service] - asked <= 5, "the limit that was found is kept"


async def test_a_server_that_refuses_every_size_is_an_error_and_not_asked_without_end() -> None:
    """Halving ends at one."""
    async with fickle_server(**NODES) as fickle, driver_of(fickle, *NODES, mode="poll") as driver:
        await taken(driver)
        fickle.refuse["Read"] = TOO_MANY
        with pytest.raises(ReadFailed) as caught:
            await driver.read(driver.groups[0])
        assert caught.value.fault.reason is Reason.REFUSED
        assert caught.value.fault.code == "0x80100000 BadTooManyOperations"
        fickle.refuse.clear()
        assert await taken(driver) == NODES


# -- no room --


async def test_points_without_room_for_an_item_are_polled() -> None:
    """A small PLC has a hundred monitored items, and a thousand tags."""
    async with fickle_server(**NODES) as fickle:
        fickle.items = 4
        async with driver_of(fickle, *NODES) as driver:
            assert await taken(driver) == NODES
            assert driver.counts()["polled_instead"] == 6
            assert driver.warnings() == [DeviceWarning("machine", tuple(f"Node{i}" for i in range(4, 10)), NO_ITEM)]
            await fickle.write("Node9", 99.0)
            await fickle.write("Node0", 88.0)
            values = await taken(driver, Node9=99.0, Node0=88.0)
            assert NODES | values == NODES | {"Node9": 99.0, "Node0": 88.0}


@pytest.mark.parametrize("status", [ua.StatusCodes.BadServiceUnsupported, ua.StatusCodes.BadTooManySubscriptions])
async def test_a_server_without_subscriptions_is_polled(status: int) -> None:
    """Some have none at all, and some have given them all to others."""
    async with fickle_server(**NODES) as fickle:
        fickle.refuse["CreateSubscription"] = status
        async with driver_of(fickle, *NODES) as driver:
            assert await taken(driver) == NODES
            await fickle.write("Node3", 33.0)
            assert (await taken(driver, Node3=33.0))["Node3"] == 33.0
            assert driver.counts()["polled_instead"] == len(NODES)


async def test_a_point_that_is_polled_instead_fails_by_itself() -> None:
    """And is read again when the server answers again."""
    async with fickle_server(**NODES) as fickle:
        fickle.items = 9
        async with driver_of(fickle, *NODES) as driver:
            await taken(driver)
            fickle.refuse["Read"] = ua.StatusCodes.BadResourceUnavailable
            values = await taken(driver, Node9=None)
            assert values["Node9"] is None
            fickle.refuse.clear()
            await taken(driver, Node9=9.0)


async def test_a_deadband_that_is_refused_is_left_to_the_gateway() -> None:
    """Its own filter works in any case; changes that the server would have filtered cost bandwidth only."""
    async with fickle_server(**NODES) as fickle:
        fickle.filters = False
        async with driver_of(fickle, *NODES, deadband=0.5) as driver:
            assert await taken(driver) == NODES
            assert driver.counts()["deadbands_refused"] == len(NODES)
            assert driver.warnings() == [DeviceWarning("machine", tuple(NODES), NO_DEADBAND)]
            assert driver.warnings() == [], "once"
            await fickle.write("Node1", 1.1)
            assert (await taken(driver, Node1=1.1))["Node1"] == 1.1


async def test_a_server_does_not_send_changes_within_the_deadband(opcua: NodeOpcUa, opcua_node: str) -> None:
    """So that a noisy sensor costs nothing on the way."""
    connection = OpcUaConnection.from_url(opcua.url, {"security": "none", "namespace": MACHINE})
    source = OpcUaSource.model_validate({"node": f"s={opcua_node}"})
    group = Group("machine", connection, ("level",), (source,), 0.1, pushed=True, deadbands=(2.0,))
    async with OpcUaDriver(connection, [group], Clock()) as driver:
        assert driver.counts()["deadbands_refused"] == 0
        await taken(driver, level=50.0)
        opcua.set(opcua_node, 51)
        opcua.set(opcua_node, 55)
        async with asyncio.timeout(SECONDS):
            assert named(await driver.receive()) == {"level": 55.0}


async def test_a_deadband_in_percent_is_of_the_range_that_the_server_knows(opcua: NodeOpcUa, opcua_node: str) -> None:
    """Of 0 to 200 degrees one percent is two. A node without a range has no percentage: each change is sent."""
    connection = OpcUaConnection.from_url(opcua.url, {"security": "none", "namespace": MACHINE})
    ranged = opcua.add_ranged(f"{opcua_node}.ranged", 50, 0, 200)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}"}) for name in (ranged, opcua_node))
    group = Group("machine", connection, ("ranged", "plain"), sources, 0.1, pushed=True, percents=(1.0, 1.0))
    async with OpcUaDriver(connection, [group], Clock()) as driver:
        assert driver.counts()["deadbands_refused"] == 1
        assert driver.warnings() == [DeviceWarning("machine", ("plain",), NO_PERCENT)]
        await taken(driver, ranged=50.0, plain=50.0)
        opcua.set(ranged, 51.5)
        opcua.set(opcua_node, 50.1)
        assert await taken(driver, plain=50.1) == {"plain": 50.1}
        opcua.set(ranged, 52.5)
        assert await taken(driver, ranged=52.5) == {"ranged": 52.5}
    opcua.delete(ranged)


async def test_a_server_that_takes_few_publish_requests_gets_no_more() -> None:
    """It refuses the oldest; another request at once would go on without limit."""
    async with fickle_server(**NODES) as fickle:
        fickle.publishes = 1
        async with driver_of(fickle, "Node1", publishing=5) as driver:
            await taken(driver)
            refused = fickle.asked["Publish"]
            for value in (10.0, 20.0, 30.0):
                await fickle.write("Node1", value)
                await taken(driver, Node1=value)
            assert fickle.asked["Publish"] - refused < 20


# -- one part of it --


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_type_that_changes_at_run_time_is_its_points_fault(mode: str) -> None:
    """The driver returns values where it can, and else the sent type; the gateway judges by the declared type."""
    async with (
        fickle_server(Swinging=1.5, Steady=2.5) as fickle,
        driver_of(fickle, "Swinging", "Steady", mode=mode) as driver,
    ):
        await taken(driver)
        await fickle.server.get_node(fickle.node("Swinging")).write_attribute(
            ua.AttributeIds.DataType, ua.DataValue(ua.Variant(ua.NodeId(ua.ObjectIds.Double)))
        )
        await fickle.write("Swinging", ua.Variant([1.0, 2.0], ua.VariantType.Double))
        async with asyncio.timeout(SECONDS):
            while True:
                scan = await (driver.receive() if mode == "subscribe" else driver.read(driver.groups[0]))
                if "Swinging" in faults(scan):
                    break
        assert faults(scan)["Swinging"].reason is Reason.TYPE_MISMATCH
        assert faults(scan)["Swinging"].code == "the server sent an array of Double"
        assert "Steady" not in faults(scan)


async def test_a_message_larger_than_any_ends_the_connection_with_its_reason() -> None:
    """It would take the memory of all other machines."""
    patient = {"mode": "poll", "timeout": "60", "keep_alive": 60.0}  # the server encodes it for seconds
    async with fickle_server(Huge="small", Small=1.0) as fickle, driver_of(fickle, "Huge", **patient) as driver:
        await taken(driver)
        await fickle.write("Huge", "x" * 65_000_000)
        with pytest.raises(NotConnected, match="more than 8 MiB"):
            await driver.read(driver.groups[0])
        with pytest.raises(NotConnected):
            await driver.read(driver.groups[0])
