"""Every value that OPC UA has becomes a reading, or says why it can't be one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, SCALARS, NodeOpcUa
from opcua_reader import SECONDS, faults, named

from drivers.base import Group, Reason
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from drivers.base import Driver, Fault

AS_TEXT = {
    "DateTime": "2026-01-02T03:04:05.678000Z",
    "Guid": "72962b91-fa75-4ae6-8d28-b404dc7daf63",
    "ByteString": "00ff10",
    "XmlElement": "<a>1</a>",
    "NodeId": "ns=1;s=Machine",
    "StatusCode": "BadOutOfService",
    "QualifiedName": "Drum",
    "LocalizedText": "Trommel",
}
"""Scalars that have a text by which people know them."""


def driver_of(
    opcua: NodeOpcUa, points: dict[str, dict[str, Any]], mode: str = "subscribe", **options: Any
) -> OpcUaDriver:
    """Return a driver of points by name and source: a group of pushed points, and a group of polled points."""
    given = {"security": "none", "namespace": MACHINE, "keep_alive": 1.0} | options
    connection = OpcUaConnection.from_url(opcua.url, given)
    sources = {name: OpcUaSource.model_validate({"mode": mode} | source) for name, source in points.items()}
    groups = []
    for pushed in (True, False):
        chosen = {name: source for name, source in sources.items() if source.pushed is pushed}
        if chosen:
            groups.append(Group("machine", connection, tuple(chosen), tuple(chosen.values()), 0.1, pushed=pushed))
    return OpcUaDriver(connection, groups, Clock())


async def taken(driver: Driver) -> tuple[dict[str, Any], dict[str, Fault]]:
    """Return value and fault of every point, as soon as each has come once."""
    values: dict[str, Any] = {}
    wrong: dict[str, Fault] = {}
    async with asyncio.timeout(SECONDS):
        for group in driver.groups:
            while not set(group.names) <= values.keys():
                scan = await (driver.receive() if group.pushed else driver.read(group))
                values |= named(scan)
                wrong |= faults(scan)
    return values, wrong


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_all_built_in_scalars_are_readings(opcua: NodeOpcUa, mode: str) -> None:
    """Numbers as they are, and other types as their text."""
    expected = SCALARS | AS_TEXT
    async with driver_of(opcua, {kind: {"node": f"s=Scalar.{kind}"} for kind in expected}, mode) as driver:
        values, wrong = await taken(driver)
    assert values == expected
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in expected.items()
    }
    assert wrong == {}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_elements_of_arrays_are_points(opcua: NodeOpcUa, mode: str) -> None:
    """Of numbers, texts and truth values; one that the array does not have is not found."""
    points = {
        "first": {"node": "s=Array.Double", "element": 0},
        "last": {"node": "s=Array.Double", "element": 3},
        "beyond": {"node": "s=Array.Double", "element": 4},
        "text": {"node": "s=Array.String", "element": 2},
        "on": {"node": "s=Array.Boolean", "element": 1},
        "local": {"node": "s=Array.LocalizedText", "element": 1},
    }
    async with driver_of(opcua, points, mode) as driver:
        values, wrong = await taken(driver)
    assert values == {"first": 0.5, "last": 3.5, "beyond": None, "text": "c", "on": False, "local": "shut"}
    assert {name: fault.reason for name, fault in wrong.items()} == {"beyond": Reason.NOT_FOUND}
    assert wrong["beyond"].code == "the array has 4 elements"


async def test_elements_of_one_array_share_one_item(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A hundred elements must not send the whole array a hundred times."""
    name = f"{opcua_node}.array"
    opcua.add(name, [1, 2, 3], "Double")
    before = opcua.counts().items
    points = {f"p{i}": {"node": f"s={name}", "element": i} for i in range(3)} | {"own": {"node": f"s={opcua_node}"}}
    async with driver_of(opcua, points) as driver:
        await taken(driver)
        assert opcua.counts().items - before == 2
        opcua.set(name, [4, 5, 6])
        async with asyncio.timeout(SECONDS):
            assert named(await driver.receive()) == {"p0": 4.0, "p1": 5.0, "p2": 6.0}
    opcua.delete(name)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_fault_names_the_type_of_a_value_that_is_not_single(opcua: NodeOpcUa, mode: str) -> None:
    """With that, somebody can write the right point."""
    points = {
        "array": {"node": "s=Array.Double"},
        "matrix": {"node": "s=Matrix", "element": 0},
        "single": {"node": "s=Setpoint", "element": 0},
        "structure": {"node": "s=Recipe"},
    }
    async with driver_of(opcua, points, mode) as driver:
        values, wrong = await taken(driver)
    assert set(values.values()) == {None}
    assert {fault.reason for fault in wrong.values()} == {Reason.TYPE_MISMATCH}
    assert wrong["array"].code == "the server sent an array of Double"
    assert wrong["single"].code == "float is not an array"


async def test_enumerations_are_their_numbers(opcua: NodeOpcUa) -> None:
    """Names are the template's, or what the server says beside them."""
    points = {"state": {"node": "s=State"}, "mode": {"node": "s=Mode"}}
    async with driver_of(opcua, points) as driver:
        assert await taken(driver) == ({"state": 1, "mode": 20}, {})


# -- whose time counts --

SOURCE = 1_764_000_000_123_456


