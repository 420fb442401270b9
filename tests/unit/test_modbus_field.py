"""Devices as bug reports describe them: busy, slow, selective or forgetful; their cost and their recovery."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import CLOSE, HOST, Asked, FakeModbusServer, exception, right, silent
from fakes.taskless import TasklessModbusDriver

from drivers.base import Group, Reason
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import APART, GAP, ModbusDriver
from drivers.modbus.source import ModbusSource, Raw
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from collections.abc import Set as AbstractSet

    from fakes.modbus_server import Script

    from drivers.base import Scan

TIMEOUT = 0.3
"""Reached by requests that are not answered; an answer of this process takes a hundredth of it, mostly."""

DRIVERS: list[type[ModbusDriver]] = [ModbusDriver]
"""The class that the test reads with."""


@pytest.fixture(autouse=True, params=[ModbusDriver, TasklessModbusDriver], ids=["with a task", "without a task"])
def _drivers(request: pytest.FixtureRequest) -> None:
    """Run each test with both ways to read."""
    DRIVERS[0] = request.param


def holding(*entries: int) -> tuple[ModbusSource, ...]:
    return tuple(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in entries)


def group(port: int, sources: tuple[ModbusSource, ...], every: float = 1.0, **options: Any) -> Group:
    connection = ModbusConnection(host=HOST, port=port, **({"timeout": 5.0} | options))
    names = tuple(f"p{i}" for i in range(len(sources)))
    return Group(f"m{options.get('unit', 1)}", connection, names, sources, every)


@asynccontextmanager
async def driver_of(*groups: Group) -> AsyncIterator[ModbusDriver]:
    driver = DRIVERS[0](groups[0].connection.shared(), groups, Clock())
    await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


def touching(entries: AbstractSet[int], answer: Script) -> Script:
    """Answer with this script if a request touches one of these entries, and otherwise as a device should."""
    return lambda asked: (answer if entries & set(range(asked.first, asked.first + asked.count)) else right)(asked)


def outside(entries: AbstractSet[int], answer: Script) -> Script:
    """Answer with this script if a request touches other entries than these."""
    return lambda asked: (right if set(range(asked.first, asked.first + asked.count)) <= entries else answer)(asked)


def good(scan: Scan) -> list[object]:
    return [value for i, value in enumerate(scan.values) if i not in scan.faults]


async def settled(driver: ModbusDriver, one: Group, expected: list[object]) -> None:
    """Read, as a runner does again and again, until these values are good."""
    async with asyncio.timeout(30):
        while good(await driver.read(one)) != expected:  # noqa: ASYNC110 - as a runner reads again and again
            await asyncio.sleep(0.02)


# -- what passes --


@pytest.mark.parametrize("code", [4, 5, 6])
async def test_a_passing_exception_costs_no_value(code: int) -> None:
    """Asked again at once, the device answers; 5 % of exception 4 once turned one request into fifty."""
    count = 0

    def now_and_then(asked: Asked) -> Sequence[bytes]:
        nonlocal count
        count += 1
        return (exception(code) if count % 4 == 0 else right)(asked)

    async with FakeModbusServer(now_and_then) as server:
        one = group(server.port, holding(*range(64)))
        async with driver_of(one) as driver:
            for _ in range(12):
                assert not (await driver.read(one)).faults
            assert len(server.asked) <= 16, "one request a scan, and one more for each exception"


async def test_a_refusal_of_a_request_that_was_answered_before_is_not_believed_at_once() -> None:
    """A program is loaded for some seconds; right after it the merged request is used again."""
    async with FakeModbusServer() as server:
        one = group(server.port, holding(*range(100)))
        async with driver_of(one) as driver:
            await driver.read(one)
            server.script = exception(2)
            before = len(server.asked)
            for _ in range(2):
                assert {fault.reason for fault in (await driver.read(one)).faults.values()} == {Reason.REFUSED}
            assert len(server.asked) - before == 4
            server.script = right
            before = len(server.asked)
            assert not (await driver.read(one)).faults
            assert len(server.asked) - before == 1


async def test_a_device_that_refuses_all_for_long_is_not_asked_point_by_point() -> None:
    """A storm of single requests kept a PLC from its work while it was programmed."""
    async with FakeModbusServer() as server:
        one = group(server.port, holding(*range(100)))
        async with driver_of(one) as driver:
            await driver.read(one)
            server.script = exception(2)
            before = len(server.asked)
            for _ in range(6):
                await driver.read(one)
            assert len(server.asked) - before <= 6 * 2 + 8


async def test_a_plan_that_was_split_comes_back_as_it_was() -> None:
    """After one bad night an inverter's 116 registers came back ten a minute, each as a request of its own."""
    async with FakeModbusServer(touching({3, 50, 77}, exception(2))) as server:
        one = group(server.port, holding(*range(116)), every=0.05, retry_refused=1.0)
        async with driver_of(one) as driver:
            await settled(driver, one, [i for i in range(116) if i not in {3, 50, 77}])
            server.script = right
            await settled(driver, one, list(range(116)))
            before = len(server.asked)
            await driver.read(one)
            assert len(server.asked) - before == 1


