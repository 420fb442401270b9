"""Scale factors in registers: of the same moment as the value, or there is no value."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import HOST, Asked, FakeModbusServer, exception
from pydantic import ValidationError

from drivers.base import Fault, Group, Reason, ValueType
from drivers.modbus.address import Table
from drivers.modbus.codec import compile_registers, fallible
from drivers.modbus.connection import ModbusConnection, Span
from drivers.modbus.cost import check, cost_of
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.plan import Limits, apart, plan
from drivers.modbus.sampler import held, in_other_orders
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def keyed(address: str = "holding 0", scale_register: object = "holding 1", **keys: Any) -> ModbusSource:
    return ModbusSource.model_validate({"address": address, "scale_register": scale_register} | keys)


def words(*registers: int) -> bytes:
    return b"".join((register & 0xFFFF).to_bytes(2, "big") for register in registers)


def decoded(point: ModbusSource, *registers: int) -> Any:
    return compile_registers([(point.address.offset, point)])(words(*registers))[0]


@pytest.mark.parametrize(
    ("registers", "value"),
    [
        ((6553, -1), 655.3), ((655, 0), 655.0), ((12, 2), 1200.0), ((-5, -3), -0.005), ((1, -10), 1e-10),
        ((3, 10), 3e10), ((171, -1), 17.1),
    ],
)  # fmt: skip
def test_the_exponent_beside_a_value_scales_it(registers: tuple[int, int], value: float) -> None:
    """The digits are those of the register: a division by a power of ten, not a product with 0.1."""
    found = decoded(keyed(raw="int16"), *registers)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize(
    ("keys", "registers", "value"),
    [
        ({"raw": "uint32", "scale_register": "holding 2"}, (1, 0xE240, -2), 1234.56),
        ({"raw": "uint32", "scale_register": "holding 2", "order": "CDAB"}, (0xE240, 1, -2), 1234.56),
        ({"raw": "int16", "order": "BADC"}, (0x0100, 0xFFFF), 0.1),
        ({"address": "holding 1", "scale_register": "holding 0"}, (-1, 25), 2.5),
        ({"address": "holding 1", "base": 1, "scale_register": "holding 2"}, (25, -1), 2.5),
        ({"scale_register": "40002"}, (25, -1), 2.5),
        ({"raw": "float32", "scale_register": "holding 2"}, (0x4366, 0x199A, 1), 2301.0),
        ({"bits": "0..3"}, (0xF5, 1), 50.0),
        ({"scale_register": {"address": "holding 1", "kind": "decimals", "raw": "uint16"}}, (1234, 2), 12.34),
        ({"scale_register": {"address": "holding 1", "kind": "factor", "raw": "uint16"}}, (3, 40), 120.0),
        ({"scale_register": {"address": "holding 1", "kind": "divisor", "raw": "uint16"}}, (230, 100), 2.3),
        ({"scale_register": {"address": "holding 1", "kind": "factor", "raw": "float32"}}, (3, 0x3F00, 0), 1.5),
    ],
)
def test_scale_registers_have_types_and_places(
    keys: dict[str, Any], registers: tuple[int, ...], value: float
) -> None:
    """Exponents, decimals, factors and divisors, before or behind the value, in the order of its bytes."""
    point = keyed(**keys)
    first = min(point.address.offset, 0)
    assert compile_registers([(point.address.offset - first, point)])(words(*registers)) == [value]
    assert point.value_type is ValueType.FLOAT
    assert point.limits is None
    assert fallible([point]) == (0,)
    assert ModbusSource.model_validate(point.written()) == point.model_copy(update={"base": 0})


@pytest.mark.parametrize(
    ("keys", "registers", "reason", "code"),
    [
        ({}, (1, 0x8000), Reason.NOT_AVAILABLE, "the device does not have the scale factor, 0x8000"),
        ({}, (1, 11), Reason.OUT_OF_RANGE, "the scale factor is 10^11"),
        ({"not_available": 0xFFFF}, (0xFFFF, 0), Reason.NOT_AVAILABLE, "0xFFFF"),
        ({"raw": "bcd16"}, (0xA000, 0), Reason.NOT_A_NUMBER, "0xA000 has digits that are not decimal"),
        (
            {"scale_register": {"address": "holding 1", "kind": "factor", "raw": "uint16"}}, (1, 0),
            Reason.OUT_OF_RANGE, "the scale factor is 0",
        ),
        (
            {"scale_register": {"address": "holding 1", "kind": "divisor", "raw": "uint16"}}, (1, 0),
            Reason.OUT_OF_RANGE, "the scale divisor is 0",
        ),
        (
            {"scale_register": {"address": "holding 1", "kind": "decimals"}}, (1, -1),
            Reason.OUT_OF_RANGE, "the scale register has -1 decimals",
        ),
    ],
)  # fmt: skip
def test_a_value_without_a_scale_factor_is_bad(
    keys: dict[str, Any], registers: tuple[int, int], reason: Reason, code: str
) -> None:
    """SunSpec's sunssf of 0x8000 means not implemented; 10^11 is not a valid factor."""
    found = decoded(keyed(**keys), *registers)
    assert isinstance(found, Fault)
    assert (found.reason, found.code) == (reason, code)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"scale_register": "coil 1"}, "coil 1 is one bit; a scale factor is in a holding or input register"),
        ({"scale_register": "holding 70000"}, "beyond the last of a table"),
        ({"scale_register": {"address": "holding 1", "raw": "string"}}, "a scale register of kind exponent has raw"),
        ({"scale_register": {"address": "holding 1", "raw": "float32"}}, "a scale register of kind exponent has raw"),
        ({"scale_register": {"address": "holding 65535", "raw": "int32"}}, "reaches beyond the last entry"),
        ({"raw": "string", "length": 2}, "scale_register is for raw: int8"),
        ({"bit": 3}, "scale_register is for raw: int8"),
    ],
)
def test_wrong_scale_registers_are_errors(keys: dict[str, Any], message: str) -> None:
    """Each would scale by something other than a factor."""
    with pytest.raises(ValidationError) as caught:
        keyed(**keys)
    assert message in str(caught.value)


