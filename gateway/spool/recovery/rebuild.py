"""Creates a new spool, and rebuilds a damaged one.

A new database is made beside the old one, is made durable, and only then takes its place: whenever the power fails,
there is an old one that is whole, or damaged as before, or a new one that is whole.
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

from gateway.common.dead_letters import DeadLetter, DeadLetters
from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import SLOT_SIZE, Checkpoint, encode_checkpoint, newest
from gateway.spool.errors import Damaged
from gateway.spool.files import PAGE, SCHEMA, SET_ASIDE_SIZE
from gateway.spool.integrity import Inventory, verify
from gateway.spool.limits import cost_of
from gateway.spool.recovery.page_scan import Pages, checkpoints, damaged_rows, right_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.spool.files import Row, SpoolFiles

log = structlog.get_logger()

KEPT = 2
"""Damaged databases that are kept for a person to look at; older ones are deleted."""

SKIPPED = 2**32
"""Numbers left out where it is no longer known which were given: none may be given twice."""

ROOM_LEFT = 2**20
"""Bytes that a rebuilt spool leaves free on the disk."""


class _NewDatabase:
    """A database that is being written, and the counts of its records."""

    def __init__(self, file: Path) -> None:
        self.records = self.readings = self.size = 0
        self.spool = ""
        self.pending = SeqRanges()
        file.unlink(missing_ok=True)
        self.file = file
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute(f"pragma page_size = {PAGE}")
        self._db.execute("pragma journal_mode = memory")  # it replaces the old one only when it is whole
        self._db.execute("begin")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute("insert into state values (1, zeroblob(?))", (SLOT_SIZE,))
        self._free = self._room = shutil.disk_usage(file.parent).free - ROOM_LEFT

    def add(self, row: Row) -> bool:
        """Add a record; returns False if the disk has no room for it."""
        cost = cost_of(row.spooled)
        if cost > self._room:  # the cost is an upper bound: look at the real size
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

    def finish(self, state: Checkpoint) -> Inventory:
        """Write the checkpoint and make the database durable."""
        state.records, state.readings, state.size = self.records, self.readings, self.size
        self._db.execute("update state set state = ?", (encode_checkpoint(state, self.pending),))
        self._db.execute("commit")
        self._db.close()
        _sync(self.file)
        return Inventory(self.records, self.readings, self.size, self.pending)

    def discard(self) -> None:
        """Close and remove a database that is not finished."""
        self._db.close()
        self.file.unlink(missing_ok=True)


def create(files: SpoolFiles) -> tuple[Checkpoint, Inventory]:
    """Create an empty spool with a new name."""
    new = _NewDatabase(files.new)
    state = Checkpoint(secrets.token_hex(4))
    found = new.finish(state)
    _put_in_place(files)
    return state, found


def complete_interrupted(files: SpoolFiles) -> None:
    """Complete a rebuild that a power cut interrupted: a new database that is whole takes its place."""
    if not files.new.exists():
        return
    try:
        verify(files.new, None)
    except (Damaged, sqlite3.Error):
        files.new.unlink()  # it was not finished, and the old one is still there
    else:
        _put_in_place(files)


def rebuild(
    files: SpoolFiles, known: Checkpoint | None, *, exact: bool, why: Exception
) -> tuple[Checkpoint, Inventory, int]:
    """Make a whole spool of the readable rest of a damaged one, which is kept under another name.

    `known` is the checkpoint that is known beside the database; `exact` is True if the database can't hold a newer
    one. Returns the checkpoint, the records, and the number of readings that are lost, which the checkpoint counts as
    dropped already. Raises `sqlite3.Error` or `OSError` if the disk takes no new database.
    """
    with Pages(files.db, files.wal) as pages:
        truth = known if exact else newest([known, *checkpoints(pages)])
        wanted = None if truth is None else SeqRanges(truth.pending)
        new = _NewDatabase(files.new)
        try:
            state = _rebuilt_checkpoint(truth, _salvage(pages, truth, wanted, new))
            found = new.finish(state)
        except BaseException:
            new.discard()
            raise
        lost = 0 if truth is None else max(0, truth.readings - found.readings)
        seen = found.pending.copy()
        with suppress(OSError):  # the damaged database is kept anyway
            set_aside_rows(
                files, damaged_rows(pages, lambda seq: _missing(seq, wanted, seen)), "its checksum is wrong"
            )
    kept = _keep_damaged(files)
    _put_in_place(files)
    log.error("spool.damaged", file=str(files.db), error=str(why), kept=found.records, lost_readings=lost,
              set_aside=str(kept), ledger="lost" if truth is None else "known")  # fmt: skip
    return state, found, lost


def set_aside_rows(files: SpoolFiles, rows: Iterable[Row], reason: str) -> None:
    """Write damaged records into the file of set-aside records. Raises `OSError`."""
    DeadLetters(files.letters, SET_ASIDE_SIZE).write(
        DeadLetter(row.topic, reason, row.payload, {"seq": row.seq, "readings": row.readings}) for row in rows
    )


def _missing(seq: int, wanted: SeqRanges | None, seen: SeqRanges) -> bool:
    """Return True if a record was waiting and has not been seen, and note it as seen."""
    if seq in seen or (wanted is not None and seq not in wanted):
        return False
    seen.add(seq)
    return True


def _salvage(pages: Pages, truth: Checkpoint | None, wanted: SeqRanges | None, new: _NewDatabase) -> _NewDatabase:
    """Put every record that was waiting and is still right into the new database."""
    for row in right_rows(pages, lambda seq: seq not in new.pending and (wanted is None or seq in wanted)):
        spool = new.spool or row.spool if truth is None else truth.spool
        if row.spool == spool and not new.add(row):
            log.error("spool.no_room_to_rebuild", file=str(new.file), kept=new.records)
            break
    return new


def _rebuilt_checkpoint(truth: Checkpoint | None, new: _NewDatabase) -> Checkpoint:
    """Return the checkpoint of the rebuilt spool.

    Missing readings are counted as dropped; readings that are found again are no longer counted as confirmed.
    """
    if truth is None:
        last = max((last for _, last in new.pending), default=0)
        return Checkpoint(new.spool or secrets.token_hex(4), last + SKIPPED, counts=Counter(acquired=new.readings))
    counts = truth.counts.copy()
    counts["dropped:damaged" if truth.readings >= new.readings else "confirmed"] += truth.readings - new.readings
    return Checkpoint(truth.spool, truth.next, truth.commit + 1, truth.turn + 1, counts=counts)


def _keep_damaged(files: SpoolFiles) -> Path | None:
    """Give the damaged database a second name, and remove the oldest of those before it."""
    name = files.damaged(datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"))
    for file, kept in ((files.db, name), (files.wal, name.with_name(name.name + "-wal"))):
        if file.exists():
            os.link(file, kept)
    for old in files.all_damaged()[:-KEPT]:
        old.unlink()
        old.with_name(old.name + "-wal").unlink(missing_ok=True)
    return name if name.exists() else None


def _put_in_place(files: SpoolFiles) -> None:
    """Let the new database be the spool. The old log is removed first: it must never be applied to the new one."""
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