@pytest.mark.parametrize("on", ["point", "connection"])
@pytest.mark.parametrize("clock", ["source", "server", "gateway"])
async def test_the_clock_that_counts_is_chosen(opcua: NodeOpcUa, opcua_node: str, clock: str, on: str) -> None:
    """A machine whose own clock is wrong is stamped by its server, or here."""
    opcua.set(opcua_node, 60, time=SOURCE)
    source = {"node": f"s={opcua_node}"} | ({"time": clock} if on == "point" else {})
    before = Clock()()
    async with driver_of(opcua, {"p": source}, **({"time": clock} if on == "connection" else {})) as driver:
        async with asyncio.timeout(SECONDS):
            scan = await driver.receive()
    assert scan.times is not None
    if clock == "source":
        assert scan.times == [SOURCE]
    elif clock == "gateway":
        assert scan.times == [scan.time]
    else:
        assert scan.times[0] not in {SOURCE, scan.time}
        assert scan.times[0] >= before - 60_000_000


async def test_a_polled_value_has_the_time_of_the_poll_unless_configured_otherwise(
    opcua: NodeOpcUa, opcua_node: str
) -> None:
    """Its source time says when it changed: with that time, an hour of polls would be one reading."""
    opcua.set(opcua_node, 60, time=SOURCE)
    async with driver_of(opcua, {"p": {"node": f"s={opcua_node}"}}, "poll") as driver:
        first, second = await driver.read(driver.groups[0]), await driver.read(driver.groups[0])
    assert first.times is None
    assert first.time > SOURCE
    assert second.time > first.time


async def test_a_polled_value_of_the_same_source_time_is_not_a_new_reading(opcua: NodeOpcUa, opcua_node: str) -> None:
    """Where the source's time was asked for."""
    opcua.set(opcua_node, 60, time=SOURCE)
    async with driver_of(opcua, {"p": {"node": f"s={opcua_node}", "time": "source"}}, "poll") as driver:
        [group] = driver.groups
        first, second = await driver.read(group), await driver.read(group)
        assert (first.values, first.times) == ([60.0], [SOURCE])
        assert second.values == []
        opcua.set(opcua_node, 60, time=SOURCE + 1)
        third = await driver.read(group)
        assert (third.values, third.times) == ([60.0], [SOURCE + 1])
        opcua.set(opcua_node, status="BadSensorFailure", time=SOURCE + 1)
        fourth = await driver.read(group)
        assert faults(fourth)["p"].reason is Reason.DEVICE_FAULT
        opcua.set(opcua_node, 60, time=SOURCE + 1)
        fifth = await driver.read(group)
        assert fifth.values == [60.0]
        assert driver.clock_offset is not None
        now = fifth.time + round(driver.clock_offset * 1_000_000)
        assert fifth.times == [now], "it was bad meanwhile: it is good again from now on, by the clock that counts"


async def test_a_change_while_the_connection_was_lost_is_polled_with_the_present_time(
    opcua: NodeOpcUa, opcua_node: str
) -> None:
    """Its points were reported as bad meanwhile: the value can't have a time before the end of that."""
    opcua.set(opcua_node, 60, time=SOURCE)
    async with driver_of(opcua, {"p": {"node": f"s={opcua_node}", "time": "source"}}, "poll") as driver:
        [group] = driver.groups
        assert (await driver.read(group)).times == [SOURCE]
        opcua.set(opcua_node, 61, time=SOURCE + 1)
        before = driver.clock()
        await driver.connect()
        again = await driver.read(group)
        assert again.values == [61.0]
        assert again.times is not None
        assert again.times[0] > before - 1_000_000, "by the server's clock, which is this machine's"
        later = again.times[0] + 1_000_000  # than the moment of the connection, however it was estimated
        opcua.set(opcua_node, 62, time=later)
        assert (await driver.read(group)).times == [later]


# -- where points are --


async def test_a_point_is_found_by_its_path(opcua: NodeOpcUa) -> None:
    """Names stay where numbers change: with the connection's namespace, another's URI or index, or the standard's."""
    points = {
        "own": {"node": "/Machine/Setpoint"},
        "uri": {"node": f"/{{{MACHINE}}}Machine/{{{MACHINE}}}Setpoint"},
        "standard": {"node": "/0:Server/0:ServerStatus/0:State"},
        "gone": {"node": "/Machine/Nothing"},
        "strange": {"node": "/{urn:nowhere}Machine/Setpoint"},
    }
    for mode in ("subscribe", "poll"):
        async with driver_of(opcua, points, mode) as driver:
            values, wrong = await taken(driver)
        assert values == {"own": 50.0, "uri": 50.0, "standard": 0, "gone": None, "strange": None}
        assert {name: fault.reason for name, fault in wrong.items()} == {
            "gone": Reason.NOT_FOUND,
            "strange": Reason.NOT_FOUND,
        }
        assert wrong["gone"].code == "/Machine/Nothing: BadNoMatch"
        assert "urn:nowhere" in wrong["strange"].code


async def test_one_machine_is_subscribed_to_and_polled(opcua: NodeOpcUa, opcua_node: str) -> None:
    """Over one session: points that change rarely are pushed, points that always change are sampled here."""
    before = opcua.counts().sessions
    points = {"pushed": {"node": f"s={opcua_node}"}, "polled": {"node": "s=Setpoint", "mode": "poll"}}
    async with driver_of(opcua, points) as driver:
        assert (await taken(driver))[0] == {"pushed": 50.0, "polled": 50.0}
        assert opcua.counts().sessions - before == 1