async def test_a_lost_answer_is_asked_for_again() -> None:
    """One request of ten is lost on the line behind a gateway."""
    count = 0

    def lossy(asked: Asked) -> Sequence[bytes]:
        nonlocal count
        count += 1
        return [] if count % 10 == 0 else right(asked)

    async with FakeModbusServer(lossy) as server:
        one = group(server.port, holding(0, 500), timeout=TIMEOUT)
        async with driver_of(one) as driver:
            for _ in range(30):
                assert not (await driver.read(one)).faults


# -- connections --


async def test_a_connection_that_was_closed_while_idle_is_opened_again_in_the_same_scan() -> None:
    """Devices that close idle connections gave no good reading at all at every: 5s."""
    async with FakeModbusServer() as server:
        one = group(server.port, holding(0))
        async with driver_of(one) as driver:
            for _ in range(4):
                assert not (await driver.read(one)).faults
                await server.disconnect()
            assert server.connections >= 4


async def test_a_device_that_closes_after_each_answer_is_read() -> None:
    """Some devices close the connection after every answer."""
    async with FakeModbusServer(lambda asked: [*right(asked), CLOSE]) as server:
        one = group(server.port, holding(0, 500))
        async with driver_of(one) as driver:
            for _ in range(3):
                assert good(await driver.read(one)) == [0, 500]


@pytest.mark.parametrize("groups", [1, 3])
async def test_closing_after_each_scan_works_with_a_device_of_one_connection(groups: int) -> None:
    """It is free again 50 ms after its close; several units and groups share it."""
    async with FakeModbusServer() as server:
        server.one_connection = 0.05
        all_ = [group(server.port, holding(0, 1), unit=unit, close_after_scan=True) for unit in range(1, groups + 1)]
        async with driver_of(*all_) as driver:
            for _ in range(4):
                for scan in await asyncio.gather(*(driver.read(one) for one in all_)):
                    assert good(scan) == [0, 1]
            async with asyncio.timeout(10):
                await server.idle.wait()


# -- silence --


async def test_a_register_that_never_answers_costs_the_others_nothing() -> None:
    """They were bad in every second scan, and those behind it were never read."""
    async with FakeModbusServer(touching({100, 300}, silent)) as server:
        one = group(server.port, holding(0, 1, 100, 200, 201, 300, 400), timeout=TIMEOUT)
        async with driver_of(one) as driver:
            await settled(driver, one, [0, 1, 200, 201, 400])
            for _ in range(10):
                scan = await driver.read(one)
                assert good(scan) == [0, 1, 200, 201, 400]
                assert {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}


async def test_silent_registers_come_back() -> None:
    """The isolation of a silent register is not permanent."""
    async with FakeModbusServer(touching({100}, silent)) as server:
        one = group(server.port, holding(0, 100), timeout=TIMEOUT, every=0.2, retry_refused=1.0)
        async with driver_of(one) as driver:
            await settled(driver, one, [0])
            server.script = right
            await settled(driver, one, [0, 100])


async def test_a_gap_that_brings_no_answer_is_stepped_over_and_named() -> None:
    """Small devices stay silent where they have nothing; `check` names the option."""
    async with FakeModbusServer(outside({0, 1, 2, 3, 8, 9}, silent)) as server:
        one = group(server.port, holding(0, 1, 8, 9), timeout=TIMEOUT)
        async with driver_of(one) as driver:
            await settled(driver, one, [0, 1, 8, 9])
            remarks = driver.warnings()
    assert [remark.text for remark in remarks] == [GAP]


