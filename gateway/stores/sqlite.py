"""The embedded store: an SQLite file with the view `readings` for the sqlite3 shell.

A reading is identified by its place (machine and point) and time, so writing it twice changes nothing, also where its
unit or type was changed meanwhile. Readings older than `keep` are deleted, and the oldest readings of a file
larger than `max_size`. Readings stamped by a clock that was not set have no age: only `max_size` deletes them.

Rows are in the order of their times, so that readings that arrive together are written together. Ordered by place,
every reading costs a page of 4 KiB (measured: 6,800 bytes written a reading against 100, at 1,000 points a second).
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.common.setting_types import Duration, Folder, Section, Size
from gateway.model.time import FLOOR
from gateway.stores import sqlite_rollups, sqlite_tables
from gateway.stores.base import Rejected, Store, StoreKind, Unavailable
from gateway.stores.retention import AgeReference
from gateway.stores.sqlite_reader import SqliteReader
from gateway.stores.sqlite_rollups import BLOCK, RollupThread
from gateway.stores.sqlite_rows import Rows
from gateway.stores.tables import TABLES, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from gateway.model.reading import Reading
    from gateway.stores.base import MachineScan, Refusal
    from gateway.stores.buckets import Bucket, BucketColumns
    from gateway.stores.series import Series
    from gateway.stores.tables import Cell, TableRow

PRUNE_EVERY = 60.0
"""Seconds between two deletions of old readings."""

BUSY_SECONDS = 5.0
"""Seconds that a write waits for a lock of another process."""

_PRUNE_STEP = 100
"""A file that is too large loses this part of the stored time span at a step, the oldest first."""

_WAL_SIZE = 16 * 2**20
"""Bytes to which the write-ahead log shrinks again after a large transaction."""

_CACHE_SIZE = 8 * 2**20
"""Bytes of pages in memory: a large transaction must not write a page to the log before the page is full."""

_SCHEMA = """
create table if not exists series (
    id integer primary key, place integer not null,
    enterprise text, site text, area text, line text, machine text, point text, unit text, type text,
    unique (enterprise, site, area, line, machine, point, unit, type)
);
create index if not exists places on series (place);
create table if not exists samples (
    place integer not null, time integer not null, series integer not null,
    value, quality integer not null, reason text, code text,
    primary key (time, place)
) without rowid;
"""

_RETENTION = """
create table if not exists retention (id integer primary key check (id = 1), reference integer not null);
"""

_ERA = FLOOR, 253_402_300_800_000_000
"""Times that a reference can have: from the first that a clock is believed, to the end of the year 9999."""

_FAILURES = (sqlite3.Error, UnicodeDecodeError)
"""Errors of SQLite. Its messages quote the schema, and those of a damaged file are not always UTF-8."""

_UNTOUCHED = ("locked", "busy")
"""Errors after which the connection is as good as before."""

_VIEW = """
create view if not exists readings as
    select strftime('%Y-%m-%dT%H:%M:%S', time / 1000000, 'unixepoch') || printf('.%06dZ', time % 1000000) as time,
        enterprise, site, area, line, machine, point,
        case when type = 'bool' and value is not null then iif(value, 'true', 'false') else value end as value,
        unit, case quality % 4 when 0 then 'good' when 1 then 'uncertain' else 'bad' end as quality, reason, code,
        type, samples.time as microseconds, quality / 4 as late
    from samples join series on series.id = samples.series;
"""

_SPAN = """
select (select min(time) from samples),
    coalesce((select max(time) from samples where time <= ?), (select max(time) from samples))
