"""Convert unpacked numbers and bytes to values, for types that `struct` does not know, and back.

An invalid value (an invalid BCD digit, an invalid date, a "not available" value) is replaced by its `Fault`.
"""

from __future__ import annotations

import codecs
import math
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from zoneinfo import ZoneInfo

from drivers.base import Fault, Reason, bad
from drivers.float32 import shortest
from drivers.modbus.calendar_time import (
    fields,
    from_fields,
    from_s7_date_and_time,
    from_s7_dtl,
    to_fields,
    to_s7_date_and_time,
    to_s7_dtl,
    to_utc,
)
from drivers.modbus.raw_types import (
    BCD,
    FORTY_EIGHT_BITS,
    MOD10K,
    NOT_A_NUMBER,
    SIGNED,
    TIMES,
    TWENTY_FOUR_BITS,
    LengthPrefix,
    Packing,
    Raw,
    Sign,
    Trim,
    wire_encoding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drivers.base import Value
    from drivers.modbus.source import ModbusSource

Reader: TypeAlias = "Callable[[Any], Value | Fault]"
"""Converts the result of `struct` to a value."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of a device's clock, whose zone is known later
_CENTURY = 2000  # CP56Time2a counts years from here
_CP56_INVALID, _CP56_SUMMER = 1 << 23, 1 << 31  # IEC 60870-5-4: bit 8 of the third octet, and of the fourth
_FINEST = {"seconds": 1_000_000, "milliseconds": 1000, "microseconds": 1}
"""Precision of a time's text -> microseconds."""
_GROUP = 10_000  # values of a register of a mod10k number
_MASK_48 = (1 << 48) - 1
_CONVERTED = {Raw.FLOAT16, *TWENTY_FOUR_BITS, *FORTY_EIGHT_BITS}
"""Types whose values are not as `struct` unpacks them, and compared with "not available" values after conversion."""


def reader(point: ModbusSource) -> Reader | None:
    """Return the function that converts the result of `struct` to a value; None if it is the value already."""
    read = _reader(point)
    if not point.not_available:
        return read
    sentinels = {value: bad(Reason.NOT_AVAILABLE, text) for value, text in point.sentinels().items()}
    if NOT_A_NUMBER in point.not_available:
        read = _without_nan(read)
    if not sentinels or point.raw is Raw.STRING:
        return read
    if read is not None and (point.bits is not None or point.raw in _CONVERTED):
        # the "not available" value is the number in these bits
        sign = _sign(point)
        return _after(read, {sign(int(raw)) if sign else raw: fault for raw, fault in sentinels.items()})

    def available(raw: Any) -> Value | Fault:  # noqa: ANN401 - what struct unpacks
        fault = sentinels.get(raw)
        if fault is not None:
            return fault
        found: Value | Fault = raw if read is None else read(raw)
        return found

    return available


def _without_nan(read: Reader | None) -> Reader:
    absent = bad(Reason.NOT_AVAILABLE, NOT_A_NUMBER)

    def available(raw: Any) -> Value | Fault:  # noqa: ANN401 - what struct unpacks
        if math.isnan(raw):
            return absent
        found: Value | Fault = raw if read is None else read(raw)
        return found

    return available


def _after(read: Reader, sentinels: Mapping[Any, Fault]) -> Reader:
    def available(raw: Any) -> Value | Fault:  # noqa: ANN401 - what struct unpacks
        value = read(raw)
        return sentinels.get(value, value)

    return available


def _reader(point: ModbusSource) -> Reader | None:
    if point.bits is not None or point.raw in {*TWENTY_FOUR_BITS, *FORTY_EIGHT_BITS}:
        return _bits_reader(point)
    if point.sign is Sign.MAGNITUDE:
        return _sign(point)
    if point.raw in TIMES:
        return _time_reader(point)
    match point.raw:
        case Raw.STRING:
            return _text_reader(point)
        case Raw.BYTES:
            return lambda raw: str(_gathered(point, raw).hex())
        case _:
            return _READERS.get(point.raw)


def _bits_reader(point: ModbusSource) -> Reader:
    """Return the reader of a number in some of the bits, or of a size that `struct` does not know."""
    low, mask = 0 if point.bits is None else point.bits[0], (1 << point.width) - 1
    sign = _sign(point) or int
    if point.raw in FORTY_EIGHT_BITS:
        return lambda raw: sign(int.from_bytes(raw, "big"))
    return lambda raw: sign(raw >> low & mask)


def _sign(point: ModbusSource) -> Callable[[int], int] | None:
    """Return the function from the bits of a signed number to the number; None if it has no sign."""
    if point.raw not in SIGNED:
        return None
    top = 1 << point.width - 1
    if point.sign is Sign.MAGNITUDE:
        return lambda raw: top - raw if raw & top else int(raw)
    return lambda raw: (raw ^ top) - top if raw >= 0 else raw


def to_unpacked(point: ModbusSource, value: Value) -> Any:  # noqa: ANN401 - any input of struct
    """Return the input of `struct` for a value: the inverse of `reader`. Raises `ValueError` if it does not fit."""
    if point.raw is Raw.STRING:
        return _encoded(point, str(value))
    if point.raw is Raw.BYTES:
        data, size = bytes.fromhex(str(value)), 2 * point.size // point.packing.stride
        if len(data) != size:
            raise ValueError(f"write {size} bytes")
        return _spread(point, data)
    if point.raw in TIMES:
        return _time(point, datetime.fromisoformat(str(value)))
    if point.raw_limits is None:
        return value
    number = _whole(point, value, point.raw_limits)
    if point.raw in FORTY_EIGHT_BITS:
        return (number & _MASK_48).to_bytes(6, "big")
    return _groups(number, point.size) if point.raw in MOD10K else number


def _groups(number: int, size: int) -> bytes:
    """Return the registers of a number to the base of 10,000; all have its sign."""
    groups = [abs(number) // 10 ** (4 * i) % _GROUP for i in reversed(range(size))]
    return struct.pack(f">{size}h", *(group if number >= 0 else -group for group in groups))


def _from_groups(raw: bytes) -> Value | Fault:
    """Convert registers of which each contains four decimal digits, with or without a sign."""
    number = 0
    for (group,) in struct.iter_unpack(">h", raw):
        if not -_GROUP < group < _GROUP:
            return bad(Reason.NOT_A_NUMBER, f"0x{raw.hex().upper()} has a register beyond 9999")
        number = number * _GROUP + group
    return number


def _whole(point: ModbusSource, value: Value, limits: tuple[int, int]) -> int:
    if not isinstance(value, int) or not limits[0] <= value <= limits[1]:
        raise ValueError(f"write a whole number from {limits[0]} to {limits[1]}")
    if point.raw in BCD:
        return int(str(int(value)), 16)
    if point.raw in SIGNED and point.sign is Sign.MAGNITUDE and value < 0:
        return (1 << point.width - 1) - value
    return value


def _from_bcd(raw: int) -> Value | Fault:
    digits = f"{raw:X}"
    if digits.isdecimal():
        return int(digits)
    return bad(Reason.NOT_A_NUMBER, f"0x{digits} has digits that are not decimal")


def _time_reader(point: ModbusSource) -> Reader:
    """Return the reader of a time: an ISO 8601 text in UTC."""
    zone, precision = point.zone, _precision(point)

    def shown(time: datetime | Fault, summer: bool | None = None) -> Value | Fault:  # noqa: FBT001 - of cp56
        instant = time if isinstance(time, Fault) else to_utc(time, zone, summer=summer)
        return instant if isinstance(instant, Fault) else _iso(instant, precision)

    match point.raw:
        case Raw.UNIX32 | Raw.UNIX64:
            return lambda raw: shown(_since_epoch(raw, "seconds"))
        case Raw.UNIX_MS64:
            return lambda raw: shown(_since_epoch(raw, "milliseconds"))
        case Raw.S7_DATE_AND_TIME:
            return lambda raw: shown(from_s7_date_and_time(raw))
        case Raw.S7_DTL:
            return lambda raw: shown(from_s7_dtl(raw))
        case Raw.DATETIME:
            layout, bcd = tuple(fields(point.layout)), point.bcd
            return lambda raw: shown(from_fields(raw, layout, bcd=bcd))

    def read_cp56(raw: int) -> Value | Fault:
        summer = bool(raw & _CP56_SUMMER)
        if summer and zone is None and not raw & _CP56_INVALID:
            return bad(Reason.OTHER, "the device counts in summer time, not in UTC")
        return shown(_from_cp56(raw), summer)

    return read_cp56


def _precision(point: ModbusSource) -> str:
    """Return the precision of a time's text, as `datetime.isoformat` names it."""
    match point.raw:
        case Raw.UNIX32 | Raw.UNIX64:
            return "seconds"
        case Raw.S7_DTL:
            return "microseconds"
        case Raw.DATETIME if not any(field.name == "millisecond" for field in fields(point.layout)):
            return "seconds"
        case _:
            return "milliseconds"


def _since_epoch(number: int, unit: str) -> datetime | Fault:
    try:
        return _EPOCH + timedelta(**{unit: number})
    except OverflowError:
        return bad(Reason.OUT_OF_RANGE, f"{number} {unit} are not a date")


def _from_cp56(raw: int) -> datetime | Fault:
    """Convert a CP56Time2a (IEC 60870-5-4); its first octet is the lowest byte of the number."""
    if raw & _CP56_INVALID:
        return bad(Reason.NOT_AVAILABLE, "the device marks its time as invalid")
    second, millisecond = divmod(raw & 0xFFFF, 1000)
    minute, hour, day, month, year = (
        raw >> 16 & 0x3F, raw >> 24 & 0x1F, raw >> 32 & 0x1F, raw >> 40 & 0x0F, raw >> 48 & 0x7F
    )  # fmt: skip
    try:
        return datetime(_CENTURY + year, month, day, hour, minute, second, millisecond * 1000)  # noqa: DTZ001 - a zone follows
    except ValueError as error:
        return bad(Reason.OUT_OF_RANGE, f"no date: {error}")


_READERS: dict[Raw, Reader] = {
    Raw.FLOAT16: lambda raw: shortest(raw, "e"),
    **dict.fromkeys(BCD, _from_bcd),
    **dict.fromkeys(MOD10K, _from_groups),
}


def _iso(time: datetime, precision: str) -> str:
    """Return a time in UTC in ISO 8601 format."""
    return time.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _time(point: ModbusSource, time: datetime) -> int | bytes:
    """Return what encodes a time in the device's zone. Raises `ValueError` if the type is too coarse or too small."""
    if time.tzinfo is None:
        raise ValueError("a time needs its zone, as in 2026-01-31T12:00:00Z")
    local = time.astimezone(UTC if point.zone is None else ZoneInfo(point.zone))
    summer = bool(local.dst())
    local = local.replace(tzinfo=None)
    raw, precision = point.raw, _precision(point)
    if local.microsecond % _FINEST[precision]:
        raise ValueError("it is finer than the type")
    match raw:
        case Raw.UNIX32 | Raw.UNIX64:
            return (local - _EPOCH) // timedelta(seconds=1)
        case Raw.UNIX_MS64:
            return (local - _EPOCH) // timedelta(milliseconds=1)
        case Raw.S7_DATE_AND_TIME:
            return to_s7_date_and_time(local)
        case Raw.S7_DTL:
            return to_s7_dtl(local)
        case Raw.DATETIME:
            return to_fields(local, tuple(fields(point.layout)), bcd=point.bcd)
    year = local.year - _CENTURY
    if not 0 <= year < 1 << 7:
        raise ValueError("write a year from 2000 to 2127")
    milliseconds = 1000 * local.second + local.microsecond // 1000
    number = milliseconds | local.minute << 16 | local.hour << 24 | local.day << 32 | local.month << 40 | year << 48
    return number | _CP56_SUMMER if summer else number


_WHITE = " \t\r\n\v\f\0"
_TRIMS: dict[Trim, Callable[[str], str]] = {
    Trim.BLANKS: lambda text: text.rstrip(" "),
    Trim.RIGHT: lambda text: text.rstrip(_WHITE),
    Trim.LEFT: lambda text: text.lstrip(_WHITE),
    Trim.BOTH: lambda text: text.strip(_WHITE),
    Trim.NONE: lambda text: text,
}

_ERASED = 0xFF
"""The byte of erased memory: a string of it alone was never written."""


def _text_reader(point: ModbusSource) -> Reader:
    """Return the reader of a string: check for "no value", cut at its length or end, decode, trim."""
    encoding, zero = wire_encoding(point.encoding), "\0".encode(wire_encoding(point.encoding))
    fillers = (_ERASED, *map(int, point.sentinels()))
    absent = {bytes((byte,)): bad(Reason.NOT_AVAILABLE, f"0x{byte:02X}") for byte in fillers}
    trim, prefix, leading = _TRIMS[point.trim], point.length_prefix, point.trim in {Trim.LEFT, Trim.BOTH}
    padding = bytes((point.padding,))
    plain = encoding == codecs.lookup("latin-1").name

    def read(raw: bytes) -> Value | Fault:
        raw = _gathered(point, raw)
        if raw[:1] in absent and raw.count(raw[:1]) == len(raw):
            return absent[raw[:1]]
        if prefix is not LengthPrefix.NONE:
            size = len(zero) * int.from_bytes(raw[prefix.size - prefix.width : prefix.size], "big")
            raw = raw[prefix.size :]
            if size > len(raw):
                return bad(Reason.TYPE_MISMATCH, f"its length is {size // len(zero)}, and {len(raw)} bytes follow")
            raw = raw[:size]
        else:
            if padding != b"\0":
                raw = raw.rstrip(padding)
            if leading:
                raw = raw[_zeros(raw, zero) :]
            # the rest of a longer text may follow the end, cut anywhere
            whole = len(raw) // len(zero) * len(zero)
            raw = raw[: next((i for i in range(0, whole, len(zero)) if raw.startswith(zero, i)), whole)]
        if plain:
            return trim(raw.decode("latin-1"))
        try:
            return trim(raw.decode(encoding).removeprefix("\ufeff"))
        except UnicodeDecodeError as error:
            return bad(Reason.TYPE_MISMATCH, f"no {point.encoding}: {error.reason}")

    return read


def _zeros(raw: bytes, zero: bytes) -> int:
    """Return the length of the zero characters at the start."""
    at = 0
    while raw.startswith(zero, at):
        at += len(zero)
    return at


def _encoded(point: ModbusSource, value: str) -> bytes:
    data, prefix = value.encode(wire_encoding(point.encoding)), point.length_prefix
    room = 2 * point.size // point.packing.stride - prefix.size
    if len(data) > room:
        raise ValueError(f"{value!r} is longer than {point.capacity} characters")
    if prefix is not LengthPrefix.NONE:
        character = len("\0".encode(wire_encoding(point.encoding)))
        numbers = (
            [len(data) // character] if prefix.size == prefix.width else [point.capacity, len(data) // character]
        )
        data = b"".join(number.to_bytes(prefix.width, "big") for number in numbers) + data
    return _spread(point, data.ljust(room + prefix.size, bytes((point.padding,))))


def _gathered(point: ModbusSource, raw: bytes) -> bytes:
    """Return the bytes that the packing has spread over registers."""
    match point.packing:
        case Packing.FULL:
            return raw
        case Packing.BYTE_PER_REGISTER:
            return raw[1::2]
        case Packing.SWAPPED_WORDS:
            return b"".join(raw[i + 2 : i + 4] + raw[i : i + 2] for i in range(0, len(raw), 4))


def _spread(point: ModbusSource, data: bytes) -> bytes:
    """Return the bytes as the packing spreads them over registers."""
    match point.packing:
        case Packing.FULL:
            return data
        case Packing.BYTE_PER_REGISTER:
            return b"".join(bytes((0, byte)) for byte in data)
        case Packing.SWAPPED_WORDS:
            return _gathered(point, data)  # a second exchange is the inverse of the first
