"""The keys that a user may write for a point, the properties that follow, and the messages for mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from drivers.base import Group, ValueType
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.cost import check
from drivers.modbus.group_state import GroupState
from drivers.modbus.raw_types import APPLIES, SHAPES, Order, Raw, fits_order
from drivers.modbus.source import ModbusSource
from gateway.settings.document import Document
from gateway.settings.templates import Template, Templates

if TYPE_CHECKING:
    from pathlib import Path


def keyed(address: object = "holding 0", **keys: Any) -> ModbusSource:
    return ModbusSource.model_validate({"address": address} | keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"base": 2}, "less than or equal to 1"),
        ({"base": 1}, "there is no holding 0"),
        ({"raw": "string"}, "a string needs its length in registers"),
        ({"raw": "bytes"}, "bytes need their length in registers"),
        ({"raw": "int16", "length": 2}, "length is for raw: string, bytes, and this point is int16"),
        ({"raw": "bool"}, "raw: bool in a register needs the bit"),
        ({"raw": "int16", "bit": 3}, "a bit needs raw: bool"),
        ({"address": "coil 0", "bit": 3}, "an entry of table coil is one bit"),
        ({"address": "coil 0", "raw": "int16"}, "an entry of table coil is one bit"),
        ({"address": "coil 0", "order": "BADC"}, "it has no order"),
        ({"raw": "int24", "bits": "0..3"}, "bits is for raw: int16, int32, int64, uint16, uint32, uint64, and this"),
        ({"bit": 1, "bits": "0..3"}, "uint32, uint64, and this point is bool"),
        ({"bit": 16}, "16 is out of range; write at most 15"),
        ({"raw": "string", "length": 2, "bit": 3}, "a bit needs raw: bool"),
        ({"raw": "uint32", "bit": 32}, "32 is out of range; write at most 31"),
        ({"raw": "uint32", "bit": 17, "bits": "0..3"}, "bits is for numbers, and this point is one bit"),
        ({"raw": "uint32", "bit": 17, "not_available": 1}, "not_available is for numbers, and this point is one bit"),
        ({"raw": "float32", "bit": 17}, "a bit needs raw: bool, or uint32 or uint64 for more bits"),
        ({"raw": "int24", "not_available": 0x1000000}, "not_available: 16777216 does not fit in 24 bits"),
        ({"raw": "mod10k32", "not_available": 0}, "not_available is for raw"),
        ({"bits": "4..16"}, "there are no bits 4..16 in uint16; write the lowest and the highest, from 0 to 15"),
        ({"bits": "7..4"}, "there are no bits 7..4"),
        ({"bits": [-1, 4]}, "there are no bits -1..4"),
        ({"bits": 4}, "4 is not a range of bits; write the lowest and the highest, as in 4..7 or [4, 7]"),
        ({"bits": "4-7"}, "'4-7' is not a range of bits"),
        ({"raw": "uint16", "byte": "high"}, "byte is for raw: int8, uint8, bcd8, and this point is uint16"),
        ({"raw": "uint16", "sign": "magnitude"}, "sign is for raw: int8, int16, int24, int32, int48, int64"),
        ({"raw": "bytes", "length": 2, "encoding": "utf-8"}, "encoding is for raw: string"),
        ({"raw": "string", "length": 2, "encoding": "utf-9"}, "'utf-9' is not a known encoding; write latin-1"),
        ({"raw": "string", "length": 2, "encoding": "hex"}, "'hex' is not a known encoding"),
        ({"raw": "string", "length": 1, "encoding": "utf-16", "packing": "byte_per_register"}, "not one character"),
        ({"raw": "uint16", "packing": "byte_per_register"}, "packing is for raw: string, bytes"),
        ({"raw": "cp56", "not_available": 0}, "not_available is for raw: int8"),
        ({"raw": "bytes", "length": 2, "length_prefix": "s7"}, "length_prefix is for raw: string"),
        ({"raw": "string", "length": 1, "length_prefix": "s7"}, "not one character of latin-1 fits into length: 1"),
        ({"raw": "bytes", "length": 2, "trim": "both"}, "trim is for raw: string"),
        (
            {"raw": "string", "length": 2, "padding": 0xFF, "encoding": "utf-16"},
            "padding is one byte, and a character of utf-16 has 2",
        ),
        ({"raw": "string", "length": 2, "padding": 256}, "less than or equal to 255"),
        (
            {"raw": "string", "length": 2, "not_available": 256},
            "256 is not a byte; write the byte that fills",
        ),
        (
            {"raw": "datetime", "layout": ["year", "moon"]},
            "'moon' is not a field of a layout; write year",
        ),
        ({"raw": "datetime", "layout": ["year", "month"]}, "the layout contains no day; write at least year, month"),
        ({"raw": "datetime", "layout": ["year/month/day"]}, "'year/month/day' is more than two bytes; write"),
        ({"raw": "datetime", "layout": ["year", "year", "day"]}, "the layout contains year twice"),
        ({"raw": "datetime", "layout": []}, "a layout has 1 to 16 registers"),
        ({"raw": "datetime", "zone": "Europe/Berln"}, "'Europe/Berln' is not a time zone on this machine; write an"),
        ({"raw": "datetime", "zone": "../etc"}, "'../etc' is not a time zone on this machine"),
        ({"raw": "uint32", "zone": "Europe/Berlin"}, "zone is for raw: unix32, unix64, unix_ms64, cp56, datetime"),
        ({"raw": "cp56", "bcd": True}, "bcd is for raw: datetime, and this point is cp56"),
        ({"raw": "int16", "not_available": 0x10000}, "not_available: 65536 does not fit in 16 bits"),
        ({"raw": "int16", "not_available": -32769}, "not_available: -32769 does not fit in 16 bits"),
        ({"raw": "uint16", "not_available": -1}, "not_available: -1 does not fit in 16 bits without a sign"),
        ({"raw": "uint16", "not_available": 1.5}, "1.5 is not a whole number"),
        ({"bits": "4..7", "not_available": 16}, "not_available: 16 does not fit in 4 bits"),
        ({"raw": "float32", "not_available": 1e39}, "1e+39 is too large for 32 bits"),
        ({"raw": "uint32", "order": "GHEFCDAB"}, "GHEFCDAB is an order of 64 bits, and this is uint32"),
        ({"raw": "string", "length": 4, "order": "HGFEDCBA"}, "HGFEDCBA is an order of 64 bits, and this is string"),
        ({"bit": 1, "count": 2}, "count is for whole registers, or coils"),
        ({"bits": "0..3", "count": 2}, "count is for whole registers, or coils"),
        ({"raw": "int8", "count": 2}, "count is for whole registers, or coils"),
        ({"count": 0}, "greater than or equal to 1"),
        (
            {"address": "holding 65535", "raw": "uint32"},
            "uint32 at holding 65535 reaches beyond the last entry, 65535",
        ),
        ({"address": "holding 65530", "raw": "uint32", "count": 4}, "4 x uint32 at holding 65530 reaches beyond"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], message: str) -> None:
    """Each would read something other than intended."""
    with pytest.raises(ValidationError) as caught:
        keyed(**keys)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value_type", "size", "limits"),
    [
        ({"address": "coil 0"}, ValueType.BOOL, 1, None),
        ({"address": "00011"}, ValueType.BOOL, 1, None),
        ({"address": 10011}, ValueType.BOOL, 1, None),
        ({"bit": 3}, ValueType.BOOL, 1, None),
        ({}, ValueType.INT, 1, (0, 65535)),
        ({"bits": "4..7"}, ValueType.INT, 1, (0, 15)),
        ({"raw": "int8"}, ValueType.INT, 1, (-128, 127)),
        ({"raw": "uint8", "byte": "high"}, ValueType.INT, 1, (0, 255)),
        ({"raw": "int32"}, ValueType.INT, 2, (-(2**31), 2**31 - 1)),
        ({"raw": "int32", "sign": "magnitude"}, ValueType.INT, 2, (1 - 2**31, 2**31 - 1)),
        ({"raw": "bcd16"}, ValueType.INT, 1, (0, 9999)),
        ({"raw": "bcd32"}, ValueType.INT, 2, (0, 99999999)),
        ({"raw": "bcd8"}, ValueType.INT, 1, (0, 99)),
        ({"raw": "bcd64"}, ValueType.INT, 4, (0, 10**16 - 1)),
        ({"raw": "int24"}, ValueType.INT, 2, (-(2**23), 2**23 - 1)),
        ({"raw": "uint48"}, ValueType.INT, 3, (0, 2**48 - 1)),
        ({"raw": "mod10k48"}, ValueType.INT, 3, (1 - 10**12, 10**12 - 1)),
        ({"raw": "int16", "bits": "4..7"}, ValueType.INT, 1, (-8, 7)),
        ({"raw": "int16", "bits": "4..7", "sign": "magnitude"}, ValueType.INT, 1, (-7, 7)),
        ({"raw": "uint32", "bit": 17}, ValueType.BOOL, 2, None),
        ({"raw": "float16"}, ValueType.FLOAT, 1, None),
        ({"raw": "float64"}, ValueType.FLOAT, 4, None),
        ({"raw": "string", "length": 7}, ValueType.STRING, 7, None),
        ({"raw": "bytes", "length": 3}, ValueType.STRING, 3, None),
        ({"raw": "unix32"}, ValueType.STRING, 2, None),
        ({"raw": "cp56"}, ValueType.STRING, 4, None),
        ({"raw": "datetime"}, ValueType.STRING, 6, None),
        ({"raw": "datetime", "layout": ["year/month", "day"]}, ValueType.STRING, 2, None),
        ({"raw": "s7_dtl"}, ValueType.STRING, 6, None),
    ],
)
def test_type_size_and_limits_follow_from_the_keys(
    keys: dict[str, Any], value_type: ValueType, size: int, limits: tuple[int, int] | None
) -> None:
    """A point's type never changes, so it is known before the first answer."""
    point = keyed(**keys)
    assert (point.value_type, point.size, point.limits) == (value_type, size, limits)