"""

FORMAT = 1
"""The format of a file, in its `user_version`: 0 is that of releases without the tables of `sqlite_rollups.py`."""


class SqliteSettings(Section):
    """The file, and its limits: `keep` back from the newest reading, and `max_size`."""

    path: Folder
    """The file, as in `/var/lib/lineside/readings.db`."""
    keep: Duration = 7 * 86400.0
    """How far back readings are kept, as in `7d`."""
    max_size: Size = 4 * 2**30
    """How large the file may become, as in `4GiB`."""


class SqliteStore(Store):
    """One SQLite file."""

    def __init__(self, settings: SqliteSettings) -> None:
        super().__init__()
        self._settings = settings
        self._db: sqlite3.Connection
        self._usable = False
        self._inode = 0
        self._rows: Rows
        self._pruned = time.monotonic()
        self._age: AgeReference | None = None
        self._rollups: RollupThread | None = None

    def open(self) -> None:
        path = self._settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from error
        try:
            self._check_format()
            # only for a new file: these statements wait for a writer
            view = self._db.execute("select sql from sqlite_schema where name = 'readings'").fetchone()
            if view is None:
                self._db.execute("pragma auto_vacuum = incremental")
                self._db.execute("pragma journal_mode = wal")
                self._db.executescript(_SCHEMA + _VIEW)
            elif " as late" not in view[0]:  # a file of a release without that column
                self._db.executescript(f"begin immediate; drop view if exists readings; {_VIEW} commit;")
            self._db.execute(f"pragma journal_size_limit = {_WAL_SIZE}")
            self._db.execute(f"pragma cache_size = {-_CACHE_SIZE // 2**10}")
            self._db.execute("pragma synchronous = full")
            sqlite_rollups.prepare(self._db)
            sqlite_tables.prepare(self._db)
            if self._db.execute("pragma user_version").fetchone() != (FORMAT,):
                self._db.execute(f"pragma user_version = {FORMAT}")
            self._inode = path.stat().st_ino
            self._rows = Rows(self._db)
            self._rollups = RollupThread(path)
            self._usable = True
        except (OSError, *_FAILURES) as error:
            self._db.close()
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        damaged = isinstance(error, UnicodeDecodeError)
        text = "the file is damaged: a text in it is not UTF-8" if damaged else str(error)
        return Unavailable(f"{self._settings.path}: {text}")

    def _check_format(self) -> None:
        [version] = self._db.execute("pragma user_version").fetchone()
        if version > FORMAT:
            self._db.close()
            text = f"has format {version}, and this release knows format {FORMAT}; use the release that wrote it"
            raise Unavailable(f"{self._settings.path}: {text}")

    def open_for_query(self, templates: Collection[str] = ()) -> None:
        """Open the file to be read; neither it nor its folder is created."""
        del templates
        path = self._settings.path
        try:
            if not path.is_file():
                raise Unavailable(f"{path}: there is no store yet; `lineside ingest` creates it")
            # to be written to, since only a writer can complete the log of a killed writer; SQLite itself opens it to
            # be read where that is not allowed
            uri = f"{path.absolute().as_uri()}?mode=rw"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"{path}: {error}") from error
        try:
            self._db.execute("pragma query_only = on")
            self._check_format()
            found = self._db.execute("select 1 from sqlite_schema where name = 'samples'").fetchone()
        except _FAILURES as error:
            self._db.close()
            raise self._unavailable(error) from error
        if found is None:
            self._db.close()
            raise Unavailable(f"{path}: is not a store of readings")

    def check(self) -> None:
        path = self._settings.path
        try:
            [mode] = self._db.execute("pragma journal_mode").fetchone()
            if mode != "wal":
                raise Unavailable(
                    f"{path}: its journal is {mode}, where wal is needed: is it on a network drive? "
                    "else run: pragma journal_mode = wal"
                )
            self._db.execute("begin immediate")
            self._db.execute("rollback")
        except _FAILURES as error:
            raise self._unavailable(error) from error

    def write(self, batch: Sequence[MachineScan]) -> None:
        self._follow_file()
        try:
            refusals = self._insert(batch)
            if self._rollups is not None:
                self._rollups.start()
            if self._age is None:
                self._begin_to_age()
            if time.monotonic() - self._pruned > PRUNE_EVERY:
                self.prune()
        except (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise  # of these rows, and not of the file: they would fail again
        except _FAILURES as error:
            self._usable = any(word in str(error) for word in _UNTOUCHED)
            raise self._unavailable(error) from error
        if refusals:
            raise Rejected(refusals)

    def _insert(self, batch: Sequence[MachineScan]) -> list[Refusal]:
        self._db.execute("begin immediate")
        try:
            refusals = self._rows.insert(batch)
            sqlite_tables.insert(self._db, batch, self.counts)
            sqlite_rollups.mark(self._db, batch)
            self._db.execute("commit")
        except BaseException:
            self._rows.forget()  # some series may have been rolled back
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise
        return refusals

    def _follow_file(self) -> None:
        """Reopen where the file was removed or replaced, or the connection has failed.

        SQLite would write to a deleted file, and a file may come back that was away, with its disk.
        """
        if self._usable:
            try:
                if self._settings.path.stat().st_ino == self._inode:
                    return
            except OSError:
                pass
        self.close()
        self.open()

    def prune(self) -> None:
        """Delete readings that are too old, and the oldest readings of a file that is too large.

        Age is counted from the newest reading that is not in the future, and never from a jump of a clock, see
        `retention.py`. Readings of a clock that was not set have no age.
        """
        self._pruned = now = time.monotonic()
        first, last = self._span()
        if first is None or last is None:
            return
        if self._age is None:
            self._age = self._begin_to_age()
        is_set = _clock_is_set()
        if last >= FLOOR and (is_set or self._age.reference is not None):
            reference = self._age.advance(last, now, clock_is_set=is_set)
            self._db.execute("insert or replace into retention values (1, ?)", (reference,))
            # whole blocks: the buckets of a part of a block would have to be computed again every minute
            self._drop(FLOOR, (reference - round(self._settings.keep * 1e6)) // BLOCK * BLOCK)
        while self._used() > self._settings.max_size:
            first, last = self._span()
            if first is None or last is None or first >= last:
                break
            self._drop(first, first + max(1, (last - first) // _PRUNE_STEP))
        # `execute` would step once, which frees one page
        self._db.executescript("pragma incremental_vacuum")

    def _begin_to_age(self) -> AgeReference:
        """Count ages from where the last run ended, or from the first readings: a clock may jump soon after them."""
        self._db.executescript(_RETENTION)
        row = self._db.execute("select reference from retention where reference between ? and ?", _ERA).fetchone()
        saved = row[0] if row and type(row[0]) is int else None
        self._age = AgeReference(saved, time.monotonic())
        _, newest = self._span()
        if saved is None and newest is not None and newest >= FLOOR and _clock_is_set():
            reference = self._age.advance(newest, time.monotonic())
            self._db.execute("insert or replace into retention values (1, ?)", (reference,))
        return self._age

    def _span(self) -> tuple[int | None, int | None]:
        """Return the times of the oldest and the newest reading."""
        span: tuple[int | None, int | None] = self._db.execute(_SPAN, (time.time_ns() // 1000,)).fetchone()
        return span

    def _drop(self, since: int, until: int) -> None:
        """Delete samples, with their buckets; `since` is the start of a block, or no sample is before it."""
        if until <= since:
            return
        self._db.execute("begin immediate")
        try:
            self._db.execute("delete from samples where time >= ? and time < ?", (since, until))
            sqlite_rollups.drop(self._db, since, until)
            sqlite_tables.drop(self._db, since, until)
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def _used(self) -> int:
        pages, free, size = (
            self._db.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    # -- reading --

    @contextmanager
    def _reader(self) -> Iterator[SqliteReader]:
        """Read over the connection; its errors are those of a store that is not available."""
        try:
            yield SqliteReader(self._db)
        except _FAILURES as error:
            raise self._unavailable(error) from error

    def series(self, pattern: str = "*") -> list[Series]:
        with self._reader() as reader:
            return reader.series(pattern)

    def range(
        self, series: Sequence[Series], since: int, until: int, *, newest_first: bool = False
    ) -> Iterator[Reading]:  # fmt: skip
        with self._reader() as reader:
            yield from reader.range(series, since, until, newest_first=newest_first)

    def newest(self, series: Sequence[Series]) -> list[Reading]:
        with self._reader() as reader:
            return reader.newest(series)

    def reduced(
        self, series: Sequence[Series], since: int, until: int, width: int, *, good: bool = False
    ) -> Iterator[Bucket]:  # fmt: skip
        with self._reader() as reader:
            yield from reader.reduced(series, since, until, width, good=good)

    def reduced_columns(
        self, series: Sequence[Series], since: int, until: int, width: int, check: Callable[[], None] = lambda: None
    ) -> list[BucketColumns]:
        with self._reader() as reader:
            return reader.reduced_columns(series, since, until, width, check)

    def rows(
        self, content: str, pattern: str, since: int, until: int, *, newest_first: bool = False
    ) -> Iterator[TableRow]:  # fmt: skip
        try:
            yield from sqlite_tables.rows(self._db, TABLES[content], pattern, since, until, newest_first=newest_first)
        except _FAILURES as error:
            raise self._unavailable(error) from error

    def lookup(
        self,
        content: str,
        column: str,
        values: Collection[Cell],
        entries: str = "",
        pattern: str = "*",
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[TableRow]:
        del pattern  # the index finds them
        check()
        try:
            yield from sqlite_tables.lookup(self._db, table_of(content, entries), column, values)
        except _FAILURES as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self._usable = False
        if self._rollups is not None:
            self._rollups.stop()
            self._rollups = None
        self._db.close()


def _clock_is_set() -> bool:
    return time.time_ns() // 1000 >= FLOOR


KIND = StoreKind("sqlite", SqliteSettings, SqliteStore)
