"""Requests that write a point; the bytes are those of the specification's examples, or calculated by hand."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.modbus_server import HOST, FakeModbusServer, exception, right

from drivers.base import Group, Misconfigured, Reason, WriteFailed
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.source import ModbusSource
from drivers.modbus.writer import write_requests
from gateway.common.clock import Clock


@pytest.mark.parametrize(
    ("source", "value", "expected"),
    [
        ({"address": "coil 172"}, True, ["05 00ac ff00"]),  # clause 6.5
        ({"address": "coil 172"}, False, ["05 00ac 0000"]),
        ({"address": "holding 1"}, 3, ["06 0001 0003"]),  # clause 6.6
        ({"address": "holding 1", "raw": "int16"}, -1, ["06 0001 ffff"]),
        ({"address": "holding 1", "raw": "uint32"}, 0x000A0102, ["10 0001 0002 04 000a 0102"]),  # clause 6.12
        ({"address": "holding 1", "raw": "uint32", "order": "CDAB"}, 0x000A0102, ["10 0001 0002 04 0102 000a"]),
        ({"address": "holding 4", "bit": 3}, True, ["16 0004 fff7 0008"]),
        ({"address": "holding 4", "bit": 3}, False, ["16 0004 fff7 0000"]),
        ({"address": "holding 4", "bit": 3, "order": "BADC"}, True, ["16 0004 f7ff 0800"]),
        ({"address": "holding 4", "raw": "uint8", "byte": "high"}, 0x5A, ["16 0004 00ff 5a00"]),
    ],
)
def test_a_write_is_the_bytes_of_the_specification(source: dict[str, Any], value: Any, expected: list[str]):
    """A write to a part of a register leaves the other parts alone, even if another client changes them."""
    requests = write_requests(ModbusSource.model_validate(source), value)
    assert requests == [bytes.fromhex(one) for one in expected]


@pytest.mark.parametrize(
    ("source", "value"),
    [({"address": "holding 1"}, 70_000), ({"address": "holding 1", "raw": "int16"}, -32_769)],
)
def test_a_value_that_does_not_fit_is_an_error(source: dict[str, Any], value: Any):
    """The nearest value that fits is not written in its place."""
    with pytest.raises(ValueError, match=str(value)):
        write_requests(ModbusSource.model_validate(source), value)


@pytest.mark.parametrize("address", ["input 1", "discrete 1"])
async def test_a_point_that_the_protocol_can_not_write_is_misconfigured(address: str):
    """No other value and no other time will help."""
    async with FakeModbusServer(right) as server:
        connection = ModbusConnection(host=HOST, port=server.port, writable=True)
        group = Group("m", connection, ("p",), (ModbusSource.model_validate({"address": address}),), 1.0)
        async with ModbusDriver(connection, [group], Clock()) as driver:
            with pytest.raises(Misconfigured, match="only coils and holding registers"):
                await driver.write(group, 0, 1)
        assert server.asked == []


async def test_a_write_with_a_wrong_answer_is_reported_as_a_bad_answer():
    """Nobody knows whether the value was written, but the device was not silent."""
    async with FakeModbusServer(lambda asked: [asked.frame(b"\x00\x09\x00\x09")]) as server:
        connection = ModbusConnection(host=HOST, port=server.port, writable=True)
        group = Group("m", connection, ("p",), (ModbusSource.model_validate({"address": "holding 1"}),), 1.0)
        async with ModbusDriver(connection, [group], Clock()) as driver:
            with pytest.raises(WriteFailed, match="should be repeated") as caught:
                await driver.write(group, 0, 3)
    assert caught.value.fault.reason is Reason.BAD_ANSWER


async def test_writing_is_off_unless_the_connection_allows_it():
    """Read-only toward machines is the default that a plant can trust."""
    async with FakeModbusServer(right) as server:
        connection = ModbusConnection(host=HOST, port=server.port)
        group = Group("m", connection, ("p",), (ModbusSource.model_validate({"address": "holding 1"}),), 1.0)
        async with ModbusDriver(connection, [group], Clock()) as driver:
            with pytest.raises(Misconfigured, match="not writable"):
                await driver.write(group, 0, 3)
        assert server.asked == []


async def test_a_refused_write_is_reported_with_the_exception():
    """The caller must know that the value was not written."""
    async with FakeModbusServer(exception(2)) as server:
        connection = ModbusConnection(host=HOST, port=server.port, writable=True)
        group = Group("m", connection, ("p",), (ModbusSource.model_validate({"address": "holding 1"}),), 1.0)
        async with ModbusDriver(connection, [group], Clock()) as driver:
            with pytest.raises(WriteFailed, match="exception 2 illegal data address"):
                await driver.write(group, 0, 3)
