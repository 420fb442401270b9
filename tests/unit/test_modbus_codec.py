"""Registers <-> values: the bytes of each type in each order, as devices put them on the wire."""

from __future__ import annotations

import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Fault, Quality, Reason
from drivers.float32 import shortest
from drivers.modbus.address import Address, Table
from drivers.modbus.codec import compile_bits, compile_registers, encode, fallible, masks, split_faults
from drivers.modbus.raw_types import (
    BIT_FIELDS,
    EIGHT_BITS,
    SHAPES,
    SIGNED,
    TEXTS,
    TIMES,
    Half,
    LengthPrefix,
    Order,
    Packing,
    Raw,
    Sign,
    Trim,
    fits_order,
)
from drivers.modbus.source import ModbusSource

if TYPE_CHECKING:
    from drivers.base import Value


def source(raw: str, order: str = "ABCD", offset: int = 0, **rest: Any) -> ModbusSource:
    return ModbusSource(address=Address(Table.HOLDING, offset), raw=Raw(raw), order=Order(order), **rest)


def decode(wire: bytes, *points: ModbusSource) -> list[Value]:
    return compile_registers([(point.address.offset, point) for point in points])(wire)


def keyed(address: str = "holding 0", **keys: Any) -> ModbusSource:
    """Return a source from keys as they are written."""
    return ModbusSource.model_validate({"address": address} | keys)


def fault(wire: str, point: ModbusSource) -> tuple[Reason, str]:
    [found] = decode(bytes.fromhex(wire), point)
    assert isinstance(found, Fault)
    assert found.quality is Quality.BAD
    return found.reason, found.code


def to_wire(registers: list[int]) -> bytes:
    return b"".join(register.to_bytes(2, "big") for register in registers)


