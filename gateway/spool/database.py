"""Read and write the spool's files in one worker thread: an SQLite database and a copy of its checkpoint.

The database is in WAL mode with `synchronous=FULL`, unless configured otherwise: a committed record survives a power
cut. The counts of the ledger are committed in the same transaction as the records they count, so they always agree.
Damage is detected when the file is opened and when records are read, and is repaired at once. It never fails a start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO, TypeVar

import orjson
import structlog

from gateway.common.own_files import open_or_make, set_aside_foreign
from gateway.common.seq_ranges import SeqRanges
from gateway.settings.sections import Sync
from gateway.spool.calculations import read_states, states_on_disk
from gateway.spool.checkpoint import Checkpoint, CheckpointFile, encode_checkpoint, read_slots, unseal
from gateway.spool.commit import Commit, allocated, room_for_records, used
from gateway.spool.errors import Damaged, damage_raised, is_damage, is_no_room
from gateway.spool.files import ADOPTED_ROW, FIRST_STATE_ROW, PAGE, SELECT_ROWS, Row, decode_text
from gateway.spool.limits import Limits, Reserve, cost_of
from gateway.spool.recovery import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import WhenFull
    from gateway.spool.batch import Batch, CommitResult
    from gateway.spool.files import Replacement, Spooled, SpoolFiles
    from gateway.spool.integrity import Inventory

log = structlog.get_logger(__name__)

T = TypeVar("T")

SHRINK_FROM, SHRINK_TO = 16 * 2**20, 4 * 2**20
"""A database of at least the first number of bytes is shrunk when at most the second number is in use."""

REBUILD_AGAIN = 5.0
"""Seconds before a failed rebuild (such as on a full disk) is repeated; a rebuild reads the whole database."""

LOCK_ATTEMPTS, LOCK_PAUSE = 5, 0.05
"""Attempts to lock the spool, and seconds between them."""

SHRINK_EVERY = 1000
"""Commits between two attempts to shrink while records are left: shrinking costs as much as writing them."""


class SpoolDatabase:
    """The records on disk. Every method runs in the same worker thread."""

    def __init__(self, files: SpoolFiles, max_size: int, when_full: WhenFull, sync: Sync = Sync.FULL) -> None:
        self.files = files
        self.limits = Limits(max_size)
        self.new_name = secrets.token_hex(4)
        """Name of the spool if it has to be created."""
        self.state = Checkpoint("")
        self.pending = SeqRanges()
        self.has_damage_to_settle = False
        """Whether the next commit must set aside and count damaged records."""
        self.states: dict[str, bytes] = {}
        """The states of calculations by their names, as committed."""
        self._state_rows: dict[str, int] = {}
        self._unsaved: dict[str, bytes] = {}  # states that a rebuilt database lacks
        self._when_full = when_full
        self._sync = sync
        self._slots = CheckpointFile(files.slots)
        self._reserve = Reserve(files.reserve, self.limits.reserve)
        self._damaged: dict[int, Row | None] = {}  # None if the record is already in the set-aside file
        self._lost = 0
        self._readable_again: list[SeqRange] = []
        self._rebuild_error: Exception | None = None  # why the database could not be rebuilt
        self._rebuild_at = 0.0  # when the rebuild is repeated
        self._db: sqlite3.Connection | None = None
        self._lock: TextIO | None = None

    # -- opening and closing --

    def open(self) -> None:
        """Open, create or rebuild the spool; then `state` and `pending` describe its contents.

        Raises `BlockingIOError` if another gateway uses it, else `OSError` or `sqlite3.OperationalError` if the disk
        refuses.
        """
        self.files.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            try:
                self._open()
            except (OSError, sqlite3.Error) as error:
                if not is_no_room(error):
                    raise
                self._reserve.release()
                self._open()
        except BaseException:
            self.close()
            raise

    def expected(self) -> tuple[str, int]:
        """Return the probable name and next sequence number of a spool that can't be opened now."""
        with suppress(OSError):
            known = read_slots(self.files.slots).newest
            if known is not None:
                return known.spool, known.next
        return self.new_name, 1

    def _open(self) -> None:
        set_aside_foreign(self.files.database)
        slots = read_slots(self.files.slots)
        self._slots.open()
        self.states = {name: saved.state for name, saved in states_on_disk(self.files).items()}
        self.state, found = rebuild.recover(self.files, slots, self.new_name)
        self._begin(found)
        self._save(self.state)

    def _begin(self, found: Inventory) -> None:
        """Start to use an undamaged database with these records."""
        self.pending = found.pending
        db = sqlite3.connect(self.files.db, isolation_level=None, check_same_thread=False)
        try:
            self._configure(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        self._reserve.allocate()
        known = read_states(db)
        self._state_rows = {name: saved.row for name, saved in known.items()}
        self._unsaved = {name: state for name, state in self.states.items() if name not in known}

    def _configure(self, db: sqlite3.Connection) -> None:
        db.text_factory = decode_text
        [(mode,)] = db.execute("pragma journal_mode = wal")
        if mode != "wal":
            raise sqlite3.OperationalError(f"{self.files.db} can't be used in WAL mode: is it on a local disk?")
        for pragma in (
            f"synchronous = {self._sync}", "secure_delete = off", "temp_store = memory",
            f"wal_autocheckpoint = {self.limits.log_pages}",
            f"journal_size_limit = {2 * self.limits.log_pages * PAGE}",
        ):  # fmt: skip
            db.execute(f"pragma {pragma}")
        db.execute("select 1 from records limit 1")  # allocates the log's index

    def _take_lock(self) -> None:
        """Lock out other gateways: two would send each record twice. Readers are not locked out."""
        self._lock = os.fdopen(open_or_make(self.files.lock), "r+")
        for attempt in range(LOCK_ATTEMPTS):  # a command that looks for a running gateway locks it briefly
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < LOCK_ATTEMPTS:
                    time.sleep(LOCK_PAUSE)
            else:
                return
        self._lock.close()
        raise BlockingIOError(errno.EAGAIN, f"{self.files.db} is in use by another gateway")

    def close(self) -> None:
        """Close the files and release the lock."""
        self._close_database()
        self._slots.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _close_database(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):  # records that can't be checkpointed stay in the log
                db.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        """The open database. Repeats a failed rebuild after `REBUILD_AGAIN`."""
        if self._db is None:
            if self._rebuild_error is not None and time.monotonic() < self._rebuild_at:
                raise self._rebuild_error
            self._rebuild(Damaged("it could not be rebuilt before"))
        assert self._db is not None  # noqa: S101 - made by the rebuild
        return self._db

    # -- damage --

    def _repairing(self, work: Callable[[], T]) -> T:
        """Run `work` on the database; if it finds damage, rebuild the database and run it once more."""
        try:
            return work()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if not is_damage(error):
                raise
            self._rebuild(error)
        return work()

    def _rebuild(self, why: Exception) -> None:
        self._close_database()
        known = replace(self.state, pending=list(self.pending))
        self._reserve.release()
        try:
            self.state, found, lost = rebuild.rebuild(self.files, known, exact=True, certain=True, why=why)
            self._lost += lost
            # the rebuild has found an undamaged copy of these
            self._readable_again += [(seq, seq) for seq in self._damaged if seq in found.pending]
            self._damaged.clear()
            self.has_damage_to_settle = True
            self._begin(found)
        except (OSError, sqlite3.Error) as error:
            self._rebuild_error, self._rebuild_at = error, time.monotonic() + REBUILD_AGAIN
            raise
        self._save(self.state)

    # -- reading --

    def read(self, ranges: list[SeqRange], most: int) -> tuple[list[Spooled], list[SeqRange]]:
        """Return at most `most` of the stored records in some ranges, and the ranges that were not read.

        The next commit sets aside the damaged ones. Raises `sqlite3.Error` if the disk can't be read.
        """
        return self._repairing(lambda: self._read(ranges, most))

    def _read(self, ranges: list[SeqRange], most: int) -> tuple[list[Spooled], list[SeqRange]]:
        _ = self._connection  # rebuilt, where it has to be, before anything depends on its state
        rows: list[Row] = []
        rest = list(ranges)
        with damage_raised():
            while rest and len(rows) < most:
                first, last = rest.pop(0)
                found = self._read_range(first, last, most - len(rows))
                rows += found
                if found and len(rows) == most and found[-1].seq < last:
                    rest.insert(0, (found[-1].seq + 1, last))
        return [row.spooled for row in rows if row.seq not in self._damaged], rest

    def _read_range(self, first: int, last: int, most: int) -> list[Row]:
        """Return the first records of a range. Raises `Damaged` if a record is missing."""
        query = f"{SELECT_ROWS} where seq between ? and ? order by seq limit ?"
        rows = [Row.of(columns) for columns in self._connection.execute(query, (first, last, most))]
        if len(rows) == most:
            last = rows[-1].seq
        if len(rows) != self.pending.count(first, last):
            raise Damaged(f"of the records {first} to {last} some are missing")
        for row in rows:
            if not row.head_is_right:
                raise Damaged(f"the head of record {row.seq} differs from its checksum")
            if not row.is_right:
                self._damaged[row.seq] = row
                self.has_damage_to_settle = True
        return rows

    # -- writing --

    def write(self, batch: Batch) -> CommitResult:
        """Commit a batch; if the disk is full, without puts and replacements, see `CommitResult.complete`.

        Raises `sqlite3.Error` or `OSError`, and changes nothing, if that fails too.
        """
        try:
            return self._repairing(lambda: self._write(batch))
        except (sqlite3.Error, OSError):
            self._save(self._counted(batch, batch.puts))
            raise

    def _write(self, batch: Batch) -> CommitResult:
        _ = self._connection  # rebuilt, where it has to be, before anything depends on its state
        self._set_aside_damaged()
        if self._reserve.restore() or self._fits_inside(batch.puts):
            try:
                return self._commit(batch, batch.puts, batch.replacements)
            except sqlite3.Error as error:
                if not is_no_room(error):
                    raise
                self._reserve.release()
        with suppress(sqlite3.OperationalError):
            self._connection.execute("pragma wal_checkpoint(passive)")
        result = self._commit(batch, [], [])
        result.complete = not (batch.puts or batch.replacements)
        return result

    def room(self) -> int:
        """Return the bytes of pages that are available for records."""
        return self._repairing(lambda: room_for_records(self._connection, self.limits))

    def adopted(self, spool: str) -> list[SeqRange]:
        """Return the numbers of the records of another spool that the last adoption committed."""
        query = "select state from state where id = ?"
        row = self._repairing(lambda: self._connection.execute(query, (ADOPTED_ROW,)).fetchone())
        body = unseal(row[0]) if row and isinstance(row[0], bytes) else None
        if body is None:
            return []
        note = orjson.loads(body)
        return [(first, last) for first, last in note["ranges"]] if note["spool"] == spool else []

    def _set_aside_damaged(self) -> None:
        """Write damaged records into the set-aside file; records that can't be written stay in the spool."""
        for seq, row in self._damaged.items():
            if row is not None:
                with suppress(OSError):
                    rebuild.set_aside_rows(self.files, [row], "its checksum is wrong")
                    self._damaged[seq] = None

    def _fits_inside(self, puts: list[Spooled]) -> bool:
        """Return True if records fit into the free pages of the database, even if the disk is full."""
        free: int = self._connection.execute("pragma freelist_count").fetchone()[0]
        return sum(cost_of(record) for record in puts) <= free * PAGE // 2

    def _counted(self, batch: Batch, without: list[Spooled]) -> Checkpoint:
        """Return the checkpoint with the counts of the ledger, less the readings that are not on disk."""
        counts = batch.counts.copy()
        counts["acquired"] -= batch.not_included + sum(record.readings for record in without)
        return replace(self.state, counts=counts, next=batch.next_seq, turn=self.state.turn + 1)

    def _commit(self, batch: Batch, puts: list[Spooled], replacements: list[Replacement]) -> CommitResult:
        """Commit confirmations, damaged records and puts. Raises `sqlite3.Error`, and then changes nothing."""
        state = self._counted(batch, [] if puts else batch.puts)
        db = self._connection
        commit = Commit(db, self.limits, state, self.pending)
        try:
            db.execute("begin immediate")
            for span in batch.confirms:
                commit.confirm(span, batch.set_aside)
            for seq, row in self._damaged.items():
                if row is None:
                    commit.drop_damaged(seq)
            for span in batch.handed_over:
                commit.hand_over(span)
            commit.count_lost(self._lost)
            commit.put(puts, self._when_full)
            states = self._unsaved | batch.states if puts or not batch.puts else {}
            commit.save_states(states, self._rows_of(states))
            if puts and batch.adopted is not None:
                commit.note_adopted(*batch.adopted)
            for replacement in replacements:
                commit.replace(replacement)
            data = commit.finish()
            db.execute("commit")
        except BaseException:
            commit.undo()
            if db.in_transaction:
                db.execute("rollback")
            raise
        self.state = state
        self._note_saved(states)
        self._damaged = {seq: row for seq, row in self._damaged.items() if row is not None}
        self._lost, self.has_damage_to_settle = 0, bool(self._damaged)
        commit.result.readable_again, self._readable_again = self._readable_again, []
        self._slots.write(data, state.turn)
        self._shrink()
        return commit.result

    def _rows_of(self, states: Iterable[str]) -> dict[str, int]:
        """Return the rows of states; new names have the next rows."""
        following = max(self._state_rows.values(), default=FIRST_STATE_ROW - 1) + 1
        for name in states:
            if name not in self._state_rows:
                self._state_rows[name] = following
                following += 1
        return self._state_rows

    def _note_saved(self, states: dict[str, bytes]) -> None:
        if states:
            self.states |= states
            self._unsaved = {}

    def _save(self, state: Checkpoint) -> None:
        """Write the ledger into the checkpoint file alone; the database does not change."""
        self.state = state
        self._slots.write(encode_checkpoint(state, self.pending), state.turn)

    def _shrink(self) -> None:
        """Return free pages to the disk after a long backlog."""
        if self.state.records and self.state.commit % SHRINK_EVERY:
            return
        db = self._connection
        if allocated(db) < SHRINK_FROM or used(db) > SHRINK_TO:
            return
        with suppress(sqlite3.Error):  # a reader has it open, or the disk is full: try later
            db.execute("vacuum")
            db.execute("pragma wal_checkpoint(truncate)")
