"""Create a new spool, or rebuild a damaged spool.

A new database is written to a separate file, made durable, and only then renamed to replace the old database. After a
power cut at any moment there is either the unchanged old database or the complete new database.
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
from gateway.spool.checkpoint import (
    MAX_NUMBER,
    SLOT_SIZE,
    Checkpoint,
    Slots,
    encode_checkpoint,
    newest,
)
from gateway.spool.errors import Damaged, is_damage
from gateway.spool.files import PAGE, SCHEMA, SET_ASIDE_SIZE
from gateway.spool.integrity import Inventory, verify
from gateway.spool.limits import cost_of
from gateway.spool.recovery.page_scan import Pages, checkpoints, damaged_rows, right_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.spool.files import Row, SpoolFiles

log = structlog.get_logger(__name__)

KEPT = 2
"""Damaged databases that are kept for a person to look at; older databases are deleted."""

SKIPPED = 2**32
"""Sequence numbers that are skipped if the last assigned number is unknown: none may be used twice."""

ROOM_LEFT = 2**20
"""Bytes that a rebuilt spool leaves free on the disk."""


_VERSIONS_AT, _WAL_VERSION = 18, 2
"""Position in the file of SQLite's two format versions, and their value in WAL mode."""


class _NewDatabase:
    """A database under construction, and the counts of its records."""

    def __init__(self, file: Path) -> None:
        self.records = self.readings = self.size = 0
        self.spool = ""
        self.pending = SeqRanges()
        file.unlink(missing_ok=True)
        self.file = file
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute(f"pragma page_size = {PAGE}")
        self._db.execute("pragma journal_mode = memory")  # it replaces the old database only when it is complete
        self._db.execute("begin")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute("insert into state values (1, zeroblob(?))", (SLOT_SIZE,))
        self._free = self._room = shutil.disk_usage(file.parent).free - ROOM_LEFT

    def add(self, row: Row) -> bool:
        """Add a record; return False if the disk has no room for it."""
        cost = cost_of(row.spooled)
        if cost > self._room:  # the cost is an upper bound: check the real size
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

    def behind(self, seq: int) -> int:
        """Return the number of readings in records from `seq` on."""
        found: int = self._db.execute(
            "select coalesce(sum(readings), 0) from records where seq >= ?", (seq,)
        ).fetchone()[0]
        return found

    def finish(self, state: Checkpoint) -> Inventory:
        """Write the checkpoint and make the database durable."""
        state.records, state.readings, state.size = self.records, self.readings, self.size
        self._db.execute("update state set state = ?", (encode_checkpoint(state, self.pending),))
        self._db.execute("commit")
        self._db.close()
        _set_wal_mode(self.file)
        return Inventory(self.records, self.readings, self.size, self.pending)

    def discard(self) -> None:
        """Close and remove a database that is not finished."""
        self._db.close()
        with suppress(OSError):
            self.file.unlink(missing_ok=True)


def recover(files: SpoolFiles, slots: Slots, new_name: str) -> tuple[Checkpoint, Inventory]:
    """Repair the spool from any state of its files; return its checkpoint and records.

    Creates a spool if there is none, completes an interrupted rebuild, and rebuilds a damaged database.
    `slots` are the copies of the checkpoint, `new_name` is the name of a spool that has to be created. Raises
    `sqlite3.Error` or `OSError` if the disk refuses, and `NewerSpool`.

    A rollback journal is removed and never applied. Databases are created in WAL mode; of those that an older version
    created, the switch to WAL mode was the only transaction with a journal, and it changes no record. A damaged
    journal could cut off records.
    """
    files.journal.unlink(missing_ok=True)
    known = slots.newest
    whole: tuple[Checkpoint, Inventory] | None = None
    failure: Exception | None = None
    try:
        whole = verify(files.db, known)
    except FileNotFoundError as error:
        failure = error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        failure = error
    if whole is not None and not slots.are_intact(whole[0].commit):
        if _log_is_ahead(files, whole[0].next):
            whole, failure = None, Damaged("its log has records that its commits do not have")
        else:
            whole[0].next += SKIPPED  # the end of the log may be lost, which can't be detected
    finished = _finished(files, known)
    if finished is not None and (whole is None or _is_newer(finished[0], whole[0])):
        _put_in_place(files)
        return finished
    files.new.unlink(missing_ok=True)
    if whole is not None:
        return whole
    if known is None and not files.db.exists() and not files.wal.exists():
        return create(files, new_name)
    why = failure or Damaged("it is missing")
    certain = slots.are_intact(0 if known is None else known.commit)
    state, found, _ = rebuild(files, known, exact=False, certain=certain, why=why)
    return state, found


def _log_is_ahead(files: SpoolFiles, next_seq: int) -> bool:
    """Return True if the log has records after the last commit of the database: the end of the log was lost."""
    with Pages(files.db, files.wal, log_only=True) as pages:
        return next(right_rows(pages, lambda seq: seq >= next_seq), None) is not None


def _finished(files: SpoolFiles, known: Checkpoint | None) -> tuple[Checkpoint, Inventory] | None:
    """Return checkpoint and records of a complete new database that has not been renamed yet."""
    try:
        return verify(files.new, known)
    except FileNotFoundError:
        return None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        return None  # it is incomplete, and the old database still exists


