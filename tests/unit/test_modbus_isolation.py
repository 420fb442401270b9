"""Refused registers are isolated, and silent units are paused: a fault costs no other point and no other unit."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import HOST, Asked, FakeModbusServer, by_unit, exception, right, silent
from fakes.taskless import TasklessModbusDriver
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Group, Reason
from drivers.modbus.address import Address, Table
from drivers.modbus.circuit_breaker import CircuitBreaker
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from collections.abc import Set as AbstractSet

POINTS = 500

DRIVERS: list[type[ModbusDriver]] = [ModbusDriver]
"""The class that the test reads with."""


@pytest.fixture(autouse=True, params=[ModbusDriver, TasklessModbusDriver], ids=["with a task", "without a task"])
def _drivers(request: pytest.FixtureRequest) -> None:
    """Run each test with both ways to read."""
    DRIVERS[0] = request.param


def holding(count: int, step: int = 1) -> tuple[ModbusSource, ...]:
    return tuple(ModbusSource(address=Address(Table.HOLDING, i * step)) for i in range(count))


def refusing(entries: AbstractSet[int], code: int = 2) -> Callable[[Asked], Sequence[bytes]]:
    """Refuse every request that touches one of these entries, as devices with holes in their maps do."""

    def script(asked: Asked) -> Sequence[bytes]:
        touched = entries & set(range(asked.first, asked.first + asked.count))
        return exception(code)(asked) if touched else right(asked)

    return script


def group(port: int, sources: tuple[ModbusSource, ...], every: float = 60.0, **options: Any) -> Group:
    """Return a group with a long period, unless it is given: isolation ends with the period."""
    connection = ModbusConnection(host=HOST, port=port, **({"timeout": 5.0} | options))
    return Group(
        f"m{options.get('unit', 1)}", connection, tuple(f"p{i}" for i in range(len(sources))), sources, every
    )


@asynccontextmanager
async def driver_of(*groups: Group) -> AsyncIterator[ModbusDriver]:
    driver = DRIVERS[0](groups[0].connection.shared(), groups, Clock())
    await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


async def test_three_illegal_registers_among_five_hundred_are_named_and_the_others_are_good_at_once():
    """The promise: 497 good from the first scan on, and the three by name."""
    bad = {77, 250, 499}
    async with FakeModbusServer(refusing(bad)) as server:
        one = group(server.port, holding(POINTS))
        async with driver_of(one) as driver:
            first = await driver.read(one)
            asked = len(server.asked)
            second = await driver.read(one)
            after = len(server.asked) - asked
    for scan in (first, second):
        assert set(scan.faults) == bad
        assert {fault.reason for fault in scan.faults.values()} == {Reason.REFUSED}
        assert {fault.code for fault in scan.faults.values()} == {"exception 2 illegal data address"}
        assert [value for i, value in enumerate(scan.values) if i not in bad] == [
            i for i in range(POINTS) if i not in bad
        ]
        assert [scan.values[i] for i in bad] == [None] * 3
    assert asked < 60, "finding them costs a few requests for each, once"
    assert after < 30, "from then on nothing is refused"


@pytest.mark.parametrize("code", [2, 3, 4])
async def test_exceptions_that_can_be_about_an_entry_are_traced_to_it(code: int):
    """Devices differ in which of the three they answer for a hole."""
    async with FakeModbusServer(refusing({3}, code)) as server:
        one = group(server.port, holding(8))
        async with driver_of(one) as driver:
            scan = await driver.read(one)
    assert list(scan.faults) == [3]
    assert scan.faults[3].code.startswith(f"exception {code} ")


async def test_a_hole_between_points_is_stepped_over_and_costs_no_point():
    """Merging over a gap is a guess; if the device refuses it, the requests are split at the gap."""
    points = tuple(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in (0, 1, 10, 11))
    async with FakeModbusServer(refusing({5})) as server:
        one = group(server.port, points)
        async with driver_of(one) as driver:
            first = await driver.read(one)
            asked = len(server.asked)
            second = await driver.read(one)
            after = len(server.asked) - asked
    assert first.values == second.values == [0, 1, 10, 11]
    assert not first.faults
    assert not second.faults
    assert after == 2


async def test_a_refused_point_comes_back_when_the_device_answers_it():
    """An option is fitted, a program is loaded: nobody restarts the gateway for that."""
    async with FakeModbusServer(refusing({3})) as server:
        one = group(server.port, holding(8), every=1.0, retry_refused=1.0)
        async with driver_of(one) as driver:
            assert list((await driver.read(one)).faults) == [3]
            server.script = right
            assert list((await driver.read(one)).faults) == [3], "not before the interval is over"
            async with asyncio.timeout(10):
                while (scan := await driver.read(one)).faults:  # noqa: ASYNC110 - as a runner reads again and again
                    await asyncio.sleep(0.01)
            asked = len(server.asked)
            await driver.read(one)
            assert len(server.asked) == asked + 1, "the merged request has come back"
    assert scan.values == list(range(8))


async def test_a_device_that_refuses_everything_is_not_asked_point_by_point_again():
    """A wrong unit id must not turn one request a second into hundreds."""
    async with FakeModbusServer(exception(2)) as server:
        one = group(server.port, holding(100))
        async with driver_of(one) as driver:
            assert len((await driver.read(one)).faults) == 100
            asked = len(server.asked)
            assert len((await driver.read(one)).faults) == 100
            assert len(server.asked) - asked == 1
            server.script = right
            assert not (await driver.read(one)).faults


@given(st.sets(st.integers(0, 59), max_size=12), st.integers(1, 4))
def test_exactly_the_illegal_entries_are_bad(bad: set[int], step: int):
    """For any holes in any map: no good point is lost, and no bad one has a value."""
    entries = {entry * step for entry in bad}

    async def story() -> None:
        async with FakeModbusServer(refusing(entries)) as server:
            one = group(server.port, holding(60, step), max_gap=10)
            async with driver_of(one) as driver:
                for _ in range(2):
                    scan = await driver.read(one)
                    assert set(scan.faults) == bad
                    assert [value for value in scan.values if value is not None] == [
                        i * step for i in range(60) if i not in bad
                    ]

    asyncio.run(story())


# -- silent units --


async def test_a_silent_unit_costs_one_time_out_and_is_then_left_alone():
    """The others behind the gateway keep their cycle."""
    async with FakeModbusServer(by_unit({2: silent})) as server:
        alive, dead = (group(server.port, holding(4), unit=unit, timeout=0.05) for unit in (1, 2))
        async with driver_of(alive, dead) as driver:
            for _ in range(5):
                scan = await driver.read(dead)
                assert {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}
                assert not (await driver.read(alive)).faults
    assert [asked.unit for asked in server.asked].count(2) == 1


def test_a_unit_that_stays_silent_is_asked_less_and_less_often():
    """Half a minute at the most: it is noticed when it comes back."""
    one = CircuitBreaker()
    now, waits = 100.0, []
    for _ in range(8):
        one.timed_out(now)
        waits.append(next(wait for wait in range(1, 100) if not one.open(now + wait)))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    one.answered()
    assert not one.open(now)
    one.timed_out(now)
    assert not one.open(now + 1)


# -- limits of devices --


async def test_requests_in_flight_together_are_matched_whatever_order_they_are_answered_in():
    """Pipelining needs the transaction id, and nothing else."""
    held: list[bytes] = []

    def backwards(asked: Asked) -> Sequence[bytes]:
        held.insert(0, b"".join(right(asked)))
        if len(held) < 4:
            return []
        answers, held[:] = list(held), []
        return answers

    async with FakeModbusServer(backwards) as server:
        points = tuple(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in (0, 300, 600, 900))
        one = group(server.port, points, in_flight=4)
        async with driver_of(one) as driver:
            assert (await driver.read(one)).values == [0, 300, 600, 900]


async def test_a_connection_can_be_closed_after_each_scan():
    """Some devices have one connection to give, and an engineer's laptop needs it too."""
    async with FakeModbusServer(right) as server:
        one = group(server.port, holding(2), close_after_scan=True)
        async with driver_of(one) as driver:
            for _ in range(3):
                assert not (await driver.read(one)).faults
    assert server.connections >= 3


async def test_the_first_scans_after_a_connect_can_be_discarded():
    """Some devices answer with zeros until their program runs."""
    async with FakeModbusServer(right) as server:
        one = group(server.port, holding(2), discard_after_connect=2)
        async with driver_of(one) as driver:
            await driver.read(one)
            assert len(server.asked) == 3
            await driver.read(one)
            assert len(server.asked) == 4
