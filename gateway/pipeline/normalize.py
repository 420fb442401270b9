"""From raw values to the common schema: scale, offset, label, declared type, quality, increasing time.

One `Normalizer` a group, compiled from its points once. A scan is changed in place, column by column; columns that
need no work cost none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from operator import gt, itemgetter, lt, truediv
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from drivers.base import FUTURE, Fault, Quality, Reason, Value, ValueType, bad
from gateway.common.by_identity import cached_by_identity
from gateway.common.clock import AHEAD
from gateway.model.time import APART, GRAIN
from gateway.pipeline.source_clocks import EventTimes, SourceClocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Scan
    from gateway.settings.point import Point

_NAN = bad(Reason.NOT_A_NUMBER)
_OUT = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE)
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
"""Integers that every store can represent."""

_TYPES: dict[ValueType, type] = {
    ValueType.FLOAT: float, ValueType.INT: int, ValueType.BOOL: bool, ValueType.STRING: str,
    ValueType.JSON: str,
}  # fmt: skip
"""The type of a raw value that needs no conversion, by declared type."""

PAST = 10 * 365 * 86_400_000_000
"""Microseconds by which a source's time may be before its arrival: else its clock is wrong, as for `FUTURE`."""

_IN_FUTURE = Fault(Quality.UNCERTAIN, Reason.CLOCK, "source time in the future")
_YEARS_AGO = Fault(Quality.UNCERTAIN, Reason.CLOCK, "source time years ago")


_BEFORE_STEP = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock set back")
_SOURCE_SET_BACK = Fault(Quality.UNCERTAIN, Reason.CLOCK, "source's clock set back")


MAX_PARTS = 16
"""Parts of a group whose tables are kept."""


class Time(Protocol):
    """The state of the gateway's clock; see `gateway.common.clock.Clock`."""

    fault: Fault | None
    era: int
    last: int


@dataclass(slots=True)
class TrustedTime:
    """The state of a clock that is right."""

    fault: Fault | None = None
    era: int = 0
    last: int = 0


class Unfit(Exception):
    """A raw value can't become the declared type."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Tables:
    """The conversions and limits of the points of a group, compiled once for all machines that have them."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.converts = [_converter(point) for point in points]
        self.ranges = [_limits(point) for point in points]
        self.plain = [_TYPES[point.type] if _is_plain(point) else None for point in points]
        self.has_ints = int in self.plain
        self.has_events = any(point.source.events for point in points)
        scaled: list[tuple[int, int, int, int]] = []
        self.floats = []
        self.work = []
        for i, point in enumerate(points):
            # where the driver is sure of its types, most points need no look, or a multiplication
            raw, as_it_is = point.source.value_type, (point.scale, point.offset) == (1, 0)
            sure = raw is ValueType.INT and point.source.fits_int64
            if raw is ValueType.FLOAT and point.type is ValueType.FLOAT and as_it_is:
                self.floats.append(i)
            elif sure and point.type is ValueType.FLOAT:
                scaled.append((i, *_line(point.scale, point.offset)))
            elif not (as_it_is and raw is point.type and (sure or raw is not ValueType.INT)):
                self.work.append((i, self.converts[i]))
        if len(self.floats) == 1:  # picking one gives no tuple
            self.work.append((self.floats[0], self.converts[self.floats.pop()]))
        self.pick_floats = itemgetter(*self.floats) if self.floats else None
        self.divided, self.scaled = _divisions(scaled)
        self.limits = [(i, *limits) for i, limits in enumerate(self.ranges) if limits is not None]
        many = len(self.limits) > 1  # picking one gives no tuple
        self.pick_limited = itemgetter(*(i for i, _, _ in self.limits)) if many else None
        self.lows, self.highs = [low for _, low, _ in self.limits], [high for _, _, high in self.limits]


_tables = cached_by_identity()(_Tables)


