"""The spool's file: an SQLite database that one worker thread writes.

WAL mode with `synchronous=FULL`: what is committed survives a power cut. The ledger's counts are committed in
the same transaction as the records they count, so the two agree whatever happens.
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TextIO

import structlog

from gateway.settings.sections import WhenFull

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.ranges import Range

log = structlog.get_logger()

_SCHEMA = """
create table if not exists records (
    seq integer primary key, topic text not null, payload blob not null, readings integer not null
);
create table if not exists counts (name text primary key, n integer not null) without rowid;
create table if not exists facts (name text primary key, value text not null) without rowid;
"""


class Spooled(NamedTuple):
    """A record as the spool holds it. `readings` is how many it carries."""

    seq: int
    topic: str
    payload: bytes
    readings: int


class Contents(NamedTuple):
    """What a file held when it was opened. `span` is from its oldest to its newest record, if it has any."""

    spool: str
    next_seq: int
    span: Range | None
    readings: int
    size: int
    counts: Counter[str]


@dataclass(slots=True)
class Batch:
    """What one commit is to do, and the ledger's counts at the time it was gathered.

    `set_aside` tells how many readings of a record its store has refused; it is confirmed in this batch.
    """

    puts: list[Spooled]
    confirms: list[Range]
    set_aside: dict[int, int]
    counts: Counter[str]


@dataclass(slots=True)
class Outcome:
    """What one commit did. `dropped_to` is the last record that had to make room, 0 where none had to."""

    stored: list[Spooled] = field(default_factory=list)
    confirmed: int = 0
    set_aside: int = 0
    overflow: int = 0
    dropped_to: int = 0
    readings: int = 0
    size: int = 0


class SpoolFile:
    """The records on disk. Every method runs in the same worker thread."""

    def __init__(self, file: Path, max_size: int, when_full: WhenFull) -> None:
        self.file = file
        self._max_size = max_size
        self._when_full = when_full
        self._db: sqlite3.Connection
        self._lock: TextIO
        self._readings = self._size = 0

    def open(self) -> Contents:
        """Open or make the file. A damaged one is set aside, and a new one begun.

        Raises `BlockingIOError` where another gateway uses it, `sqlite3.OperationalError` where the disk says no.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._db = self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            aside = self.file.with_suffix(f".damaged-{time.time_ns()}")
            self.file.rename(aside)
            for rest in ("-wal", "-shm"):
                self.file.with_name(self.file.name + rest).unlink(missing_ok=True)
            log.error("spool.damaged", set_aside=str(aside), error=str(error))  # noqa: TRY400 - told, not traced
            self._db = self._connect()
        db = self._db
        facts = dict(db.execute("select name, value from facts"))
        first, last, self._readings, self._size = db.execute(
            "select min(seq), max(seq), coalesce(sum(readings), 0), coalesce(sum(length(payload)), 0) from records"
        ).fetchone()
        spool = facts.get("spool") or secrets.token_hex(4)
        db.execute("insert or ignore into facts values ('spool', ?)", (spool,))
        counts: Counter[str] = Counter(dict(db.execute("select name, n from counts")))
        span = None if last is None else (first, last)
        next_seq = max(int(facts.get("next", 1)), (last or 0) + 1)
        return Contents(spool, next_seq, span, self._readings, self._size, counts)

    def _take_lock(self) -> None:
        """Be the only gateway on this spool: two would send everything twice. Readers are not kept out."""
        self._lock = self.file.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BlockingIOError(f"{self.file} is in use by another gateway") from None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.executescript(_SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        return db

    def write(self, batch: Batch) -> Outcome:
        """Commit a batch wholly, or raise `sqlite3.Error` and have done nothing."""
        outcome = Outcome(readings=self._readings, size=self._size)
        self._db.execute("begin immediate")
        try:
            for span in batch.confirms:
                self._confirm(span, batch.set_aside, outcome)
            self._put(batch.puts, outcome)
            self._make_room(outcome)
            counts = batch.counts.copy()
            counts["confirmed"] += outcome.confirmed
            counts["dropped:rejected_by_store"] += outcome.set_aside
            counts["dropped:spool_full"] += outcome.overflow
            self._db.executemany("insert or replace into counts values (?, ?)", counts.items())
            if batch.puts:
                self._db.execute("insert or replace into facts values ('next', ?)", (batch.puts[-1].seq + 1,))
            self._db.execute("commit")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise
        self._readings, self._size = outcome.readings, outcome.size
        return outcome

    def _confirm(self, span: Range, set_aside: dict[int, int], outcome: Outcome) -> None:
        rows = self._db.execute(
            "delete from records where seq between ? and ? returning seq, readings, length(payload)", span
        ).fetchall()
        for seq, readings, size in rows:
            refused = min(set_aside.get(seq, 0), readings)
            outcome.set_aside += refused
            outcome.confirmed += readings - refused
            outcome.readings -= readings
            outcome.size -= size

    def _put(self, puts: list[Spooled], outcome: Outcome) -> None:
        for record in puts:
            size = len(record.payload)
            if self._when_full is WhenFull.REFUSE_NEWEST and outcome.size + size > self._max_size:
                outcome.overflow += record.readings
                continue
            outcome.stored.append(record)
            outcome.readings += record.readings
            outcome.size += size
        self._db.executemany("insert into records values (?, ?, ?, ?)", outcome.stored)

    def _make_room(self, outcome: Outcome) -> None:
        """Drop the oldest records until the rest fits."""
        while outcome.size > self._max_size:
            rows = self._db.execute(
                "select seq, readings, length(payload) from records order by seq limit 100"
            ).fetchall()
            for seq, readings, size in rows:
                outcome.overflow += readings
                outcome.readings -= readings
                outcome.size -= size
                outcome.dropped_to = seq
                if outcome.size <= self._max_size:
                    break
            self._db.execute("delete from records where seq <= ?", (outcome.dropped_to,))
        outcome.stored = [record for record in outcome.stored if record.seq > outcome.dropped_to]

    def read(self, first: int, last: int) -> list[Spooled]:
        """Return the records that are still there of a range."""
        rows = self._db.execute(
            "select seq, topic, payload, readings from records where seq between ? and ?", (first, last)
        )
        return [Spooled(*row) for row in rows]

    def close(self) -> None:
        """Close the file and let others have it."""
        self._db.close()
        self._lock.close()
