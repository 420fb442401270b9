"""The Modbus driver: the readings that a fault costs, and the readings that it must not cost."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_connection import AdjustableConnection
from fakes.modbus_server import CLOSE, HOST, FakeModbusServer, by_address, by_unit, exception, in_turn, right, silent

from drivers.base import Group, NotConnected, Quality, Reason
from drivers.modbus import PROTOCOL, circuit_breaker
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.source import ModbusSource, Raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakes.modbus_server import Asked, Script

    from drivers.base import Driver, Fault, Scan

PATIENT = 10.0
"""A time-out that is never reached: a test that uses it has to end without it."""

SHORT = 0.01
"""A time-out that is reached, by scans that hold no answer."""


def holding(offset: int) -> ModbusSource:
    return ModbusSource(address=Address(Table.HOLDING, offset))


def group(port: int, sources: Sequence[ModbusSource], unit: int = 1, **rest: Any) -> Group:
    connection = AdjustableConnection(host=HOST, port=port, timeout=PATIENT, unit=unit, **rest)
    return Group("press", connection, tuple(f"p{i}" for i in range(len(sources))), tuple(sources), 1.0)


def driver_of(*groups: Group) -> Driver:
    ticks = count(1000)
    return PROTOCOL.driver(groups[0].connection.shared(), groups, lambda: next(ticks))


def wait_at_most(driver: Any, seconds: float) -> None:
    driver.connection.timeout = seconds


BLOCKS = [holding(offset) for offset in (0, 1, 300, 301, 600, 601)]
"""Three blocks of two registers, each a request of its own. A register's value is its number."""


def outcomes(scan: Scan) -> list[object]:
    """Return the values, with the reason of the fault in place of each missing value."""
    assert all(fault.quality is Quality.BAD for fault in scan.faults.values())
    assert [value is None for value in scan.values] == [i in scan.faults for i in range(len(scan.values))]
    return [scan.faults[i].reason if i in scan.faults else value for i, value in enumerate(scan.values)]


REFUSED, FAULT, SILENT, BAD, LOST = (
    Reason.REFUSED, Reason.DEVICE_FAULT, Reason.NO_RESPONSE, Reason.BAD_ANSWER, Reason.NOT_CONNECTED,
)  # fmt: skip


@pytest.mark.parametrize(
    ("script", "reason", "second", "asked"),
    [
        pytest.param(exception(1), REFUSED, REFUSED, [300], id="exception 1"),
        pytest.param(exception(5), REFUSED, REFUSED, [300] * 3, id="exception 5"),
        pytest.param(exception(6), REFUSED, REFUSED, [300] * 3, id="exception 6"),
        pytest.param(exception(8), FAULT, FAULT, [300], id="exception 8"),
        pytest.param(exception(99), REFUSED, REFUSED, [300], id="exception 99"),
        pytest.param(lambda asked: [asked.frame(b"\x02\x01")], BAD, 301, None, id="too few bytes"),
        pytest.param(lambda asked: [asked.frame(b"\x06" + b"\1" * 6)], BAD, 301, None, id="too many bytes"),
        pytest.param(lambda asked: [asked.frame(b"\x06" + b"\1" * 4)], BAD, 301, None, id="a wrong byte count"),
        pytest.param(lambda asked: [asked.frame(b"\x04" + b"\1" * 1)], BAD, 301, None, id="less than the byte count"),
        pytest.param(lambda asked: [asked.frame(b"\x00")], BAD, 301, None, id="no bytes"),
        pytest.param(lambda asked: [asked.frame(unit=2)], BAD, 301, None, id="another unit"),
        pytest.param(lambda asked: [asked.frame(function=4)], BAD, 301, None, id="another function"),
        pytest.param(lambda _: [CLOSE], LOST, LOST, [300, 300], id="closed"),
        pytest.param(lambda asked: [asked.frame()[:9], CLOSE], LOST, LOST, [300, 300], id="closed in mid-frame"),
        pytest.param(lambda asked: [asked.frame(protocol=7)], LOST, LOST, [300, 300], id="garbage"),
        pytest.param(lambda asked: [asked.frame(length=0)], LOST, LOST, [300, 300], id="length 0"),
        pytest.param(lambda asked: [asked.frame(length=65535)], LOST, LOST, [300, 300], id="length 65535"),
    ],
)
async def test_a_fault_of_one_block_keeps_the_values_of_the_others(
    script: Script, reason: Reason, second: object, asked: list[int] | None
) -> None:
    """Values that were read are never discarded; points that can't be read have a reason and no value."""
    async with FakeModbusServer(by_address({300: script})) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            scan = await driver.read(one)
    assert outcomes(scan) == [0, 1, reason, second, 600, 601]
    if asked is not None:
        assert [one.first for one in server.asked] == [0, *asked, 600]