GOLDEN = [
    # raw, order, bytes on the wire, value
    ("int16", "ABCD", "FF FE", -2),
    ("int16", "CDAB", "FF FE", -2),  # one register has no words to swap
    ("int16", "BADC", "FE FF", -2),
    ("int16", "DCBA", "FE FF", -2),
    ("uint16", "ABCD", "12 34", 0x1234),
    ("uint16", "CDAB", "12 34", 0x1234),
    ("uint16", "BADC", "34 12", 0x1234),
    ("uint16", "DCBA", "34 12", 0x1234),
    ("uint16", "ABCD", "FF FF", 65535),
    ("int32", "ABCD", "80 00 00 01", -0x7FFFFFFF),
    ("int32", "CDAB", "00 01 80 00", -0x7FFFFFFF),
    ("int32", "BADC", "00 80 01 00", -0x7FFFFFFF),
    ("int32", "DCBA", "01 00 00 80", -0x7FFFFFFF),
    ("uint32", "ABCD", "12 34 56 78", 0x12345678),
    ("uint32", "CDAB", "56 78 12 34", 0x12345678),
    ("uint32", "BADC", "34 12 78 56", 0x12345678),
    ("uint32", "DCBA", "78 56 34 12", 0x12345678),
    ("int64", "ABCD", "FF FF FF FF FF FF FF FE", -2),
    ("int64", "DCBA", "FE FF FF FF FF FF FF FF", -2),
    ("uint64", "ABCD", "01 23 45 67 89 AB CD EF", 0x0123456789ABCDEF),
    ("uint64", "CDAB", "CD EF 89 AB 45 67 01 23", 0x0123456789ABCDEF),
    ("uint64", "BADC", "23 01 67 45 AB 89 EF CD", 0x0123456789ABCDEF),
    ("uint64", "DCBA", "EF CD AB 89 67 45 23 01", 0x0123456789ABCDEF),
    # 01 23 45 67 89 AB CD EF are A to H, put down letter by letter as the order names them
    ("uint64", "ABCDEFGH", "01 23 45 67 89 AB CD EF", 0x0123456789ABCDEF),
    ("uint64", "GHEFCDAB", "CD EF 89 AB 45 67 01 23", 0x0123456789ABCDEF),
    ("uint64", "BADCFEHG", "23 01 67 45 AB 89 EF CD", 0x0123456789ABCDEF),
    ("uint64", "HGFEDCBA", "EF CD AB 89 67 45 23 01", 0x0123456789ABCDEF),
    ("uint64", "CDABGHEF", "45 67 01 23 CD EF 89 AB", 0x0123456789ABCDEF),
    ("uint64", "DCBAHGFE", "67 45 23 01 EF CD AB 89", 0x0123456789ABCDEF),
    ("uint64", "EFGHABCD", "89 AB CD EF 01 23 45 67", 0x0123456789ABCDEF),
    ("uint64", "FEHGBADC", "AB 89 EF CD 23 01 67 45", 0x0123456789ABCDEF),
    ("int64", "CDABGHEF", "FF FF FF FF FF FE FF FF", -2),
    ("int64", "EFGHABCD", "FF FF FF FE FF FF FF FF", -2),
    ("float64", "CDABGHEF", "79 99 40 65 99 9A 99 99", 171.8),
    ("float64", "EFGHABCD", "99 99 99 9A 40 65 79 99", 171.8),
    # IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction; -1.5 = 1 01111 1000000000
    ("float16", "ABCD", "BE 00", -1.5),
    ("float16", "BADC", "00 BE", -1.5),
    ("float16", "CDAB", "7B FF", 65504.0),
    # a digit in four bits, the first one highest
    ("bcd16", "ABCD", "12 34", 1234),
    ("bcd16", "BADC", "34 12", 1234),
    ("bcd16", "ABCD", "00 00", 0),
    ("bcd32", "ABCD", "12 34 56 78", 12345678),
    ("bcd32", "CDAB", "56 78 12 34", 12345678),
    ("bcd32", "BADC", "34 12 78 56", 12345678),
    ("bcd32", "DCBA", "78 56 34 12", 12345678),
    ("bcd32", "ABCD", "00 00 01 00", 100),
    ("bcd64", "ABCD", "00 12 34 56 78 90 12 34", 12345678901234),
    ("bcd64", "CDAB", "12 34 78 90 34 56 00 12", 12345678901234),
    # the highest of the four bytes has no meaning
    ("int24", "ABCD", "00 80 00 01", -0x7FFFFF),
    ("int24", "CDAB", "00 01 00 80", -0x7FFFFF),
    ("uint24", "ABCD", "00 80 00 01", 0x800001),
    ("uint24", "DCBA", "01 00 80 00", 0x800001),
    ("int48", "ABCD", "FF FF FF FF FF FE", -2),
    ("int48", "CDAB", "FF FE FF FF FF FF", -2),
    ("uint48", "ABCD", "01 23 45 67 89 AB", 0x0123456789AB),
    ("uint48", "CDAB", "89 AB 45 67 01 23", 0x0123456789AB),
    ("uint48", "BADC", "23 01 67 45 AB 89", 0x0123456789AB),
    ("uint48", "DCBA", "AB 89 67 45 23 01", 0x0123456789AB),
    # each register counts ten thousands of the next: 12, 3456 and 7890 = 0x000C, 0x0D80 and 0x1ED2
    ("mod10k48", "ABCD", "00 0C 0D 80 1E D2", 1234567890),
    ("mod10k48", "CDAB", "1E D2 0D 80 00 0C", 1234567890),
    ("mod10k32", "ABCD", "27 0F 27 0F", 99999999),
    ("mod10k32", "ABCD", "FF FF FF FE", -10002),
    ("mod10k64", "ABCD", "00 00 00 01 00 02 00 03", 100020003),
    # 1,000,000,000 s = 2001-09-09T01:46:40Z = 0x3B9ACA00
    ("unix32", "ABCD", "3B 9A CA 00", "2001-09-09T01:46:40Z"),
    ("unix32", "CDAB", "CA 00 3B 9A", "2001-09-09T01:46:40Z"),
    ("unix32", "ABCD", "FF FF FF FF", "2106-02-07T06:28:15Z"),
    ("unix64", "ABCD", "00 00 00 00 3B 9A CA 00", "2001-09-09T01:46:40Z"),
    ("unix64", "CDAB", "CA 00 3B 9A 00 00 00 00", "2001-09-09T01:46:40Z"),
    ("unix64", "ABCD", "FF FF FF FF FF FF FF FF", "1969-12-31T23:59:59Z"),
    # 1,000,000,000,123 ms = 0xE8D4A5107B
    ("unix_ms64", "ABCD", "00 00 00 E8 D4 A5 10 7B", "2001-09-09T01:46:40.123Z"),
    ("unix_ms64", "EFGHABCD", "D4 A5 10 7B 00 00 00 E8", "2001-09-09T01:46:40.123Z"),
    # 24, 5, 17, 13:45, 30,250 ms = 0x762A: as meters send it, and octet by octet as IEC 60870-5-4 numbers them
    ("cp56", "ABCD", "00 18 05 11 0D 2D 76 2A", "2024-05-17T13:45:30.250Z"),
    ("cp56", "DCBA", "2A 76 2D 0D 11 05 18 00", "2024-05-17T13:45:30.250Z"),
    ("cp56", "CDAB", "76 2A 0D 2D 05 11 00 18", "2024-05-17T13:45:30.250Z"),
    ("datetime", "ABCD", "07 E8 00 05 00 11 00 0D 00 2D 00 1E", "2024-05-17T13:45:30Z"),
    ("datetime", "CDAB", "07 E8 00 05 00 11 00 0D 00 2D 00 1E", "2024-05-17T13:45:30Z"),  # registers in their order
    ("datetime", "BADC", "E8 07 05 00 11 00 0D 00 2D 00 1E 00", "2024-05-17T13:45:30Z"),
    # BCD; the last digits are those of the milliseconds, and the weekday: a Friday is 6
    ("s7_date_and_time", "ABCD", "24 05 17 13 45 30 25 06", "2024-05-17T13:45:30.250Z"),
    ("s7_date_and_time", "ABCD", "99 12 31 23 59 59 99 96", "1999-12-31T23:59:59.999Z"),
    # year, month, day, weekday, hour, minute, second, and 250,000,000 ns = 0x0EE6B280
    ("s7_dtl", "ABCD", "07 E8 05 11 06 0D 2D 1E 0E E6 B2 80", "2024-05-17T13:45:30.250000Z"),
    ("float32", "ABCD", "41 80 51 EC", 16.04),
    ("float32", "CDAB", "51 EC 41 80", 16.04),
    ("float32", "BADC", "80 41 EC 51", 16.04),
    ("float32", "DCBA", "EC 51 80 41", 16.04),
    ("float64", "ABCD", "40 65 79 99 99 99 99 9A", 171.8),
    ("float64", "CDAB", "99 9A 99 99 79 99 40 65", 171.8),
    ("float64", "BADC", "65 40 99 79 99 99 9A 99", 171.8),
    ("float64", "DCBA", "9A 99 99 99 99 79 65 40", 171.8),
]


@pytest.mark.parametrize(("raw", "order", "wire", "value"), GOLDEN)
def test_values_lie_on_the_wire_as_their_order_says(raw: str, order: str, wire: str, value: Value) -> None:
    """A wrong order is a value that looks almost right: each is written down, byte for byte."""
    point, data = source(raw, order), bytes.fromhex(wire)
    [found] = decode(data, point)
    assert found == value
    assert type(found) is type(value)
    assert to_wire(encode(point, value)) == data


