"""Readings as rows of the embedded store, many in one statement; `sqlite.py` has the file and its tables."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.stores.base import Refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.stores.base import MachineScan

_INSERT = "insert or ignore into samples values (?, ?, ?, ?, ?, ?, ?)"

_GOOD, _GOOD_SIZES = "(?, ?, ?, ?, 0, null, null)", (500, 50, 5, 1)
"""A row of a good reading, and how many of them a statement inserts: row by row costs three times as much."""

_LAYOUTS = 16
"""Sets of points in the scans of a machine whose layouts are cached."""


LATE = 4
"""Added to a row's quality (0 to 2) where the reading was read after an outage; the view `readings` knows it, too."""


class _Series(NamedTuple):
    """A point with its present unit and type."""

    id: int
    place: int
    is_float: bool


class _Layout(NamedTuple):
    """The series of the points of a scan, in its order, as columns; `floats` are positions of floats."""

    places: list[int]
    ids: list[int]
    floats: list[int]


class _Machine:
    """Cached series and layouts of one machine under one metadata."""

    def __init__(self) -> None:
        self.series: dict[str, _Series] = {}
        self.layouts: dict[tuple[str, ...], _Layout] = {}


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
        for entry in batch:
            scan = entry.scan
            if scan.bad or scan.uncertain or scan.codes or scan.times or scan.late:
                rest += self._rows(entry)
            else:
                good += self._columns(entry)
        try:
            self._insert_good(good)
            self._db.executemany(_INSERT, rest)
        except (OverflowError, UnicodeError):
            return [refusal for entry in batch for refusal in self._insert_singly(entry)]
        return []

    def _insert_good(self, flat: list[Any]) -> None:
        """Insert rows of place, time, series and value, one after the other in a list."""
        start = 0
        for size in _GOOD_SIZES:
            step = 4 * size
            statement = f"insert or ignore into samples values {', '.join([_GOOD] * size)}"  # noqa: S608 - no value in it
            while len(flat) - start >= step:
                self._db.execute(statement, flat[start : start + step])
                start += step

    def _columns(self, entry: MachineScan) -> Iterator[Any]:
        """Yield place, time, series and value of each reading of a scan that is good as a whole."""
        scan = entry.scan
        values: Any = scan.values.values()
        layout = self._layout(entry)
        if int in set(map(type, values)):
            values = list(values)
            for i in layout.floats:
                if type(values[i]) is int:
                    values[i] = float(values[i])
        return chain.from_iterable(zip(layout.places, repeat(scan.time), layout.ids, values))

    def _layout(self, entry: MachineScan) -> _Layout:
        machine, names = self._machine(entry), tuple(entry.scan.values)
        layout = machine.layouts.get(names)
        if layout is None:
            series = [machine.series.get(n) or self._find(entry, n, v) for n, v in entry.scan.values.items()]
            floats = [i for i, found in enumerate(series) if found.is_float]
            layout = _Layout([found.place for found in series], [found.id for found in series], floats)
            if len(machine.layouts) >= _LAYOUTS:
                machine.layouts.clear()
            machine.layouts[names] = layout
        return layout

    def _insert_singly(self, entry: MachineScan) -> Iterator[Refusal]:
        """Insert row by row; yield a refusal for what SQLite can't hold, such as 2**63."""
        for row in self._rows(entry):
            try:
                self._db.execute(_INSERT, row)
            except (OverflowError, UnicodeError) as error:
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
        for name, reason in scan.bad.items():
            series = known.get(name) or self._find(entry, name, None)
            yield series.place, times.get(name, scan.time), series.id, None, 2 + late, reason, codes.get(name)

    def _machine(self, entry: MachineScan) -> _Machine:
        """Return the cache of the machine under its metadata."""
        key = entry.path, entry.meta.id
        machine = self._machines.get(key)
        if machine is None:
            machine = self._machines[key] = _Machine()
        return machine

    def _find(self, entry: MachineScan, point: str, value: Value | None) -> _Series:
        """Return a point's series; insert it where it is new."""
        unit, kind = entry.meta.units.get(point, ""), entry.meta.types.get(point, "")
        if not kind and isinstance(value, bool):
            kind = "bool"  # SQLite has none: it would come back as 0 or 1
        columns = "enterprise, site, area, line, machine, point"
        rows = self._db.execute(
            f"select id, place, unit, type from series where ({columns}) = (?, ?, ?, ?, ?, ?)",  # noqa: S608 - no value in it
            (*entry.path, point),
        ).fetchall()
        key = next((row[:2] for row in rows if row[2:] == (unit, kind)), None)
        if key is None:
            known_place = rows[0][1] if rows else None
            key = self._db.execute(
                f"insert into series (place, {columns}, unit, type) "  # noqa: S608 - no value in it
                "values (coalesce(?, (select coalesce(max(place), 0) + 1 from series)), ?, ?, ?, ?, ?, ?, ?, ?) "
                "returning id, place",
                (known_place, *entry.path, point, unit, kind),
            ).fetchone()
        id_, place = key
        found = _Series(id_, place, kind == "float")
        if kind or value is not None:
            self._machine(entry).series[point] = found
        return found
