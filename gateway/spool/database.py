"""The spool's files, which one worker thread writes: an SQLite database, and its own account of itself beside it.

WAL mode with `synchronous=FULL`, unless configured otherwise: what is committed survives a power cut. The ledger's
counts are committed in the same transaction as the records they count, so the two agree whatever happens. Damage is
found out when the file is opened and when records are read, and mended at once: a start never fails for it.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO, TypeVar

import structlog

from gateway.common.seq_ranges import SeqRanges
from gateway.settings.sections import Sync
from gateway.spool.checkpoint import Checkpoint, CheckpointFile, encode_checkpoint, read_checkpoint
from gateway.spool.commit import Commit, Outcome, used, whole
from gateway.spool.files import PAGE, Damaged, is_damage, is_no_room
from gateway.spool.limits import Limits, Reserve, cost_of
from gateway.spool.recovery import rebuild as spool_mend
from gateway.spool.rows import ROWS, Found, Row, examine, text_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import WhenFull
    from gateway.spool.files import Replaced, Spooled, SpoolFiles

log = structlog.get_logger()

T = TypeVar("T")

SHRINK_FROM, SHRINK_TO = 16 * 2**20, 4 * 2**20
"""A database of this many bytes is made small again when what is left in it is this little."""

SHRINK_EVERY = 1000
"""Commits between two attempts at that, as long as something is left: it costs as much as writing it."""


@dataclass(slots=True)
class Batch:
    """What one commit is to do, and the ledger's counts at the time it was gathered.

    `set_aside` tells how many readings of a record its store has refused; it is confirmed in this batch. `next` is
    the next sequence number. `held` are the readings in `counts` that are neither in this batch nor on disk.
    """

    puts: list[Spooled]
    confirms: list[SeqRange]
    set_aside: dict[int, int]
    replaced: list[Replaced]
    counts: Counter[str]
    next: int
    held: int = 0


class SpoolDatabase:
    """The records on disk. Every method runs in the same worker thread."""

    def __init__(self, files: SpoolFiles, max_size: int, when_full: WhenFull, sync: Sync = Sync.FULL) -> None:
        self.files = files
        self.limits = Limits(max_size)
        self.state = Checkpoint("")
        self.pending = SeqRanges()
        self.unsettled = False
        """Whether the next commit has something to do of its own accord."""
        self._when_full = when_full
        self._sync = sync
        self._slots = CheckpointFile(files.slots)
        self._reserve = Reserve(files.reserve, self.limits.reserve)
        self._bad: dict[int, Row | None] = {}  # None for what is in the file of damaged records already
        self._lost = 0
        self._again: list[SeqRange] = []
        self._db: sqlite3.Connection
        self._lock: TextIO

    # -- opening and closing --

    def open(self) -> None:
        """Open the spool, make it, or mend it; then `state` and `pending` say what is in it.

        Raises `BlockingIOError` where another gateway uses it, else `OSError` or `sqlite3.OperationalError` where the
        disk says no.
        """
        self.files.folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            try:
                self._open()
            except (OSError, sqlite3.Error) as error:
                if not is_no_room(error):
                    raise
                self._reserve.spend()
                self._open()
        except BaseException:
            self._lock.close()
            raise

    def _open(self) -> None:
        self._slots.open()
        spool_mend.complete_interrupted(self.files)
        known = read_checkpoint(self.files.slots)
        if known is None and not self.files.db.exists() and not self.files.wal.exists():
            self.state, found = spool_mend.create(self.files)
        else:
            try:
                self.state, found = examine(self.files.db, known)
            except (Damaged, sqlite3.Error, FileNotFoundError) as error:
                if not (is_damage(error) or isinstance(error, FileNotFoundError)):
                    raise
                self.state, found, _ = spool_mend.rebuild(self.files, known, exact=False, why=error)
        self._begin(found)
        self._save(self.state)

    def _begin(self, found: Found) -> None:
        """Work with a database that is whole."""
        self.pending = found.pending
        self._db = sqlite3.connect(self.files.db, isolation_level=None, check_same_thread=False)
        self._db.text_factory = text_of
        for pragma in (
            "journal_mode = wal", f"synchronous = {self._sync}", "secure_delete = off", "temp_store = memory",
            f"wal_autocheckpoint = {self.limits.log_pages}",
            f"journal_size_limit = {2 * self.limits.log_pages * PAGE}",
        ):  # fmt: skip
            self._db.execute(f"pragma {pragma}")
        self._db.execute("select 1 from records limit 1")  # so that the log's index has its room from now on
        self._reserve.take()

    def _take_lock(self) -> None:
        """Be the only gateway on this spool: two would send everything twice. Readers are not kept out."""
        self._lock = self.files.lock.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise BlockingIOError(f"{self.files.db} is in use by another gateway") from None

    def close(self) -> None:
        """Close the files and let others have them."""
        with suppress(sqlite3.Error):  # what can't be brought from the log into the database stays in the log
            self._db.close()
        self._slots.close()
        self._lock.close()

    # -- damage --

    def _mended(self, work: Callable[[], T]) -> T:
        """Do something with the database; where that shows damage, mend it and try once more."""
        try:
            return work()
        except (Damaged, sqlite3.Error) as error:
            if not is_damage(error):
                raise
            self._mend(error)
        return work()

    def _mend(self, why: Exception) -> None:
        with suppress(sqlite3.Error):
            self._db.close()
        known = replace(self.state, pending=list(self.pending))
        self._reserve.spend()
        self.state, found, lost = spool_mend.rebuild(self.files, known, exact=True, why=why)
        self._lost += lost
        self._again += [(seq, seq) for seq in self._bad if seq in found.pending]  # another copy of it was right
        self._bad.clear()
        self.unsettled = True
        self._begin(found)
        self._save(self.state)

    # -- reading --

    def read(self, first: int, last: int) -> list[Spooled]:
        """Return the records that are still there of a range; the next commit sets aside those that are damaged.

        Raises `sqlite3.Error` where the disk can't be read.
        """
        return self._mended(lambda: self._read(first, last))

    def _read(self, first: int, last: int) -> list[Spooled]:
        rows = [Row(*row) for row in self._db.execute(f"{ROWS} where seq between ? and ?", (first, last))]
        if len(rows) != self.pending.count(first, last):
            raise Damaged(f"of the records {first} to {last} some are missing")
        for row in rows:
            if not row.head_is_right:
                raise Damaged(f"the head of record {row.seq} is not what was written")
            if not row.is_right:
                self._bad[row.seq] = row
                self.unsettled = True
        return [row.spooled for row in rows if row.seq not in self._bad]

    # -- writing --

    def write(self, batch: Batch) -> Outcome:
        """Commit a batch, or all of it but the puts where the disk is full; the outcome's `took` says which.

        Raises `sqlite3.Error` or `OSError` and has done nothing where not even that is possible.
        """
        try:
            return self._mended(lambda: self._write(batch))
        except (sqlite3.Error, OSError):
            self._save(self._counted(batch, batch.puts))
            raise

    def _write(self, batch: Batch) -> Outcome:
        self._set_aside()
        if self._reserve.restore() or self._fits_inside(batch.puts):
            try:
                return self._commit(batch, batch.puts, batch.replaced)
            except sqlite3.Error as error:
                if not is_no_room(error):
                    raise
                self._reserve.spend()
        with suppress(sqlite3.OperationalError):
            self._db.execute("pragma wal_checkpoint(passive)")
        outcome = self._commit(batch, [], [])
        outcome.took = not (batch.puts or batch.replaced)
        return outcome

    def _set_aside(self) -> None:
        """Write damaged records into the file for them; what can't be written stays where it is."""
        for seq, row in self._bad.items():
            if row is not None:
                with suppress(OSError):
                    spool_mend.set_aside(self.files, [row], "its checksum is wrong")
                    self._bad[seq] = None

    def _fits_inside(self, puts: list[Spooled]) -> bool:
        """Return whether records fit into pages that confirmed ones have left free, whatever the disk says."""
        free: int = self._db.execute("pragma freelist_count").fetchone()[0]
        return sum(cost_of(record) for record in puts) <= free * PAGE // 2

    def _counted(self, batch: Batch, without: list[Spooled]) -> Checkpoint:
        """Return the state with the ledger's counts as they are without what is not on disk."""
        counts = batch.counts.copy()
        counts["acquired"] -= batch.held + sum(record.readings for record in without)
        return replace(self.state, counts=counts, next=batch.next, turn=self.state.turn + 1)

    def _commit(self, batch: Batch, puts: list[Spooled], replaced: list[Replaced]) -> Outcome:
        """Commit confirmations, what is damaged, and puts; or raise `sqlite3.Error` and have done nothing."""
        state = self._counted(batch, [] if puts else batch.puts)
        commit = Commit(self._db, self.limits, state, self.pending.copy())
        self._db.execute("begin immediate")
        try:
            for span in batch.confirms:
                commit.confirm(span, batch.set_aside)
            for seq, row in self._bad.items():
                if row is None:
                    commit.drop_damaged(seq)
            commit.lost(self._lost)
            commit.put(puts, self._when_full)
            for one in replaced:
                commit.replace(one)
            data = commit.finish()
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise
        self.state, self.pending = state, commit.pending
        self._bad = {seq: row for seq, row in self._bad.items() if row is not None}
        self._lost, self.unsettled = 0, bool(self._bad)
        commit.outcome.again, self._again = self._again, []
        self._slots.write(data, state.turn)
        self._shrink()
        return commit.outcome

    def _save(self, state: Checkpoint) -> None:
        """Write the ledger beside the database alone, where the database is as it was."""
        self.state = state
        self._slots.write(encode_checkpoint(state, self.pending), state.turn)

    def _shrink(self) -> None:
        """Give room back to the disk after a long backlog."""
        if self.state.records and self.state.commit % SHRINK_EVERY:
            return
        if whole(self._db) < SHRINK_FROM or used(self._db) > SHRINK_TO:
            return
        with suppress(sqlite3.Error):  # somebody reads it, or the disk is full: later, then
            self._db.execute("vacuum")
            self._db.execute("pragma wal_checkpoint(truncate)")
