"""Calendar times in registers: a field for the year, the month and so on, in UTC or in the time of a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from drivers.base import Fault, Reason, bad

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIELDS = ("year", "month", "day", "hour", "minute", "second", "millisecond", "weekday", "unused")
"""The names of fields in a layout; a weekday follows from the date, and is not compared with it."""

REQUIRED = ("year", "month", "day")

LAYOUT = ("year", "month", "day", "hour", "minute", "second")
"""A register for each field."""

MOST_REGISTERS = 16
"""The most registers of a layout."""

_CENTURY, _PIVOT = 100, 90
"""Years of two digits: 90 to 99 are in the last century, as in the DATE_AND_TIME of a SIMATIC S7."""


class Field(NamedTuple):
    """A field of a layout: its name, and its bytes in the registers."""

    name: str
    first: int
    end: int


def parse_layout(written: object) -> object:
    """Turn `[year/month, day/hour, minute/second]`, or such a text, into a tuple of the fields of each register.

    Raises `ValueError`.
    """
    if isinstance(written, str):
        written = [part.strip() for part in written.strip("[] ").split(",")]
    if not isinstance(written, list | tuple) or not all(isinstance(one, str) for one in written):
        return written
    if not 1 <= len(written) <= MOST_REGISTERS:
        raise ValueError(f"a layout has 1 to {MOST_REGISTERS} registers")
    for register in written:
        if register.count("/") > 1:
            raise ValueError(f"{register!r} is more than two bytes; write one field, or two as in year/month")
    _check_names([name for register in written for name in register.split("/")])
    return tuple(written)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in FIELDS:
            raise ValueError(f"{name!r} is not a field of a layout; write {', '.join(FIELDS)}")
        if name != "unused" and names.count(name) > 1:
            raise ValueError(f"the layout contains {name} twice")
    for name in REQUIRED:
        if name not in names:
            raise ValueError(f"the layout contains no {name}; write at least year, month and day")


def fields(layout: Sequence[str]) -> Iterator[Field]:
    """Yield the fields of a layout: the bytes of a register, high byte first, or both bytes."""
    for number, names in enumerate(layout):
        parts = names.split("/")
        for i, name in enumerate(parts):
            first = 2 * number + i
            yield Field(name, first, first + 1 if len(parts) > 1 else first + 2)


def zone_of(name: str) -> str:
    """Return the IANA name of a time zone unchanged. Raises `ValueError` if it is unknown."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is not a time zone on this machine; write an IANA name, as in Europe/Berlin "
            "(the names come from the package tzdata)"
        ) from None
    return name


def from_fields(raw: bytes, layout: Sequence[Field], *, bcd: bool) -> datetime | Fault:
    """Return the time that fields contain, without a zone; a fault for digits or a date that do not exist."""
    found: dict[str, int] = {}
    for name, first, end in layout:
        if name in {"weekday", "unused"}:
            continue
        digits = raw[first:end].hex()
        if bcd and not digits.isdecimal():
            return bad(Reason.NOT_A_NUMBER, f"{name}: 0x{digits.upper()} has digits that are not decimal")
        found[name] = int(digits, 10 if bcd else 16)
    return from_numbers(found)


def from_numbers(numbers: dict[str, int]) -> datetime | Fault:
    """Return the time of numbers by field, with `microsecond` or `millisecond`; a fault if there is no such date."""
    year = numbers["year"]
    if year < _CENTURY:
        year += 1900 if year >= _PIVOT else 2000
    microsecond = numbers.get("microsecond", 1000 * numbers.get("millisecond", 0))
    hour, minute, second = (numbers.get(name, 0) for name in ("hour", "minute", "second"))
    month, day = numbers["month"], numbers["day"]
    try:
        return datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001 - the zone follows
    except (ValueError, OverflowError) as error:
        return bad(Reason.OUT_OF_RANGE, f"no date: {error}")


