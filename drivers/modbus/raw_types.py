"""Types of raw values in registers, their byte orders, and the keys that each type allows."""

from __future__ import annotations

import codecs
import struct
from enum import StrEnum
from typing import Any, NamedTuple

from drivers.base import ValueType
from drivers.float32 import shortest


class Raw(StrEnum):
    """The type of the raw value in the registers."""

    BOOL = "bool"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT24 = "int24"
    UINT24 = "uint24"
    INT32 = "int32"
    UINT32 = "uint32"
    INT48 = "int48"
    UINT48 = "uint48"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BCD8 = "bcd8"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD64 = "bcd64"
    MOD10K32 = "mod10k32"
    MOD10K48 = "mod10k48"
    MOD10K64 = "mod10k64"
    STRING = "string"
    BYTES = "bytes"
    UNIX32 = "unix32"
    UNIX64 = "unix64"
    UNIX_MS64 = "unix_ms64"
    CP56 = "cp56"
    DATETIME = "datetime"
    S7_DATE_AND_TIME = "s7_date_and_time"
    S7_DTL = "s7_dtl"


class Order(StrEnum):
    """The order of the bytes of a value on the wire; A is the most significant byte.

    A name of four letters shows the order of a 32-bit value; other types follow the same word order and byte order.
    A name of eight letters is for 64-bit values only.
    """

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"
    ABCDEFGH = "ABCDEFGH"
    GHEFCDAB = "GHEFCDAB"
    BADCFEHG = "BADCFEHG"
    HGFEDCBA = "HGFEDCBA"
    CDABGHEF = "CDABGHEF"
    DCBAHGFE = "DCBAHGFE"
    EFGHABCD = "EFGHABCD"
    FEHGBADC = "FEHGBADC"


class Half(StrEnum):
    """The byte of a register that contains an 8-bit value."""

    HIGH = "high"
    LOW = "low"


class Sign(StrEnum):
    """The encoding of negative integers: two's complement, or a sign bit and the magnitude."""

    TWOS_COMPLEMENT = "twos_complement"
    MAGNITUDE = "magnitude"


class Packing(StrEnum):
    """The bytes of a string in registers.

    Two in each register, two with each pair of registers swapped, or a single byte in the low half of each.
    """

    FULL = "full"
    SWAPPED_WORDS = "swapped_words"
    BYTE_PER_REGISTER = "byte_per_register"

    @property
    def stride(self) -> int:
        """Bytes in the registers for each byte of the text."""
        return 2 if self is Packing.BYTE_PER_REGISTER else 1


class LengthPrefix(StrEnum):
    """The field before a string that contains the number of its characters.

    `s7` are the two bytes of a STRING in an S7 PLC, the maximum and the length; `s7_wide` the two words of a WSTRING.
    """

    NONE = "none"
    BYTE = "byte"
    WORD = "word"
    S7 = "s7"
    S7_WIDE = "s7_wide"

    @property
    def size(self) -> int:
        """The number of bytes of the field."""
        return {"none": 0, "byte": 1, "word": 2, "s7": 2, "s7_wide": 4}[self]

    @property
    def width(self) -> int:
        """The number of bytes of one number in the field."""
        return 2 if self in {LengthPrefix.WORD, LengthPrefix.S7_WIDE} else 1


class Trim(StrEnum):
    """The characters to remove from a string: blanks at its end, or all white space and zeros at its ends."""

    BLANKS = "blanks"
    RIGHT = "right"
    LEFT = "left"
    BOTH = "both"
    NONE = "none"


class Shape(NamedTuple):
    """A type's size in registers (0: given by the key `length`), its `struct` format, and the type of its values."""

    registers: int
    format: str
    value_type: ValueType


