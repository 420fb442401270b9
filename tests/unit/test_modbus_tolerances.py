"""Devices that answer against the specification: each tolerance is an option, and off by default."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import HOST, Asked, FakeModbusServer, right
from fakes.taskless import TasklessModbusDriver

from drivers.base import Group, Misconfigured, Reason
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection, Span
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.plan import Limits, plan
from drivers.modbus.source import ModbusSource, Raw
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakes.modbus_server import Script

    from drivers.base import Scan

DRIVERS: list[type[ModbusDriver]] = [ModbusDriver]
"""The class that the test reads with."""


@pytest.fixture(autouse=True, params=[ModbusDriver, TasklessModbusDriver], ids=["with a task", "without a task"])
def _drivers(request: pytest.FixtureRequest) -> None:
    """Run each test with both ways to read."""
    DRIVERS[0] = request.param


def registers(*entries: int, raw: Raw = Raw.UINT16) -> tuple[ModbusSource, ...]:
    return tuple(ModbusSource(address=Address(Table.HOLDING, entry), raw=raw) for entry in entries)


async def scans_of(script: Script, sources: tuple[ModbusSource, ...], count: int = 1, **options: Any) -> list[Scan]:
    async with FakeModbusServer(script) as server:
        connection = ModbusConnection(host=HOST, port=server.port, **({"timeout": 0.3} | options))
        names = tuple(f"p{i}" for i in range(len(sources)))
        group: Group = Group("m", connection, names, sources, 1.0)
        driver = DRIVERS[0](connection.shared(), [group], Clock())
        await driver.connect()
        try:
            return [await driver.read(group) for _ in range(count)]
        finally:
            await driver.close()


def surplus(asked: Asked) -> Sequence[bytes]:
    """The byte count says two bytes more."""
    return [asked.frame(bytes((asked.data[0] + 2,)) + asked.data[1:] + b"\xab\xcd")]


def trailing(asked: Asked) -> Sequence[bytes]:
    """A checksum behind the frame, which no length counts."""
    return [asked.frame() + b"\xab\xcd"]


def any_number(asked: Asked) -> Sequence[bytes]:
    return [asked.frame(transaction=0)]


def any_unit(asked: Asked) -> Sequence[bytes]:
    return [asked.frame(unit=255)]


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (surplus, {"surplus": True}),
        (trailing, {"surplus": True}),
        (any_number, {"any_transaction": True}),
        (any_unit, {"any_unit": True}),
        (lambda asked: [asked.frame(transaction=7, unit=0)], {"any_unit": True, "any_transaction": True}),
    ],
)  # fmt: skip
async def test_an_odd_response_is_read_with_its_option_alone(script: Script, options: dict[str, Any]) -> None:
    """Without the option no value is read from a response that may belong to another request."""
    sources = registers(3, 4, 500)
    for scan in await scans_of(script, sources, 3, **options):
        assert (scan.values, scan.faults) == ([3, 4, 500], {})
    [strict] = await scans_of(script, sources, retries=0)
    assert strict.faults.keys() == {0, 1, 2} or script is trailing
    assert strict.values[1:] == [None, None] or script is trailing


async def test_late_responses_are_not_mixed_up_where_transaction_ids_are_not_checked() -> None:
    """They are matched as on a serial line: a late response looks like the next of the same request."""
    late: list[bytes] = []

    def slow_once(asked: Asked) -> Sequence[bytes]:
        if asked.function == 8:
            echoed = asked.frame(struct.pack(">HH", asked.first, asked.count), transaction=0)
            return [*late, echoed]
        if not late and asked.first == 3:
            late.append(asked._replace(first=77).frame(transaction=0))  # another content than that of the next
            return []
        return [asked.frame(transaction=0)]

    scans = await scans_of(slow_once, registers(3), 6, any_transaction=True, timeout=0.5)
    assert {value for scan in scans for value in scan.values} <= {3, None}
    assert scans[-1].values == [3] or scans[-1].faults[0].reason is Reason.NO_RESPONSE


async def test_registers_of_32_bits_are_planned_and_decoded_by_their_width() -> None:
    """One address has four bytes; a value of 16 bits is the low half, one of 64 bits takes two addresses."""
    words = {5000: 1, 5001: struct.unpack(">I", struct.pack(">f", 171.5))[0], 5002: 0xFFFF0007, 5003: 2, 5004: 3}

    def wide(asked: Asked) -> Sequence[bytes]:
        if asked.first < 5000:
            return right(asked)
        data = b"".join(struct.pack(">I", words[entry]) for entry in range(asked.first, asked.first + asked.count))
        return [asked.frame(bytes((len(data),)) + data)]

    sources = (
        *registers(5000, raw=Raw.UINT32), *registers(5001, raw=Raw.FLOAT32), *registers(5002),
        *registers(5003, raw=Raw.UINT64), *registers(4999),
    )  # fmt: skip
    span = Span(Table.HOLDING, 5000, 5999)
    [scan] = await scans_of(wide, sources, wide=(span,))
    assert (scan.values, scan.faults) == ([1, 171.5, 7, (2 << 32) + 3, 4999], {})
    requests = plan(sources, Limits(wide=(span,))).requests
    assert [(one.first, one.count, one.size) for one in requests] == [(5000, 5, 20), (4999, 1, 2)]


def test_wide_registers_are_limited_by_the_byte_count_of_a_response() -> None:
    """62 of them have 248 bytes."""
    span = Span(Table.HOLDING, 0, 999)
    requests = plan(registers(*range(100), raw=Raw.UINT32), Limits(wide=(span,))).requests
    assert [one.count for one in requests] == [62, 38]


async def test_wide_registers_are_not_written() -> None:
    """A request to write has 16 bits a register."""
    connection = ModbusConnection(host=HOST, writable=True, wide=(Span(Table.HOLDING, 0, 9),))
    group: Group = Group("m", connection, ("p",), registers(3, raw=Raw.UINT32), 1.0)
    driver = DRIVERS[0](connection.shared(), [group], Clock())
    with pytest.raises(Misconfigured, match="32 bits can't be written"):
        await driver.write(group, 0, 5)


def test_requests_of_bits_have_a_limit_of_their_own() -> None:
    """64 coils, and 125 registers."""
    coils = tuple(ModbusSource(address=Address(Table.COIL, entry), raw=Raw.BOOL) for entry in range(200))
    requests = plan((*coils, *registers(*range(100))), Limits(max_bits=64)).requests
    assert [one.count for one in requests] == [64, 64, 64, 8, 100]


async def test_a_pause_between_units_is_for_another_unit_alone() -> None:
    """Some gateways lose a request that follows a response of another unit at once."""
    async with FakeModbusServer() as server:
        connections = [
            ModbusConnection(host=HOST, port=server.port, unit=unit, pause_between_units=0.15) for unit in (1, 2)
        ]
        groups: list[Group] = [Group(f"m{one.unit}", one, ("p",), registers(0), 1.0) for one in connections]
        driver = DRIVERS[0](connections[0].shared(), groups, Clock())
        await driver.connect()
        clock = time.monotonic
        began = clock()
        for _ in range(5):
            await driver.read(groups[0])
        same = clock() - began
        await driver.read(groups[1])
        await driver.read(groups[0])
        assert clock() - began - same >= 0.29, "two pauses, each from the last response on, which came before `same`"
        assert same < 0.15 + 0.15
        await driver.close()
