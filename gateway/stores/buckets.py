"""Readings reduced to buckets: the extremes, the ends, the mean and the worst quality of each span of time. Pure.

Buckets of a width begin at multiples of it, counted from the epoch, so buckets of two queries are the same buckets. A
bucket without a reading does not exist: a gap stays a gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality
from gateway.stores.series import id_of, positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drivers.base import Value
    from gateway.model.reading import Reading
    from gateway.stores.series import Series

MICROSECOND, MILLISECOND, SECOND, MINUTE, QUARTER = 1, 1_000, 1_000_000, 60_000_000, 900_000_000
"""Microseconds. A minute and a quarter of an hour are the widths for which `sqlite_rollups.py` keeps buckets."""

_MINUTES_FROM = 20 * SECOND
"""The width from which buckets have whole minutes."""

_WIDER = 1.5
"""How much wider a bucket may become to have whole quarters of an hour."""

NUMBERS = frozenset({"float", "int", "bool"})
"""Types of values that have a minimum, a maximum and a mean."""


class Bucket(NamedTuple):
    """The readings of one series from `start` on, for a width: in microseconds since the epoch.

    `values` is their number; a bad reading has none. `total` is their sum. Numbers have `min`, `max` and
    `total`, other values have None there; `first` and `last` are values of any type, None if every reading is bad.
    `uncertain` and `bad` are numbers of readings.
    """

    series: Series
    start: int
    values: int
    total: float | None
    min: Value | None
    max: Value | None
    first: Value | None
    last: Value | None
    uncertain: int
    bad: int

    @property
    def mean(self) -> float | None:
        """The mean of the values; None if they are not numbers."""
        return None if self.total is None or not self.values else self.total / self.values

    @property
    def quality(self) -> Quality:
        """The worst quality of a reading in it."""
        return Quality.BAD if self.bad else Quality.UNCERTAIN if self.uncertain else Quality.GOOD


class BucketColumns(NamedTuple):
    """The buckets of one series as columns of one length, in the order of their starts; see `Bucket`."""

    start: Sequence[int]
    values: Sequence[int]
    total: Sequence[float | None]
    min: Sequence[Value | None]
    max: Sequence[Value | None]
    first: Sequence[Value | None]
    last: Sequence[Value | None]
    uncertain: Sequence[int]
    bad: Sequence[int]


def columns_of(buckets: Iterable[Bucket], series: Sequence[Series]) -> list[BucketColumns]:
    """Return the buckets of each series as columns, in the order of `series`."""
    places = {one.id: place for place, one in enumerate(series)}
    found: list[list[Bucket]] = [[] for _ in series]
    for bucket in buckets:
        found[places[bucket.series.id]].append(bucket)
    return [_columns(own) for own in found]


def _columns(buckets: Sequence[Bucket]) -> BucketColumns:
    _, *columns = zip(*buckets, strict=True) if buckets else ((),) * len(Bucket._fields)
    return BucketColumns(*columns)


def start_of(time: int, width: int) -> int:
    """Return the start of the bucket in which a time is."""
    return time - time % width


def width_of(since: int, until: int, buckets: int) -> int:
    """Return the width, in microseconds, with which a span has at most so many buckets, or one more at its ends.

    A width of more than 20 s becomes whole minutes, and whole quarters of an hour where that makes it wider by a half
    at most: the embedded store keeps buckets of these widths. A shorter width becomes whole milliseconds.
    """
    exact = max(1, -(-(until - since) // max(1, buckets)))
    quarters = _whole(exact, QUARTER)
    if quarters <= exact * _WIDER:
        return quarters
    if exact > _MINUTES_FROM:
        return _whole(exact, MINUTE)
    return _whole(exact, MILLISECOND)


def _whole(width: int, unit: int) -> int:
    return -(-width // unit) * unit


class _Sums:
    """The readings of one series in one bucket so far."""

    __slots__ = ("bad", "count", "first", "last", "max", "min", "total", "uncertain")

    def __init__(self) -> None:
        self.count = self.uncertain = self.bad = 0
        self.total: float | None = None
        self.min: Value | None = None
        self.max: Value | None = None
        self.first: Value | None = None
        self.last: Value | None = None

    def add(self, reading: Reading) -> None:
        value = reading.value
        if reading.quality is Quality.BAD:
            self.bad += 1
        elif reading.quality is Quality.UNCERTAIN:
            self.uncertain += 1
        if value is None:
            return
        self.count += 1
        if self.first is None:
            self.first = value
        self.last = value
        if not isinstance(value, str):
            self.total = (self.total or 0.0) + value
            self.min = value if self.min is None or isinstance(self.min, str) or value < self.min else self.min
            self.max = value if self.max is None or isinstance(self.max, str) or value > self.max else self.max

    def bucket(self, series: Series, start: int) -> Bucket:
        return Bucket(
            series, start, self.count, self.total, self.min, self.max, self.first, self.last, self.uncertain, self.bad
        )


def reduce_readings(
    readings: Iterable[Reading], series: Sequence[Series], width: int, *, good: bool = False
) -> Iterator[Bucket]:
    """Yield the buckets of readings, which come in the order of their times; of one start in the order of `series`.

    With `good`, other readings do not count.
    """
    places = positions(series)
    start: int | None = None
    sums: dict[int, _Sums] = {}
    for reading in readings:
        place = places.get(id_of(reading))
        if place is None or (good and reading.quality is not Quality.GOOD):
            continue
        own = start_of(reading.time, width)
        if own != start:
            if start is not None:
                yield from _ended(sums, series, start)
            start, sums = own, {}
        if place not in sums:
            sums[place] = _Sums()
        sums[place].add(reading)
    if start is not None:
        yield from _ended(sums, series, start)


def _ended(sums: dict[int, _Sums], series: Sequence[Series], start: int) -> Iterator[Bucket]:
    for place in sorted(sums):
        yield sums[place].bucket(series[place], start)
