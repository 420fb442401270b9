"""Readings out of the embedded store; `sqlite_rollups.py` has the buckets that it keeps.

Samples are read in pages, each in a read transaction of its own: a long transaction would keep SQLite from emptying
its write-ahead log, however slowly the readings are used. A sum of a range is read in one transaction, so that
samples and buckets are of the same moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import contextmanager
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from drivers.base import Quality
from gateway.model.path import MachinePath
from gateway.model.reading import Reading
from gateway.stores.base import END_OF_TIME, FIRST_TIME
from gateway.stores.buckets import (
    MINUTE,
    NUMBERS,
    QUARTER,
    SECOND,
    Bucket,
    BucketColumns,
    columns_of,
    start_of,
)
from gateway.stores.series import Series, SeriesId, matching
from gateway.stores.sqlite_rollups import BLOCK
from gateway.stores.sqlite_rows import LATE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from drivers.base import Value

_PAGE = 2_000
"""Samples of a page."""

_RECENT = 300_000
"""Samples of marked blocks that are read to find the oldest and the newest of each series."""

_NEWEST_SPAN = 10 * SECOND
"""The time before the newest sample in which the newest of most series is."""

MAX_BUCKETS = 50_000
"""Buckets that are computed at once."""

_QUALITY = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)

_CHOSEN = "series in (select value from json_each(:chosen))"

_COLUMNS = "time, place, series, value, quality, reason, code"

_FROM_ROLLUPS = """
select series, ((start * 1000000) - ((start * 1000000) % :width + :width) % :width) / :width as bucket,
    sum(count) as count, total(total) as total, min(min) as min, max(max) as max,
    min(start * 1000000 + first_value_time) as first, max(start * 1000000 + last_value_time) as last,
    sum(uncertain) as uncertain, sum(bad) as bad
from rollups where width = :level and series in (select value from json_each(:chosen))
    and start >= :since / 1000000 and start < :until / 1000000
group by 1, 2
"""
"""The number of a bucket is rounded down, also before 1970."""

_FROM_SAMPLES = """
select series, (time - (time % :width + :width) % :width) / :width as bucket,
    count(value) as count, total(value) as total, min(value) as min, max(value) as max,
    min(iif(value is null, null, time)) as first, max(iif(value is null, null, time)) as last,
    sum(quality & 3 = 1) as uncertain, sum(quality & 3 = 2) as bad
from samples where time >= :since and time < :until and series in (select value from json_each(:chosen)) {good}
group by 1, 2
"""

_SAMPLES_WITH_ENDS = """
select sums.*, a.value, b.value from ({sums}) sums join series on series.id = sums.series
    left join samples a on a.time = sums.first and a.place = series.place
    left join samples b on b.time = sums.last and b.place = series.place
"""

_ROLLUPS_WITH_ENDS = f"""
select sums.*,
    coalesce(a.first_value, (select value from samples where time = sums.first and place = series.place)),
    coalesce(b.last_value, (select value from samples where time = sums.last and place = series.place))
from ({_FROM_ROLLUPS}) sums join series on series.id = sums.series
    left join rollups a on a.width = :level and a.series = sums.series
        and a.start = sums.first / 1000000 / :level * :level
    left join rollups b on b.width = :level and b.series = sums.series
        and b.start = sums.last / 1000000 / :level * :level
