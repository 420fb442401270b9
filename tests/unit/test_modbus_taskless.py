"""Scans without a task: as soon as a device answers well, until it does not, and then as any other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import CLOSE, HOST, Asked, FakeModbusServer, exception, right, silent
from fakes.taskless import TasklessModbusDriver

from drivers.base import Group
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.source import ModbusSource
from drivers.trace import Direction
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fakes.modbus_server import Script

    from drivers.trace import WireEvent

FIRST, SECOND = 0, 500
"""Registers too far apart for one request."""


def group(port: int, unit: int = 1, **options: Any) -> Group:
    connection = ModbusConnection(host=HOST, port=port, unit=unit, **({"timeout": 5.0} | options))
    sources = tuple(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in (FIRST, SECOND))
    return Group(f"m{unit}", connection, ("a", "b"), sources, 1.0)


@asynccontextmanager
async def driver_of(*groups: Group) -> AsyncIterator[TasklessModbusDriver]:
    driver = TasklessModbusDriver(groups[0].connection.shared(), groups, Clock())
    await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


class Device:
    """Answers as it should, except to the requests whose numbers are in `otherwise`."""

    def __init__(self) -> None:
        self.otherwise: dict[int, Script] = {}
        self.asked: list[int] = []

    def __call__(self, asked: Asked) -> Sequence[bytes | float]:
        self.asked.append(asked.first)
        return self.otherwise.pop(len(self.asked), right)(asked)


IN_FLIGHT = pytest.mark.parametrize("in_flight", [1, 2])


@IN_FLIGHT
async def test_a_device_that_answers_is_read_without_a_task_from_the_second_scan_on(in_flight: int) -> None:
    """The first scan shows which requests it answers."""
    async with FakeModbusServer() as server:
        one = group(server.port, in_flight=in_flight)
        async with driver_of(one) as driver:
            for number in range(5):
                scan = await driver.read(one)
                assert (scan.values, scan.faults) == ([FIRST, SECOND], {})
                assert driver.taskless == number


async def test_requests_that_may_be_in_flight_together_are_answered_in_any_order() -> None:
    """A device that takes two requests at a time may answer the second first."""
    held: list[Asked] = []

    def device(asked: Asked) -> Sequence[bytes | float]:
        held.append(asked)
        if len(held) % 2:
            return []
        return [asked.frame(), held[-2].frame()]

    async with FakeModbusServer(device) as server:
        one = group(server.port, in_flight=2)
        async with driver_of(one) as driver:
            for number in range(4):
                scan = await driver.read(one)
                assert (scan.values, scan.faults) == ([FIRST, SECOND], {})
                assert driver.taskless == number
        assert driver.counts()["requests"] == len(held) == 8


@pytest.mark.parametrize("number", [3, 4], ids=["the first", "the second"])
@pytest.mark.parametrize("otherwise", [silent, exception(6)], ids=["silent", "busy"])
async def test_of_requests_in_flight_together_only_those_that_failed_are_repeated(
    otherwise: Script, number: int
) -> None:
    """Whichever of them it is; the others have their answers."""
    device = Device()
    async with FakeModbusServer(device) as server:
        one = group(server.port, timeout=0.5, in_flight=2)
        async with driver_of(one) as driver:
            await driver.read(one)
            device.otherwise[number] = otherwise
            scan = await driver.read(one)
            assert (scan.values, scan.faults) == ([FIRST, SECOND], {})
            assert device.asked[4:] == [(FIRST, SECOND)[number - 3]]
            assert driver.taskless == 0
            await driver.read(one)
            await driver.read(one)
            assert driver.taskless >= 1, "it answers well again"


async def test_a_connection_that_is_lost_at_the_first_of_several_requests_is_opened_again() -> None:
    """The scan is that of a device which was away for a moment."""
    device = Device()
    async with FakeModbusServer(device) as server:
        one = group(server.port, timeout=5.0, in_flight=2)
        async with driver_of(one) as driver:
            await driver.read(one)
            device.otherwise[3] = lambda _: [CLOSE]
            scan = await driver.read(one)
            assert (scan.values, scan.faults) == ([FIRST, SECOND], {})


@IN_FLIGHT
@pytest.mark.parametrize("otherwise", [lambda _: [CLOSE], silent, exception(6)], ids=["closed", "silent", "busy"])
async def test_a_scan_that_fails_goes_on_behind_the_answers_that_it_has(otherwise: Script, in_flight: int) -> None:
    """They are not asked for again, and the request that failed is, as in a scan with a task."""
    device = Device()
    async with FakeModbusServer(device) as server:
        one = group(server.port, timeout=0.5, in_flight=in_flight)
        async with driver_of(one) as driver:
            await driver.read(one)
            device.otherwise[4] = otherwise
            scan = await driver.read(one)
            assert (scan.values, scan.faults) == ([FIRST, SECOND], {})
            assert device.asked[2:] == [FIRST, SECOND, SECOND], "the answer before is used"
            assert driver.taskless == 0
            await driver.read(one)
            await driver.read(one)
            assert driver.taskless >= 1, "it answers well again"


async def test_groups_of_a_connection_wait_for_each_other() -> None:
    """A device that takes one request at a time must not get two."""
    events: list[WireEvent] = []
    async with FakeModbusServer() as server:
        groups = [group(server.port, unit) for unit in (1, 2, 3)]
        driver = TasklessModbusDriver(groups[0].connection.shared(), groups, Clock())
        assert driver.trace(events.append)
        async with driver:
            for _ in range(4):
                scans = await asyncio.gather(*(driver.read(one) for one in groups))
                assert all(scan.values == [FIRST, SECOND] for scan in scans)
        assert driver.taskless == 9
    directions = [event.direction for event in events if event.direction in {Direction.SENT, Direction.RECEIVED}]
    assert directions == [Direction.SENT, Direction.RECEIVED] * (4 * 3 * 2)


@IN_FLIGHT
async def test_a_driver_that_is_closed_calls_nobody(caplog: pytest.LogCaptureFixture, in_flight: int) -> None:
    """A scan under way ends with the connection."""
    async with FakeModbusServer() as server:
        one = group(server.port, in_flight=in_flight)
        async with driver_of(one) as driver:
            await driver.read(one)
            ended: list[object] = []
            assert driver.start_read(one, ended.append, lambda: ended.append(None))
            await driver.close()
            await asyncio.sleep(0)
            assert ended in ([], [None])
            assert not driver.start_read(one, ended.append, lambda: ended.append(None)), "nothing can be sent"
    assert not caplog.records


@IN_FLIGHT
async def test_a_scan_says_whether_its_values_are_those_of_the_scan_before(in_flight: int) -> None:
    """Equal responses are not decoded again; a scan with a task in between ends the comparison."""
    values = [0]

    def device(asked: Asked) -> Sequence[bytes | float]:
        data = values[0].to_bytes(2) * asked.count
        return [asked.frame(bytes((len(data),)) + data)]

    async with FakeModbusServer(device) as server:
        one = group(server.port, in_flight=in_flight)
        async with driver_of(one) as driver:
            scans = []
            for number in (5, 5, 5, 6, 6):
                values[0] = number
                scans.append(await driver.read(one))
            assert driver.taskless == 4
            assert [scan.same for scan in scans] == [False, False, True, False, True]
            scans[-1].values[0] = "changed by a later step"
            again = await driver.read(one)
            assert (again.same, again.values) == (True, [6, 6])
            await ModbusDriver.read(driver, one)
            assert [(await driver.read(one)).same for _ in range(2)] == [False, True]
