"""Buckets of a minute and of a quarter of an hour, which the embedded store keeps: long ranges are fast to reduce.

A block is a quarter of an hour. The table `unrolled` has the blocks that were written to after their buckets were
computed; each write marks its blocks, in its own transaction, with a new number. A thread with a connection of its
own computes the buckets of blocks that rest, while writing goes on, and removes the mark only if the number is the
same as before.

So there is one promise: a block without a mark has all its buckets. A reader uses the samples of marked blocks, and
the buckets of all others. A file of an older release has every block marked when it is opened.

Every reading is read once more for it, which costs as much as writing it, in another thread. The tables need 4 % of
the space of readings that come every second.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import structlog

from gateway.stores.buckets import MINUTE, QUARTER, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.stores.base import MachineScan

log = structlog.get_logger()

BLOCK = QUARTER
"""Microseconds of a block."""

LOOK_EVERY = 20.0
"""Seconds between two looks for blocks to compute. A block rests if it was not written to between two looks."""

_SLICE = 1_000
"""Rows of buckets in one transaction: ingest waits for it."""

_BUSY_SECONDS = 5.0

_TIMES = range(-(2**63), 2**63)
"""Times that SQLite can hold."""

SCHEMA = """
create table if not exists rollups (
    width integer not null, series integer not null, start integer not null,
    count integer not null, total, min, max, first_value, last_value,
    first_value_time integer, last_value_time integer,
    first integer not null, last integer not null, uncertain integer not null, bad integer not null,
    primary key (width, series, start)
) without rowid;
create table if not exists unrolled (block integer primary key, mark integer not null);
"""
"""`width` and `start` are in seconds; times of first and last values and readings are microseconds from there.

Texts are not repeated here: `total` to `last_value` are numbers, and null for a text.
"""

_MARK = """
insert into unrolled (block, mark) values (?, ?) on conflict do update set mark = excluded.mark
"""

_MINUTE = """
select sums.series, count, total, low, high, a.value, b.value, first_value_time - :begin, last_value_time - :begin,
    first - :begin, last - :begin, uncertain, bad
from (
    select series, count(value) as count, total(value) as total, min(value) as low, max(value) as high,
        min(iif(value is null, null, time)) as first_value_time,
        max(iif(value is null, null, time)) as last_value_time,
        min(time) as first, max(time) as last, sum(quality & 3 = 1) as uncertain, sum(quality & 3 = 2) as bad
    from samples where time >= :begin and time < :begin + 60000000 group by series
) sums join series on series.id = sums.series
    left join samples a on a.time = first_value_time and a.place = series.place
    left join samples b on b.time = last_value_time and b.place = series.place
"""

_STORE = "insert or replace into rollups values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_NUMBERS = 5
"""Columns from `total` to `last_value`."""

_IS_KNOWN = """
select exists (select 1 from unrolled where block = :block) or exists (
    select 1 from rollups where width = 900 and start = :block * 900
        and series = (select series from samples where time = :time limit 1)
)
"""


def prepare(db: sqlite3.Connection) -> None:
    """Create the tables, and mark the blocks that are not known, as of an older release. Raises `sqlite3.Error`.

    The newest blocks come first, and a known block ends the search: an older release, which marks nothing, may have
    written to the file last.
    """
    made = db.execute("select 1 from sqlite_schema where name = 'unrolled'").fetchone() is not None
    if made and next(_unknown(db), None) is None:
        return
    db.execute("begin immediate")
    try:
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        db.executemany(_MARK, [(block, _number()) for block in _unknown(db)])
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise


def _unknown(db: sqlite3.Connection) -> Iterator[int]:
    """Yield the newest blocks with samples, until a block that is marked, or has buckets."""
    [newest] = db.execute("select max(time) from samples").fetchone()
    while newest is not None:
        block = newest // BLOCK
        [known] = db.execute(_IS_KNOWN, {"block": block, "time": newest}).fetchone()
        if known:
            return
        yield block
        [newest] = db.execute("select max(time) from samples where time < ?", (block * BLOCK,)).fetchone()


def _number() -> int:
    return secrets.randbits(62)


def mark(db: sqlite3.Connection, batch: Sequence[MachineScan]) -> None:
    """Mark the blocks of a batch in the transaction that writes it. Raises `sqlite3.Error`."""
    blocks = {entry.scan.time // BLOCK for entry in batch if entry.scan.time in _TIMES}
    for entry in batch:
        if entry.scan.times:
            blocks.update(at // BLOCK for at in entry.scan.times.values() if at in _TIMES)
    number = _number()
    db.executemany(_MARK, [(block, number) for block in blocks])


def drop(db: sqlite3.Connection, since: int, until: int) -> None:
    """Delete buckets of deleted samples from `since` to before `until`; a block of which some are left is marked.

    `since` is the start of a block, or no sample is before it.
    """
    begin, end = since // BLOCK, -(-until // BLOCK)
    for width in (60, 900):
        db.execute(
            "delete from rollups where width = ? and series in (select id from series) and start >= ? and start < ?",
            (width, begin * 900, end * 900),
        )
    db.execute("delete from unrolled where block >= ? and block < ?", (begin, until // BLOCK))
    if until % BLOCK:
        db.execute(_MARK, (end - 1, _number()))


class RollupThread:
    """Computes the buckets of blocks that rest, from the first write on until it is stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rollups", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, within a moment: a query that runs is interrupted."""
        self._stop.set()
        if self._thread is not None:
            with self._lock:
                if self._db is not None:
                    self._db.interrupt()
            self._thread.join()

    def _run(self) -> None:
        seen: dict[int, int] = {}
        healthy = True
        while not self._stop.wait(LOOK_EVERY):
            try:
                seen = self._look(seen)
            except (sqlite3.Error, UnicodeError) as error:  # as of the messages of a damaged file
                if healthy and not self._stop.is_set():
                    log.warning("store.rollups_failed", path=str(self._path), error=str(error))
                healthy = False
            else:
                if not healthy:
                    log.info("store.rollups_resumed", path=str(self._path))
                healthy = True

    def _look(self, seen: dict[int, int]) -> dict[int, int]:
        """Compute blocks whose marks are as they were seen; returns the marks to be seen next time."""
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
        with self._lock:
            self._db = db
        try:
            # buckets that a power cut loses are computed again
            db.execute("pragma synchronous = normal")
            marks = dict(db.execute("select block, mark from unrolled").fetchall())
            for block in sorted(marks, reverse=True):
                if self._stop.is_set():
                    break
                if seen.get(block) == marks[block]:
                    roll_up(db, block, marks[block], self._stop.wait)
            return marks
        finally:
            with self._lock:
                self._db = None
            db.close()


