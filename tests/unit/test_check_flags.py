"""The findings of `lineside check` about the readings of a point: tables of readings and of expected findings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import node, register

from drivers.base import Fault, Quality, Reason, bad
from drivers.float32 import shortest
from drivers.modbus.address import Address, Table
from drivers.modbus.codec import encode
from drivers.modbus.raw_types import Order, Raw
from drivers.modbus.sampler import held
from drivers.modbus.source import ModbusSource
from gateway.check.flags import CONSTANT_READS, Taken, flags, suspect
from gateway.check.hints import why_not_connected, why_not_read
from gateway.check.results import Severity
from gateway.pipeline.normalize import Normalizer

if TYPE_CHECKING:
    from gateway.settings.point import Point

OUT = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE)


def acquired(point: Point, raw: Any, others: dict[str, Any] | None = None) -> Taken:
    """Return a reading as the gateway acquires it."""
    from points import group_of, whole

    scan = whole(group_of([point]), 1, raw)
    Normalizer([point]).apply(scan)
    return Taken(raw, scan.values[0], scan.faults.get(0), lambda: others or {})


def found(point: Point, *readings: Taken) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity.value) for finding in flags(point, readings)]


@pytest.mark.parametrize(
    ("point", "raw", "others", "kinds"),
    [
        pytest.param(register(range=[0, 30], scale=0.01), 1600, {}, [], id="in its range"),
        pytest.param(register(range=[0, 30], scale=0.01), 4100, {}, ["out_of_range"], id="beyond its range"),
        pytest.param(register(), 0, {}, [], id="nothing, which may well be"),
        pytest.param(register(), 65535, {}, ["end_of_range"], id="all ones"),
        pytest.param(register(raw="int16"), -32768, {}, ["end_of_range"], id="the least there is"),
        pytest.param(register(raw="int16"), 32767, {}, ["end_of_range"], id="the most there is"),
        pytest.param(register(raw="uint8"), 255, {}, [], id="a byte, which comes to its end all the time"),
        pytest.param(register(labels={65535: "fault"}), 65535, {}, [], id="a state with that number"),
        pytest.param(register(raw="bool"), True, {"x": 1}, [], id="a bit"),
        pytest.param(register(raw="string"), "AB12", {}, [], id="text"),
        pytest.param(register(raw="float32"), math.nan, {}, ["not_a_number"], id="no number"),
        pytest.param(
            register(raw="float32"), math.nan, {"order: CDAB": 171.8}, ["not_a_number", "swapped"], id="NaN, swapped"
        ),
        pytest.param(register(raw="float32"), 171.8, {"order: CDAB": 3.2}, [], id="likely as it is"),
        pytest.param(register(raw="float32"), 0.0004, {"order: CDAB": 7e-28}, [], id="small, and nothing else fits"),
        pytest.param(register(raw="float32"), 9e-41, {"order: CDAB": 0.0}, ["implausible"], id="no float at all"),
        pytest.param(register(raw="float32"), 3e-28, {"order: CDAB": 16.02}, ["swapped"], id="small"),
        pytest.param(
            register(raw="float32", range=[0, 30]), 1e9, {"order: CDAB": 16.02, "order: DCBA": 77.0},
            ["out_of_range", "swapped"], id="one of the other orders is in range",
        ),
        pytest.param(
            register(raw="float32", range=[0, 30]), 41.0, {"order: CDAB": 5e-20, "order: DCBA": 77.0},
            ["out_of_range"], id="next to nothing is in the range, and not meant",
        ),
        pytest.param(register(raw="float32", range=[1, 30]), 41.0, {"x": 77.0}, ["out_of_range"], id="none fits"),
        pytest.param(register(raw="float32", range=[0, 9]), 1e-31, {"x": 7.0}, ["swapped"], id="next to nothing"),
        pytest.param(register(raw="float32", range=[0, 9]), 1e-9, {"x": 7e28}, [], id="nothing else fits"),
        pytest.param(register(raw="int32"), 5 << 16, {"order: CDAB": 5}, ["swapped"], id="only the upper word"),
        pytest.param(register(raw="int32"), -262_145, {"order: CDAB": -5}, ["swapped"], id="a small number below 0"),
        pytest.param(register(raw="int32"), 70_000, {"order: CDAB": 292_552_705}, [], id="more than a word"),
        pytest.param(register(raw="uint32"), 3_000_000_000, {"order: CDAB": 24_102}, ["swapped"], id="beyond belief"),
        pytest.param(
            register(raw="int16", range=[0, 30]), 1280, {"order: BADC": 5}, ["out_of_range", "swapped"], id="bytes"
        ),
        pytest.param(node(type="float", range=[0, 1]), 5.0, {}, ["out_of_range"], id="no registers"),
        pytest.param(node(type="int"), "text", {}, ["type_mismatch"], id="another type"),
    ],
)  # fmt: skip
def test_one_reading_has_these_findings(point: Point, raw: Any, others: dict[str, Any], kinds: list[str]) -> None:
    """A plausible reading has no finding; each fault of an odd reading is reported once."""
    assert [kind for kind, _ in found(point, acquired(point, raw, others))] == kinds


def test_a_swapped_value_comes_with_the_option_for_its_template() -> None:
    """The value is in the unit of the point, and the unlikely order is shown for comparison."""
    point = register(raw="float32", range=[0, 300], unit="Cel", scale=0.1)
    [_, finding] = flags(point, [acquired(point, 1e12, {"order: CDAB": 1718.0, "order: DCBA": -4e9})])
    assert finding.severity is Severity.WRONG
    assert finding.text == (
        "looks like swapped words or bytes: write order: CDAB, which gives 171.8 Cel (not likely: order: DCBA -4e+08)"
    )


def test_a_sensor_at_the_end_of_its_range_is_not_a_swapped_value() -> None:
    """Swapped, 0x8000 is 128, which is within many ranges."""
    point = register(raw="int16", range=[-20, 250], scale=0.1)
    kinds = found(point, acquired(point, -32768, {"order: BADC": 128}))
    assert kinds == [("out_of_range", "wrong"), ("end_of_range", "doubt")]


@pytest.mark.parametrize(
    ("point", "raws", "constant"),
    [
        pytest.param(register(scale=0.1), [1718] * CONSTANT_READS, True, id="a measured value"),
        pytest.param(register(scale=0.1), [1718] * (CONSTANT_READS - 1), False, id="too few"),
        pytest.param(register(scale=0.1), [1718] * 9 + [1719], False, id="it moved"),
        pytest.param(register(), [7] * 20, False, id="a whole number: a counter, or a set point"),
        pytest.param(register(raw="string"), ["AB"] * 20, False, id="text"),
    ],
)
def test_a_measured_value_that_never_moves_is_doubtful(point: Point, raws: list[Any], *, constant: bool) -> None:
    """Every measurement has noise; the states and counters of a stopped machine are constant nevertheless."""
    expected = [("constant", "doubt")] if constant else []
    assert found(point, *(acquired(point, raw) for raw in raws)) == expected


def test_one_bad_reading_among_good_readings_is_a_finding() -> None:
    """A check is there to find intermittent faults."""
    point = register(range=[0, 30])
    readings = [acquired(point, raw) for raw in (5, 41, 6)]
    assert [finding.text for finding in flags(point, readings)] == ["41 is outside its range [0, 30]"]
    refused = Taken(None, None, bad(Reason.REFUSED, "exception 2 illegal data address"))
    assert [finding.text for finding in flags(point, [readings[0], refused])] == [
        "refused (exception 2 illegal data address)"
    ]


def test_a_point_without_readings_has_no_findings() -> None:
    """A point of events may have no reading."""
    assert flags(register(), []) == []


NUMBERS = [Raw.INT16, Raw.UINT16, Raw.INT32, Raw.UINT32, Raw.INT64, Raw.UINT64, Raw.FLOAT32, Raw.FLOAT64]


@given(raw=st.sampled_from(NUMBERS), wrong=st.sampled_from(Order), right=st.sampled_from(Order), data=st.data())
def test_the_right_order_is_among_the_others(raw: Raw, wrong: Order, right: Order, data: st.DataObject) -> None:
    """For any order of the device its value is found again, unless both orders are the same for this type."""
    from hypothesis import assume

    from drivers.modbus.raw_types import byte_order, fits_order

    assume(fits_order(raw, wrong) and fits_order(raw, right))
    address = Address(Table.HOLDING, 10)
    device = ModbusSource(address=address, raw=raw, order=right)
    limits = device.limits
    value = data.draw(st.integers(*limits) if limits else st.floats(-1e6, 1e6, width=32))
    if raw is Raw.FLOAT32:
        value = shortest(value)  # as it is read
    content = b"".join(register.to_bytes(2, "big") for register in encode(device, value))
    sample = held(device.model_copy(update={"order": wrong}), content)
    assert sample.raw.replace(" ", "") == content.hex().upper()
    assert sample.where == ("holding 10" if device.size == 1 else f"holding 10..{9 + device.size}")
    if byte_order(raw, wrong, device.size) == byte_order(raw, right, device.size):
        assert value not in sample.others().values() or len(set(content)) < len(content)
    else:
        assert value in sample.others().values()


@pytest.mark.parametrize(
    "source",
    [
        ModbusSource(address=Address(Table.COIL, 3), raw=Raw.BOOL),
        ModbusSource(address=Address(Table.HOLDING, 3), raw=Raw.STRING, length=2),
        ModbusSource(address=Address(Table.HOLDING, 3), raw=Raw.UINT16, bits=(4, 7)),
        ModbusSource(address=Address(Table.HOLDING, 3), raw=Raw.BOOL, bit=4),
        ModbusSource(address=Address(Table.HOLDING, 3), raw=Raw.UNIX32),
    ],
)
def test_only_numbers_have_other_orders(source: ModbusSource) -> None:
    """Letters in another order are letters, and would be shown as if they were likely."""
    assert held(source, bytes(range(1, 1 + (1 if source.address.table.bits else 2 * source.size)))).others() == {}


def test_a_sample_without_an_answer_has_no_registers() -> None:
    """Empty is not zero."""
    nothing = held(ModbusSource(address=Address(Table.HOLDING, 3), raw=Raw.FLOAT32), b"")
    assert (nothing.where, nothing.raw, nothing.others()) == ("holding 3..4", "", {})


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_a_value_out_of_range_or_near_zero_is_suspect(value: float) -> None:
    """Swapped words often give a number near zero; NaN and infinity are outside every range."""
    point = register(raw="float64", range=[-1e6, 1e6])
    assert suspect(point, value) == (not -1e6 <= value <= 1e6 or 0 < abs(value) < 2)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("10.0.0.1:502: Connect call failed ('10.0.0.1', 502)", "the port is closed"),
        ("10.0.0.1:502 does not answer", "is the cable in"),
        ("opc.tcp://10.0.0.1:4840: no answer", "is the cable in"),
        ("press-01:502: Name or service not known", "nobody knows this name"),
        ("10.0.0.1:502: No route to host", "no way to this address"),
        ("/dev/ttyUSB0: No such file or directory", "ls /dev/serial/by-id"),
        ("/dev/ttyUSB0: Permission denied", "dialout"),
        ("no device has dialled in to 0.0.0.0:502", "the device has not called"),
    ],
)
def test_an_absent_machine_comes_with_a_hint(message: str, words: str) -> None:
    """The hint is for the person at the machine, whatever the message of the operating system is."""
    assert words in why_not_connected(message)


def test_nothing_is_guessed_where_a_message_is_unknown() -> None:
    """The message already says all that is known."""
    assert not why_not_connected("something that nobody has heard of")


def test_an_absent_point_comes_with_the_command_that_lists_points() -> None:
    """Each protocol has its own command; a protocol of another package has none."""
    assert why_not_read("refused", "probe").endswith("`lineside probe` shows what it has")
    assert why_not_read("not_found", "browse").endswith("`lineside browse` shows what it has")
    assert why_not_read("not_found", "") == "the device has no such point"
    assert not why_not_read("out_of_range", "probe")
