"""Readings as rows of the embedded store, many in one statement; `sqlite.py` has the file and its tables.

Rows are inserted in the order of their times, which is that of the table: each then goes to the end of the same page.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.stores.base import Refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.stores.base import MachineScan

_INSERT = "insert or ignore into samples values (?, ?, ?, ?, ?, ?, ?)"

_GOOD, _GOOD_SIZES = "(?, ?, ?, ?, 0, null, null)", (500, 50, 5, 1)
"""A row of a good reading, and how many of them a statement inserts: row by row costs three times as much."""

MAX_MACHINES = 20_000
"""Machines with their metadata whose series are cached; beyond it all are read again."""

_RUN, _MAX_RUN, _RUN_ROWS = 4, 500, 500
"""Rows of a run: if the runs of a scan are shorter, each row gets parameters of its own; and rows of a statement."""

_SERIES_OF_MACHINE = """
select id, place, point, unit, type from series where (enterprise, site, area, line, machine) = (?, ?, ?, ?, ?)
"""

_FIND_SERIES = """
select id, place from series
where (enterprise, site, area, line, machine, point, unit, type) = (?, ?, ?, ?, ?, ?, ?, ?)
"""

_NEW_SERIES = """
insert into series (place, enterprise, site, area, line, machine, point, unit, type)
values (
    coalesce(
        (select place from series
            where (enterprise, site, area, line, machine, point) = (?1, ?2, ?3, ?4, ?5, ?6) limit 1),
        (select coalesce(max(place), 0) + 1 from series)
    ), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
)
on conflict do nothing returning id, place
"""
"""A point whose unit or type has changed keeps its place. Nothing is returned where the series is there."""

_LAYOUTS = 16
"""Sets of points in the scans of a machine whose layouts are cached."""


LATE = 4
"""Added to a row's quality (0 to 2) where the reading was read after an outage; the view `readings` knows it, too."""


class _Series(NamedTuple):
    """A point with its present unit and type."""

    id: int
    place: int
    is_float: bool


class _Run(NamedTuple):
    """Points of a scan, from the position `start` to `stop`, whose places and ids are consecutive numbers."""

    start: int
    stop: int
    place: int
    id: int


class _Layout(NamedTuple):
    """The series of the points of a scan, in its order, as columns; `floats` are positions of floats.

    `runs` has all points if they are mostly consecutive, as those of a machine that came together are; else it is
    empty.
    """

    places: list[int]
    ids: list[int]
    floats: list[int]
    runs: list[_Run]


class _Machine:
    """Cached series and layouts of one machine under one metadata."""

    def __init__(self) -> None:
        self.series: dict[str, _Series] = {}
        self.layouts: dict[tuple[str, ...], _Layout] = {}


def _runs(series: Sequence[_Series]) -> list[_Run]:
    """Return the runs of a scan; none if they are short."""
    runs: list[_Run] = []
    for at, (id_, place, _) in enumerate(series):
        if runs:
            start, stop, first_place, first_id = runs[-1]
            length = stop - start
            if length < _MAX_RUN and (place, id_) == (first_place + length, first_id + length):
                runs[-1] = _Run(start, at + 1, first_place, first_id)
                continue
        runs.append(_Run(at, at + 1, place, id_))
    return runs if len(series) >= _RUN * len(runs) else []


@lru_cache(maxsize=128)
def _insert_runs(size: int, count: int) -> str:
    """Return the statement that inserts runs of good readings: parameters are time, place, id and values of each run.

    A row then needs little more than one parameter in place of four.
    """
    rows = ", ".join(
        f"(?{first + 1} + {i}, ?{first}, ?{first + 2} + {i}, ?{first + 3 + i}, 0, null, null)"
        for first in range(1, (size + 3) * count, size + 3)
        for i in range(size)
    )
    return f"insert or ignore into samples values {rows}"  # noqa: S608 - no value in it


def _time(entry: MachineScan) -> int:
    return entry.scan.time