def roll_up(
    db: sqlite3.Connection, block: int, number: int, rest: Callable[[float], bool] = lambda _: False
) -> bool:  # fmt: skip
    """Compute and store the buckets of a block; returns whether its mark, with this number, was removed.

    A write meanwhile gives the mark another number: then it stays. `rest` is called with the seconds of the work
    since the last call; it may wait as long, so that others have half of a processor and the file, and returns True
    to stop. Raises `sqlite3.Error`.
    """
    rows: list[tuple[Any, ...]] = []
    minutes: dict[int, list[tuple[int, tuple[Any, ...]]]] = defaultdict(list)
    for offset in range(0, BLOCK, MINUTE):
        began = time.monotonic()
        rows += _minute(db, block * BLOCK, offset, minutes)
        if rest(time.monotonic() - began):
            return False
    rows += [(900, series, block * BLOCK // SECOND, *_added(parts)) for series, parts in minutes.items()]
    for start in range(0, max(1, len(rows)), _SLICE):
        began = time.monotonic()
        if not _store(db, block, number, rows[start : start + _SLICE], last=start + _SLICE >= len(rows)):
            return False
        if rest(time.monotonic() - began):
            return False
    return True


def _store(db: sqlite3.Connection, block: int, number: int, rows: list[tuple[Any, ...]], *, last: bool) -> bool:
    """Store rows, and with the last of them remove the mark; returns False if the mark has another number."""
    db.execute("begin immediate")
    try:
        same = bool(db.execute("select mark from unrolled where block = ?", (block,)).fetchone() == (number,))
        if same:
            db.executemany(_STORE, rows)
            if last:
                db.execute("delete from unrolled where block = ?", (block,))
        db.execute("commit")
    except BaseException:
        if db.in_transaction:
            db.execute("rollback")
        raise
    return same


def _minute(
    db: sqlite3.Connection, begin: int, offset: int, minutes: dict[int, list[tuple[int, tuple[Any, ...]]]]
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Yield the rows of a minute's buckets, and add their sums to those of the block by series, with their offset."""
    for series, count, *numbers_and_rest in db.execute(_MINUTE, {"begin": begin + offset}).fetchall():
        numbers, rest = numbers_and_rest[:_NUMBERS], numbers_and_rest[_NUMBERS:]
        if any(one is None or isinstance(one, str | bytes) for one in numbers):
            numbers = [None] * _NUMBERS
        sums = (count, *numbers, *rest)
        minutes[series].append((offset, sums))
        yield 60, series, (begin + offset) // SECOND, *sums


def _added(parts: Sequence[tuple[int, tuple[Any, ...]]]) -> tuple[Any, ...]:
    """Return the sums of buckets, each with its offset; times count from the start of the first offset, 0."""
    columns = list(zip(*(sums for _, sums in parts), strict=True))
    count, total, low, high, first_value, last_value, first_value_time, last_value_time, *ends, uncertain, bad = (
        columns
    )
    first, last = ends
    offsets = [offset for offset, _ in parts]
    # a series of a type that is not known may have texts in some minutes: then its ends are looked up
    with_values = [position for position, number in enumerate(count) if number]
    return (
        sum(count), _of(sum, total), _of(min, low), _of(max, high),
        first_value[with_values[0]] if with_values else None,
        last_value[with_values[-1]] if with_values else None,
        _of(min, _moved(offsets, first_value_time)), _of(max, _moved(offsets, last_value_time)),
        _of(min, _moved(offsets, first)), _of(max, _moved(offsets, last)), sum(uncertain), sum(bad),
    )  # fmt: skip


def _moved(offsets: Iterable[int], times: Iterable[int | None]) -> list[int | None]:
    return [None if at is None else at + offset for offset, at in zip(offsets, times, strict=True)]


def _of(function: Callable[[list[Any]], Any], column: Iterable[Any]) -> Any:  # noqa: ANN401 - what SQLite has
    known = [value for value in column if value is not None]
    return function(known) if known else None
