"""A point: its meaning, when to send it, and its source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationInfo, model_validator

from drivers.base import Source, ValueType
from gateway.common.setting_types import Duration, Section, Text
from gateway.model.text import MAX_UNIT, check_text
from gateway.settings.units import check_unit

if TYPE_CHECKING:
    from collections.abc import Iterator

LATER = object()
"""The context of a validation whose caller checks for contradictions itself, and reports all of them."""

_LARGEST = 1e100
"""The largest scale or offset, and 1 / the smallest: a scaled value always fits a float."""


_LABELLED = re.compile(r"-?[0-9]{1,19}|0[xX][0-9a-fA-F]{1,16}|true|false|True|False")
"""The keys of labels: a whole number, also in hexadecimal, or the state of a bit."""


def _labelled(key: str) -> int:
    if key.lower() in {"true", "false"}:
        return int(key.lower() == "true")
    return int(key, 16 if key[:2] in {"0x", "0X"} else 10)


def _labels(written: object) -> object:
    """Let the numbers that labels belong to be keys; YAML's keys arrive as text."""
    if isinstance(written, dict):
        wrong = [key for key in written if not _LABELLED.fullmatch(str(key))]
        if wrong:
            raise ValueError(
                f"a label belongs to a whole number, not to {wrong[0]!r}; write {{0: stopped, 1: running}}"
            )
        labels = {_labelled(str(key)): value for key, value in written.items()}
        if len(labels) < len(written):
            raise ValueError("two labels belong to the same number")
        return labels
    return written


def _unit(written: str) -> str:
    return check_unit(check_text(written, MAX_UNIT))


def _pair(written: object) -> object:
    if isinstance(written, list) and len(written) == 2:  # noqa: PLR2004 - a lowest and a highest
        return tuple(written)
    if written is not None and not isinstance(written, tuple):
        by_type = ", or in the defaults one for each raw type" if isinstance(written, dict) else ""
        raise ValueError(f"{_as_yaml(written)} is not a range; write {_likely_range(written)}{by_type}")
    return written


_RANGE = re.compile(r"\s*\[?\s*([-+]?\d+(?:\.\d+)?)\s*(?:\.\.+|-|to|bis|,|;|:)\s*([-+]?\d+(?:\.\d+)?)\s*\]?\s*")

_HALVES = 4
"""Entries of a range whose two numbers have decimal commas."""


def _as_yaml(written: object) -> str:
    return str(written).lower() if isinstance(written, bool) else repr(written)


def _likely_range(written: object) -> str:
    """Return the range that is likely meant, as in `0..30`, or one with decimal commas; else its form."""
    if isinstance(written, str) and (match := _RANGE.fullmatch(written)):
        return f"[{match[1]}, {match[2]}]"
    if isinstance(written, list) and len(written) == _HALVES and all(type(one) is int for one in written):
        first, tenth, last, end = written
        return f"[{first}.{tenth}, {last}.{end}], with decimal points"
    return "[lowest, highest]"


_TYPES = {
    "double": ValueType.FLOAT, "real": ValueType.FLOAT, "lreal": ValueType.FLOAT, "number": ValueType.FLOAT,
    "decimal": ValueType.FLOAT, "float32": ValueType.FLOAT, "float64": ValueType.FLOAT, "integer": ValueType.INT,
    "int16": ValueType.INT, "int32": ValueType.INT, "uint16": ValueType.INT, "uint32": ValueType.INT,
    "dint": ValueType.INT, "word": ValueType.INT, "long": ValueType.INT, "boolean": ValueType.BOOL,
    "bit": ValueType.BOOL, "str": ValueType.STRING, "text": ValueType.STRING,
}  # fmt: skip
"""The names of a type of values in other programs -> the type."""


def _value_type(written: object) -> object:
    """Let through a type. Raises `ValueError` for the name of another convention."""
    if isinstance(written, str) and (likely := _TYPES.get(written.lower())) is not None:
        raise ValueError(f"{written!r} is not a type of values; write {likely}")
    return written


class Deadband(Section):
    """The change below which a value is not worth sending: in the point's unit, or in percent of its range."""

    size: float
    percent: bool = False


