"""Which requests are sent: as few as the limits allow, no value torn, every value back in its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.address import Address, Table
from drivers.modbus.pdu import MAX_BITS
from drivers.modbus.plan import Limits, Request, plan
from drivers.modbus.raw_types import SHAPES, TEXTS, Order, Raw, fits_order
from drivers.modbus.source import ModbusSource


def at(table: str, offset: int, raw: str = "uint16", **rest: Any) -> ModbusSource:
    return ModbusSource(address=Address(Table(table), offset), raw=Raw(raw), **rest)


def holding(*offsets: int, raw: str = "uint16") -> list[ModbusSource]:
    return [at("holding", offset, raw) for offset in offsets]


def coils(*offsets: int) -> list[ModbusSource]:
    return [at("coil", offset, "bool") for offset in offsets]


def asked(points: list[ModbusSource], max_registers: int = 125, max_gap: int = 16) -> list[tuple[int, int]]:
    """Return first entry and count of each request."""
    return [(request.first, request.count) for request in plan(points, Limits(max_registers, max_gap)).requests]


@pytest.mark.parametrize(
    ("points", "limits", "requests"),
    [
        ([], {}, []),
        (holding(5), {}, [(5, 1)]),
        (holding(0, 1, 2), {}, [(0, 3)]),
        (holding(0, 17), {}, [(0, 18)]),  # 16 unasked entries between them
        (holding(0, 18), {}, [(0, 1), (18, 1)]),
        (holding(0, 1), {"max_gap": 0}, [(0, 2)]),
        (holding(0, 2), {"max_gap": 0}, [(0, 1), (2, 1)]),
        (holding(0, 3), {"max_gap": 2}, [(0, 4)]),
        (holding(0, 2, raw="uint32"), {"max_gap": 0}, [(0, 4)]),  # the gap is counted from the value's end
        (holding(0, 3, raw="uint32"), {"max_gap": 0}, [(0, 2), (3, 2)]),
        (holding(0, 124), {"max_gap": 124}, [(0, 125)]),
        (holding(0, 125), {"max_gap": 124}, [(0, 1), (125, 1)]),
        (holding(*range(10)), {"max_registers": 4}, [(0, 4), (4, 4), (8, 2)]),
        (holding(*range(3)), {"max_registers": 1}, [(0, 1), (1, 1), (2, 1)]),
        (holding(7, 7, 7), {}, [(7, 1)]),
        ([at("holding", 3, "bool", bit=bit) for bit in range(16)], {"max_registers": 1}, [(3, 1)]),
        (coils(0, MAX_BITS - 1), {"max_gap": MAX_BITS}, [(0, MAX_BITS)]),
        (coils(0, MAX_BITS), {"max_gap": MAX_BITS}, [(0, 1), (MAX_BITS, 1)]),
        (coils(0, 9), {"max_registers": 1}, [(0, 10)]),  # which bounds registers, not bits
        ([*coils(1), *holding(1), at("input", 1), at("discrete", 1, "bool")], {}, [(1, 1)] * 4),
        (holding(65535, 65534), {}, [(65534, 2)]),
    ],
)  # fmt: skip
def test_points_are_merged_as_far_as_the_limits_allow(
    points: list[ModbusSource], limits: dict[str, int], requests: list[tuple[int, int]]
) -> None:
    """Each request costs a turn of the line; each unasked entry may be one that the device refuses."""
    assert asked(points, **limits) == requests


def test_a_value_is_never_read_in_two_halves() -> None:
    """A counter that overflows between the two requests would jump by 65536."""
    points = [at("holding", offset, "uint64") for offset in range(0, 400, 4)]
    for request in plan(points, Limits(10, 0)).requests:
        assert request.count == 8
        assert request.first % 4 == 0


def test_values_that_overlap_at_a_limit_are_both_whole() -> None:
    """The second begins inside the first and no longer fits beside it: it is read again, in a request of its own."""
    assert asked([at("holding", 0, "uint64"), at("holding", 2, "uint64")], max_registers=4) == [(0, 4), (2, 4)]


@pytest.mark.parametrize(
    ("table", "pdu"), [("coil", "01 0001 0003"), ("discrete", "02 0001 0003"), ("holding", "03 0001 0003"),
                       ("input", "04 0001 0003")]
)  # fmt: skip
def test_requests_are_those_of_their_table(table: str, pdu: str) -> None:
    """Function codes 1 to 4, clauses 6.1 to 6.4."""
    raw = "bool" if Table(table).bits else "uint16"
    [request] = plan([at(table, 1, raw), at(table, 3, raw)], Limits(125, 16)).requests
    assert request.pdu == bytes.fromhex(pdu)
    assert request.size == (1 if Table(table).bits else 6)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (8, 1), (9, 2), (2000, 250)])
def test_the_answer_to_a_request_for_bits_has_a_byte_for_each_eight(count: int, size: int) -> None:
    """An answer of another size is invalid."""
    [request] = plan(coils(0, count - 1), Limits(125, 2000)).requests
    assert request.size == size


def test_values_come_back_in_the_order_of_the_group() -> None:
    """Requests are sorted by address; a reader of the scan need not know their order."""
    points = [at("holding", 9), *coils(2), at("holding", 1), at("input", 4), *coils(1)]
    prepared = plan(points, Limits(125, 16))
    assert prepared.arrange is not None
    values = [position for request in prepared.requests for position in request.positions]
    assert prepared.arrange(list(values)) == tuple(range(5))


def test_values_in_order_are_not_arranged() -> None:
    """Most groups are written in the order of their registers, and then it costs nothing."""
    assert plan([*coils(0, 1), *holding(0, 1)], Limits(125, 16)).arrange is None


@st.composite
def groups(draw: st.DrawFn) -> list[ModbusSource]:
    """Draw points that lie close to each other, so that they touch, overlap and repeat."""
    points = []
    for _ in range(draw(st.integers(0, 40))):
        table = draw(st.sampled_from(Table))
        offset = draw(st.integers(0, 300) | st.integers(65200, 65527))
        if table.bits:
            points.append(at(table, offset, "bool"))
            continue
        raw = draw(st.sampled_from(Raw))
        rest: dict[str, Any] = {"order": draw(st.sampled_from([order for order in Order if fits_order(raw, order)]))}
        if raw is Raw.BOOL:
            rest["bit"] = draw(st.integers(0, 15))
        if raw in TEXTS:
            rest["length"] = draw(st.integers(1, 8))
        points.append(at(table, offset, raw, **rest))
    return points


def answer(request: Request) -> bytes:
    """Return the answer of a device whose registers contain their own numbers, and whose odd coils are set."""
    entries = range(request.first, request.first + request.count)
    if request.table.bits:
        bits = sum((entry & 1) << i for i, entry in enumerate(entries))
        return bits.to_bytes(request.size, "little")
    return b"".join(entry.to_bytes(2, "big") for entry in entries)


@pytest.mark.slow
@given(groups(), st.integers(8, 125), st.integers(0, 124))
def test_every_point_is_in_one_request_and_inside_it(
    points: list[ModbusSource], max_registers: int, max_gap: int
) -> None:
    """Whatever the limits and the order in the file: nothing is lost, torn, doubled, or beyond the device."""
    prepared = plan(points, Limits(max_registers, max_gap))
    positions = [position for request in prepared.requests for position in request.positions]
    assert sorted(positions) == list(range(len(points)))
    for request in prepared.requests:
        assert 1 <= request.count <= (MAX_BITS if request.table.bits else max_registers)
        assert request.first + request.count <= 0x10000
        inside = [points[position] for position in request.positions]
        assert all(point.address.table is request.table for point in inside)
        assert all(
            request.first <= point.address.offset
            and point.address.offset + point.size <= request.first + request.count
            for point in inside
        )
        wanted = {e for p in inside for e in range(p.address.offset, p.address.offset + p.size)}
        assert {request.first, request.first + request.count - 1} <= wanted
        longest = run = 0
        for entry in range(request.first, request.first + request.count):
            run = 0 if entry in wanted else run + 1
            longest = max(longest, run)
        assert longest <= max_gap


@pytest.mark.slow
@given(groups(), st.integers(8, 125), st.integers(0, 124))
def test_every_value_comes_back_to_its_point(points: list[ModbusSource], max_registers: int, max_gap: int) -> None:
    """Read through the plan or alone, a point has the same value."""
    prepared = plan(points, Limits(max_registers, max_gap))
    values = [value for request in prepared.requests for value in request.decode(answer(request))]
    found = list(values if prepared.arrange is None else prepared.arrange(list(values)))
    alone = [
        request.decode(answer(request))[0] for point in points for request in plan([point], Limits(125, 0)).requests
    ]
    assert repr(found) == repr(alone)  # repr: a float of two register numbers may be NaN


def test_sizes_are_known_for_all_types() -> None:
    """A type without a size would stop the gateway when it is first read."""
    assert set(SHAPES) == set(Raw)
    assert {raw for raw in Raw if SHAPES[raw].registers == 0} == set(TEXTS)