def test_a_value_and_its_scale_register_are_in_one_request() -> None:
    """The gap between them does not count, and a limit of registers splits between values."""
    points = [keyed(f"holding {i}", "holding 60") for i in range(10)]
    assert [(one.first, one.count) for one in plan(points, Limits()).requests] == [(0, 61)]
    split = plan(points, Limits(max_registers=55)).requests
    assert [(one.first, one.count) for one in split] == [(0, 6), (6, 55)]
    even = plan([keyed("holding 0", "holding 2")], Limits(even=True)).requests
    assert [(one.first, one.count) for one in even] == [(0, 4)]


def test_a_scale_register_that_can_not_be_joined_is_read_before_and_after() -> None:
    """Too far away, behind forbidden entries, in another table, or where the device refuses gaps."""
    assert [(one.first, one.count) for one in plan([keyed("holding 0", "holding 200")], Limits()).requests] == [
        (0, 1)
    ]
    assert [
        (one.first, one.count) for one in plan([keyed("holding 0", "holding 2")], Limits(max_gap=0)).requests
    ] == [(0, 1)]
    connection = ModbusConnection(host=HOST, max_gap=0)
    one = Group("m", connection, ("a",), (keyed("holding 0", "input 9"),), 1.0)
    assert cost_of(one).requests == 3
    forbidden = ModbusConnection.from_url("modbus+tcp://h", {"forbidden": "holding 9"})
    assert list(check(forbidden, [keyed("holding 0", "holding 9")])) == [
        (0, "holding 9 is in a range that the connection forbids to read")
    ]
    assert list(check(forbidden, [keyed("holding 0", "holding 20")])) == []


