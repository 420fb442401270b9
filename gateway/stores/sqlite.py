"""The embedded store: an SQLite file, readable by anyone with the sqlite3 shell through the view `readings`.

A reading is known by its place (machine and point) and time, so writing it twice changes nothing, even where its
unit or type has been configured anew meanwhile. Old readings go when they are older than `keep`, or when the file
is larger than `max_size`.

Rows lie in the order of their times, so that what arrives together is written together: by place, every reading
would cost a page of 4 KiB (measured: 6,800 bytes written per reading against 100, at 1,000 points a second).
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.base import Quality
from gateway.model import MachinePath, Reading, matches
from gateway.settings.types import Duration, Folder, Section, Size
from gateway.stores.base import Refusal, Rejected, Store, StoreKind, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.base import Value
    from gateway.stores.base import MachineMeta, MachineScan

PRUNE_EVERY = 60.0
"""Seconds between two looks for readings that are too old or too many."""

BUSY_SECONDS = 5.0
"""So long a write waits for one of another process."""

_PRUNE_STEP = 100
"""What is too much goes in steps of this part of the time that is stored, the oldest first."""

_WAL_SIZE = 16 * 2**20
"""Bytes to which the write-ahead log shrinks again after a large transaction."""

_SCHEMA = """
create table if not exists series (
    id integer primary key, place integer not null,
    enterprise text, site text, area text, line text, machine text, point text, unit text, type text,
    unique (enterprise, site, area, line, machine, point, unit, type)
);
create index if not exists places on series (place);
create index if not exists places on series (place);
create table if not exists samples (
    place integer not null, time integer not null, series integer not null,
    value, quality integer not null, reason text, code text,
    primary key (time, place)
) without rowid;
create view if not exists readings as
    select strftime('%Y-%m-%dT%H:%M:%S', time / 1000000, 'unixepoch') || printf('.%06dZ', time % 1000000) as time,
        enterprise, site, area, line, machine, point,
        case when type = 'bool' and value is not null then iif(value, 'true', 'false') else value end as value,
        unit, case quality when 0 then 'good' when 1 then 'uncertain' else 'bad' end as quality, reason, code,
        type, samples.time as microseconds
    from samples join series on series.id = samples.series;
"""

_INSERT = "insert or ignore into samples values (?, ?, ?, ?, ?, ?, ?)"

_SPAN = """
select (select min(time) from samples),
    coalesce((select max(time) from samples where time <= ?), (select max(time) from samples))