def test_only_numbers_of_64_bits_without_a_sign_may_be_too_large() -> None:
    """The normalization checks each of them, and no others."""
    assert [raw for raw in SHAPES if not keyed(**_least(raw)).fits_int64] == [Raw.UINT64]
    assert keyed(raw="uint64", bits="0..62").fits_int64
    assert not keyed(raw="uint64", bits="0..63").fits_int64


def _least(raw: Raw) -> dict[str, Any]:
    return {"raw": raw} | ({"bit": 0} if raw is Raw.BOOL else {}) | ({} if SHAPES[raw].registers else {"length": 1})


def test_orders_of_eight_letters_are_for_64_bits_alone() -> None:
    """On a smaller value half of the letters would mean nothing."""
    for raw in Raw:
        fitting = {order for order in Order if fits_order(raw, order)}
        assert len(fitting) == (12 if SHAPES[raw].registers == 4 else 4)


DEFAULTS = {
    "base": 1, "raw": "float32", "order": "CDAB", "length": 4, "encoding": "utf-8", "packing": "full", "every": "1s",
    "byte": "high", "sign": "magnitude", "not_available": -9999,
}  # fmt: skip


@pytest.mark.parametrize(
    ("written", "applied"),
    [
        ({"address": "holding 1"}, {"base", "raw", "order", "not_available"}),
        ({"address": "holding 1", "raw": "string"}, {"base", "raw", "order", "length", "encoding", "packing"}),
        ({"address": "holding 1", "raw": "bytes"}, {"base", "raw", "order", "length", "packing"}),
        ({"address": "holding 1", "raw": "int8"}, {"base", "raw", "order", "byte", "sign"}),
        ({"address": "holding 1", "raw": "int32"}, {"base", "raw", "order", "sign"}),
        ({"address": "holding 1", "raw": "uint16"}, {"base", "raw", "order"}),
        ({"address": "holding 1", "bit": 3}, {"base", "order"}),
        ({"address": "holding 1", "bits": "4..7"}, {"base", "order"}),
        ({"address": "holding 1", "bits": "4..7", "raw": "uint32"}, {"base", "raw", "order"}),
        ({"address": "coil 1"}, {"base"}),
        ({"address": "00011"}, {"base"}),
        ({"address": 10011}, {"base"}),
        ({"raw": None, "address": "holding 1"}, {"base", "raw", "order"}),
        ({"raw": "nonsense"}, {"base", "raw", "order"}),
    ],
)
def test_defaults_apply_where_they_mean_something(written: dict[str, Any], applied: set[str]) -> None:
    """Defaults are of a whole file, and points differ."""
    found = ModbusSource.fitting(DEFAULTS, written)
    assert set(found) - {"every", "raw"} == applied - {"raw"}
    assert found["every"] == "1s"
    if written.get("raw") != "nonsense":
        keys = {key: value for key, value in (found | written).items() if value is not None and key != "every"}
        assert ModbusSource.model_validate(keys)