@pytest.mark.parametrize(
    ("order", "wire", "value"),
    [
        ("ABCD", b"AB12\0\0\0\0", "AB12"),
        ("ABCD", b"AB12    ", "AB12"),
        ("ABCD", b"AB12CD34", "AB12CD34"),
        ("ABCD", b"AB\0rest!", "AB"),  # the rest of a longer text
        ("ABCD", b" AB  \0  ", " AB"),
        ("ABCD", b"\0\0\0\0\0\0\0\0", ""),
        ("ABCD", b"K\xf6ln\0\0\0\0", "Köln"),
        ("BADC", b"BA21\0\0\0\0", "AB12"),
        ("DCBA", b"BA21\0\0\0\0", "AB12"),  # a string has no word order
        ("CDAB", b"AB12\0\0\0\0", "AB12"),
        ("BADC", b"BA\0X\0\0\0\0", "ABX"),
    ],
)
def test_strings_end_at_the_padding(order: str, wire: bytes, value: str) -> None:
    """Devices pad with zeros or blanks, and put the high or the low byte first."""
    assert decode(wire, source("string", order, length=4)) == [value]


@pytest.mark.parametrize(
    ("keys", "wire", "value"),
    [
        ({"length_prefix": "s7"}, b"\x0e\x05HELLOOLDJUNK12", "HELLO"),
        ({"length_prefix": "s7"}, b"\x0e\x00HELLO", ""),
        ({"length_prefix": "byte"}, b"\x05HELLO\0\0", "HELLO"),
        ({"length_prefix": "word"}, b"\0\x05HELLO?", "HELLO"),
        ({"length_prefix": "word", "order": "BADC"}, b"\x05\0EHLL?O", "HELLO"),
        ({"length_prefix": "s7_wide", "encoding": "utf-16"}, b"\0\x04\0\x02\0H\0i\0?\0?", "Hi"),
        ({"length_prefix": "byte", "packing": "byte_per_register"}, b"\0\x02\0H\0i\0?", "Hi"),
        ({"length_prefix": "byte", "encoding": "utf-8"}, b"\x03K\xc3\xb6ln", "Kö"),
        ({"trim": "both"}, b"   AB12 ", "AB12"),
        ({"trim": "left"}, b"   AB12 ", "AB12 "),
        ({"trim": "right"}, b" AB\r\n\0\0\0", " AB"),
        ({"trim": "both"}, b"\0\0 AB\r\0\0", "AB"),
        ({"trim": "left"}, b"\0\0\0\0", ""),
        ({"trim": "none"}, b"AB  ", "AB  "),
        ({}, b"AB\r\n\0\0\0\0", "AB\r\n"),
        ({"padding": 0xFF}, b"AB12\xff\xff\xff\xff", "AB12"),
        ({"padding": 0x2A}, b"A*B*****", "A*B"),
        ({}, b"AB\xff\xff", "ABÿÿ"),
        ({"packing": "swapped_words"}, b"CDABGHEF", "ABCDEFGH"),
        ({"packing": "swapped_words"}, b"CDAB12", "ABCD12"),
        ({"packing": "swapped_words", "order": "BADC"}, b"DCBA", "ABCD"),
        ({"raw": "bytes", "packing": "swapped_words"}, b"\x03\x04\x01\x02", "01020304"),
    ],
)  # fmt: skip
def test_strings_of_controllers_and_scanners_are_read(keys: dict[str, Any], wire: bytes, value: str) -> None:
    """Controllers count the characters, scanners send a line, weighing scales align to the right."""
    point = keyed(**({"raw": "string", "length": len(wire) // 2 + len(wire) % 2} | keys))
    assert decode(wire.ljust(2 * point.size, b"\0"), point) == [value]


def test_every_bit_of_a_register_is_read_and_no_other() -> None:
    """Bit 0 is the lowest, whatever the byte order makes of the register."""
    points = [source("bool", bit=bit) for bit in range(16)]
    for one in range(16):
        assert decode((1 << one).to_bytes(2, "big"), *points) == [bit == one for bit in range(16)]
    assert decode(b"\x01\x00", source("bool", "BADC", bit=0)) == [True]


@pytest.mark.parametrize(
    ("keys", "wire", "value"),
    [
        ({"raw": "int24"}, "FF 80 00 01", -0x7FFFFF),  # extended with its sign
        ({"raw": "int24"}, "12 00 00 05", 5),
        ({"raw": "uint24"}, "FF 80 00 01", 0x800001),
        ({"raw": "int24", "sign": "magnitude"}, "00 80 00 01", -1),
        ({"raw": "int48", "sign": "magnitude"}, "80 00 00 00 00 02", -2),
        ({"raw": "bcd8", "byte": "high"}, "26 11", 26),
        ({"raw": "bcd8", "byte": "low"}, "26 11", 11),
        ({"raw": "int16", "bits": "4..7"}, "00 F0", -1),
        ({"raw": "int16", "bits": "4..7"}, "0F 7F", 7),
        ({"raw": "int16", "bits": "4..7", "sign": "magnitude"}, "00 90", -1),
        ({"raw": "int32", "order": "CDAB", "bits": "12..19"}, "F0 00 00 0F", -1),
        ({"raw": "int64", "bits": "32..63"}, "FF FF FF FE 00 00 00 00", -2),
        ({"raw": "uint32", "bit": 17}, "00 02 00 00", True),
        ({"raw": "uint32", "bit": 17}, "FF FD FF FF", False),
        ({"raw": "uint32", "bit": 17, "order": "CDAB"}, "00 00 00 02", True),
        ({"raw": "uint64", "bit": 63}, "80 00 00 00 00 00 00 00", True),
        ({"raw": "uint16", "bit": 3}, "00 08", True),
    ],
)  # fmt: skip
def test_parts_and_odd_widths_have_a_sign_and_a_place(keys: dict[str, Any], wire: str, value: Value) -> None:
    """Meters count in three bytes, drives keep small signed numbers beside each other in one word."""
    [found] = decode(bytes.fromhex(wire), keyed(**keys))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("keys", "wire", "value"),
    [
        ({"layout": ["year/month", "day/hour", "minute/second"], "bcd": True}, "26 11 30 16 05 30",
         "2026-11-30T16:05:30Z"),
        ({"layout": "[year/month, day/hour, minute/second]"}, "1A 0B 1E 10 05 1E", "2026-11-30T16:05:30Z"),
        ({"layout": "second, minute, hour, day, month, year"}, "00 1E 00 05 00 10 00 1E 00 0B 00 1A",
         "2026-11-30T16:05:30Z"),
        ({"layout": ["year", "month/day"]}, "07 EA 0B 1E", "2026-11-30T00:00:00Z"),
        ({"layout": ["year", "month", "day", "unused", "weekday", "hour/minute", "second", "millisecond"]},
         "07 EA 00 0B 00 1E FF FF 00 02 10 05 00 1E 00 FA", "2026-11-30T16:05:30.250Z"),
        ({"bcd": True, "layout": ["year", "month", "day"]}, "20 26 00 11 00 30", "2026-11-30T00:00:00Z"),
        ({"layout": ["year/month", "day/hour"]}, "63 0C 1F 17", "1999-12-31T23:00:00Z"),
        ({"zone": "Europe/Berlin", "layout": ["year/month", "day/hour"]}, "1A 07 01 0C", "2026-07-01T10:00:00Z"),
        ({"zone": "Europe/Berlin", "layout": ["year/month", "day/hour"]}, "1A 01 01 00", "2025-12-31T23:00:00Z"),
        ({"zone": "Asia/Shanghai", "layout": ["year", "month/day", "hour/minute"]}, "07 EA 0B 1E 08 00",
         "2026-11-30T00:00:00Z"),
        ({"raw": "s7_date_and_time", "zone": "America/New_York"}, "24 05 17 13 45 30 25 06",
         "2024-05-17T17:45:30.250Z"),
        ({"raw": "unix32", "zone": "Europe/Berlin"}, "3B 9A CA 00", "2001-09-08T23:46:40Z"),
        # the last hour of summer time, and the first after it, are both 2:30: octet 4 distinguishes them
        ({"raw": "cp56", "zone": "Europe/Berlin"}, "00 1A 0A 19 82 1E 00 00", "2026-10-25T00:30:00.000Z"),
        ({"raw": "cp56", "zone": "Europe/Berlin"}, "00 1A 0A 19 02 1E 00 00", "2026-10-25T01:30:00.000Z"),
        ({"raw": "cp56", "zone": "Europe/Berlin"}, "00 1A 07 01 8C 00 00 00", "2026-07-01T10:00:00.000Z"),
    ],
)  # fmt: skip
def test_clocks_of_controllers_become_utc(keys: dict[str, Any], wire: str, value: str) -> None:
    """A batch that began at 16:05 by the clock of the press began at 15:05 UTC."""
    assert decode(bytes.fromhex(wire), keyed(**({"raw": "datetime"} | keys))) == [value]


def test_the_opposite_of_a_bit_is_the_value_if_it_is_inverted() -> None:
    """A door contact is closed at 1, and the point is `door_open`."""
    closed, open_ = False, True
    assert compile_bits([0, 1, 1], [True, False, True])(b"\x02") == [open_, open_, closed]
    point = keyed(bit=3, invert=True)
    assert decode(b"\x00\x08", point, keyed(bit=3)) == [closed, open_]
    assert encode(point, closed, [0xFFF0]) == [0xFFF8]
    assert encode(keyed("coil 0", invert=True), open_) == [0]


def test_points_may_share_registers() -> None:
    """A status word is read as a number and as bits; a serial number as text and as its parts."""
    points = [
        source("uint16"), source("bool", bit=15), source("bool", bit=0), source("uint32", offset=0),
        source("uint16", offset=1), source("string", offset=1, length=2), source("float32", "CDAB", offset=2),
    ]  # fmt: skip
    values = decode(bytes.fromhex("80 01 41 42 43 00 00 00"), *points)
    expected = shortest(struct.unpack(">f", bytes.fromhex("00 00 43 00"))[0])
    assert values == [0x8001, True, True, 0x80014142, 0x4142, "ABC", expected]


def test_equal_responses_have_equal_values_in_lists_of_their_own() -> None:
    """A scan is changed in place on its way; the next response may be the same bytes."""
    decoder = compile_registers([(0, source("float32")), (2, source("uint16"))])
    first = decoder(bytes.fromhex("41 80 51 EC 00 07"))
    first[0] = None
    assert decoder(bytes.fromhex("41 80 51 EC 00 07")) == [16.04, 7]
    assert decoder(bytes.fromhex("41 80 51 EC 00 08")) == [16.04, 8]
    assert decoder(bytes.fromhex("41 80 51 EC 00 07")) == [16.04, 7]


def test_gaps_between_points_are_skipped() -> None:
    """Registers that are read only to save a request belong to no point."""
    assert decode(bytes.fromhex("00 01 DE AD BE EF 00 02"), source("uint16"), source("uint16", offset=3)) == [1, 2]


@pytest.mark.parametrize(
    ("wire", "offsets", "values"),
    [
        ("01", [0], [True]),
        ("FE", [0], [False]),
        ("80", [7], [True]),
        ("00 01", [8, 7], [True, False]),
        ("CD 6B 05", [0, 1, 2, 8, 16, 17, 18], [True, False, True, True, True, False, True]),  # clause 6.1's example
        ("00 00 02", [17], [True]),
    ],
)
def test_coils_are_packed_lowest_first(wire: str, offsets: list[int], values: list[bool]) -> None:
    """The order of bits changed between releases of a library in use: it is written down here."""
    found = compile_bits(offsets)(bytes.fromhex(wire))
    assert found == values
    assert all(type(value) is bool for value in found)


def times(*, finest: str = "milliseconds", first: int = 1, last: int = 9999) -> st.SearchStrategy[str]:
    drawn = st.datetimes(datetime(first, 1, 1), datetime(last, 12, 31, 23, 59, 59))  # noqa: DTZ001 - said to be UTC below
    return drawn.map(lambda time: time.isoformat(timespec=finest) + "Z")


TIMES_OF = {
    Raw.UNIX32: times(finest="seconds", first=1970, last=2105),
    Raw.UNIX64: times(finest="seconds"),
    Raw.UNIX_MS64: times(),
    Raw.CP56: times(first=2000, last=2127),
    Raw.DATETIME: times(finest="seconds", first=1990),
    Raw.S7_DATE_AND_TIME: times(first=1990, last=2089),
    Raw.S7_DTL: times(finest="microseconds", first=1990),
}
ENCODINGS = ["latin-1", "ascii", "utf-8", "utf-16", "utf-16-le", "cp1252", "gb18030", "shift_jis"]


@st.composite
def texts(draw: st.DrawFn, point: ModbusSource) -> str:
    """Draw a text that fits: it does not end in blanks, which count as padding, and contains no zero.

    Left out are a byte order mark, two characters of Shift JIS that do not come back, and that of erased memory.
    """
    letters = st.characters(codec=point.encoding, min_codepoint=1, exclude_characters="\ufeff\xa5\u203e\xff")
    text = draw(st.text(letters, max_size=2 * point.size)).rstrip(" ")
    while text:
        try:
            encode(point, text)
        except ValueError:
            text = text[:-1].rstrip(" ")
        else:
            break
    return text


@st.composite
def points_and_values(draw: st.DrawFn) -> tuple[ModbusSource, Value]:
    raw = draw(st.sampled_from(Raw))
    rest: dict[str, Any] = {}
    if raw is Raw.BOOL:
        rest["bit"] = draw(st.integers(0, 15))
    elif raw in TEXTS:
        rest["length"] = draw(st.integers(2, 6))  # in one alone no character of UTF-16 may fit
        rest["packing"] = draw(st.sampled_from(Packing))
        if raw is Raw.STRING:
            rest["encoding"] = draw(st.sampled_from(ENCODINGS))
            rest["trim"] = draw(st.sampled_from([Trim.BLANKS, Trim.NONE]))
            rest["padding"] = 0 if rest["encoding"].startswith("utf-16") else draw(st.sampled_from([0, 0x20]))
            rest["length_prefix"] = draw(st.sampled_from(LengthPrefix))
            rest["length"] += 4
    elif raw in BIT_FIELDS and draw(st.booleans()):
        width = 16 * SHAPES[raw].registers
        rest["bits"] = tuple(sorted((draw(st.integers(0, width - 1)), draw(st.integers(0, width - 1)))))
    elif raw in EIGHT_BITS:
        rest["byte"] = draw(st.sampled_from(Half))
    if raw in SIGNED:
        rest["sign"] = draw(st.sampled_from(Sign))
    order = draw(st.sampled_from([order for order in Order if fits_order(raw, order)]))
    point = source(raw, order, **rest)
    return point, draw(values_of(point))


def values_of(point: ModbusSource) -> st.SearchStrategy[Value]:
    if point.raw is Raw.BOOL:
        return st.booleans()
    if point.raw is Raw.STRING:
        return texts(point)
    if point.raw is Raw.BYTES:
        size = 2 * point.size // point.packing.stride
        return st.binary(min_size=size, max_size=size).map(bytes.hex)
    if point.raw in TIMES:
        return TIMES_OF[point.raw]
    if point.limits is not None:
        return st.integers(*point.limits)
    return {
        Raw.FLOAT16: st.floats(width=16, allow_nan=False).map(lambda number: shortest(number, "e")),
        Raw.FLOAT32: st.floats(width=32, allow_nan=False).map(shortest),
        Raw.FLOAT64: st.floats(allow_nan=False),
    }[point.raw]


@pytest.mark.slow
@given(st.lists(points_and_values(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_encoded_values_are_decoded_again(written: list[tuple[ModbusSource, Value]], random: Any) -> None:
    """The simulators encode the values that the gateway decodes: several points in one answer, in any order."""
    wire, placed = b"", []
    for point, value in written:
        placed.append((len(wire) // 2, point, value))
        wire += to_wire(encode(point, value))
    random.shuffle(placed)
    found = compile_registers([(distance, point) for distance, point, _ in placed])(wire)
    expected = [value for _, _, value in placed]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@given(
    st.sampled_from([order for order in Order if fits_order(Raw.BOOL, order)]),
    st.integers(0, 15), st.binary(min_size=2, max_size=2), st.booleans(),
)  # fmt: skip
def test_writing_a_bit_leaves_the_others(order: Order, bit: int, before: bytes, value: bool) -> None:  # noqa: FBT001 - drawn
    """A status word is shared by sixteen points."""
    bits = [source("bool", order, bit=each) for each in range(16)]
    after = to_wire(encode(bits[bit], value, [int.from_bytes(before, "big")]))
    expected = decode(before, *bits)
    expected[bit] = value
    assert decode(after, *bits) == expected


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("int16", 32768), ("uint16", -1), ("uint16", 1.5), ("uint32", 2**32), ("int64", 2**63), ("float32", 1e39),
        ("uint16", "12"), ("int8", 128), ("int8", -129), ("uint8", 256), ("float16", 65520.0), ("bcd16", 10000),
        ("bcd16", -1), ("bcd32", 10**8), ("unix32", "1969-12-31T23:59:59Z"), ("unix32", "2106-02-07T06:28:16Z"),
        ("unix32", "2024-01-01T00:00:00.5Z"), ("unix64", "2024-01-01T00:00:00"), ("unix64", "yesterday"),
        ("unix_ms64", "2024-01-01T00:00:00.0001Z"),
        ("bcd8", 100), ("bcd64", 10**16), ("int24", 2**23), ("uint24", -1), ("int48", -(2**47) - 1),
        ("uint48", 2**48), ("mod10k32", 10**8), ("mod10k64", -(10**16)),
        ("cp56", "1999-12-31T23:59:59Z"), ("cp56", "2128-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_registers_is_refused(raw: str, value: Value) -> None:
    """Cutting off the high bits would make another value of it."""
    with pytest.raises(ValueError, match=f"does not fit {raw}"):
        encode(source(raw), value)


def test_text_that_is_too_long_is_refused() -> None:
    """Cutting it off would make another serial number of it."""
    with pytest.raises(ValueError, match="longer than 4 characters"):
        encode(source("string", length=2), "ABCDE")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ({"raw": "bytes", "length": 1}, "1"),
        ({"raw": "bytes", "length": 1}, "123456"),
        ({"raw": "bytes", "length": 1}, "xy"),
        ({"raw": "string", "length": 2, "encoding": "ascii"}, "é"),
        ({"raw": "string", "length": 2, "encoding": "utf-16"}, "abc"),
        ({"raw": "string", "length": 2, "packing": "byte_per_register"}, "abc"),
        ({"bits": "4..6"}, 8),
        ({"raw": "int8", "sign": "magnitude"}, -128),
    ],
)
def test_a_value_that_does_not_fit_its_part_is_refused(keys: dict[str, Any], value: Value) -> None:
    """It would change the bits of its neighbour, or lose a part of itself."""
    with pytest.raises(ValueError, match="does not fit"):
        encode(keyed(**keys), value)


@pytest.mark.parametrize(
    ("keys", "wire", "value"),
    [
        # 0x5AC3 = 0101 1010 1100 0011
        ({"bits": "4..7"}, "5A C3", 0xC),
        ({"bits": [0, 1]}, "5A C3", 0b11),
        ({"bits": "15..15"}, "5A C3", 0),
        ({"bits": "0..15"}, "5A C3", 0x5AC3),
        ({"bits": "4..7", "order": "BADC"}, "C3 5A", 0xC),
        ({"bits": "12..19", "raw": "uint32"}, "00 05 A0 00", 0x5A),
        ({"bits": "12..19", "raw": "uint32", "order": "CDAB"}, "A0 00 00 05", 0x5A),
        ({"bits": "60..63", "raw": "uint64"}, "90 00 00 00 00 00 00 00", 9),
        ({"raw": "uint8"}, "12 FE", 0xFE),
        ({"raw": "uint8", "byte": "high"}, "12 FE", 0x12),
        ({"raw": "int8"}, "12 FE", -2),
        ({"raw": "int8", "byte": "high"}, "FE 12", -2),
        ({"raw": "int8", "byte": "high", "order": "BADC"}, "12 FE", -2),
        ({"raw": "int16", "sign": "magnitude"}, "80 05", -5),
        ({"raw": "int16", "sign": "magnitude"}, "7F FF", 32767),
        ({"raw": "int16", "sign": "magnitude"}, "80 00", 0),  # minus zero
        ({"raw": "int8", "sign": "magnitude"}, "00 85", -5),
        ({"raw": "int32", "sign": "magnitude", "order": "CDAB"}, "00 05 80 00", -5),
        ({"raw": "int64", "sign": "magnitude"}, "FF FF FF FF FF FF FF FF", 1 - 2**63),
        ({"raw": "bytes", "length": 2}, "DE AD BE EF", "deadbeef"),
        ({"raw": "bytes", "length": 2, "order": "BADC"}, "DE AD BE EF", "addeefbe"),
        ({"raw": "bytes", "length": 2, "packing": "byte_per_register"}, "00 AD 00 EF", "adef"),
    ],
)
def test_parts_of_registers_and_unusual_numbers(keys: dict[str, Any], wire: str, value: Value) -> None:
    """Each value is calculated by hand from the bits of the registers."""
    [found] = decode(bytes.fromhex(wire), keyed(**keys))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("keys", "wire", "value"),
    [
        ({"encoding": "ascii"}, b"AB12\0\0\0\0", "AB12"),
        ({"encoding": "utf-8"}, b"K\xc3\xb6ln \0\0", "Köln"),
        ({"encoding": "utf-8"}, b"AB\0\xff\xff\xff\xff\xff", "AB"),  # bytes behind the end are ignored
        ({"encoding": "utf-16"}, b"\0A\x01\0\0\0\xd8\0", "AĀ"),  # 0x0100 has a zero byte, but does not end the text
        ({"encoding": "utf-16", "order": "BADC"}, b"A\0\0\x01\0\0\0\0", "AĀ"),
        ({"encoding": "utf-16-le"}, b"A\0\0\x01\0\0\0\0", "AĀ"),
        ({"encoding": "utf-16"}, b"\xfe\xff\0A\0\0\0\0", "A"),
        ({"encoding": "gb18030"}, b"\xc2\xd6\xcc\xa5\0\0\0\0", "轮胎"),
        ({"encoding": "shift_jis", "order": "BADC"}, b"\x5c\x83\0\0\0\0\0\0", "ソ"),
        ({"encoding": "cp1252"}, b"5 \x80  \0\0\0", "5 €"),
        ({"packing": "byte_per_register"}, b"\0A\0B\0\xf6\0 ", "ABö"),
        ({"packing": "byte_per_register"}, b"xAxBx\0xC", "AB"),
        ({"packing": "byte_per_register", "order": "BADC"}, b"A\0B\0\0\0\0\0", "AB"),
        ({"packing": "byte_per_register", "encoding": "utf-8"}, b"\0\xc3\0\xb6\0l\0\0", "öl"),
    ],
)
def test_strings_mean_what_their_encoding_says(keys: dict[str, Any], wire: bytes, value: str) -> None:
    """Plants write their recipes in their own language."""
    assert decode(wire, keyed(raw="string", length=4, **keys)) == [value]


@pytest.mark.parametrize(
    ("keys", "wire", "reason", "code"),
    [
        ({"raw": "bcd16"}, "12 A4", Reason.NOT_A_NUMBER, "0x12A4 has digits that are not decimal"),
        ({"raw": "bcd32"}, "00 00 00 0F", Reason.NOT_A_NUMBER, "0xF has digits that are not decimal"),
        ({"raw": "bcd16"}, "01 E3", Reason.NOT_A_NUMBER, "0x1E3 has digits that are not decimal"),  # no 1e3
        ({"raw": "unix64"}, "7F FF FF FF FF FF FF FF", Reason.OUT_OF_RANGE, f"{2**63 - 1} seconds are not a date"),
        ({"raw": "unix64"}, "00 00 00 3A FF F4 41 80", Reason.OUT_OF_RANGE, "253402300800 seconds are not a date"),
        ({"raw": "unix_ms64"}, "80 00 00 00 00 00 00 00", Reason.OUT_OF_RANGE,
         f"{-(2**63)} milliseconds are not a date"),
        ({"raw": "cp56"}, "00 18 05 11 0D AD 76 2A", Reason.NOT_AVAILABLE, "the device marks its time as invalid"),
        ({"raw": "cp56"}, "00 18 05 11 8D 2D 76 2A", Reason.OTHER, "the device counts in summer time, not in UTC"),
        ({"raw": "cp56"}, "00 00 00 00 00 00 00 00", Reason.OUT_OF_RANGE, "no date: month must be in 1..12"),
        ({"raw": "string", "length": 1, "encoding": "ascii"}, "41 F6", Reason.TYPE_MISMATCH,
         "no ascii: ordinal not in range(128)"),
        ({"raw": "string", "length": 1, "encoding": "utf-8"}, "41 C3", Reason.TYPE_MISMATCH,
         "no utf-8: unexpected end of data"),
        ({"raw": "int16", "not_available": 0x8000}, "80 00", Reason.NOT_AVAILABLE, "0x8000"),
        ({"raw": "int16", "not_available": -32768}, "80 00", Reason.NOT_AVAILABLE, "0x8000"),
        ({"raw": "uint16", "not_available": [0xFFFF, 0x8000]}, "80 00", Reason.NOT_AVAILABLE, "0x8000"),
        ({"raw": "uint16", "not_available": [0xFFFF, 0x8000]}, "FF FF", Reason.NOT_AVAILABLE, "0xFFFF"),
        ({"raw": "int32", "not_available": 0x80000000, "order": "CDAB"}, "00 00 80 00", Reason.NOT_AVAILABLE,
         "0x80000000"),
        ({"raw": "int16", "sign": "magnitude", "not_available": 0x8000}, "80 00", Reason.NOT_AVAILABLE, "0x8000"),
        ({"raw": "bcd16", "not_available": 0xFFFF}, "FF FF", Reason.NOT_AVAILABLE, "0xFFFF"),
        ({"raw": "int8", "byte": "high", "not_available": 0x80}, "80 00", Reason.NOT_AVAILABLE, "0x80"),
        ({"bits": "4..7", "not_available": 15}, "00 F1", Reason.NOT_AVAILABLE, "0xF"),
        ({"raw": "float32", "not_available": -9999}, "C6 1C 3C 00", Reason.NOT_AVAILABLE, "-9999.0"),
        ({"raw": "bcd8", "byte": "high"}, "1A 00", Reason.NOT_A_NUMBER, "0x1A has digits that are not decimal"),
        ({"raw": "bcd64", "not_available": 0xFFFFFFFFFFFFFFFF}, "FF" * 8, Reason.NOT_AVAILABLE, "0xFFFFFFFFFFFFFFFF"),
        ({"raw": "mod10k32"}, "27 10 00 00", Reason.NOT_A_NUMBER, "0x27100000 has a register beyond 9999"),
        ({"raw": "mod10k32"}, "80 00 00 00", Reason.NOT_A_NUMBER, "0x80000000 has a register beyond 9999"),
        ({"raw": "int24", "not_available": 0x800000}, "00 80 00 00", Reason.NOT_AVAILABLE, "0x800000"),
        ({"raw": "int24", "not_available": -1}, "00 FF FF FF", Reason.NOT_AVAILABLE, "0xFFFFFF"),
        ({"raw": "int48", "not_available": -1}, "FF" * 6, Reason.NOT_AVAILABLE, "0xFFFFFFFFFFFF"),
        ({"raw": "uint48", "not_available": 2**48 - 1}, "FF" * 6, Reason.NOT_AVAILABLE, "0xFFFFFFFFFFFF"),
        ({"raw": "int16", "bits": "4..7", "not_available": 8}, "00 80", Reason.NOT_AVAILABLE, "0x8"),
        ({"raw": "int24", "sign": "magnitude", "not_available": 0x800001}, "00 80 00 01", Reason.NOT_AVAILABLE,
         "0x800001"),
        ({"raw": "string", "length": 2}, "FF FF FF FF", Reason.NOT_AVAILABLE, "0xFF"),
        ({"raw": "string", "length": 2, "encoding": "utf-8"}, "FF FF FF FF", Reason.NOT_AVAILABLE, "0xFF"),
        ({"raw": "string", "length": 2, "not_available": 0}, "00 00 00 00", Reason.NOT_AVAILABLE, "0x00"),
        ({"raw": "string", "length": 2, "not_available": [0x20, 0]}, "20 20 20 20", Reason.NOT_AVAILABLE, "0x20"),
        (
            {"raw": "string", "length": 2, "length_prefix": "byte"}, "04 41 42 43",
            Reason.TYPE_MISMATCH, "its length is 4, and 3 bytes follow",
        ),
        ({"raw": "datetime"}, "00" * 12, Reason.OUT_OF_RANGE, "no date: month must be in 1..12"),
        ({"raw": "datetime", "layout": ["year/month", "day"], "bcd": True}, "2A 11 00 30", Reason.NOT_A_NUMBER,
         "year: 0x2A has digits that are not decimal"),
        ({"raw": "s7_date_and_time"}, "24 05 17 13 45 30 25 0A", Reason.NOT_A_NUMBER,
         "0x240517134530250A has digits that are not decimal"),
        ({"raw": "s7_dtl"}, "07 E8 05 11 06 0D 2D 1E FF FF FF FF", Reason.OUT_OF_RANGE,
         "no date: microsecond must be in 0..999999"),
        ({"raw": "datetime", "layout": ["year", "month/day", "hour/minute"], "zone": "Europe/Berlin"},
         "07 EA 03 1D 02 1E", Reason.OUT_OF_RANGE,
         "2026-03-29 02:30:00 does not exist in Europe/Berlin: clocks go forward"),
        ({"raw": "datetime", "layout": ["year", "month/day", "hour/minute"], "zone": "Europe/Berlin"},
         "07 EA 0A 19 02 1E", Reason.OTHER, "2026-10-25 02:30:00 is twice in Europe/Berlin: clocks go back"),
        ({"raw": "cp56", "zone": "Europe/Berlin"}, "00 1A 01 01 8C 00 00 00", Reason.OTHER,
         "the device counts in summer time at 2026-01-01 12:00:00, and Europe/Berlin does not"),
        ({"raw": "float32", "not_available": "nan"}, "7F C0 00 00", Reason.NOT_AVAILABLE, "nan"),
        ({"raw": "float64", "not_available": [1, "NaN"]}, "FF F8 00 00 00 00 00 00", Reason.NOT_AVAILABLE, "nan"),
        ({"raw": "float32", "not_available": 0.1}, "3D CC CC CD", Reason.NOT_AVAILABLE, "0.1"),
        ({"raw": "unix32", "not_available": 0}, "00 00 00 00", Reason.NOT_AVAILABLE, "0x0"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_a_fault(keys: dict[str, Any], wire: str, reason: Reason, code: str) -> None:
    """An invented value is worse than none."""
    point = keyed(**keys)
    assert point.fallible
    assert fault(wire, point) == (reason, code)


def test_values_beside_those_that_are_not_available_are_values() -> None:
    """One below the sentinel is a measurement."""
    assert decode(b"\x80\x01", keyed(raw="int16", not_available=0x8000)) == [-32767]
    assert decode(b"\x00\xe1", keyed(bits="4..7", not_available=15)) == [14]
    assert decode(b"\x12\x34", keyed(raw="bcd16", not_available=0xFFFF)) == [1234]


def test_faults_are_separated_from_the_values() -> None:
    """A scan has its faults beside its values, by position."""
    points = [
        source("uint16"),
        keyed("holding 1", raw="bcd16"),
        keyed("holding 2", raw="bcd16"),
        source("bool", bit=0),
    ]
    assert fallible(points) == (1, 2)
    values = decode(bytes.fromhex("00 07 00 0A 00 10"), *points)
    faults = split_faults(values, fallible(points))
    assert values == [7, None, 10, True]
    assert {position: found.reason for position, found in faults.items()} == {1: Reason.NOT_A_NUMBER}
    assert fallible([source("uint16"), source("float32"), source("bytes", length=2)]) == ()


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        ({"bit": 3}, True, [(0xFFF7, 0x0008)]),
        ({"bit": 3, "order": "BADC"}, True, [(0xF7FF, 0x0800)]),
        ({"bit": 3}, False, [(0xFFF7, 0x0000)]),
        ({"bits": "4..7"}, 5, [(0xFF0F, 0x0050)]),
        ({"raw": "int8", "byte": "high"}, -2, [(0x00FF, 0xFE00)]),
        ({"bits": "12..19", "raw": "uint32"}, 0x5A, [(0xFFF0, 0x0005), (0x0FFF, 0xA000)]),
        ({"raw": "uint16"}, 0x1234, [(0, 0x1234)]),
    ],
)
def test_masks_write_a_part_and_leave_the_rest(
    keys: dict[str, Any], value: Value, expected: list[tuple[int, int]]
) -> None:
    """Function 22 writes (present AND first) OR (second AND NOT first): clause 6.16."""
    assert masks(keyed(**keys), value) == expected