SHAPES = {
    Raw.BOOL: Shape(1, "H", ValueType.BOOL),
    Raw.INT8: Shape(1, "b", ValueType.INT),
    Raw.UINT8: Shape(1, "B", ValueType.INT),
    Raw.INT16: Shape(1, "h", ValueType.INT),
    Raw.UINT16: Shape(1, "H", ValueType.INT),
    Raw.INT24: Shape(2, "I", ValueType.INT),
    Raw.UINT24: Shape(2, "I", ValueType.INT),
    Raw.INT32: Shape(2, "i", ValueType.INT),
    Raw.UINT32: Shape(2, "I", ValueType.INT),
    Raw.INT48: Shape(3, "6s", ValueType.INT),
    Raw.UINT48: Shape(3, "6s", ValueType.INT),
    Raw.INT64: Shape(4, "q", ValueType.INT),
    Raw.UINT64: Shape(4, "Q", ValueType.INT),
    Raw.FLOAT16: Shape(1, "e", ValueType.FLOAT),
    Raw.FLOAT32: Shape(2, "f", ValueType.FLOAT),
    Raw.FLOAT64: Shape(4, "d", ValueType.FLOAT),
    Raw.BCD8: Shape(1, "B", ValueType.INT),
    Raw.BCD16: Shape(1, "H", ValueType.INT),
    Raw.BCD32: Shape(2, "I", ValueType.INT),
    Raw.BCD64: Shape(4, "Q", ValueType.INT),
    Raw.MOD10K32: Shape(2, "4s", ValueType.INT),
    Raw.MOD10K48: Shape(3, "6s", ValueType.INT),
    Raw.MOD10K64: Shape(4, "8s", ValueType.INT),
    Raw.STRING: Shape(0, "s", ValueType.STRING),
    Raw.BYTES: Shape(0, "s", ValueType.STRING),
    Raw.UNIX32: Shape(2, "I", ValueType.STRING),
    Raw.UNIX64: Shape(4, "q", ValueType.STRING),
    Raw.UNIX_MS64: Shape(4, "q", ValueType.STRING),
    Raw.CP56: Shape(4, "Q", ValueType.STRING),
    Raw.DATETIME: Shape(6, "s", ValueType.STRING),  # or as many as its layout has
    Raw.S7_DATE_AND_TIME: Shape(4, "s", ValueType.STRING),
    Raw.S7_DTL: Shape(6, "s", ValueType.STRING),
}

LATIN_1 = "latin-1"
"""The default encoding of strings."""

SIGNED = (Raw.INT8, Raw.INT16, Raw.INT24, Raw.INT32, Raw.INT48, Raw.INT64)
UNSIGNED = (Raw.UINT16, Raw.UINT32, Raw.UINT64)
BIT_FIELDS = (Raw.INT16, Raw.INT32, Raw.INT64, *UNSIGNED)
EIGHT_BITS = (Raw.INT8, Raw.UINT8, Raw.BCD8)
TWENTY_FOUR_BITS = (Raw.INT24, Raw.UINT24)
FORTY_EIGHT_BITS = (Raw.INT48, Raw.UINT48)
FLOATS = (Raw.FLOAT16, Raw.FLOAT32, Raw.FLOAT64)
BCD = (Raw.BCD8, Raw.BCD16, Raw.BCD32, Raw.BCD64)
MOD10K = (Raw.MOD10K32, Raw.MOD10K48, Raw.MOD10K64)
TEXTS = (Raw.STRING, Raw.BYTES)
UNIX = (Raw.UNIX32, Raw.UNIX64, Raw.UNIX_MS64)
CALENDAR = (Raw.DATETIME, Raw.S7_DATE_AND_TIME, Raw.S7_DTL)
TIMES = (*UNIX, Raw.CP56, *CALENDAR)
SEQUENCES = (*TEXTS, *CALENDAR)
"""Types whose registers are a sequence: only the bytes in each register may be swapped."""

NUMBERS = (*SIGNED, Raw.UINT8, Raw.UINT24, Raw.UINT48, *UNSIGNED, *FLOATS, *BCD)

APPLIES = {
    "bit": (Raw.BOOL, *UNSIGNED),
    "bits": BIT_FIELDS,
    "byte": EIGHT_BITS,
    "sign": SIGNED,
    "not_available": (*NUMBERS, *UNIX, Raw.STRING),
    "scale_register": (*NUMBERS, *MOD10K),
    "length": TEXTS,
    "encoding": (Raw.STRING,),
    "packing": TEXTS,
    "length_prefix": (Raw.STRING,),
    "padding": (Raw.STRING,),
    "trim": (Raw.STRING,),
    "layout": (Raw.DATETIME,),
    "bcd": (Raw.DATETIME,),
    "zone": TIMES,
}
"""Key -> the types that allow it. All types allow the other keys."""


NOT_A_NUMBER = "nan"
"""NaN as a value that means "not available"."""