def test_check_names_the_scale_register_of_a_value() -> None:
    """A value that is wrong by a power of ten is explained by it."""
    shown = held(keyed(), words(6553))
    assert (shown.where, shown.raw) == ("holding 0, scaled by holding 1", "1999")


def test_other_orders_are_shown_without_the_scale_factor() -> None:
    """`check` names the orders in which the registers of the value make sense."""
    assert in_other_orders(keyed(raw="uint32", scale_register="holding 2"), words(0, 1))["order: CDAB"] == 65536


@asynccontextmanager
async def driver_of(one: Group) -> AsyncIterator[ModbusDriver]:
    driver = ModbusDriver(one.connection.shared(), (one,), Clock())
    await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


def table(registers: Callable[[int], dict[int, int]]) -> Callable[[Asked], list[bytes]]:
    """Answer with registers that depend on the number of the request."""
    count = 0

    def script(asked: Asked) -> list[bytes]:
        nonlocal count
        now = registers(count)
        count += 1
        data = words(*(now.get(entry, 0) for entry in range(asked.first, asked.first + asked.count)))
        return [asked.frame(bytes((len(data),)) + data)]

    return script


def group(port: int, *sources: ModbusSource, **options: Any) -> Group:
    connection = ModbusConnection(host=HOST, port=port, timeout=5.0, **options)
    return Group("m", connection, tuple(f"p{i}" for i in range(len(sources))), sources, 1.0)


async def test_a_factor_that_moves_never_gives_another_value() -> None:
    """An inverter shows 6553 with 10^-1, and then 655 with 10^0: that is never 6553 W, and never 65.5 W."""
    moving = table(lambda n: {83: 6553, 84: 0xFFFF} if n % 2 else {83: 655, 84: 0})
    async with FakeModbusServer(moving) as server:
        one = group(server.port, keyed("holding 83", "holding 84", raw="int16"), keyed("holding 83", "holding 84"))
        async with driver_of(one) as driver:
            values = [(await driver.read(one)).values for _ in range(6)]
    assert {value for row in values for value in row} == {655.0, 655.3}


async def test_a_factor_that_moves_apart_from_its_value_makes_the_value_bad() -> None:
    """Before and after are different: nobody knows which of them belongs to the value."""
    moving = table(lambda n: {0: 655, 900: 0 if n < 5 else 0xFFFF})
    async with FakeModbusServer(moving) as server:
        one = group(server.port, keyed("holding 0", "holding 900", raw="int16"))
        async with driver_of(one) as driver:
            first, second, third = [await driver.read(one) for _ in range(3)]
    assert (first.values, first.faults) == ([655.0], {})
    assert second.values == [None]
    assert second.faults[0].code == "the scale factor changed from 0 to -1 during the scan"
    assert third.values == [65.5]


async def test_a_value_whose_factor_is_refused_is_bad() -> None:
    """Without its factor a value is any of twenty-one."""

    def refusing(asked: Asked) -> Any:
        return exception(2)(asked) if asked.first == 900 else table(lambda _: {0: 655})(asked)

    async with FakeModbusServer(refusing) as server:
        one = group(
            server.port, keyed("holding 0", "holding 900"), ModbusSource.model_validate({"address": "holding 0"})
        )
        async with driver_of(one) as driver:
            scan = await driver.read(one)
    assert scan.values == [None, 655]
    assert scan.faults[0].reason is Reason.REFUSED


def test_a_scale_register_of_32_bits_is_read_apart() -> None:
    """Distances are counted in other registers there."""
    limits = Limits(wide=(Span(Table.HOLDING, 0, 99),))
    assert [(one.first, one.count) for one in plan([keyed("holding 4", "holding 5")], limits).requests] == [(4, 1)]
    assert set(apart([keyed("holding 4", "holding 5"), keyed("holding 104", "holding 105")], limits)) == {0}