@pytest.mark.parametrize("code", [10, 11])
async def test_a_unit_that_its_gateway_can_not_reach_is_asked_no_further(code: int) -> None:
    """Each of its requests would cost the gateway a time-out."""
    async with FakeModbusServer(by_address({300: exception(code)})) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            for _ in range(5):
                assert outcomes(await driver.read(one)) == [0, 1, SILENT, SILENT, SILENT, SILENT]
            assert [asked.first for asked in server.asked] == [0, 300] * 5
            server.script = right
            assert outcomes(await driver.read(one)) == [0, 1, 300, 301, 600, 601]
    assert [asked.first for asked in server.asked[-3:]] == [0, 300, 600], "it is not split for that"


@pytest.mark.parametrize(("code", "reason"), [(2, REFUSED), (3, REFUSED), (4, FAULT)])
async def test_a_block_that_is_refused_to_its_last_point_keeps_the_values_of_the_others(
    code: int, reason: Reason
) -> None:
    """These codes can be the fault of single entries, so the block is asked for in smaller parts before it is bad."""

    def refuse(asked: Asked) -> Sequence[bytes]:
        return (exception(code) if 300 <= asked.first < 302 else right)(asked)

    async with FakeModbusServer(refuse) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            for _ in range(2):
                scan = await driver.read(one)
                assert outcomes(scan) == [0, 1, reason, reason, 600, 601]
                assert scan.faults[2].code.startswith(f"exception {code} ")


