"""Settings of one point: its address, and the type of its raw value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from drivers.base import Group, Source, ValueType
from drivers.modbus.address import (
    ENTRIES,
    LAST,
    MOST_QUEUED,
    MOST_RECORDS,
    Address,
    FunctionData,
    Table,
    parse_address,
    table_of,
)
from drivers.modbus.calendar_time import LAYOUT, parse_layout, zone_of
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.likely import byte_order, raw_type
from drivers.modbus.pdu import MOST_FILE_REGISTERS
from drivers.modbus.raw_types import (
    APPLIES,
    BCD,
    BIT_FIELDS,
    EIGHT_BITS,
    FLOATS,
    LATIN_1,
    MOD10K,
    NOT_AVAILABLE,
    SHAPES,
    SIGNED,
    TEXTS,
    TIMES,
    TWENTY_FOUR_BITS,
    Half,
    LengthPrefix,
    Order,
    Packing,
    Raw,
    Sign,
    Trim,
    as_unpacked,
    fits_order,
    order_of_words,
    several_values,
    wire_encoding,
    wire_format,
)
from drivers.modbus.scale_register import ScaleRegister  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    from collections.abc import Mapping


def _bits(written: object) -> object:
    """Turn `4..7` or `[4, 7]` into the lowest and the highest bit."""
    if isinstance(written, str) and (match := re.fullmatch(r"\s*(\d+)\s*\.\.\s*(\d+)\s*", written)):
        written = [int(match[1]), int(match[2])]
    if isinstance(written, list | tuple) and len(written) == 2:  # noqa: PLR2004 - a lowest and a highest
        return tuple(written)
    if written is not None:
        raise ValueError(
            f"{written!r} is not a range of bits; write the lowest and the highest, as in 4..7 or [4, 7]"
        )
    return written


def _several(written: object) -> object:
    """Turn one number, or a list of them, into a tuple."""
    if isinstance(written, dict):
        raise ValueError(  # noqa: TRY004 - a user's
            f"{written!r} has no type of this point; write the types and their values, as in "
            f"{{int16: 0x8000, uint16: 0xFFFF}}: {', '.join(APPLIES['not_available'])}"
        )
    return several_values(written)


def _zone(written: str | None) -> str | None:
    return None if written is None else zone_of(written)


def _of_type(written: object, raw: str) -> tuple[bool, object]:
    """Return whether a key's values by type, or the name of a standard, have a value for one type, and that value.

    A mapping with a name that is not a type is returned unchanged: the validation of a point reports it.
    """
    if isinstance(written, str) and written in NOT_AVAILABLE:
        written = NOT_AVAILABLE[written]
    if not isinstance(written, dict) or not set(written) <= set(Raw):
        return True, written
    return raw in written, written.get(raw)


def _fitting_value(written: object, raw: str, *, of_part: bool) -> object:
    """Return the value of a key for one type, None if it has none; values by type are those of whole registers."""
    has, value = _of_type(written, raw)
    return value if has and not (of_part and value is not written) else None


BY_TYPE = ("not_available", "range")
"""Keys that may have a value for each type in a template's defaults."""


def _scale_register(written: object, others: ValidationInfo) -> object:
    """Turn `holding 40075`, or a mapping with such an address, into the keys of a `ScaleRegister`."""
    base = others.data.get("base", 0)
    if isinstance(written, dict):
        return written | ({"address": parse_address(written["address"], base)} if "address" in written else {})
    if isinstance(written, str | int | float) and not isinstance(written, bool):
        return {"address": parse_address(written, base)}
    return written


def _encoding(written: str) -> str:
    """Return the encoding unchanged. Raises `ValueError` if it is not a text encoding of Python."""
    try:
        if "A1".encode(written).decode(written) == "A1":
            return written
    except (LookupError, ValueError):
        pass
    raise ValueError(
        f"{written!r} is not a known encoding; write latin-1, ascii, utf-8, utf-16, gb18030, shift_jis ..."
    )


