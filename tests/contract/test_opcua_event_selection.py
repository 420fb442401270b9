"""Events of asyncua: without room on the server, of vendors' types with fields of their own, and of some severity."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asyncua import Server, ua
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_reader import SECONDS
from processes import LOOPBACK

from drivers.base import Group, Reason
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import NO_EVENTS
from gateway.common.clock import Clock


def driver_of(fickle: Fickle, *points: dict[str, Any]) -> OpcUaDriver:
    """Return a driver of event points, each of the server object unless its keys say otherwise."""
    options = {"security": "none", "namespace": URI, "keep_alive": 1.0, "retry_missing": 1.0}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", options)
    sources = tuple(OpcUaSource.model_validate({"node": "ns=0;i=2253", "mode": "events"} | keys) for keys in points)
    names = tuple(f"events_{i}" for i in range(len(points)))
    return OpcUaDriver(
        connection, [Group("machine", connection, names, sources, 0.1, pushed=True, events=True)], Clock()
    )


async def next_event(driver: OpcUaDriver) -> tuple[str, dict[str, Any]]:
    """Return the next event with the name of its point."""
    async with asyncio.timeout(SECONDS):
        while True:
            scan = await driver.receive()
            if scan.values != [None]:
                [position] = scan.points or [0]
                return scan.group.names[position], json.loads(str(scan.values[0]))


async def batch_type(server: Server) -> Any:
    """Add the event type of a vendor."""
    fields = [("BatchId", ua.VariantType.UInt32), ("Operator", ua.VariantType.String)]
    return await server.create_custom_event_type(2, "BatchEndType", ua.ObjectIds.BaseEventType, fields)


async def send(server: Server, message: str, severity: int, type_: Any = None, **fields: Any) -> None:
    generator = await server.get_event_generator(
        ua.ObjectIds.BaseEventType if type_ is None else type_, ua.ObjectIds.Server
    )
    generator.event.Severity = severity
    for name, value in fields.items():
        setattr(generator.event, name, value)
    await generator.trigger(message=message)


async def test_events_without_room_are_bad_and_reported_until_there_is_room() -> None:
    """Values are polled then; events can't be, and a person who waits for an alarm must know."""
    async with fickle_server() as fickle:
        fickle.items = 1
        async with driver_of(fickle, {}, {"severity": 2}) as driver:
            async with asyncio.timeout(SECONDS):
                scan = await driver.receive()
            assert (scan.points, scan.values) == ([1], [None])
            assert scan.faults[0].code.endswith("BadTooManyMonitoredItems")
            assert {(one.points, one.text) for one in driver.warnings()} == {(("events_1",), NO_EVENTS)}
            assert driver.counts()["events_refused"] == 1
            await send(fickle.server, "first", 500)
            name, event = await next_event(driver)
            assert (name, event["message"]) == ("events_0", "first")
            fickle.items = 2
            names = set()
            async with asyncio.timeout(SECONDS):
                while names != {"events_0", "events_1"}:
                    await send(fickle.server, "second", 500)
                    name, event = await next_event(driver)
                    if event["message"] == "second":
                        names.add(name)


async def test_a_server_without_any_subscription_has_no_events() -> None:
    """It must not cost the connection, over which other points are polled."""
    async with fickle_server() as fickle:
        fickle.refuse["CreateSubscription"] = ua.StatusCodes.BadServiceUnsupported
        async with driver_of(fickle, {}) as driver, asyncio.timeout(SECONDS):
            scan = await driver.receive()
            assert scan.faults[0].reason is Reason.OTHER
            assert scan.values == [None]


async def test_events_get_a_subscription_more_where_one_is_full() -> None:
    """As the values of points do."""
    async with fickle_server() as fickle:
        fickle.items_each = 1
        async with driver_of(fickle, {}, {"severity": 2}) as driver:
            await send(fickle.server, "both", 500)
            assert {(await next_event(driver))[0] for _ in range(2)} == {"events_0", "events_1"}
            assert fickle.counts() == (1, 2)


async def test_the_fields_of_a_vendors_type_are_read() -> None:
    """The batch that ended is in a field that only this vendor has."""
    async with fickle_server() as fickle:
        type_ = await batch_type(fickle.server)
        async with driver_of(fickle, {"event_fields": ["BatchId", "Operator", "{urn:nowhere}Shift"]}) as driver:
            await send(fickle.server, "end of batch", 500, type_, BatchId=4711, Operator="Li")
            _, event = await next_event(driver)
            assert event["type"] == "BatchEndType"
            assert event["fields"] == {"BatchId": 4711, "Operator": "Li"}
            await send(fickle.server, "door open", 500)
            _, event = await next_event(driver)
            assert event["fields"] == {"BatchId": None, "Operator": None}


async def test_events_are_selected_by_type_and_severity() -> None:
    """A machine sends thousands of remarks, and ten events that matter."""
    async with fickle_server() as fickle:
        type_ = await batch_type(fickle.server)
        node = type_.nodeid
        keys = {"event_types": f"ns={node.NamespaceIndex};i={node.Identifier}", "severity": 300}
        async with driver_of(fickle, keys) as driver:
            await send(fickle.server, "remark", 900)
            await send(fickle.server, "small batch", 299, type_)
            await send(fickle.server, "large batch", 300, type_)
            _, event = await next_event(driver)
            assert event["message"] == "large batch"


async def test_a_type_of_a_namespace_that_is_not_there_is_not_found() -> None:
    """All events would come otherwise, or none, without an error."""
    async with fickle_server() as fickle, asyncio.timeout(SECONDS):
        async with driver_of(fickle, {"event_types": "nsu=urn:nowhere;i=5"}) as driver:
            scan = await driver.receive()
        assert scan.faults[0].reason is Reason.NOT_FOUND