def test_an_order_of_64_bits_applies_to_64_bits() -> None:
    """The other points of the file have bytes enough of their own."""
    assert ModbusSource.fitting({"order": "GHEFCDAB"}, {"raw": "int64"}) == {"order": "GHEFCDAB"}
    assert ModbusSource.fitting({"order": "GHEFCDAB"}, {"raw": "int32"}) == {}
    assert ModbusSource.fitting({"order": "nonsense"}, {"raw": "int32"}) == {"order": "nonsense"}


def test_not_available_values_are_of_one_type() -> None:
    """0x8000 of an int16 is a good value of a uint32."""
    assert ModbusSource.fitting({"not_available": 0x8000, "raw": "int16"}, {}) == {
        "not_available": 0x8000,
        "raw": "int16",
    }
    assert ModbusSource.fitting({"not_available": 0xFFFF}, {"raw": "uint16"}) == {"not_available": 0xFFFF}
    assert ModbusSource.fitting({"not_available": 0x8000, "raw": "int16"}, {"raw": "uint32"}) == {"raw": "int16"}


BY_TYPE = {"int16": 0x8000, "uint16": [0xFFFF, 0xFFFE], "float32": "nan", "int32": -9999}


@pytest.mark.parametrize(
    ("keys", "not_available"),
    [
        ({}, (0xFFFF, 0xFFFE)),
        ({"raw": "int16"}, (0x8000,)),
        ({"raw": "int32"}, (-9999,)),
        ({"raw": "float32"}, ("nan",)),
        ({"raw": "uint32"}, ()),
        ({"raw": "int16", "not_available": 7}, (7,)),
        ({"bits": "0..3"}, ()),
        ({"bit": 3}, ()),
        ({"address": "coil 1"}, ()),
    ],
)
def test_defaults_name_the_not_available_values_of_each_type(
    keys: dict[str, Any], not_available: tuple[object, ...]
) -> None:
    """A standard has a value for each type, which is written once for all points."""
    written = {"address": "holding 0"} | keys
    assert keyed(**ModbusSource.fitting({"not_available": BY_TYPE}, written) | written).not_available == not_available