async def test_silence_costs_the_rest_of_the_scan_and_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking on would make the units behind the same connection wait a time-out for every request."""
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.0)
    async with FakeModbusServer(silent) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            wait_at_most(driver, SHORT)
            assert outcomes(await driver.read(one)) == [SILENT] * 6
            wait_at_most(driver, PATIENT)
            server.script = right
            assert outcomes(await driver.read(one)) == [0, 1, 300, 301, 600, 601]
    assert [asked.first for asked in server.asked] == [0, 0, 300, 600, 0], "a single point first"


async def test_values_read_before_the_silence_are_kept() -> None:
    """A unit may be switched off in the middle of a scan."""
    async with FakeModbusServer(silent) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:

            def last_words(asked: Asked) -> Sequence[bytes]:
                wait_at_most(driver, SHORT)
                return right(asked)

            server.script = in_turn(last_words, silent)
            assert outcomes(await driver.read(one)) == [0, 1, SILENT, SILENT, SILENT, SILENT]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(2, "exception 2 illegal data address"), (4, "exception 4 server device failure"), (99, "exception 99 unknown")],
)
async def test_a_fault_carries_the_words_of_the_protocol(code: int, expected: str) -> None:
    """An engineer who knows Modbus looks for the number."""
    async with FakeModbusServer(exception(code)) as server:
        one = group(server.port, BLOCKS[:1])
        async with driver_of(one) as driver:
            fault: Fault = (await driver.read(one)).faults[0]
    assert fault.code == expected


@pytest.mark.parametrize("script", [exception(2), exception(11), lambda asked: [asked.frame(b"\0")]])
async def test_a_device_that_answers_nothing_right_is_still_connected(script: Script) -> None:
    """A new connection would not help, and would cost every other unit its scan."""
    async with FakeModbusServer(script) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            for _ in range(5):
                assert (await driver.read(one)).values == [None] * 6
    assert server.connections == 1


async def test_a_connection_lost_before_any_value_was_read_is_reported() -> None:
    """There are no values to keep, and the runner connects again."""
    async with FakeModbusServer(lambda _: [CLOSE]) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            with pytest.raises(NotConnected):
                await driver.read(one)


async def test_a_permanent_loss_of_the_connection_is_reported_by_the_next_read() -> None:
    """The scan is kept, and the loss is not forgotten."""
    async with FakeModbusServer() as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:

            def last_words(_: Asked) -> Sequence[bytes]:
                server.stop_listening()
                return [CLOSE]

            server.script = by_address({300: last_words})
            assert outcomes(await driver.read(one)) == [0, 1, LOST, LOST, LOST, LOST]
            with pytest.raises(NotConnected):
                await driver.read(one)


async def test_a_silent_unit_leaves_the_others_their_values() -> None:
    """Units behind one serial gateway share a connection, and nothing else."""
    async with FakeModbusServer(by_unit({2: silent, 3: silent, 4: silent})) as server:
        groups = [group(server.port, BLOCKS, unit=unit) for unit in (1, 2, 3, 4)]
        async with driver_of(*groups) as driver:
            for _ in range(3):
                wait_at_most(driver, PATIENT)
                assert outcomes(await driver.read(groups[0])) == [0, 1, 300, 301, 600, 601]
                wait_at_most(driver, SHORT)
                assert [outcomes(await driver.read(one)) for one in groups[1:]] == [[SILENT] * 6] * 3
    assert server.connections == 1


async def test_values_come_in_the_order_of_the_group() -> None:
    """From all four tables, points in any order, bits of one register, and a refused block among them."""
    sources = [
        ModbusSource(address=Address(Table.INPUT, 9)),
        ModbusSource(address=Address(Table.COIL, 3), raw=Raw.BOOL),
        ModbusSource(address=Address(Table.HOLDING, 300)),
        ModbusSource(address=Address(Table.HOLDING, 5), raw=Raw.BOOL, bit=2),
        ModbusSource(address=Address(Table.DISCRETE, 8), raw=Raw.BOOL),
        ModbusSource(address=Address(Table.HOLDING, 5), raw=Raw.BOOL, bit=1),
        ModbusSource(address=Address(Table.HOLDING, 5), raw=Raw.UINT32),
        ModbusSource(address=Address(Table.COIL, 2), raw=Raw.BOOL),
    ]
    async with FakeModbusServer(by_address({300: exception(2)})) as server:
        one = group(server.port, sources)
        async with driver_of(one) as driver:
            assert outcomes(await driver.read(one)) == [9, True, REFUSED, True, False, False, 0x50006, False]


async def test_a_scan_has_the_time_of_its_first_answer() -> None:
    """Without an answer it has the time of its end: the clock is read once."""
    async with FakeModbusServer(in_turn(right, right, right, exception(2))) as server:
        one = group(server.port, BLOCKS)
        async with driver_of(one) as driver:
            assert [(await driver.read(one)).time for _ in range(2)] == [1000, 1001]


async def test_limits_of_the_connection_shape_the_requests() -> None:
    """`max_registers` and `max_gap` are one unit's own, although the connection is shared."""
    async with FakeModbusServer() as server:
        sources = [holding(offset) for offset in range(4)]
        narrow, wide = group(server.port, sources, max_registers=2), group(server.port, sources, unit=2)
        assert narrow.connection.shared() == wide.connection.shared()
        async with driver_of(narrow, wide) as driver:
            for one in (narrow, wide):
                assert outcomes(await driver.read(one)) == [0, 1, 2, 3]
    assert [(asked.unit, asked.first, asked.count) for asked in server.asked] == [(1, 0, 2), (1, 2, 2), (2, 0, 4)]