"""

_QUALITY = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)


class SqliteSettings(Section):
    """Where the file is, and what it keeps: `keep` back from the newest reading, `max_size` at the most."""

    path: Folder
    keep: Duration = 7 * 86400.0
    max_size: Size = 4 * 2**30


class _Series(NamedTuple):
    """A point with the unit and type that its readings have now."""

    id: int
    place: int
    is_float: bool


class SqliteStore(Store):
    """One SQLite file."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        self._db: sqlite3.Connection
        self._inode = 0
        self._series: dict[MachinePath, tuple[MachineMeta, dict[str, _Series]]] = {}
        self._pruned = time.monotonic()

    def open(self) -> None:
        path = self._settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from error
        try:
            # only where it is new: these wait for who writes, and who reads need not
            if self._db.execute("select 1 from sqlite_schema where name = 'readings'").fetchone() is None:
                self._db.execute("pragma auto_vacuum = incremental")
                self._db.execute("pragma journal_mode = wal")
                self._db.executescript(_SCHEMA)
            self._db.execute(f"pragma journal_size_limit = {_WAL_SIZE}")
            self._db.execute("pragma synchronous = full")
            self._inode = path.stat().st_ino
        except (OSError, sqlite3.Error) as error:
            self._db.close()
            raise Unavailable(f"{path}: {error}") from error

    def write(self, batch: Sequence[MachineScan]) -> None:
        self._stay_with_the_file()
        try:
            self._db.execute("begin immediate")
            try:
                refusals = self._insert(batch)
                self._db.execute("commit")
            except BaseException:
                self._series.clear()  # some of them may have been rolled back
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
            if time.monotonic() - self._pruned > PRUNE_EVERY:
                self.prune()
        except sqlite3.Error as error:
            raise Unavailable(f"{self._settings.path}: {error}") from error
        if refusals:
            raise Rejected(refusals)

    def _stay_with_the_file(self) -> None:
        """Open anew where the file was removed or replaced: SQLite would go on writing to what nobody can see."""
        try:
            if self._settings.path.stat().st_ino == self._inode:
                return
        except OSError:
            pass
        self._db.close()
        self._series.clear()
        self.open()

    def _insert(self, batch: Sequence[MachineScan]) -> list[Refusal]:
        try:
            self._db.executemany(_INSERT, [row for one in batch for row in self._rows(one)])
        except (OverflowError, UnicodeError):
            return [refusal for one in batch for refusal in self._insert_singly(one)]
        return []

    def _insert_singly(self, one: MachineScan) -> Iterator[Refusal]:
        """Insert row by row; yields those that SQLite has no room for, such as 2**63."""
        for row in self._rows(one):
            try:
                self._db.execute(_INSERT, row)
            except (OverflowError, UnicodeError) as error:
                [point] = self._db.execute("select point from series where id = ?", (row[2],)).fetchone()
                yield Refusal(one.record, 1, f"{one.path}/{point} {row[3]!r} {row[1]}", str(error))

    def _rows(self, one: MachineScan) -> Iterator[tuple[Any, ...]]:
        scan = one.scan
        times, uncertain, codes = scan.times, scan.uncertain, scan.codes
        plain = not (times or uncertain or codes)
        known = self._known(one)
        for name, value in scan.values.items():
            series = known.get(name) or self._find(one, name, value)
            # the declared type decides, not the value: 16 of a float point is 16.0
            held = float(value) if series.is_float and type(value) is int else value
            if plain:
                yield series.place, scan.time, series.id, held, 0, None, None
            else:
                reason, time_ = uncertain.get(name), times.get(name, scan.time)
                yield series.place, time_, series.id, held, 1 if reason else 0, reason, codes.get(name)
        for name, reason in scan.bad.items():
            series = known.get(name) or self._find(one, name, None)
            yield series.place, times.get(name, scan.time), series.id, None, 2, reason, codes.get(name)

    def _known(self, one: MachineScan) -> dict[str, _Series]:
        """Return the machine's series as far as they are known, none where its points were configured anew."""
        meta, known = self._series.get(one.path, (None, {}))
        if meta is not one.meta:
            self._series[one.path] = (one.meta, known := {})
        return known

    def _find(self, one: MachineScan, point: str, value: Value | None) -> _Series:
        """Return a point's series, which is made where it is new."""
        unit, kind = one.meta.units.get(point, ""), one.meta.types.get(point, "")
        if not kind and isinstance(value, bool):
            kind = "bool"  # SQLite has none: it would come back as 0 or 1
        columns = "enterprise, site, area, line, machine, point"
        rows = self._db.execute(
            f"select id, place, unit, type from series where ({columns}) = (?, ?, ?, ?, ?, ?)",  # noqa: S608 - no value in it
            (*one.path, point),
        ).fetchall()
        key = next((row[:2] for row in rows if row[2:] == (unit, kind)), None)
        if key is None:
            known_place = rows[0][1] if rows else None
            key = self._db.execute(
                f"insert into series (place, {columns}, unit, type) "  # noqa: S608 - no value in it
                "values (coalesce(?, (select coalesce(max(place), 0) + 1 from series)), ?, ?, ?, ?, ?, ?, ?, ?) "
                "returning id, place",
                (known_place, *one.path, point, unit, kind),
            ).fetchone()
        id_, place = key
        found = _Series(id_, place, kind == "float")
        if kind or value is not None:
            self._known(one)[point] = found
        return found

    def prune(self) -> None:
        """Remove what is too old, and the oldest of what is too much.

        Age is counted from the newest reading that is not in the future: neither this machine's clock gone wrong
        nor a reading's removes what is worth keeping.
        """
        self._pruned = time.monotonic()
        first, last = self._span()
        if first is None or last is None:
            return
        self._drop_before(last - round(self._settings.keep * 1e6))
        while self._used() > self._settings.max_size:
            first, last = self._span()
            if first is None or last is None or first >= last:
                break
            self._drop_before(first + max(1, (last - first) // _PRUNE_STEP))
        # `execute` would step once, which frees one page
        self._db.executescript("pragma incremental_vacuum")

    def _span(self) -> tuple[int | None, int | None]:
        """Return the times of the oldest and the newest reading."""
        span: tuple[int | None, int | None] = self._db.execute(_SPAN, (time.time_ns() // 1000,)).fetchone()
        return span

    def _drop_before(self, limit: int) -> None:
        self._db.execute("delete from samples where time < ?", (limit,))

    def _used(self) -> int:
        pages, free, size = (
            self._db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def query(self, pattern: str, since: int, limit: int) -> Iterator[Reading]:
        try:
            yield from self._query(pattern, since, limit)
        except sqlite3.Error as error:
            raise Unavailable(f"{self._settings.path}: {error}") from error

    def _query(self, pattern: str, since: int, limit: int) -> Iterator[Reading]:
        found = self._db.execute(
            "select id, enterprise, site, area, line, machine, point, unit, type, place from series"
        )
        series = {
            row[0]: (MachinePath(*row[1:6]), *row[6:])
            for row in found
            if matches(pattern, MachinePath(*row[1:6]), row[6])
        }
        rows = self._db.execute(
            "select series, time, value, quality, reason, code from samples "
            "where place in (select value from json_each(?)) and time >= ? order by time desc limit ?",
            (json.dumps(sorted({place for *_, place in series.values()})), since, limit),
        )
        for key, stamp, value, quality, reason, code in rows:
            path, point, unit, kind, _ = series[key]
            truth = bool(value) if kind == "bool" and value is not None else value
            yield Reading(path, point, stamp, truth, unit, _QUALITY[quality], reason or "", code or "")

    def close(self) -> None:
        self._db.close()


KIND = StoreKind("sqlite", SqliteSettings, SqliteStore)