@pytest.mark.parametrize(
    ("raw", "not_available"),
    [
        ("int16", (0x8000,)), ("uint16", (0xFFFF,)), ("int32", (2**31,)), ("uint32", (2**32 - 1,)),
        ("uint64", (2**64 - 1,)), ("float32", ("nan",)), ("int8", ()),
    ],
)  # fmt: skip
def test_the_values_of_a_standard_have_a_name(raw: str, not_available: tuple[object, ...]) -> None:
    """Every SunSpec device uses the same."""
    written = {"address": "holding 0", "raw": raw}
    assert (
        keyed(**ModbusSource.fitting({"not_available": "sunspec"}, written) | written).not_available == not_available
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"raw": "int16", "not_available": "nan"}, "not_available: nan is for float16, float32, float64, and this"),
        ({"not_available": {"int15": 1}}, "{'int15': 1} has no type of this point; write the types and their values"),
        ({"not_available": {"uint16": 0x10000}}, "not_available: 65536 does not fit in 16 bits"),
    ],
)
def test_wrong_values_for_types_are_errors(keys: dict[str, Any], message: str) -> None:
    """A name that is not a type would be without effect."""
    with pytest.raises(ValidationError) as caught:
        keyed(**keys)
    assert message in str(caught.value)


def test_a_connection_names_the_not_available_values_of_its_device() -> None:
    """A template is used for devices of several makers; a point's own values come first."""
    connection = ModbusConnection.from_url("modbus+tcp://press", {"not_available": "sunspec"})
    points = (
        keyed(), keyed(raw="int16", not_available=7), keyed(raw="int32"), keyed(bit=3), keyed(bits="0..3"),
        keyed(raw="float32"), keyed(raw="string", length=2), keyed("coil 0"),
    )  # fmt: skip
    names = tuple(f"p{i}" for i in range(len(points)))
    found = GroupState(Group("m", connection, names, points, 1.0)).points
    assert [point.not_available for point in found] == [(0xFFFF,), (7,), (2**31,), (), (), ("nan",), (0,), ()]
    assert list(check(connection, points)) == []
    assert connection.shared().not_available == ()
    plain = ModbusConnection.from_url("modbus+tcp://press", {})
    assert GroupState(Group("m", plain, names, points, 1.0)).points is points
    wrong = ModbusConnection.from_url("modbus+tcp://press", {"not_available": {"uint16": [0xFFFF, 0x10000]}})
    assert [position for position, _ in check(wrong, points)] == [0]
    for written in ("sunspeck", {"int15": 1}, 5):
        with pytest.raises(
            ValidationError, match="does not name types; write sunspec, or the types and their values"
        ):
            ModbusConnection.from_url("modbus+tcp://press", {"not_available": written})