class Normalizer:
    """The normalization of one group's scans.

    A scan of the whole group goes by tables that name only the points that need work; in a part of a group, which
    is what servers push, the values are found that are not as they should be.
    """

    __slots__ = (
        "_clock",
        "_clocks",
        "_era",
        "_events",
        "_last_any",
        "_last_whole",
        "_newest_part",
        "_parts",
        "_points",
        "_size",
        "_tables",
    )

    def __init__(self, points: Sequence[Point], clock: Time | None = None) -> None:
        """Compile; `clock` stamps the scans; without it, their times are trusted."""
        self._clock: Time = TrustedTime() if clock is None else clock
        self._era = self._clock.era
        self._tables = tables = _tables(points)
        self._events = EventTimes(len(points)) if tables.has_events else None
        self._clocks: SourceClocks | None = None  # of readings that came alone
        self._size = len(points)
        self._points = points
        self._parts: dict[int, tuple[tuple[int, ...], _Tables]] = {}  # by the identity of their positions
        self._newest_part: tuple[int, ...] | None = None
        self._last_whole = self._last_any = -APART

    def stamp(self, scan: Scan) -> bool:
        """Put the time of a whole good scan in order; return False, and change nothing, if its readings need more.

        Then `convert` does the rest, unless the values are normalized already.
        """
        if self._clock.fault is not None or self._clock.era != self._era or scan.points is not None or scan.late:
            return False
        if scan.times is not None or scan.faults or self._last_any - scan.time > AHEAD:
            return False
        scan.time = self._last_whole = self._last_any = max(scan.time, self._last_any + APART)
        return True

    def apply(self, scan: Scan) -> None:
        """Bring a scan into the common schema, in place."""
        if scan.late:
            self._apply_each(scan)  # of times that are past: there is no order to keep them in
            return
        doubt, times = self._clock.fault, scan.times
        if times and doubt is None:
            _judge_times(scan, times)
        if self._clock.era != self._era and self._is_of_former_era(scan):
            doubt = _BEFORE_STEP
        else:
            self._in_order(scan)
        if scan.points is None and not scan.faults:
            self.convert(scan)
        else:
            self._apply_each(scan)
        if doubt is not None and times is None:  # a source that has a time of its own may be right
            for i, value in enumerate(scan.values):
                if value is not None:
                    scan.faults.setdefault(i, doubt)

    def convert(self, scan: Scan) -> None:
        """Bring the values of a whole good scan into the common schema, in place."""
        values: list[Any] = scan.values  # typing.cast would cost a call for each
        for columns, divisors in self._tables.divided:
            values[columns] = map(truediv, values[columns], divisors)
        for i, times, plus, over in self._tables.scaled:
            values[i] = (values[i] * times + plus) / over
        for i, convert in self._tables.work:
            try:
                values[i] = convert(values[i])
            except Unfit as unfit:
                values[i] = None
                scan.faults[i] = unfit.fault
        # the sum of numbers is a number; if it is not (or is too large) each value is checked
        if self._tables.pick_floats is not None and not math.isfinite(sum(self._tables.pick_floats(values))):
            self._find_nan(scan)
        if self._tables.limits and not _are_within_limits(self._tables, values):
            for i, low, high in self._tables.limits:
                value = values[i]
                if value is not None and not low <= value <= high:
                    scan.faults.setdefault(i, _OUT)

    def _find_nan(self, scan: Scan) -> None:
        for i in self._tables.floats:
            if not math.isfinite(cast("float", scan.values[i])):
                scan.values[i] = None
                scan.faults[i] = _NAN

    def _apply_each(self, scan: Scan) -> None:
        values: list[Any] = scan.values
        faults = scan.faults
        part = self._part(scan.points) if type(scan.points) is tuple else None
        positions = scan.points if scan.points is not None and part is None else range(len(values))
        tables = self._tables if part is None else part
        for i in _odd(tables, values, positions):
            try:
                values[i] = tables.converts[positions[i]](values[i])
            except Unfit as unfit:
                values[i] = None
                faults[i] = unfit.fault
        if tables.limits and (part is None or not _are_within_limits(part, values)):
            for i, (value, limits) in enumerate(zip(values, map(tables.ranges.__getitem__, positions), strict=True)):
                if limits is not None and value is not None and not limits[0] <= value <= limits[1]:
                    faults.setdefault(i, _OUT)

    def _part(self, positions: tuple[int, ...]) -> _Tables | None:
        """Return the tables of a part of the group that comes again and again; None if it is new.

        A driver gives the same tuple for the same part. Tables are compiled when it comes for the second time in a
        row, so a driver that makes a new one for each scan costs nothing.
        """
        known = self._parts.get(id(positions))
        if known is not None:
            return known[1]
        if positions is not self._newest_part:
            self._newest_part = positions
            return None
        if len(self._parts) >= MAX_PARTS:
            del self._parts[next(iter(self._parts))]
        tables = _Tables([self._points[position] for position in positions])
        self._parts[id(positions)] = positions, tables  # kept, so that no other tuple gets its id
        return tables

    def _is_of_former_era(self, scan: Scan) -> bool:
        """Return whether a scan was stamped before the clock was set back; if not, begin the new era.

        Times that now lie in the future are forgotten: later readings would be held there. Times of devices do not
        go back with the gateway's clock, and are kept.
        """
        latest = self._clock.last + (GRAIN if scan.times is None else FUTURE)
        if scan.time > latest:
            return True
        self._era = self._clock.era
        if self._clocks is not None:
            self._clocks.forget_after(latest)
        if self._last_whole > latest:
            self._last_whole = -APART
        if self._last_any > latest:
            self._last_any = max(self._last_whole, 0 if self._clocks is None else self._clocks.latest())
        return False

    def _in_order(self, scan: Scan) -> None:
        """Keep the time of every point strictly increasing: two readings of one time would become one.

        Whole scans that were taken together are kept apart by what every store can tell apart.
        """
        if scan.points is None and scan.times is None and self._last_any - scan.time <= AHEAD:
            scan.time = self._last_whole = self._last_any = max(scan.time, self._last_any + APART)
            return
        times = scan.times or [scan.time] * len(scan.values)
        positions = scan.points if scan.points is not None else range(len(scan.values))
        clocks = self._clocks = self._clocks or SourceClocks(self._size)
        if self._events is not None:
            times = list(map(self._events.place, positions, times))
        elif times and (min(times) <= self._last_whole or not clocks.are_newer(positions, times)):
            self._place(scan, clocks, positions, times)
        clocks.note(positions, times)
        self._last_any = max(self._last_any, max(times, default=0))
        scan.times = times

    def _place(self, scan: Scan, clocks: SourceClocks, positions: Sequence[int], times: list[int]) -> None:
        """Place readings that are not newer than those before, and mark those of a clock that was set back."""
        for i, position in enumerate(positions):
            times[i], used = clocks.place(position, times[i], self._last_whole)
            if used and scan.values[i] is not None:
                scan.faults.setdefault(i, _SOURCE_SET_BACK)