NOT_AVAILABLE: dict[str, dict[Raw, int | str]] = {
    "sunspec": {
        Raw.INT16: 0x8000,
        Raw.UINT16: 0xFFFF,
        Raw.INT32: 0x8000_0000,
        Raw.UINT32: 0xFFFF_FFFF,
        Raw.INT64: 0x8000_0000_0000_0000,
        Raw.UINT64: 0xFFFF_FFFF_FFFF_FFFF,
        Raw.FLOAT32: NOT_A_NUMBER,
        Raw.FLOAT64: NOT_A_NUMBER,
        Raw.STRING: 0,
    },
}
"""Names of standards -> the values that mean "not available", by type (SunSpec Information Model, clause 4.2)."""


def absent_values(written: object) -> dict[str, tuple[int | float | str, ...]]:
    """Return the values that mean "not available" by type, from a mapping or the name of a standard.

    Raises `ValueError` for another name, and for a type that has no such values.
    """
    if isinstance(written, str) and written in NOT_AVAILABLE:
        written = NOT_AVAILABLE[written]
    types = APPLIES["not_available"]
    if not isinstance(written, dict) or not set(written) <= set(types):
        raise ValueError(
            f"{written!r} does not name types; write {', '.join(NOT_AVAILABLE)}, or the types and their values, as "
            f"in {{int16: 0x8000, uint16: 0xFFFF}}: {', '.join(types)}"
        )
    return {str(raw): several_values(value) for raw, value in written.items()}


def several_values(written: Any) -> tuple[int | float | str, ...]:  # noqa: ANN401 - what a user wrote
    """Return one value or a list of them as a tuple. NaN becomes a text, which equals itself."""
    several = written if isinstance(written, list | tuple) else [written]
    return tuple(NOT_A_NUMBER if str(one).lower() == NOT_A_NUMBER else one for one in several)


def order_of_words(order: Order) -> Order:
    """Return the order of 32 bits that follows from an order of 64 bits."""
    letters = "".join(letter for letter in order if letter in Order.ABCD) if len(order) > len(Order.ABCD) else order
    return Order(letters)


def fits_order(raw: Raw, order: Order) -> bool:
    """Return True if an order can be used with a type."""
    return len(order) == len(Order.ABCD) or SHAPES[raw].registers == len(order) // 2


def byte_order(raw: Raw, order: Order, registers: int) -> list[int]:
    """Return the position in the registers of each byte of the value, most significant first."""
    if len(order) != len(Order.ABCD):
        return [order.index(letter) for letter in sorted(order)]
    words = list(range(registers))
    if raw not in SEQUENCES and order in {Order.CDAB, Order.DCBA}:
        words.reverse()
    pair = (1, 0) if order in {Order.BADC, Order.DCBA} else (0, 1)
    return [2 * word + byte for word in words for byte in pair]


def wire_format(raw: Raw, half: Half, registers: int, *, whole: bool) -> str:
    """Return the `struct` format of a value whose bytes are in order, most significant first.

    `whole` is False for numbers whose sign `struct` can't convert: a part of a signed number, or sign and magnitude.
    """
    shape = SHAPES[raw]
    if raw in SEQUENCES:
        return f"{2 * registers}s"
    letter = shape.format if whole or raw in FORTY_EIGHT_BITS else shape.format.upper()
    if raw in EIGHT_BITS:
        return f"{letter}x" if half is Half.HIGH else f"x{letter}"
    return letter


def wire_encoding(name: str) -> str:
    """Return Python's name of a text encoding; UTF-16 and UTF-32 are big-endian unless the name has a byte order."""
    found = codecs.lookup(name).name
    return f"{found}-be" if found in {"utf-16", "utf-32"} else found


def as_unpacked(written: float, letter: str, width: int, *, negative: bool) -> int | float:
    """Return a value that means "not available" as the number in the registers.

    An integer may be written as its value or as its `width` bits: -32768 or 0x8000, if it can be `negative`. Raises
    `ValueError` if the value does not fit.
    """
    if letter in "efd":
        try:
            [rounded] = struct.unpack(f">{letter}", struct.pack(f">{letter}", written))
        except OverflowError as error:
            raise ValueError(f"not_available: {written!r} is too large for {width} bits") from error
        return shortest(rounded, letter) if letter in "ef" else float(rounded)
    if not isinstance(written, int):
        raise ValueError(f"not_available: {written!r} is not a whole number")  # noqa: TRY004 - a user's
    if not (-(1 << width - 1) if negative else 0) <= written < 1 << width:
        raise ValueError(
            f"not_available: {written} does not fit in {width} bits{'' if negative else ' without a sign'}"
        )
    return written - (1 << width) if negative and written >= 1 << width - 1 else written