def to_fields(time: datetime, layout: Sequence[Field], *, bcd: bool) -> bytes:
    """Return the registers of a time without a zone. Raises `ValueError` if a field is too small."""
    raw = bytearray(max(field.end for field in layout))
    for name, first, end in layout:
        match name:
            case "unused":
                continue
            case "weekday":
                number = time.isoweekday() % 7 + 1
            case "millisecond":
                number = time.microsecond // 1000
            case "year" if end - first == 1:
                number = _two_digits(time.year)
            case _:
                number = getattr(time, name)
        raw[first:end] = bytes.fromhex(f"{number:0{2 * (end - first)}{'d' if bcd else 'x'}}")
    return bytes(raw)


def _two_digits(year: int) -> int:
    if not 1900 + _PIVOT <= year < 2000 + _PIVOT:
        raise ValueError(f"write a year from {1900 + _PIVOT} to {1999 + _PIVOT}")
    return year % _CENTURY


def from_s7_date_and_time(raw: bytes) -> datetime | Fault:
    """Return the time in a DATE_AND_TIME: BCD, of which the last byte is a digit of milliseconds and the weekday."""
    digits = raw.hex()
    if not digits.isdecimal():
        return bad(Reason.NOT_A_NUMBER, f"0x{digits.upper()} has digits that are not decimal")
    numbers = {name: int(digits[2 * i : 2 * i + 2]) for i, name in enumerate(LAYOUT)}
    return from_numbers(numbers | {"millisecond": int(digits[12:15])})


def to_s7_date_and_time(time: datetime) -> bytes:
    """Return a DATE_AND_TIME; the weekday counts from 1, Sunday."""
    numbers = [_two_digits(time.year), time.month, time.day, time.hour, time.minute, time.second]
    last = f"{time.microsecond // 1000:03d}{time.isoweekday() % 7 + 1}"
    return bytes.fromhex("".join(f"{number:02d}" for number in numbers) + last)


def from_s7_dtl(raw: bytes) -> datetime | Fault:
    """Return the time in a DTL: a word, six bytes with the weekday in between, and nanoseconds; to a microsecond."""
    year, month, day, _, hour, minute, second = int.from_bytes(raw[:2], "big"), *raw[2:8]
    numbers = {"year": year, "month": month, "day": day, "hour": hour, "minute": minute, "second": second}
    return from_numbers(numbers | {"microsecond": int.from_bytes(raw[8:12], "big") // 1000})


def to_s7_dtl(time: datetime) -> bytes:
    """Return a DTL; the weekday counts from 1, Sunday."""
    clock = (time.month, time.day, time.isoweekday() % 7 + 1, time.hour, time.minute, time.second)
    return time.year.to_bytes(2, "big") + bytes(clock) + (1000 * time.microsecond).to_bytes(4, "big")


def to_utc(time: datetime, zone: str | None, *, summer: bool | None = None) -> datetime | Fault:
    """Return the instant of a device's time; without a zone it is UTC.

    A time that clocks skip when they go forward is a fault, and so is a time that they show twice when they go back,
    unless the device says with `summer` whether it is in summer time.
    """
    if zone is None:
        return time.replace(tzinfo=UTC)
    local = ZoneInfo(zone)
    first, second = time.replace(tzinfo=local, fold=0), time.replace(tzinfo=local, fold=1)
    try:
        instants = first.astimezone(UTC), second.astimezone(UTC)
        exists = instants[0].astimezone(local).replace(tzinfo=None) == time
    except OverflowError:
        return bad(Reason.OUT_OF_RANGE, f"{time} is not a date in UTC")
    fault = None
    if not exists:
        fault = bad(Reason.OUT_OF_RANGE, f"{time} does not exist in {zone}: clocks go forward")
    elif instants[0] != instants[1] and summer is None:
        fault = bad(Reason.OTHER, f"{time} is twice in {zone}: clocks go back")
    elif instants[0] == instants[1] and summer and not first.dst():
        fault = bad(Reason.OTHER, f"the device counts in summer time at {time}, and {zone} does not")
    return fault or instants[0 if summer else 1]