async def test_nothing_is_read_without_a_connection() -> None:
    """This is so before it is opened and after it is closed; it may be closed twice."""
    async with FakeModbusServer() as server:
        one = group(server.port, BLOCKS)
        driver = driver_of(one)
        with pytest.raises(NotConnected):
            await driver.read(one)
        await driver.close()
        async with driver:
            pass
        await driver.close()
        with pytest.raises(NotConnected):
            await driver.read(one)


async def test_events_on_the_connection_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that loses one answer in a thousand is seen in these numbers before it is seen in the data."""
    monkeypatch.setattr(circuit_breaker, "FIRST", 0.0)  # asked on, whatever it did before
    late: list[Asked] = []

    def slow(asked: Asked) -> Sequence[bytes]:
        late.append(asked)
        return []

    script = in_turn(right, exception(6), slow, lambda asked: [late[0].frame() + asked.frame() * 2], right)
    async with FakeModbusServer(script) as server, driver_of(group(server.port, [holding(1)], retries=0)) as driver:
        for reached in (False, False, True, False, False):
            wait_at_most(driver, SHORT if reached else PATIENT)
            await driver.read(driver.groups[0])
        assert driver.counts() == {
            "requests": 6,  # one of them a probe of the unit that was silent
            "retries": 0,
            "timeouts": 1,
            "refused": 1,
            "discarded_answers": 2,
            "discarded_bytes": 0,
        }


async def test_requests_that_are_sent_again_are_counted() -> None:
    """After an exception that passes, after silence, and after a lost connection; none of them is a bad reading."""
    script = in_turn(right, exception(6), right, silent, right, lambda _: [CLOSE], right)
    async with FakeModbusServer(script) as server:
        one = group(server.port, [holding(1)], retries=1)
        one.connection.timeout = 0.3  # so short that the period has room for a second attempt
        async with driver_of(one) as driver:
            retries = []
            for _ in range(4):
                assert outcomes(await driver.read(one)) == [1]
                retries.append(driver.counts()["retries"])
            assert retries == [0, 1, 2, 3]
            assert driver.counts()["requests"] == 7


def test_a_serial_line_is_configured_to_its_last_bit() -> None:
    """ASCII has 7 data bits, but for devices that use 8; everything else has whole bytes."""
    port = "/dev/serial/by-id/usb-FTDI_A1"
    parse = ModbusConnection.from_url
    rtu = parse(f"modbus+rtu://{port}", {"baud": "9600", "parity": "none", "stop_bits": "2", "rs485": "true"})
    assert (rtu.device, rtu.baud, rtu.parity, rtu.stop_bits, rtu.rs485, rtu.data_bits) == (
        port, 9600, "none", 2, True, 8,
    )  # fmt: skip
    assert parse(f"modbus+ascii://{port}", {}).data_bits == 7
    assert parse(f"modbus+ascii://{port}", {"data_bits": "8"}).data_bits == 8
    with pytest.raises(ValueError, match=r"modbus\+ascii alone"):
        parse(f"modbus+rtu://{port}", {"data_bits": "7"})


def test_unit_0_can_not_be_read_on_a_serial_line() -> None:
    """It is for broadcasts (Serial Line V1.02, clause 2.2); behind a network it is the device itself for many."""
    with pytest.raises(ValueError, match="unit 0 on a serial line is for broadcasts"):
        ModbusConnection.from_url("modbus+rtu:///dev/ttyUSB0", {"unit": "0"})
    assert ModbusConnection.from_url("modbus+tcp://10.0.0.1", {"unit": "0"}).unit == 0