def _deadband(written: object) -> object:
    """Turn `0.5` or `2%` into a `Deadband`."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        size, percent = float(written), False
    elif isinstance(written, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", written)):
        size, percent = float(match[1]), True
    else:
        raise ValueError(
            f"{_as_yaml(written)} is not a deadband; write a number in the point's unit, or percent of its range, as "
            "in 0.5 or 2%"
        )
    if size <= 0:
        raise ValueError("a deadband is greater than 0; use on_change: true to send every change")
    return {"size": size, "percent": percent}


class Point(Section):
    """One measured or calculated quantity of one machine: its meaning, and when to send it."""

    name: str
    """The point's name."""
    source: SerializeAsAny[Source]
    """Where its driver finds it."""
    type: Annotated[ValueType, Field(strict=False), BeforeValidator(_value_type)]
    """The type of every value; follows from the source where it can, as in `float`."""
    unit: Annotated[str, AfterValidator(_unit)] = ""
    """UCUM code; write a counted thing in braces, as in `Cel` or `r/min` or `"{part}/h"`."""
    description: Text = ""
    """For people, as in `Pressure inside the bladder`."""
    scale: float = 1.0
    """The factor of the raw value, as in `0.01`."""
    offset: float = 0.0
    """The number that is added to the scaled value, as in `-40`."""
    labels: Annotated[dict[int, Text], BeforeValidator(_labels)] = {}
    """The names of the numbers of a state, or of a bit; with type: string the label is the value, as in
    `{0: stopped, 4: running}`.
    """
    total: bool | Annotated[int, Field(ge=2, le=2**53)] = False
    """Turn a counter that wraps or is reset into a total that never falls: true, or the number at which the counter
    begins again, as in `true` or `10000`.
    """
    range: Annotated[tuple[float, float] | None, BeforeValidator(_pair)] = None
    """The lowest and the highest value; one outside is uncertain, as in `[0, 30]`."""
    every: Duration = 1.0
    """Time from one reading to the next, as in `500ms`."""
    on_change: bool = False
    """Send a value only when it has changed, as in `true`."""
    deadband: Annotated[Deadband | None, BeforeValidator(_deadband)] = None
    """Send a value only when it has changed by this much, in its unit or in percent of its range, as in `0.5` or
    `1%`.
    """
    at_least_every: Duration = 60.0
    """Send an unchanged value all the same after this time, as in `5m`."""

    @model_validator(mode="before")
    @classmethod
    def _type_follows(cls, data: Any) -> Any:  # noqa: ANN401 - what a user wrote
        """Let the type follow from the source where it is not written."""
        if isinstance(data, dict) and "type" not in data and isinstance(data.get("source"), Source):
            natural = natural_type(data["source"], data.get("scale", 1), data.get("offset", 0))
            if natural is None:
                raise ValueError("type is missing; write bool, int, float, string or json")
            return data | {"type": natural}
        return data

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> Self:
        if info.context is not LATER:
            for _, message in contradictions(self):
                raise ValueError(message)
        return self

    @property
    def numbers(self) -> int:
        """How many numbers a counter has: it begins again at 0 after the last; 0 for a point that is not a total."""
        if self.total is True:
            return 0 if self.source.limits is None else self.source.limits[1] + 1
        return int(self.total)

    @property
    def repeated(self) -> bool:
        """Whether somebody wrote `at_least_every`: a driver that reports changes then repeats the value, too."""
        return "at_least_every" in self.model_fields_set

    @property
    def least_change(self) -> float:
        """The smallest change that is sent, in the point's unit; 0 without a deadband.

        It is slightly less than the deadband: a change by exactly the deadband is sent, even if it is a little
        smaller in binary, as in 172.0 - 171.8 < 0.2.
        """
        return self.dead * (1 - 1e-6)

    @property
    def dead(self) -> float:
        """The deadband in the point's unit, 0 without a deadband."""
        if self.deadband is None:
            return 0.0
        if not self.deadband.percent:
            return self.deadband.size
        if self.range is None:  # that is known to the device alone, which is asked to keep it
            return 0.0
        return (self.range[1] - self.range[0]) * self.deadband.size / 100

    @property
    def percent(self) -> float:
        """The deadband in percent of the range that the device knows, 0 without such a deadband."""
        if self.deadband is None or not self.deadband.percent or self.range is not None:
            return 0.0
        return self.deadband.size


def natural_type(source: Source, scale: object, offset: object) -> ValueType | None:
    """Return the type that a point has where none is written, None where it has to be."""
    natural = source.value_type
    return ValueType.FLOAT if natural is ValueType.INT and not (_whole(scale) and _whole(offset)) else natural


Contradiction = tuple[tuple[str, ...], str]
"""The keys that contradict each other, with the key to report first, and the message."""


