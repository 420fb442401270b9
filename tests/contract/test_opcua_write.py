"""Writing to an OPC UA server: off unless it is allowed, and never as something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from processes import LOOPBACK

from drivers.base import Group, Misconfigured, NotConnected, Reason, WriteFailed
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from drivers.base import Driver


def driver_of(port: int, node: str, **options: Any) -> Driver:
    settings = {"security": "none", "namespace": MACHINE} | options
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", settings)
    source = OpcUaSource.model_validate({"node": f"s={node}", "mode": "poll"})
    group = Group("machine", connection, ("point",), (source,), 1.0)
    return PROTOCOL.driver(connection.shared(), [group], Clock())


async def test_nothing_is_written_unless_the_connection_allows_it(opcua: NodeOpcUa, opcua_node: str):
    """Read-only toward machines is the default that a plant can trust."""
    async with driver_of(opcua.port, opcua_node) as driver:
        with pytest.raises(Misconfigured, match="not writable"):
            await driver.write(driver.groups[0], 0, 51.5)
    assert opcua.get(opcua_node) == 50


async def test_a_value_is_written_in_the_type_that_the_node_has(opcua_alone: NodeOpcUa):
    """Some servers refuse any other, and some convert it as they like."""
    peer = opcua_alone
    async with driver_of(peer.port, "Setpoint", writable=True) as driver:
        await driver.write(driver.groups[0], 0, 51)
        assert peer.get("Setpoint") == 51
        scan = await driver.read(driver.groups[0])
        assert (scan.values, type(scan.values[0])) == ([51.0], float)
        with pytest.raises(WriteFailed, match="'on' is not a Double") as caught:
            await driver.write(driver.groups[0], 0, "on")
        assert caught.value.fault.reason is Reason.TYPE_MISMATCH
    assert peer.get("Setpoint") == 51


async def test_a_failed_write_is_reported_with_the_status_of_the_server(opcua: NodeOpcUa, opcua_node: str):
    """A user must know that the write did not happen, and why."""
    async with driver_of(opcua.port, "Scalar.UInt16", writable=True) as driver:
        with pytest.raises(WriteFailed, match="70000 does not fit UInt16: 0 to 65535"):
            await driver.write(driver.groups[0], 0, 70_000)
    async with driver_of(opcua.port, opcua_node, writable=True) as driver:
        with pytest.raises(WriteFailed, match="BadNotWritable"):
            await driver.write(driver.groups[0], 0, 1)
    async with driver_of(opcua.port, "Missing", writable=True) as driver:
        with pytest.raises(WriteFailed, match="BadNodeIdUnknown"):
            await driver.write(driver.groups[0], 0, 1)
    driver = driver_of(opcua.port, "Scalar.UInt16", writable=True)
    with pytest.raises(NotConnected):
        await driver.write(driver.groups[0], 0, 1)