def _are_within_limits(tables: _Tables, values: list[Any]) -> bool:
    """Return True if all values are there and within their ranges; if not, each is checked."""
    if tables.pick_limited is None:
        return False
    limited = tables.pick_limited(values)
    try:
        return not (any(map(lt, limited, tables.lows)) or any(map(gt, limited, tables.highs)))
    except TypeError:  # one is None
        return False


def _odd(tables: _Tables, values: list[Any], positions: Sequence[int]) -> Sequence[int]:
    """Return the places of values that are not of the declared type; `positions` are those in the tables."""
    plain = tables.plain if type(positions) is range else list(map(tables.plain.__getitem__, positions))
    if plain == list(map(type, values)) and _are_sane(tables, values):
        return ()
    return [
        i
        for i, (value, kind) in enumerate(zip(values, plain, strict=True))
        if value is not None and not (type(value) is kind and _is_sane(value))
    ]


def _are_sane(tables: _Tables, values: list[Any]) -> bool:
    """Return whether all can be stored. The sum of numbers is a number; otherwise each value is checked."""
    try:
        if not math.isfinite(sum(values)):
            return False
    except (TypeError, OverflowError):  # there is text among them, or a number beyond all bounds
        return False
    return not (tables.has_ints and values) or (min(values) >= _INT_MIN and max(values) <= _INT_MAX)


def _divisions(
    scaled: Sequence[tuple[int, int, int, int]],
) -> tuple[list[tuple[slice, list[int]]], list[tuple[int, int, int, int]]]:
    """Return the columns side by side that only have to be divided, with their divisors, and all others.

    `scaled` has the position of a column, and its numbers as `_line` returns them. Columns side by side are divided
    in one call.
    """
    divided: list[tuple[slice, list[int]]] = []
    others = []
    for i, times, plus, over in scaled:
        if (times, plus) != (1, 0):
            others.append((i, times, plus, over))
        elif divided and divided[-1][0].stop == i:
            columns, divisors = divided[-1]
            divided[-1] = slice(columns.start, i + 1), [*divisors, over]
        else:
            divided.append((slice(i, i + 1), [over]))
    return divided, others


def _limits(point: Point) -> tuple[float, float] | None:
    """Return the range of a point, as floats for a float: comparing them with integers costs more."""
    if point.range is None or point.type is not ValueType.FLOAT:
        return point.range
    try:
        return float(point.range[0]), float(point.range[1])
    except OverflowError:
        return point.range


def _is_plain(point: Point) -> bool:
    """Return whether a value of the declared type needs no check."""
    return (point.scale, point.offset) == (1, 0) and not (point.labels and point.type is ValueType.STRING)


def _is_sane(value: object) -> bool:
    """Return whether a value can be stored; in whole numbers there is no infinity, and the others have no bound."""
    if type(value) is int:
        return _INT_MIN <= value <= _INT_MAX
    return type(value) is not float or math.isfinite(value)