def test_ranges_for_types_apply_to_the_points_of_these_types(tmp_path: Path) -> None:
    """The range of a 12-bit converter is the same for all of its points."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "oven.yaml").write_text(
        "format: 1\nprotocol: modbus\n"
        "defaults: {not_available: {int16: 0x8000}, range: {int16: [-3000, 3000], float32: [0, 1]}}\n"
        "points:\n  a: {address: holding 1, raw: int16}\n  b: {address: holding 2}\n"
        "  c: {address: holding 3, raw: int16, range: [0, 9]}\n  d: {address: holding 4, raw: float32}\n"
        "  e: {address: holding 6, raw: int16, bits: 0..3}\n  f: {address: coil 1}\n",
        encoding="utf-8",
    )
    templates = Templates(Document(tmp_path / "factory.yaml", {}))
    found = templates.get("oven", ())
    assert templates.problems == []
    assert found is not None
    assert [point.range for point in found.points] == [(-3000, 3000), None, (0, 9), (0, 1), None, None]


def test_a_range_for_an_unknown_type_is_reported_with_its_line(tmp_path: Path) -> None:
    """The key of a mapping is written by hand."""
    _, problems = template(tmp_path, "  a: {address: holding 1, range: {int15: [0, 1]}}\n")
    [problem] = problems
    assert problem.startswith("5: points.a.range: {'int15': [0, 1]} is not a range; write [lowest, highest], or in")


def test_an_array_becomes_a_point_for_each_element() -> None:
    """Each is a point like any other: it has a name, a filter and a fault of its own."""
    keys = {"address": "40011", "raw": "float32", "count": 3, "unit": "Cel"}
    found = ModbusSource.expand("zone", keys)
    rest = {"raw": "float32", "unit": "Cel"}
    assert found == {
        "zone_0": rest | {"address": Address(Table.HOLDING, 10)},
        "zone_1": rest | {"address": Address(Table.HOLDING, 12)},
        "zone_2": rest | {"address": Address(Table.HOLDING, 14)},
    }
    assert ModbusSource.expand("zone", rest) == {"zone": rest}


def template(folder: Path, points: str) -> tuple[Template | None, list[str]]:
    (folder / "machines").mkdir()
    text = f"format: 1\nprotocol: modbus\ndefaults: {{base: 1}}\npoints:\n{points}"
    (folder / "machines" / "oven.yaml").write_text(text, encoding="utf-8")
    document = Document(folder / "factory.yaml", {})
    templates = Templates(document)
    found = templates.get("oven", ())
    problems = [*document.problems, *templates.problems]
    return found, [f"{problem.line}: {problem.path}: {problem.message}" for problem in problems]


def test_a_template_reads_every_notation(tmp_path: Path) -> None:
    """The addresses are read from YAML, where text without quotes may be a number."""
    found, problems = template(
        tmp_path,
        "  a: {address: 40011}\n  b: {address: 400011}\n  c: {address: '00011'}\n  d: {address: 00011}\n"
        "  e: {address: holding 11}\n  f: {address: holding 0xB}\n  g: {address: holding 10, base: 0}\n"
        "  zone: {address: 30001, count: 2, raw: int16, scale: 0.1, unit: Cel}\n"
        "  lamp: {address: coil 1, count: 2}\n",
    )
    assert problems == []
    assert found is not None
    places = {
        point.name: str(point.source.address) for point in found.points if isinstance(point.source, ModbusSource)
    }
    assert places == {
        "a": "holding 10", "b": "holding 10", "c": "coil 10", "d": "coil 10", "e": "holding 10", "f": "holding 10",
        "g": "holding 10", "zone_0": "input 0", "zone_1": "input 1", "lamp_0": "coil 0", "lamp_1": "coil 1",
    }  # fmt: skip
    units = {point.name: point.unit for point in found.points}
    assert (units["zone_0"], units["zone_1"]) == ("Cel", "Cel")


def test_a_mistake_of_an_array_is_reported_once_at_its_line(tmp_path: Path) -> None:
    """A hundred elements are one line of the file."""
    _, problems = template(
        tmp_path,
        "  a: {address: 0x9C4B}\n  b: {address: 40000, count: 3}\n  c: {address: 40001, count: 100, range: 5}\n"
        "  zone: {address: 40001, count: 2}\n  zone_1: {address: 40009}\n  d: {address: 11}\n",
    )
    assert [problem.split("; ")[0] for problem in problems] == [
        "5: points.a.address: 0x9C4B names no table",
        "6: points.b.address: Modicon notation counts from 1: the first of table holding is 40001, not 40000",
        "7: points.c.range: 5 is not a range",
        "8: points.zone: one of its elements is zone_1, and there is another zone_1",
        "10: points.d.address: 11 names no table",
    ]


def test_every_key_of_a_type_is_a_field() -> None:
    """The table of which key goes with which type names no key that does not exist."""
    assert set(APPLIES) <= set(ModbusSource.model_fields)


@pytest.mark.parametrize("port", ["99999", "abc"])
def test_a_wrong_port_is_reported_with_the_valid_range(port: str) -> None:
    """Python's own message names a range that begins with 0, or a conversion."""
    message = f"'{port}' is not a port; write a number from 1 to 65535"
    with pytest.raises(ValueError, match=message):
        ModbusConnection.from_url(f"modbus+tcp://press:{port}", {})
    with pytest.raises(ValueError, match=message):
        ModbusConnection.from_url("modbus+tcp://press", {"backup": f"press-b:{port}"})