"""  # noqa: S608 - no value in it
"""Numbers are in the first and the last bucket, so that samples of a long range are not read; texts are samples."""


_LAST_OF_SPAN = """
select series, max(time) from samples
where time >= :since and time < :until and series in (select value from json_each(:chosen)) group by 1
"""

_SPAN = "select (select min(time) from samples), (select max(time) from samples)"

_RECENT_ENDS = """
select series, min(time), max(time), count(*)
from (select series, time from samples where time >= ? and time < ? order by time desc limit ?) group by series
"""

_ROLLED_END = """
select id, (
    select start * 1000000 + {end} from rollups where width = 900 and series = id order by start {order} limit 1
) from series
"""

_Ends = dict[int, "int | None"]
"""Times of samples by the ids of their series; None is not known, and a series without samples is missing."""


_Row = tuple[int, int, Any, Any, Any, Any, Any, int, int, Any, Any]
"""A bucket of a series as a query returns it: its number; the number of values, their total, the least and the
greatest, the times of the first and the last; the numbers of uncertain and bad readings; the first value and the last
one."""


def _joined(one: _Row, other: _Row) -> _Row:
    """Return the sums of other readings of the same bucket: it may be partly in rollups, and partly in samples."""
    bucket, count, total, low, high, first_time, last_time, uncertain, bad, first, last = one
    _, count2, total2, low2, high2, first_time2, last_time2, uncertain2, bad2, first2, last2 = other
    if count2:
        if not count or first_time2 < first_time:
            first_time, first = first_time2, first2
        if not count or last_time2 > last_time:
            last_time, last = last_time2, last2
        if low2 is not None and not isinstance(high2, str):
            if not count or low is None or isinstance(high, str):
                total, low, high = total2, low2, high2
            else:
                total, low, high = total + total2, min(low, low2), max(high, high2)
    count, uncertain, bad = count + count2, uncertain + uncertain2, bad + bad2
    return bucket, count, total, low, high, first_time, last_time, uncertain, bad, first, last


def _merged(parts: Sequence[list[_Row]]) -> list[_Row]:
    """Return the buckets of some parts of the readings of a series, by their numbers."""
    if len(parts) == 1:
        return parts[0]
    rows: list[_Row] = []
    for row in sorted(chain.from_iterable(parts), key=itemgetter(0)):
        if rows and rows[-1][0] == row[0]:
            rows[-1] = _joined(rows[-1], row)
        else:
            rows.append(row)
    return rows


def _bucket(series: Series, width: int, row: _Row) -> Bucket:
    bucket, count, total, low, high, _, _, uncertain, bad, first, last = row
    kind = series.type
    if not count or low is None or isinstance(high, str) or not (kind in NUMBERS or not kind):
        total = low = high = None
    if kind == "bool":
        low, high, first, last = (_typed(one, kind) for one in (low, high, first, last))
    return Bucket(series, bucket * width, count, total, low, high, first, last, uncertain, bad)


def _columns(series: Series, width: int, rows: Sequence[_Row]) -> BucketColumns:
    if not rows or series.type not in {"float", "int"}:
        return columns_of((_bucket(series, width, row) for row in rows), [series])[0]
    bucket, count, total, low, high, _, _, uncertain, bad, first, last = zip(*rows, strict=True)
    if 0 in count:  # the total of no values is 0 for SQLite
        total = tuple(one if number else None for one, number in zip(total, count, strict=True))
    return BucketColumns([one * width for one in bucket], count, total, low, high, first, last, uncertain, bad)


class SqliteReader:
    """Reads over one connection. Its methods are those of the contract of a store, and raise `sqlite3.Error`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    # -- series --

    def series(self, pattern: str) -> list[Series]:
        """Return the series that match a glob."""
        found: dict[SeriesId, tuple[str, tuple[int, ...]]] = {}
        for row in self._db.execute(
            "select id, enterprise, site, area, line, machine, point, unit, type from series order by id"
        ):
            name = SeriesId(MachinePath(*row[1:6]), row[6], row[7])
            _, ids = found.get(name, ("", ()))
            found[name] = row[8], (*ids, row[0])
        with self._snapshot():
            first, last = self._ends()
        return matching(
            (
                Series(name, kind, _end_of(min, first, ids), _end_of(max, last, ids), ids)
                for name, (kind, ids) in found.items()
            ),
            pattern,
        )

    def _ends(self) -> tuple[_Ends, _Ends]:
        """Return the times of the oldest and the newest sample of each series; None where it takes long to find."""
        marked = self._marked()
        first, last = ({}, {}) if marked is None else (self._rolled("first"), self._rolled("last"))
        if marked == []:
            return first, last
        span = (FIRST_TIME, END_OF_TIME) if marked is None else (marked[0] * BLOCK, (marked[-1] + 1) * BLOCK)
        seen = self._db.execute(_RECENT_ENDS, (*span, _RECENT)).fetchall()
        whole = sum(row[3] for row in seen) < _RECENT
        if not whole:
            # a sample that was not looked at may be older than the first, and newer than the last
            ids = [id_ for (id_,) in self._db.execute("select id from series")]
            first = {id_: at if (at := first.get(id_)) is not None and at < span[0] else None for id_ in ids}
            last = dict.fromkeys(ids)
        for id_, low, high, _ in seen:
            if whole:
                known = first.get(id_)
                first[id_] = low if known is None else min(known, low)
            known = last.get(id_)
            last[id_] = high if known is None else max(known, high)
        return first, last

    def _rolled(self, end: str) -> _Ends:
        """Return the times of the `first` or the `last` sample of each series, by its buckets."""
        query = _ROLLED_END.format(end=end, order="asc" if end == "first" else "desc")
        return {id_: at for id_, at in self._db.execute(query) if at is not None}

    def _marked(self) -> list[int] | None:
        """Return the blocks whose buckets are not computed, in order; None in a file of an older release."""
        if not self._db.execute("select 1 from sqlite_schema where name = 'unrolled'").fetchone():
            return None
        return [block for (block,) in self._db.execute("select block from unrolled order by block")]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read the file as it is at one moment."""
        self._db.execute("begin")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("commit")

    # -- samples --

    def range(self, series: Sequence[Series], since: int, until: int, *, newest_first: bool) -> Iterator[Reading]:
        """Yield the readings of a range, a page at a time."""
        chosen = _chosen(series)
        since, until = max(since, FIRST_TIME), min(until, END_OF_TIME)
        ids = {id_: one for one in series for id_ in one.key}
        if newest_first:
            after = "(time, place) < (:time, :place) and time >= :end"
            order, end, position = "order by time desc, place desc", since, (until, -1)
        else:
            after = "(time, place) > (:time, :place) and time < :end"
            order, end, position = "order by time, place", until, (since - 1, 2**62)
        query = f"select {_COLUMNS} from samples where {after} and {_CHOSEN} {order} limit {_PAGE}"  # noqa: S608 - no value in it
        while True:
            rows = self._db.execute(
                query, {"time": position[0], "place": position[1], "end": end, "chosen": chosen}
            ).fetchall()
            for row in rows:
                yield _reading(ids[row[2]], row)
            if len(rows) < _PAGE:
                return
            position = rows[-1][0], rows[-1][1]

    def newest(self, series: Sequence[Series]) -> list[Reading]:
        """Return the last reading of each series: of marked blocks from their samples, of others by their buckets."""
        with self._snapshot():
            found = self._newest(series)
        return [found[position] for position in sorted(found)]

    def _newest(self, series: Sequence[Series]) -> dict[int, Reading]:
        ids = {id_: position for position, one in enumerate(series) for id_ in one.key}
        marked = self._marked()
        times: dict[int, int] = {}
        for id_, time in () if marked is None else self._rolled("last").items():
            if id_ in ids and time is not None:
                times[ids[id_]] = max(time, times.get(ids[id_], time))
        for since, until in self._newest_spans(marked):
            missing = [one for one in range(len(series)) if times.get(one, since - 1) < since]
            if not missing:
                break
            chosen = json.dumps([id_ for position in missing for id_ in series[position].key])
            for id_, time in self._db.execute(_LAST_OF_SPAN, {"since": since, "until": until, "chosen": chosen}):
                times[ids[id_]] = max(time, times.get(ids[id_], time))
        found = {}
        for position, time in times.items():
            query = f"select {_COLUMNS} from samples where time = :time and {_CHOSEN}"  # noqa: S608 - no value in it
            row = self._db.execute(query, {"time": time, "chosen": _chosen([series[position]])}).fetchone()
            if row is not None:
                found[position] = _reading(series[position], row)
        return found

    def _newest_spans(self, marked: Sequence[int] | None) -> Iterator[tuple[int, int]]:
        """Yield spans of samples that no bucket covers, the newest first, from a short span on."""
        [newest] = self._db.execute("select max(time) from samples").fetchone()
        if newest is None:
            return
        marks = None if marked is None else set(marked)
        if marks is None or newest // BLOCK in marks:
            yield newest - _NEWEST_SPAN, newest + 1
        blocks: Iterator[int] = self._blocks(newest) if marked is None else iter(sorted(marked, reverse=True))
        for block in blocks:
            yield block * BLOCK, (block + 1) * BLOCK

    def _blocks(self, newest: int | None) -> Iterator[int]:
        """Yield all blocks with samples, the newest first."""
        while newest is not None:
            block = newest // BLOCK
            yield block
            [newest] = self._db.execute("select max(time) from samples where time < ?", (block * BLOCK,)).fetchone()

    # -- buckets --

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool
    ) -> Iterator[Bucket]:
        """Yield the buckets of a range, computed some of them at a time."""
        for begin, end in self._steps(series, since, until, width):
            sums = self._sums(series, begin, end, width, good=good)
            ordered = sorted((row[0], position, row) for position, rows in sums.items() for row in rows)
            for _, position, row in ordered:
                yield _bucket(series[position], width, row)

    def reduced_columns(
        self, series: Sequence[Series], since: int, until: int, width: int, check: Callable[[], None]
    ) -> list[BucketColumns]:
        """Return the buckets of a range as columns, for each series."""
        found: list[list[_Row]] = [[] for _ in series]
        for begin, end in self._steps(series, since, until, width):
            check()
            for position, rows in self._sums(series, begin, end, width).items():
                found[position] += rows
        return [_columns(one, width, rows) for one, rows in zip(series, found, strict=True)]

    def _steps(self, series: Sequence[Series], since: int, until: int, width: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range whose buckets are computed at once; each begins with a bucket."""
        low, high = self._db.execute(_SPAN).fetchone()
        if low is None or not series:
            return
        since, until = max(since, low), min(until, high + 1)
        step = max(1, MAX_BUCKETS // len(series)) * width
        while since < until:
            end = min(until, start_of(since, width) + step)
            yield since, end
            since = end

    def _sums(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool = False
    ) -> dict[int, list[_Row]]:  # fmt: skip
        """Return the buckets of each series, by its position."""
        ids = {id_: position for position, one in enumerate(series) for id_ in one.key}
        values = {"chosen": _chosen(series), "width": width}
        from_samples = _SAMPLES_WITH_ENDS.format(
            sums=_FROM_SAMPLES.format(good="and quality & 3 = 0" if good else "")
        )
        level = 0 if good or width % MINUTE else QUARTER if width % QUARTER == 0 else MINUTE
        parts: dict[int, list[list[_Row]]] = defaultdict(list)
        with self._snapshot():
            for begin, end, rolled in self._parts(since, until, level):
                query = _ROLLUPS_WITH_ENDS if rolled else from_samples
                span = values | {"since": begin, "until": end, "level": level // SECOND}
                rows = sorted(self._db.execute(query, span), key=itemgetter(0, 1))
                for id_, own in groupby(rows, itemgetter(0)):
                    parts[ids[id_]].append([row[1:] for row in own])
        return {position: _merged(own) for position, own in parts.items()}

    def _parts(self, since: int, until: int, level: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the parts of a range, in order, and whether their buckets of a level are computed."""
        marked = self._marked() if level else None
        if marked is None:
            yield since, until, False
            return
        low, high = -(-since // level) * level, until // level * level
        if low >= high:
            yield since, until, False
            return
        spans = ((max(low, block * BLOCK), min(high, (block + 1) * BLOCK)) for block in marked)
        # parts of samples that touch are one part
        begin, end = since, low
        for start, stop in [*((start, stop) for start, stop in spans if start < stop), (high, until)]:
            if start > end:
                if begin < end:
                    yield begin, end, False
                yield end, start, True
                begin = start
            end = stop
        if begin < end:
            yield begin, end, False


def _chosen(series: Sequence[Series]) -> str:
    """Return the ids of series, for a query."""
    return json.dumps([id_ for one in series for id_ in one.key])


def _end_of(function: Callable[[list[int]], int], ends: _Ends, ids: Sequence[int]) -> int | None:
    """Return the first or last time of some series; None if there is none, or if it is not known."""
    times = [ends[id_] for id_ in ids if id_ in ends]
    known = [at for at in times if at is not None]
    return function(known) if known and len(known) == len(times) else None


def _typed(value: Any, kind: str) -> Value | None:  # noqa: ANN401 - what SQLite has
    return bool(value) if kind == "bool" and value is not None else value


def _reading(series: Series, row: Sequence[Any]) -> Reading:
    time, _, _, value, quality, reason, code = row
    late, level = divmod(quality, LATE)
    path, point, unit = series.id
    value = _typed(value, series.type)
    return Reading(path, point, time, value, unit, _QUALITY[level], reason or "", code or "", bool(late))