async def test_more_bits_than_a_device_gives_are_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays silent at a request for more than 64."""
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.0)  # it is asked again at once
    bits = tuple(ModbusSource(address=Address(Table.COIL, entry), raw=Raw.BOOL) for entry in range(200))

    def limited(asked: Asked) -> Sequence[bytes]:
        return [] if asked.count > 64 else right(asked)

    async with FakeModbusServer(limited) as server:
        one = group(server.port, (*bits, *holding(7)), timeout=TIMEOUT)
        async with driver_of(one) as driver:
            await settled(driver, one, [*(entry % 2 == 1 for entry in range(200)), 7])
            assert {remark.text for remark in driver.warnings()} == {APART}


async def test_an_address_at_which_a_device_closes_the_connection_is_isolated() -> None:
    """The other addresses are read on."""
    async with FakeModbusServer(outside({0, 1, 200, 201}, lambda _: [CLOSE])) as server:
        one = group(server.port, holding(0, 1, 200, 201, 300))
        async with driver_of(one) as driver:
            await settled(driver, one, [0, 1, 200, 201])
            for _ in range(3):
                assert good(await driver.read(one)) == [0, 1, 200, 201]


async def test_answers_that_arrived_are_used() -> None:
    """With several requests in flight they were discarded if one request was not answered."""
    async with FakeModbusServer(touching({200}, silent)) as server:
        one = group(server.port, holding(0, 200, 400, 600), in_flight=4, timeout=TIMEOUT)
        async with driver_of(one) as driver:
            assert good(await driver.read(one)) == [0, 400, 600]


async def test_a_unit_is_left_alone_only_when_nothing_of_it_answers() -> None:
    """It then costs one time-out, and not one for each of its requests."""
    async with FakeModbusServer(silent) as server:
        one = group(server.port, holding(0, 300, 600, 900), timeout=TIMEOUT)
        async with driver_of(one) as driver:
            began = time.monotonic()
            assert not good(await driver.read(one))
            assert len(server.asked) == 1
            assert time.monotonic() - began < 10 * TIMEOUT
            await driver.read(one)
            assert len(server.asked) == 1, "left alone"


async def test_a_dead_unit_behind_a_gateway_costs_the_others_one_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway waits for it longer than we do, and serves nobody meanwhile; `check` names the numbers."""
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.0)  # it is asked again in every round

    def gateway(asked: Asked) -> Sequence[bytes | float]:
        return [0.4, *exception(11)(asked)] if asked.unit == 2 else right(asked)

    async with FakeModbusServer(gateway) as server:
        alive, dead = (group(server.port, holding(0), unit=unit, timeout=0.15, retries=0) for unit in (1, 2))
        async with driver_of(alive, dead) as driver:
            await driver.read(alive)
            await driver.read(dead)
            await driver.read(alive)  # here it is learned how long the gateway waits
            await driver.read(alive)
            for _ in range(4):
                await driver.read(dead)
                assert good(await driver.read(alive)) == [0]
            [remark] = driver.warnings()
    assert (remark.machine, remark.points) == ("m2", ("p0",))
    assert "serves no other unit for 0.4 s" in remark.text


# -- answers that are wrong --


async def test_fewer_registers_than_asked_for_are_asked_for_in_parts() -> None:
    """A device that gives the first 40 of more, without any exception; `check` names the option."""

    def truncated(asked: Asked) -> Sequence[bytes]:
        return [asked._replace(count=min(asked.count, 40)).frame()]

    async with FakeModbusServer(truncated) as server:
        one = group(server.port, holding(*range(100)))
        async with driver_of(one) as driver:
            assert good(await driver.read(one)) == list(range(100))
            assert "max_registers: " in driver.warnings()[0].text


async def test_a_bad_answer_in_a_split_ends_only_its_own_branch() -> None:
    """One wide register must not cost the others, once a block is split."""

    def odd(asked: Asked) -> Sequence[bytes]:
        entries = range(asked.first, asked.first + asked.count)
        if 1 in entries:
            return exception(2)(asked)
        data = asked.data
        return [asked.frame(bytes((data[0] + 2,)) + data[1:] + b"\0\0")] if 6 in entries else right(asked)

    async with FakeModbusServer(odd) as server:
        one = group(server.port, holding(*range(8), 500))
        async with driver_of(one) as driver:
            scan = await driver.read(one)
    assert good(scan) == [0, 2, 3, 4, 5, 7, 500]
    assert {i: fault.reason for i, fault in scan.faults.items()} == {1: Reason.REFUSED, 6: Reason.BAD_ANSWER}