class ModbusSource(Source):
    """The address of one point on a Modbus device, and the type of its raw value."""

    by_type: ClassVar[tuple[str, ...]] = BY_TYPE

    base: Annotated[int, Field(ge=0, le=1)] = 0  # before the address, whose validator needs it
    """The number of a table's first entry, if the address names the table, as in `1`."""
    address: InstanceOf[Address]
    """Table and entry counted from base, Modicon notation, or data with a function of its own, as in `holding 10` or
    `40011` or `file 4 record 0` or `identification model_name`.
    """
    raw: Annotated[Raw, Field(strict=False), BeforeValidator(raw_type)] = Raw.UINT16
    """The type of the raw value in the registers, as in `float32`."""
    order: Annotated[Order, Field(strict=False), BeforeValidator(byte_order)] = Order.ABCD
    """The order of the bytes on the wire, A is the most significant, as in `CDAB`."""
    bit: Annotated[int | None, Field(ge=0)] = None
    """One bit of a register, or above 15 of a uint32 or uint64; 0 is the lowest, as in `3`."""
    invert: bool = False
    """Whether the opposite of a bit is the value, as in `true`."""
    bits: Annotated[tuple[int, int] | None, BeforeValidator(_bits)] = None
    """Several bits, the lowest and the highest, as in `4..7` or `[4, 7]`."""
    byte: Annotated[Half, Field(strict=False)] = Half.LOW
    """The byte of the register that contains an int8, uint8 or bcd8, as in `high`."""
    sign: Annotated[Sign, Field(strict=False)] = Sign.TWOS_COMPLEMENT
    """The encoding of negative numbers, as in `magnitude`."""
    length: Annotated[int | None, Field(ge=1, le=125)] = None
    """The length of a string or bytes in registers, as in `8`."""
    encoding: Annotated[str, AfterValidator(_encoding)] = LATIN_1
    """The encoding of a string, as in `utf-8`."""
    packing: Annotated[Packing, Field(strict=False)] = Packing.FULL
    """The packing of a string or bytes: two bytes per register, or one in its low half, as in `byte_per_register`."""
    length_prefix: Annotated[LengthPrefix, Field(strict=False)] = LengthPrefix.NONE
    """The field before a string that contains its length, as in `s7`."""
    padding: Annotated[int, Field(ge=0, le=0xFF)] = 0
    """The byte behind the end of a string, as in `0x20`."""
    trim: Annotated[Trim, Field(strict=False)] = Trim.BLANKS
    """The side of a string from which white space and zeros are removed, as in `both`."""
    layout: Annotated[tuple[str, ...], BeforeValidator(parse_layout)] = LAYOUT
    """The fields of a datetime, a register or a byte each, as in `[year/month, day/hour, minute/second]`."""
    bcd: bool = False
    """Whether the fields of a datetime are decimal digits of four bits each, as in `true`."""
    zone: Annotated[str | None, AfterValidator(_zone)] = None
    """The time zone of the device's clock, an IANA name, as in `Europe/Berlin`."""
    not_available: Annotated[tuple[int | float | Literal["nan"], ...], BeforeValidator(_several)] = ()
    """Raw value, or values, that mean "not available", or the values for each type, as in `0x8000` or `-9999.5` or
    `[32767, 32768]` or `{int16: 0x8000, float32: nan}` or `sunspec`.
    """
    scale_register: Annotated[ScaleRegister | None, BeforeValidator(_scale_register)] = None
    """The register that contains the exponent of ten by which the device scales the value, as in `holding 40075` or
    `{address: holding 8, raw: uint16, kind: factor}`.
    """
    count: Annotated[int | None, Field(ge=1, le=LAST + 1)] = None
    """The number of consecutive points of this type: name_0, name_1 and so on, as in `4`."""

    @classmethod
    def fitting(cls, defaults: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
        """Return the defaults that apply to a point of this type; a number has no length, for example."""
        if "raw" in written:  # the bits of another type do not apply here
            defaults = {key: value for key, value in defaults.items() if key not in {"bit", "bits"}}
        keys = {key: value for key, value in (defaults | written).items() if value is not None}
        unfit: set[str] = set()
        if _is_bit(keys):
            unfit |= {"raw", "not_available", "scale_register"}
            raw: str = str(written.get("raw", Raw.BOOL))
            if "bit" not in keys:
                unfit |= {"order", *APPLIES}
        elif _is_text(keys):
            unfit |= {"raw", "order", "length", "not_available", "scale_register"}
            raw = str(written.get("raw", Raw.STRING))
        elif "bits" in keys and keys.get("raw") not in BIT_FIELDS:
            unfit |= {"raw"}
            raw = str(written.get("raw", Raw.UINT16))
        else:
            raw = str(keys.get("raw", Raw.UINT16))
        if not _is_bit(keys):
            unfit |= {"invert"}
        unfit |= {key for key, types in APPLIES.items() if raw not in types}
        # a "not available" value belongs to one type: 0x8000 is a good value of a larger type
        several = defaults.get("not_available")
        by_type = isinstance(several, dict) or several in list(NOT_AVAILABLE)
        if (raw != defaults.get("raw", Raw.UINT16) and not by_type) or "bits" in written:
            unfit |= {"not_available"}
        for key in (key for key in BY_TYPE if key in defaults):
            value = _fitting_value(defaults[key], raw, of_part="bits" in keys or "bit" in keys)
            defaults = defaults | {key: value}
            unfit |= {key} if value is None else set()
        order = str(defaults.get("order"))
        if raw in SHAPES and order in Order.__members__ and not fits_order(Raw(raw), Order(order)):
            unfit |= {"order"}
        return {key: value for key, value in defaults.items() if key not in unfit}

    @classmethod
    def expand(cls, name: str, keys: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return N consecutive points, `name_0` and so on, for a point with `count: N`."""
        if "count" not in keys:
            return {name: keys}
        try:
            whole = cls.model_validate({key: value for key, value in keys.items() if key in cls.model_fields})
        except ValidationError:
            return {name: keys}  # the next validation reports all mistakes
        one = {key: value for key, value in keys.items() if key != "count"}
        return {
            f"{name}_{i}": one | {"address": whole.address.moved(i * whole.size)} for i in range(whole.count or 1)
        }

    @model_validator(mode="before")
    @classmethod
    def _not_available_of_type(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        """Choose the value of `not_available` for the point's type if there are several."""
        if not isinstance(data, dict) or "not_available" not in data:
            return data
        has, value = _of_type(data["not_available"], str(data.get("raw", Raw.UINT16)))
        return data | {"not_available": value if has else ()}

    @model_validator(mode="before")
    @classmethod
    def _bits_are_bool(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        """Set `raw` if it is not written: to bool for a bit, to string for data that consists of bytes."""
        if isinstance(data, dict) and "raw" not in data:
            table = table_of(data.get("address"))
            if data.get("bit") is not None or (table is not None and table.bits):
                return data | {"raw": Raw.BOOL}
            if table in _IN_BYTES:
                return data | {"raw": Raw.STRING}
        return data

    @field_validator("address", mode="before")
    @classmethod
    def _address(cls, written: object, others: ValidationInfo) -> object:
        return parse_address(written, others.data.get("base", 0))

    @field_validator("bit")
    @classmethod
    def _bit_exists(cls, bit: int | None, others: ValidationInfo) -> int | None:
        raw = others.data.get("raw")
        if bit is not None and raw in SHAPES and bit >= (bits := 16 * (SHAPES[raw].registers or 1)):
            raise ValueError(f"{bit} is out of range; write at most {bits - 1}")
        return bit

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._has_length()
        self._fits_table()
        self._fits_type()
        self._picks()
        if not fits_order(self.raw, self.order):
            raise ValueError(
                f"{self.order} is an order of 64 bits, and this is {self.raw}; write ABCD, CDAB, BADC or DCBA"
            )
        if self.not_available:
            self.sentinels()
        self._inside()
        return self

    def _has_length(self) -> None:
        if self.raw in TEXTS and self.length is None and not self._in_bytes:
            needs = "a string needs its" if self.raw is Raw.STRING else "bytes need their"
            raise ValueError(f"{needs} length in registers")
        if self.raw is Raw.STRING and not self.capacity:
            raise ValueError(f"not one character of {self.encoding} fits into length: {self.length}")
        if self.padding and (width := len("\0".encode(wire_encoding(self.encoding)))) > 1:
            raise ValueError(f"padding is one byte, and a character of {self.encoding} has {width}")

    @property
    def _in_bytes(self) -> bool:
        """Whether the point is in data that consists of bytes, not of registers."""
        return isinstance(self.address.table, FunctionData) and not self.address.table.registers

    def _fits_table(self) -> None:
        if self._in_bytes:
            allowed = _IN_BYTES[FunctionData(self.address.table)]
            if self.raw not in allowed or self.bit is not None or self.count is not None:
                raise ValueError(f"{self.address} has raw: {', '.join(allowed)}, without bit and count")
        elif self.address.table.bits:
            if self.raw is not Raw.BOOL or self.bit is not None:
                raise ValueError(f"an entry of table {self.address.table} is one bit: leave raw and bit out")
            if "order" in self.model_fields_set:
                raise ValueError(f"an entry of table {self.address.table} is one bit: it has no order")
        elif self.raw is Raw.BOOL if self.bit is None else self.raw not in APPLIES["bit"]:
            raise ValueError(
                "raw: bool in a register needs the bit, and a bit needs raw: bool, or uint32 or uint64 for more bits"
            )

    def _fits_type(self) -> None:
        written = self.model_fields_set & APPLIES.keys()
        for key in APPLIES if written else ():
            types = APPLIES[key]
            if key in written and self.raw not in types and getattr(self, key) != _DEFAULTS[key]:
                raise ValueError(f"{key} is for raw: {', '.join(types)}, and this point is {self.raw}")
        if self.invert and self.value_type is not ValueType.BOOL:
            raise ValueError(f"invert is for bits, and this point is {self.raw}")
        for key in () if self.bit is None else ("bits", "not_available", "scale_register"):
            if getattr(self, key) != _DEFAULTS[key]:
                raise ValueError(f"{key} is for numbers, and this point is one bit")

    def _picks(self) -> None:
        if self.bits is not None and not 0 <= self.bits[0] <= self.bits[1] < 16 * self.size:
            raise ValueError(
                f"there are no bits {self.bits[0]}..{self.bits[1]} in {self.raw}; write the lowest and the highest, "
                f"from 0 to {16 * self.size - 1}"
            )
        if self.count is not None and (self.bit is not None or self.bits is not None or self.raw in EIGHT_BITS):
            raise ValueError("count is for whole registers, or coils: write bits and bytes of registers one by one")

    def _inside(self) -> None:
        register = self.scale_register
        if register is not None and register.address.offset + register.size > LAST + 1:
            raise ValueError(f"the scale register {register.address} reaches beyond the last entry, {LAST}")
        most = _REGISTERS.get(self.address.table, LAST + 1)
        if self.address.offset % ENTRIES + self.size * (self.count or 1) > most:
            many = f"{self.count} x " if self.count else ""
            raise ValueError(f"{many}{self.raw} at {self.address} reaches beyond the last entry, {most - 1}")
        if self.address.table is FunctionData.FILE and self.size > MOST_FILE_REGISTERS:
            raise ValueError(f"one response contains at most {MOST_FILE_REGISTERS} registers of a file")

    def written(self) -> dict[str, Any]:
        keys = super().written()
        keys.pop("base", None)  # an address is written as on the wire, counted from 0
        if self.raw is Raw.BOOL:
            keys.pop("raw")  # the default of a bit
        return keys

    @property
    def size(self) -> int:
        """The number of entries of its table that the point uses."""
        if self.length is not None:
            return self.length
        if self.raw is Raw.DATETIME:
            return len(self.layout)
        # a text without a length is in data that consists of bytes
        return SHAPES[self.raw].registers or _ASSUMED

    def scaling_source(self) -> ModbusSource | None:
        """Return the scale register as a point of its own, in the byte order of this point; None without one."""
        if self.scale_register is None:
            return None
        register, order = self.scale_register, order_of_words(self.order)
        return ModbusSource(address=register.address, raw=register.raw, order=order)

    def with_absent(self, values: Mapping[str, tuple[int | float | str, ...]]) -> ModbusSource:
        """Return this with the values that mean "not available" for its type, if it names none.

        Raises `ValueError` if they do not fit.
        """
        absent = values.get(self.raw)
        if not absent or self.not_available or self.bit is not None or self.bits is not None:
            return self
        found = self.model_copy(update={"not_available": absent})
        found.sentinels()
        return found

    def unscaled(self) -> ModbusSource:
        """Return this without its scale register."""
        return self if self.scale_register is None else self.model_copy(update={"scale_register": None})

    @property
    def capacity(self) -> int:
        """The number of ASCII characters of a string, or of bytes, that fit into the registers."""
        size = max(0, 2 * self.size // self.packing.stride - self.length_prefix.size)
        return size if self.raw is Raw.BYTES else size // len("\0".encode(wire_encoding(self.encoding)))

    @property
    def wire_format(self) -> str:
        """The `struct` format of the registers, after their bytes are in order, most significant first."""
        partial = self.raw in SIGNED and (self.sign is Sign.MAGNITUDE or self.bits is not None)
        return wire_format(self.raw, self.byte, self.size, whole=not partial)

    @property
    def field(self) -> tuple[int, int] | None:
        """The lowest bit and the number of bits of a point in part of its registers; None for whole registers."""
        if self.bit is not None:
            return self.bit, 1
        if self.bits is not None:
            return self.bits[0], self.bits[1] - self.bits[0] + 1
        if self.raw in EIGHT_BITS:
            return (8 if self.byte is Half.HIGH else 0), 8
        if self.raw in TWENTY_FOUR_BITS:
            return 0, 24  # the highest byte has no meaning
        return None

    @property
    def width(self) -> int:
        """The number of bits of the point."""
        return self.field[1] if self.field is not None else 16 * self.size

    def sentinels(self) -> dict[int | float, str]:
        """Return the "not available" values as `struct` unpacks them, each with its text as in the registers.

        NaN is left out, since it does not equal itself. For a string it is the byte that fills all of it.
        """
        if self.raw is Raw.STRING:
            for written in self.not_available:
                if not isinstance(written, int) or not 0 <= written <= 0xFF:  # noqa: PLR2004 - a byte
                    raise ValueError(
                        f"not_available: {written!r} is not a byte; write the byte that fills the whole string, "
                        "from 0 to 0xFF"
                    )
            return {int(written): f"0x{written:02X}" for written in self.not_available}
        letter = self.wire_format.strip("x")
        width = self.width
        two = self.raw in SIGNED and self.sign is Sign.TWOS_COMPLEMENT
        found: dict[int | float, str] = {}
        for written in self.not_available:
            if isinstance(written, str):
                if self.raw not in FLOATS:
                    raise ValueError(f"not_available: nan is for {', '.join(FLOATS)}, and this point is {self.raw}")
                continue
            unpacked = as_unpacked(written, letter, width, negative=two or letter == "q")
            found[unpacked] = repr(unpacked) if isinstance(unpacked, float) else f"0x{unpacked % (1 << width):X}"
        return found

    @property
    def fallible(self) -> bool:
        """Whether the registers may contain an invalid value, which the decoder replaces by a fault."""
        always = self.raw in {*BCD, *MOD10K, *TIMES, Raw.STRING} or isinstance(self.address.table, FunctionData)
        return always or bool(self.not_available) or self.scale_register is not None

    @property
    def value_type(self) -> ValueType:
        if self.bit is not None:
            return ValueType.BOOL
        return ValueType.FLOAT if self.scale_register is not None else SHAPES[self.raw].value_type

    @property
    def fits_int64(self) -> bool:
        return self.raw is not Raw.UINT64 or self.width < 64  # noqa: PLR2004 - its width

    @property
    def shortest_decimals(self) -> bool:
        return self.raw in {Raw.FLOAT16, Raw.FLOAT32} or self.scale_register is not None

    @property
    def limits(self) -> tuple[int, int] | None:
        return None if self.scale_register is not None else self.raw_limits

    @property
    def raw_limits(self) -> tuple[int, int] | None:
        """The lowest and the highest whole number that the registers can contain; None for other types."""
        if self.bit is not None or SHAPES[self.raw].value_type is not ValueType.INT:
            return None
        if self.raw in BCD:
            return 0, 10 ** (self.width // 4) - 1
        if self.raw in MOD10K:
            return 1 - 10 ** (4 * self.size), 10 ** (4 * self.size) - 1
        if self.raw not in SIGNED:
            return 0, (1 << self.width) - 1
        highest = (1 << self.width - 1) - 1
        return (-highest if self.sign is Sign.MAGNITUDE else -highest - 1), highest


_IN_BYTES = {
    FunctionData.SERVER_ID: (Raw.STRING, Raw.BYTES, Raw.UINT8, Raw.BOOL),
    FunctionData.IDENTIFICATION: (Raw.STRING, Raw.BYTES),
}
"""The types of points in data that consists of bytes."""

_REGISTERS: dict[Table | FunctionData, int] = {FunctionData.FILE: MOST_RECORDS, FunctionData.FIFO: 1 + MOST_QUEUED}
"""Entries of data that has fewer than a table."""

_ASSUMED = 32
"""Registers of a text in such data if its length is not written."""

_DEFAULTS = {key: ModbusSource.model_fields[key].default for key in APPLIES}


def _is_text(keys: dict[str, Any]) -> bool:
    """Return True if the keys describe a point in data that consists of bytes."""
    return table_of(keys.get("address")) in {FunctionData.SERVER_ID, FunctionData.IDENTIFICATION}


def _is_bit(keys: dict[str, Any]) -> bool:
    """Return True if the keys describe a bit: a bit of a register, or an entry of a bit table."""
    table = table_of(keys.get("address"))
    return keys.get("bit") is not None or (table is not None and table.bits)


ModbusGroup = Group[ModbusConnection, ModbusSource]
"""The points of one machine that are read together."""