def contradictions(point: Point) -> Iterator[Contradiction]:
    """Yield the contradictions between the keys of a point.

    For a point with unknown keys, ignore the contradictions that name these keys.
    """
    if point.type in {ValueType.INT, ValueType.FLOAT}:
        yield from _of_numbers(point)
        yield from _of_ranges(point)
    else:
        plain = {"scale": 1.0, "offset": 0.0, "range": None, "deadband": None}
        for key in (key for key, default in plain.items() if getattr(point, key) != default):
            yield (
                (key, "type", "source"),
                f"scale, offset, range and deadband are for numbers, and this point has type {point.type}",
            )
    if point.source.repeats:
        for key in (key for key in ("on_change", "deadband") if getattr(point, key)):
            yield (
                (key, "source"),
                f"{key} removes equal values, which this source sends on purpose: remove one of both",
            )
    natural = point.source.value_type
    if point.labels:
        yield from _of_labels(point, natural)
    if point.total:
        yield from _of_totals(point, natural)
    if point.type is ValueType.JSON:
        if not point.source.structured:
            message = "type json is for structures, arrays and other values of a device, which are not read here"
            yield ("type", "source"), message
    elif natural and not point.labels and (natural is ValueType.STRING) != (point.type is ValueType.STRING):
        message = f"the device has type {natural} here, which can't be converted to {point.type}"
        yield ("type", "source", "labels"), message


def _of_labels(point: Point, natural: ValueType | None) -> Iterator[Contradiction]:
    whole = {ValueType.INT, ValueType.STRING} | ({ValueType.BOOL} if natural is ValueType.BOOL else set())
    if point.type not in whole or natural not in {None, ValueType.INT, ValueType.BOOL}:
        message = f"labels are for whole numbers, and this point has type {natural or point.type}"
        yield ("labels", "type", "source", "scale", "offset"), message
    elif natural is ValueType.BOOL and (wrong := sorted(set(point.labels) - {0, 1})):
        yield ("labels", "source"), f"a bit has labels for 0 and 1, not for {wrong[0]}"


def _of_totals(point: Point, natural: ValueType | None) -> Iterator[Contradiction]:
    if natural not in {None, ValueType.INT} or point.type not in {ValueType.INT, ValueType.FLOAT} or point.labels:
        yield ("total", "type", "source", "labels"), "total is for counters, which are whole numbers without labels"
        return
    limits = point.source.limits
    if point.total is True and (limits is None or limits[0] < 0):
        message = "the last number of this counter is unknown; write where it begins again, as in total: 65536"
        yield ("total", "source"), message
    elif limits is not None and point.numbers > limits[1] + 1:
        yield ("total", "source"), f"the device can hold {limits[1]} at most, so it begins again at {limits[1] + 1}"


def _of_numbers(point: Point) -> Iterator[Contradiction]:
    if point.scale == 0:
        yield ("scale",), "a scale of 0 makes every value the same"
    elif not 1 / _LARGEST <= abs(point.scale) <= _LARGEST:
        yield ("scale",), "this scale makes values larger or smaller than a number can be"
    if abs(point.offset) > _LARGEST:
        yield ("offset",), "this offset makes values larger than a number can be"
    if point.type is ValueType.INT:
        for key in (key for key in ("scale", "offset") if not _whole(getattr(point, key))):
            message = f"with this {key} the value is not a whole number; write type: float"
            yield (key, "type", "source"), message


def _of_ranges(point: Point) -> Iterator[Contradiction]:
    if point.range is None:
        if point.percent and not point.source.knows_range:
            yield ("deadband", "range"), "a deadband in percent needs a range to be a percentage of"
        elif point.percent >= 100:  # noqa: PLR2004 - the whole of it
            message = f"a deadband of {point.percent:g}% is as large as the range: no change would be sent"
            yield ("deadband",), message
        return
    low, high = point.range
    if low >= high:
        right = f"the lowest first: {shown(high, low)}" if low > high else "[lowest, highest]"
        yield ("range",), f"the range {shown(low, high)} is empty; write {right}"
    elif point.dead >= high - low:
        message = f"a deadband of {point.dead:g} is as large as the range {shown(low, high)}: no change would be sent"
        yield ("deadband", "range"), message
    elif (reach := reachable(point)) is not None and (high < reach[0] or low > reach[1]):
        message = f"the device can hold {shown(*reach)} at most, so no value is in the range {shown(low, high)}"
        yield ("range", "source", "scale", "offset", "labels"), message


def reachable(point: Point) -> tuple[float, float] | None:
    """Return the lowest and the highest value that the source can give, None where that is not known."""
    limits = point.source.limits
    if limits is None or point.labels or point.total:
        return None
    low, high = sorted(raw * point.scale + point.offset for raw in limits)
    return low, high


def shown(low: float, high: float) -> str:
    """Return a range as it is written."""
    return f"[{low:.10g}, {high:.10g}]"


def _whole(number: object) -> bool:
    return isinstance(number, int | float) and float(number).is_integer()
