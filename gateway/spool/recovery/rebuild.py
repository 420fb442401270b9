"""Making a spool: a new one, and a whole one out of a damaged one.

A new database is made beside the old one, is durable, and only then takes its place: whenever the power fails, there
is an old one that is whole, or damaged as before, or a new one that is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from gateway.common.dead_letters import DeadLetters
from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import SLOT_SIZE, Checkpoint, encode_checkpoint, newest
from gateway.spool.files import PAGE, SCHEMA, Damaged
from gateway.spool.limits import cost_of
from gateway.spool.recovery.page_scan import Pages, damaged_rows, right_rows, states
from gateway.spool.rows import Found, examine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.spool.files import SpoolFiles
    from gateway.spool.rows import Row

log = structlog.get_logger()

KEPT = 2
"""Damaged databases that are kept for a person to look at; older ones go."""

LETTERS_SIZE = 64 * 2**20
"""Bytes that damaged records may take on disk."""

SKIPPED = 2**32
"""Numbers left out where nobody knows any more which were given: none may be given twice."""


ROOM_LEFT = 2**20
"""Bytes that a mended spool leaves free on the disk."""


class _New:
    """A database in the making, and what has been put into it."""

    def __init__(self, file: Path) -> None:
        self.records = self.readings = self.size = 0
        self.spool = ""
        self.pending = SeqRanges()
        file.unlink(missing_ok=True)
        self.file = file
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute(f"pragma page_size = {PAGE}")
        self._db.execute("pragma journal_mode = memory")  # it takes no old one's place before it is whole
        self._db.execute("begin")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute("insert into state values (1, zeroblob(?))", (SLOT_SIZE,))
        self._free = self._room = shutil.disk_usage(file.parent).free - ROOM_LEFT

    def add(self, row: Row) -> bool:
        """Add a record; returns False where the disk has no room for it."""
        cost = cost_of(row.spooled)
        if cost > self._room:  # that is what they cost at the most: look what it really is
            pages: int = self._db.execute("pragma page_count").fetchone()[0]
            self._room = self._free - pages * PAGE
            if cost > self._room:
                return False
        self._room -= cost
        self._db.execute("insert into records values (?, ?, ?, ?, ?, ?, ?)", row)
        self.records, self.readings, self.size = (
            self.records + 1, self.readings + row.readings, self.size + len(row.payload)
        )  # fmt: skip
        self.spool = self.spool or row.spool
        self.pending.add(row.seq)
        return True

    def finish(self, state: Checkpoint) -> Found:
        """Write the state and make all of it durable."""
        state.records, state.readings, state.size = self.records, self.readings, self.size
        self._db.execute("update state set state = ?", (encode_checkpoint(state, self.pending),))
        self._db.execute("commit")
        self._db.close()
        _sync(self.file)
        return Found(self.records, self.readings, self.size, self.pending)

    def give_up(self) -> None:
        """Close and remove it, where it is not finished."""
        self._db.close()
        self.file.unlink(missing_ok=True)


def create(files: SpoolFiles) -> tuple[Checkpoint, Found]:
    """Make an empty spool with a new name."""
    new = _New(files.new)
    state = Checkpoint(secrets.token_hex(4))
    found = new.finish(state)
    _put_in_place(files)
    return state, found


def complete_interrupted(files: SpoolFiles) -> None:
    """Bring to its end what a power cut may have interrupted: a new database that is whole takes its place."""
    if not files.new.exists():
        return
    try:
        examine(files.new, None)
    except (Damaged, sqlite3.Error):
        files.new.unlink()  # it was not finished, and the old one is still there
    else:
        _put_in_place(files)


def rebuild(
    files: SpoolFiles, known: Checkpoint | None, *, exact: bool, why: Exception
) -> tuple[Checkpoint, Found, int]:
    """Make a whole spool of what is left of a damaged one, which is kept under another name.

    `known` is what is known beside the database, and `exact` says that nothing newer can be in there. Returns the
    state, the records, and the number of readings that are lost; the state counts them as dropped already.
    Raises `sqlite3.Error` or `OSError` where the disk takes no new database.
    """
    with Pages(files.db, files.wal) as pages:
        truth = known if exact else newest([known, *states(pages)])
        wanted = None if truth is None else SeqRanges(truth.pending)
        new = _New(files.new)
        try:
            state = _settled(truth, _salvage(pages, truth, wanted, new))
            found = new.finish(state)
        except BaseException:
            new.give_up()
            raise
        lost = 0 if truth is None else max(0, truth.readings - found.readings)
        seen = found.pending.copy()
        with suppress(OSError):  # the damaged database is kept anyway
            set_aside(files, damaged_rows(pages, lambda seq: _missing(seq, wanted, seen)), "its checksum is wrong")
    aside = _keep(files)
    _put_in_place(files)
    log.error("spool.damaged", file=str(files.db), error=str(why), kept=found.records, lost_readings=lost,
              set_aside=str(aside), ledger="lost" if truth is None else "known")  # fmt: skip
    return state, found, lost


def set_aside(files: SpoolFiles, rows: Iterable[Row], reason: str) -> None:
    """Write damaged records into the file for them. Raises `OSError`."""
    letters = DeadLetters(files.letters, LETTERS_SIZE)
    for row in rows:
        letters.add(row.topic, reason, row.payload, seq=row.seq, readings=row.readings)


def _missing(seq: int, wanted: SeqRanges | None, seen: SeqRanges) -> bool:
    """Return whether a record was waiting and has not been seen; now it is."""
    if seq in seen or (wanted is not None and seq not in wanted):
        return False
    seen.add(seq)
    return True


def _salvage(pages: Pages, truth: Checkpoint | None, wanted: SeqRanges | None, new: _New) -> _New:
    """Put every record that was waiting and is still right into the new database."""
    for row in right_rows(pages, lambda seq: seq not in new.pending and (wanted is None or seq in wanted)):
        spool = new.spool or row.spool if truth is None else truth.spool
        if row.spool == spool and not new.add(row):
            log.error("spool.no_room_to_mend", file=str(new.file), kept=new.records)
            break
    return new


def _settled(truth: Checkpoint | None, new: _New) -> Checkpoint:
    """Return the state of the mended spool: what is missing is dropped, what is there again is not confirmed yet."""
    if truth is None:
        last = max((last for _, last in new.pending), default=0)
        return Checkpoint(new.spool or secrets.token_hex(4), last + SKIPPED, counts=Counter(acquired=new.readings))
    counts = truth.counts.copy()
    counts["dropped:damaged" if truth.readings >= new.readings else "confirmed"] += truth.readings - new.readings
    return Checkpoint(truth.spool, truth.next, truth.commit + 1, truth.turn + 1, counts=counts)


def _keep(files: SpoolFiles) -> Path | None:
    """Give the damaged database a second name, and remove the oldest of those before it."""
    aside = files.aside(datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"))
    for file, kept in ((files.db, aside), (files.wal, aside.with_name(aside.name + "-wal"))):
        if file.exists():
            os.link(file, kept)
    for old in files.all_aside()[:-KEPT]:
        old.unlink()
        old.with_name(old.name + "-wal").unlink(missing_ok=True)
    return aside if aside.exists() else None


def _put_in_place(files: SpoolFiles) -> None:
    """Let the new database be the spool. The old log goes first: it must never be taken for the new one's."""
    files.wal.unlink(missing_ok=True)
    files.shm.unlink(missing_ok=True)
    files.new.replace(files.db)
    _sync(files.folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