class Rows:
    """Inserts readings over one connection, and caches the series that they belong to."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._machines: dict[tuple[MachinePath, str], _Machine] = {}

    def forget(self) -> None:
        """Empty the cache of series."""
        self._machines.clear()

    def insert(self, batch: Sequence[MachineScan]) -> list[Refusal]:
        """Insert readings that are not stored yet; return those that SQLite can't hold. Raises `sqlite3.Error`."""
        good: list[Any] = []
        rest: list[tuple[Any, ...]] = []
        runs: dict[int, list[Any]] = defaultdict(list)
        try:
            for entry in sorted(batch, key=_time):
                scan = entry.scan
                if scan.uncertain or scan.late:
                    rest += self._rows(entry)
                    continue
                good += self._columns(entry, runs)
                if scan.bad:
                    rest += self._bad_rows(entry)
            for size, flat in runs.items():
                self._insert_runs(size, flat)
            self._insert_good(good)
            self._db.executemany(_INSERT, rest)
        except (OverflowError, UnicodeEncodeError):
            return [refusal for entry in batch for refusal in self._insert_singly(entry)]
        return []

    def _columns(self, entry: MachineScan, runs: dict[int, list[Any]]) -> Iterable[Any]:
        """Add the good values of a scan to the runs of their size; if it has no runs, return their columns."""
        scan = entry.scan
        names, values = scan.columns
        if not names:
            return ()
        layout = self._layout(entry, names, values)
        if layout.floats and int in set(map(type, values)):
            values = list(values)
            for i in layout.floats:
                if type(values[i]) is int:
                    values[i] = float(values[i])
        if scan.times:
            times: Iterable[int] = map(scan.times.get, names, repeat(scan.time))
        elif layout.runs:
            for start, stop, place, id_ in layout.runs:
                runs[stop - start] += scan.time, place, id_, *values[start:stop]
            return ()
        else:
            times = repeat(scan.time)
        return chain.from_iterable(zip(layout.places, times, layout.ids, values))  # noqa: B905 - the times may have no end

    def _insert_runs(self, size: int, flat: list[Any]) -> None:
        """Insert runs of one size: time, place, id and values of each, one after the other in a list."""
        width, start = size + 3, 0
        for count in (max(1, _RUN_ROWS // size), max(1, _RUN_ROWS // size // 8), 1):
            statement, step = _insert_runs(size, count), width * count
            while len(flat) - start >= step:
                self._db.execute(statement, flat[start : start + step])
                start += step

    def _insert_good(self, flat: list[Any]) -> None:
        """Insert rows of place, time, series and value, one after the other in a list."""
        start = 0
        for size in _GOOD_SIZES:
            step = 4 * size
            statement = f"insert or ignore into samples values {', '.join([_GOOD] * size)}"  # noqa: S608 - no value in it
            while len(flat) - start >= step:
                self._db.execute(statement, flat[start : start + step])
                start += step

    def _layout(self, entry: MachineScan, listed: Sequence[str], values: Sequence[Value]) -> _Layout:
        machine, names = self._machine(entry), tuple(listed)
        layout = machine.layouts.get(names)
        if layout is None:
            series = [
                machine.series.get(name) or self._find(entry, name, value)
                for name, value in zip(names, values, strict=True)
            ]
            floats = [i for i, found in enumerate(series) if found.is_float]
            layout = _Layout([found.place for found in series], [found.id for found in series], floats, _runs(series))
            if len(machine.layouts) >= _LAYOUTS:
                machine.layouts.clear()
            machine.layouts[names] = layout
        return layout

    def _insert_singly(self, entry: MachineScan) -> Iterator[Refusal]:
        """Insert row by row; yield a refusal for what SQLite can't hold, such as 2**63."""
        for row in self._rows(entry):
            try:
                self._db.execute(_INSERT, row)
            except (OverflowError, UnicodeEncodeError) as error:
                [point] = self._db.execute("select point from series where id = ?", (row[2],)).fetchone()
                yield Refusal(entry.record, 1, f"{entry.path}/{point} {row[3]!r} {row[1]}", str(error))

    def _rows(self, entry: MachineScan) -> Iterator[tuple[Any, ...]]:
        scan = entry.scan
        times, uncertain, codes = scan.times, scan.uncertain, scan.codes
        late = LATE if scan.late else 0
        known = self._machine(entry).series
        for name, value in scan.values.items():
            series = known.get(name) or self._find(entry, name, value)
            # the declared type decides, not the value: 16 of a float point is 16.0
            stored = float(value) if series.is_float and type(value) is int else value
            reason, time_ = uncertain.get(name), times.get(name, scan.time)
            yield series.place, time_, series.id, stored, (1 if reason else 0) + late, reason, codes.get(name)
        yield from self._bad_rows(entry)

    def _bad_rows(self, entry: MachineScan) -> Iterator[tuple[Any, ...]]:
        scan, known = entry.scan, self._machine(entry).series
        late = LATE if scan.late else 0
        for name, reason in scan.bad.items():
            series = known.get(name) or self._find(entry, name, None)
            time_, code = scan.times.get(name, scan.time), scan.codes.get(name)
            yield series.place, time_, series.id, None, 2 + late, reason, code

    def _machine(self, entry: MachineScan) -> _Machine:
        """Return the cache of the machine under its metadata, with its series that are stored already."""
        path, meta, _, _ = entry
        machine = self._machines.get((path, meta.id))
        if machine is None:
            if len(self._machines) >= MAX_MACHINES:
                self._machines.clear()
            machine = self._machines[path, meta.id] = _Machine()
            for id_, place, point, unit, kind in self._db.execute(_SERIES_OF_MACHINE, path):
                if kind and (unit, kind) == (meta.units.get(point, ""), meta.types.get(point)):
                    machine.series[point] = _Series(id_, place, kind == "float")
        return machine

    def _find(self, entry: MachineScan, point: str, value: Value | None) -> _Series:
        """Return a point's series; insert it where it is new."""
        unit, kind = entry.meta.units.get(point, ""), entry.meta.types.get(point, "")
        if not kind and isinstance(value, bool):
            kind = "bool"  # SQLite has none: it would come back as 0 or 1
        series = *entry.path, point, unit, kind
        key = self._db.execute(_NEW_SERIES, series).fetchone() or self._db.execute(_FIND_SERIES, series).fetchone()
        id_, place = key
        found = _Series(id_, place, kind == "float")
        if kind or value is not None:
            self._machine(entry).series[point] = found
        return found