def _judge_times(scan: Scan, times: list[int]) -> None:
    """Put the time of arrival in place of a source's time that can't be, and say so.

    One reading from the future would keep all later readings of its point there.
    """
    latest, earliest = scan.time + FUTURE, scan.time - PAST
    if earliest <= min(times) and max(times) <= latest:
        return
    for i, time in enumerate(times):
        if earliest <= time <= latest:
            continue
        times[i] = scan.time
        if scan.values[i] is not None:
            scan.faults.setdefault(i, _IN_FUTURE if time > latest else _YEARS_AGO)


def _converter(point: Point) -> Callable[[Value], Value]:
    """Return the function that turns this point's raw value into its declared type."""
    if point.labels and point.type is ValueType.STRING:
        return _labelled(point.labels)
    match point.type:
        case ValueType.FLOAT:
            return _to_float(point.scale, point.offset, point.source.shortest_decimals)
        case ValueType.INT:
            return _to_int(int(point.scale), int(point.offset))
        case ValueType.BOOL:
            return _to_bool
        case ValueType.STRING:
            return _to_string
        case ValueType.JSON:
            return _to_json


@lru_cache(maxsize=10_000)
def _ratio(scale: float) -> tuple[int, int]:
    """Return a scale as a fraction: 0.1 is not exact in binary, and 1718 / 10 is 171.8 as the engineer wrote it."""
    return Fraction(str(scale)).as_integer_ratio()


@lru_cache(maxsize=10_000)
def _line(scale: float, offset: float) -> tuple[int, int, int]:
    """Return `times`, `plus` and `over`: `(raw * times + plus) / over` is exact, but for one rounding."""
    times, over = _ratio(scale)
    plus, below = _ratio(offset)
    return times * below, plus * over, over * below


@lru_cache(maxsize=10_000)
def _to_float(scale: float, offset: float, shortest: bool) -> Callable[[Value], Value]:  # noqa: FBT001 - cached
    """Return the conversion of a number; `shortest` keeps the digits of single precision after the multiplication."""
    times, over = _ratio(scale)
    line_times, plus, line_over = _line(scale, offset)
    rounded = shortest and (scale, offset) != (1, 0)

    def convert(raw: Value) -> Value:
        if type(raw) is not int and type(raw) is not float:
            raise Unfit(bad(Reason.TYPE_MISMATCH, f"{type(raw).__name__} where a number belongs"))
        value = (raw * line_times + plus) / line_over if type(raw) is int else raw * times / over + offset
        if not math.isfinite(value):
            raise Unfit(_NAN)
        return float(f"{value:.15g}") if rounded else value

    return convert


@lru_cache(maxsize=10_000)
def _to_int(scale: int, offset: int) -> Callable[[Value], Value]:
    def convert(raw: Value) -> Value:
        if isinstance(raw, float):
            if not math.isfinite(raw):
                raise Unfit(_NAN)
            if not raw.is_integer():
                raise Unfit(bad(Reason.TYPE_MISMATCH, f"{raw!r} where a whole number belongs"))
        elif not isinstance(raw, int):
            raise Unfit(bad(Reason.TYPE_MISMATCH, f"{type(raw).__name__} where a whole number belongs"))
        value = int(raw) * scale + offset
        if not _INT_MIN <= value <= _INT_MAX:
            raise Unfit(bad(Reason.OVERFLOW, str(value)))
        return value

    return convert


def _to_bool(raw: Value) -> Value:
    if raw is True or raw is False:
        return raw
    if raw in {0, 1}:
        return raw == 1
    raise Unfit(bad(Reason.TYPE_MISMATCH, f"{raw!r:.40} where true or false belongs"))


def _to_string(raw: Value) -> Value:
    if isinstance(raw, str):
        return raw
    raise Unfit(bad(Reason.TYPE_MISMATCH, f"{type(raw).__name__} where text belongs"))


def _to_json(raw: Value) -> Value:
    """Return JSON text: a driver returns it for all values but plain numbers."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, float) and not math.isfinite(raw):  # as in OPC UA JSON (OPC 10000-6, 5.4.2.4)
        return '"NaN"' if math.isnan(raw) else '"Infinity"' if raw > 0 else '"-Infinity"'
    return orjson.dumps(raw).decode()


def _labelled(labels: dict[int, str]) -> Callable[[Value], Value]:
    def convert(raw: Value) -> Value:
        label = labels.get(raw) if isinstance(raw, int) else None
        if label is None:
            raise Unfit(bad(Reason.OUT_OF_RANGE, f"{raw!r:.40} has no label"))
        return label

    return convert