def _is_newer(state: Checkpoint, other: Checkpoint) -> bool:
    return state.spool == other.spool and state.age > other.age


def create(files: SpoolFiles, name: str) -> tuple[Checkpoint, Inventory]:
    """Create an empty spool."""
    new = _NewDatabase(files.new)
    state = Checkpoint(name)
    found = new.finish(state)
    _put_in_place(files)
    return state, found


def rebuild(
    files: SpoolFiles, known: Checkpoint | None, *, exact: bool, certain: bool, why: Exception
) -> tuple[Checkpoint, Inventory, int]:
    """Build a new spool from the readable records of a damaged spool, which is kept under another name.

    `known` is the checkpoint from the slots; `exact` is True if the database can't have a newer checkpoint. If it is
    not `certain` which checkpoint was the last, records after it are kept too, and numbers are skipped. Returns the
    checkpoint, the records, and the number of lost readings, which the checkpoint already counts as dropped. Raises
    `sqlite3.Error` or `OSError` if the disk can't store a new database.
    """
    with Pages(files.db, files.wal) as pages:
        truth = known if exact else newest([known, *checkpoints(pages)])
        wanted = None if truth is None else SeqRanges(truth.pending)
        if truth is not None and wanted is not None and not certain:
            wanted.add(truth.next, MAX_NUMBER)
        new = _NewDatabase(files.new)
        try:
            _salvage(pages, truth, wanted, new)
            state = _rebuilt_checkpoint(truth, new, certain=certain)
            lost = 0 if truth is None else max(0, truth.readings - new.readings + new.behind(truth.next))
            found = new.finish(state)
        except BaseException:
            new.discard()
            raise
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
    """Return True if a record was pending and has not been seen, and note it as seen."""
    if seq in seen or (wanted is not None and seq not in wanted):
        return False
    seen.add(seq)
    return True


def _salvage(pages: Pages, truth: Checkpoint | None, wanted: SeqRanges | None, new: _NewDatabase) -> None:
    """Copy every undamaged pending record into the new database."""
    for row in right_rows(pages, lambda seq: seq not in new.pending and (wanted is None or seq in wanted)):
        spool = new.spool or row.spool if truth is None else truth.spool
        if row.spool == spool and not new.add(row):
            log.error("spool.no_room_to_rebuild", file=str(new.file), kept=new.records)
            break


def _rebuilt_checkpoint(truth: Checkpoint | None, new: _NewDatabase, *, certain: bool) -> Checkpoint:
    """Return the checkpoint of the rebuilt spool.

    Missing readings are counted as dropped; readings that are found again are no longer counted as confirmed; those
    of records after the checkpoint are counted as acquired. If the checkpoint is not certain, numbers are skipped.
    """
    last = max((last for _, last in new.pending), default=0)
    if truth is None:
        return Checkpoint(new.spool or secrets.token_hex(4), last + SKIPPED, counts=Counter(acquired=new.readings))
    counts = truth.counts.copy()
    behind = new.behind(truth.next)
    counts["acquired"] += behind
    missing = truth.readings - (new.readings - behind)
    if missing >= 0:
        counts["dropped:damaged"] += missing
    else:
        confirmed_again = min(counts["confirmed"], -missing)
        counts["confirmed"] -= confirmed_again
        counts["acquired"] += -missing - confirmed_again
    following = truth.next if certain else max(truth.next - 1, last) + SKIPPED
    return Checkpoint(truth.spool, following, truth.commit + 1, truth.turn + 1, counts=counts)


def _keep_damaged(files: SpoolFiles) -> Path | None:
    """Link or rename the damaged database to keep it, remove the oldest kept databases, and return the new name.

    Return None if the disk allows neither: a rebuild must not fail for that.
    """
    name = files.damaged(datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"))
    for file, kept in ((files.db, name), (files.wal, name.with_name(name.name + "-wal"))):
        with suppress(OSError):
            _link(file, kept)
    with suppress(OSError):
        for old in files.all_damaged()[:-KEPT]:
            old.unlink()
            old.with_name(old.name + "-wal").unlink(missing_ok=True)
    return name if name.exists() else None


def _link(file: Path, kept: Path) -> None:
    try:
        os.link(file, kept)
    except FileNotFoundError:
        return
    except OSError:  # a file system without links: the next start finds the complete new database
        file.rename(kept)


def _put_in_place(files: SpoolFiles) -> None:
    """Rename the new database to that of the spool. Remove the old log first: it belongs to the old database."""
    for file in (files.wal, files.shm, files.journal):
        file.unlink(missing_ok=True)
    files.new.replace(files.db)
    _sync(files.folder)


def _set_wal_mode(file: Path) -> None:
    """Set WAL mode in the header of a closed database, and make it durable: this switch needs no journal.

    The versions for writing and for reading: https://www.sqlite.org/fileformat2.html, 1.3.3.
    """
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.pwrite(descriptor, bytes([_WAL_VERSION, _WAL_VERSION]), _VERSIONS_AT)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
