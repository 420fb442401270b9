"""The OPC UA driver against a server that is not asyncua: the values that it reads."""

from __future__ import annotations

import uuid

import pytest
from opcua_peer import SCALARS, NodeOpcUa
from opcua_reader import START, driver_of, faults, received, taken

from drivers.base import Quality, Reason


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_every_scalar_type_arrives_as_the_server_holds_it(opcua: NodeOpcUa, mode: str) -> None:
    """The limits of every type, too: encoders differ there."""
    async with driver_of(opcua.port, *(f"Scalar.{kind}" for kind in SCALARS), mode=mode) as driver:
        values, wrong = await taken(driver)
    assert values == {f"Scalar.{kind}": value for kind, value in SCALARS.items()}
    assert {name: type(value) for name, value in values.items()} == {
        f"Scalar.{kind}": type(value) for kind, value in SCALARS.items()
    }
    assert wrong == {}


async def test_changes_arrive_in_order_with_the_time_of_their_source(opcua: NodeOpcUa, opcua_node: str) -> None:
    """To the microsecond: the server's clock says when something happened, not ours."""
    first = 1_764_000_000_123_456
    async with driver_of(opcua.port, opcua_node) as driver:
        await received(driver, opcua_node, START)
        for i in range(3):
            opcua.set(opcua_node, 100.5 + i, time=first + i)
            scan = await received(driver, opcua_node, 100.5 + i)
            assert scan.times == [first + i]


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_without_a_value_is_the_fault_of_its_point_alone(opcua: NodeOpcUa, mode: str) -> None:
    """One renamed tag, or one broken sensor, must not cost the machine."""
    async with driver_of(opcua.port, "Setpoint", "Gone", "Broken", "Old", "Hidden", mode=mode) as driver:
        values, wrong = await taken(driver)
    assert values == {"Setpoint": 50.0, "Gone": None, "Broken": None, "Old": 7.0, "Hidden": None}
    assert {name: (fault.quality, fault.reason) for name, fault in wrong.items()} == {
        "Gone": (Quality.BAD, Reason.NOT_FOUND),
        "Broken": (Quality.BAD, Reason.DEVICE_FAULT),
        "Old": (Quality.UNCERTAIN, Reason.STALE),
        "Hidden": (Quality.BAD, Reason.REFUSED),
    }


async def test_a_status_comes_and_goes_with_a_change(opcua: NodeOpcUa, opcua_node: str) -> None:
    """A sensor that breaks has no value, and has one when it is mended."""
    async with driver_of(opcua.port, opcua_node) as driver:
        await received(driver, opcua_node, START)
        opcua.set(opcua_node, status="BadSensorFailure")
        assert faults(await received(driver, opcua_node, None))[opcua_node].reason is Reason.DEVICE_FAULT
        opcua.set(opcua_node, 51)
        assert (await received(driver, opcua_node, 51.0)).faults == {}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_node_that_is_removed_goes_bad(opcua: NodeOpcUa, mode: str) -> None:
    """Its last value must not remain as if it were true."""
    name = f"Node.{uuid.uuid4().hex}"
    opcua.add(name, 1, "Double")
    async with driver_of(opcua.port, name, mode=mode) as driver:
        assert (await taken(driver))[0] == {name: 1.0}
        opcua.delete(name)
        values, wrong = await taken(driver)
    assert values == {name: None}
    assert {name: fault.reason for name, fault in wrong.items()} == {name: Reason.NOT_FOUND}
