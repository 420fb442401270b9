"""The spool: records wait here, on disk, until they are confirmed.

Records are committed in groups, by one worker thread; only then may they be leased to be sent. A sequence number is
given once and never again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import structlog

from gateway.model.ledger import Ledger
from gateway.settings.sections import WhenFull
from gateway.spool.adopt import other_spools
from gateway.spool.database import SpoolDatabase
from gateway.spool.errors import is_no_room, is_refused_by_disk, may_pass
from gateway.spool.files import Replacement, Spooled, SpoolFiles
from gateway.spool.read_queue import ReadQueue
from gateway.spool.write_queue import WriteQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import SpoolSection
    from gateway.spool.batch import Batch, CommitResult
    from gateway.spool.record_builder import RecordBuilder

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

GROUP_COMMIT = 0.04
"""Seconds in which puts gather for one commit."""

CONFIRM_DELAY = 0.25
"""Seconds that confirmations may wait for a commit of puts to go with, since each commit costs; confirmations that a
crash takes are sent again."""

QUEUE_BYTES = 32 * 2**20
"""Bytes that may wait for their commit; then acquisition waits too."""

DISK_FULL, NOT_WRITABLE = "disk_full", "not_writable"
"""Reasons of records that are dropped because the disk does not take them."""

ISOLATE_AFTER = 2
"""Failed commits in a row after which each record is committed alone."""

MAX_OPEN_PAUSE = 5.0
"""Seconds between two attempts to open a database on a disk that refuses, at most."""

MAX_SHOWN = 80
"""Characters of a refused range in the log."""

RETRY = 0.25
"""Seconds before a commit that failed (a full disk) is tried again."""


class Spool:
    """The records of one gateway that are not confirmed yet, bounded in bytes.

    Used from the event loop. `run` is the task that commits; leaving the context commits the rest.

    Entering the context raises for a spool that another gateway uses, that a newer version has written, or that may
    not be opened. A disk that is full, failing or read-only is no error: records wait in memory, and go to the disk
    when it takes them. `renumber` makes the payload of such a record for the name and the number that the spool then
    proves to have; without it those records are dropped and counted.
    """

    def __init__(
        self, settings: SpoolSection, gateway: str, renumber: Callable[[bytes, str, int], bytes] | None = None
    ) -> None:
        self._renumber = renumber
        self._in_memory = False
        self._open_at, self._open_pause = 0.0, RETRY
        self.id = ""
        self.ledger = Ledger()
        self.size = 0
        self._database = SpoolDatabase(
            SpoolFiles(settings.folder, gateway), settings.max_size, settings.when_full, settings.sync
        )
        self._drops_when_full = settings.when_full is WhenFull.DROP_OLDEST
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._next_seq = self._first_in_memory = 1
        self._open_builders: dict[RecordBuilder[Any], None] = {}  # in the order of their first scans
        self._write_queue = WriteQueue()
        self._read_queue = ReadQueue(self._read)
        self._oldest_stored: int | None = None
        self._committing: list[Spooled] = []
        self._has_work = asyncio.Event()
        self._confirm_timer: asyncio.TimerHandle | None = None
        self._hurry = False
        self._has_room = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._disk_trouble = ""  # why the disk takes no records: the reason of those that are dropped meanwhile
        self._failures = 0  # commits in a row that failed for another reason than the disk
        self.counts: Counter[str] = Counter()
        """Confirmations refused, and commits that failed for another reason than the disk; since the start."""

    async def __aenter__(self) -> Self:
        self._has_room.set()
        self._is_empty.set()
        try:
            await self._in_thread(self._database.open)
        except (OSError, sqlite3.Error) as error:
            if not may_pass(error):
                self._thread.shutdown()
                raise
            self._in_memory = True
            self.id, self._next_seq = await self._in_thread(self._database.expected)
            self._first_in_memory = self._next_seq
            self._report_disk(DISK_FULL if is_no_room(error) else NOT_WRITABLE, error)
            self._has_work.set()
        else:
            self._load()
        await self._warn_of_others()
        return self

    async def _warn_of_others(self) -> None:
        """Log which spools of other gateway ids have records: the id may have been changed with a backlog."""
        files = self._database.files
        with suppress(OSError):
            for other in await self._in_thread(other_spools, files.folder, files.gateway):
                log.warning("spool.other_gateway", gateway=other.gateway, records=other.records,
                            readings=other.readings, hint=f"if gateway {other.gateway} is gone, take its records "
                            f"over: lineside spool adopt CONFIG --from {other.gateway}")  # fmt: skip

    def _load(self) -> None:
        """Take over the contents of the database that was opened; the ledger may have counted before."""
        state, ledger = self._database.state, self.ledger
        self.id, self.size, self._next_seq = state.spool, state.size, max(self._next_seq, state.next)
        stored = Ledger.of(state.counts, state.readings)
        ledger.acquired += stored.acquired
        ledger.unchanged += stored.unchanged
        ledger.confirmed += stored.confirmed
        ledger.pending += stored.pending
        ledger.dropped.update(stored.dropped)
        self._oldest_stored = self._database.pending.first
        self._read_queue.release(self._database.pending)
        if ledger.pending:
            self._is_empty.clear()

    async def _open_later(self) -> bool:
        """Try to open a database that could not be opened at the start; returns True if it is open now."""
        now = asyncio.get_running_loop().time()
        if now < self._open_at:
            return False
        try:
            await self._in_thread(self._database.open)
        except (OSError, sqlite3.Error) as error:
            self._open_pause = min(2 * self._open_pause, MAX_OPEN_PAUSE)
            self._open_at = now + self._open_pause
            self._report_disk(DISK_FULL if is_no_room(error) else NOT_WRITABLE, error)
            return False
        state = self._database.state
        if state.spool != self.id or state.next > self._first_in_memory:
            self._renumber_waiting(state.spool, max(self._next_seq, state.next))
        self._in_memory = False
        self._load()
        log.info("spool.opened", file=self.path, waiting=self._write_queue.readings)
        return True

    def _renumber_waiting(self, spool: str, seq: int) -> None:
        """Give the records that wait in memory numbers from `seq` on, in the spool of that name."""
        records = self._write_queue.take_puts()
        for record in records:
            try:
                if self._renumber is None:
                    raise LookupError("no codec")  # noqa: TRY301 - as if it could not be decoded
                payload = self._renumber(record.payload, spool, seq)
            except Exception:  # noqa: BLE001 - one record that no codec takes must not cost the others
                self._drop(NOT_WRITABLE, record.readings)
            else:
                self._write_queue.put([Spooled(seq, record.topic, payload, record.readings)])
                seq += 1
        self._next_seq = seq

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while (await self.commit() or self._failures) and self._write_queue.puts:
            pass
        if self._write_queue.puts:  # the disk takes nothing, and time is up
            log.error("spool.records_lost", file=self.path, readings=self._write_queue.readings)
            self._drop_to(0)
            await self.commit()  # of the ledger, which needs no room
        await self._in_thread(self._database.close)
        self._thread.shutdown()

    @property
    def path(self) -> str:
        """The file that holds the records."""
        return str(self._database.files.db)

    @property
    def next_seq(self) -> int:
        """The sequence number of the next record."""
        return self._next_seq

    @property
    def oldest_seq(self) -> int:
        """The sequence number of the oldest record that is not confirmed; if there is none, that of the next."""
        waiting = [record.seq for records in (self._committing, self._write_queue.puts) for record in records[:1]]
        stored = [] if self._oldest_stored is None else [self._oldest_stored]
        return min([self._next_seq, *waiting, *stored])

    # -- records come in --

    def put(self, builder: RecordBuilder[T], item: T, readings: int) -> None:
        """Take a scan with so many readings; it becomes part of a record at the next commit, or when that is large.

        It counts as pending from now on. Await `room` now and then.
        """
        builder.add(item, readings)
        self.ledger.pending += readings
        self._is_empty.clear()
        self._open_builders[builder] = None
        if builder.is_large:
            self.close_record(builder)
        self._has_work.set()

    def close_record(self, builder: RecordBuilder[Any]) -> None:
        """Make a record of the scans in a builder now, several where they are many."""
        if builder not in self._open_builders:
            return
        records = builder.close(self._next_seq)
        self._next_seq += len(records)
        del self._open_builders[builder]
        if builder.failed_readings:
            self._drop("not_encodable", builder.failed_readings)
            log.error("record.not_encodable", topic=builder.topic, readings=builder.failed_readings,
                      exc_info=builder.error)  # fmt: skip
        self._write_queue.put(records)
        self._bound_queue()

    def _bound_queue(self) -> None:
        """Keep the write queue within its bound: acquisition waits, or the newest records are dropped."""
        if self._disk_trouble and self._drops_when_full:
            self._drop_to(QUEUE_BYTES)
        if self._write_queue.size > QUEUE_BYTES:
            self._has_room.clear()
        else:
            self._has_room.set()

    def _drop_to(self, size: int) -> None:
        """Drop the newest records of the write queue until at most `size` bytes are left."""
        if dropped := self._write_queue.drop_to(size):
            self._drop(self._disk_trouble or NOT_WRITABLE, dropped)

    def _drop(self, reason: str, readings: int) -> None:
        self.ledger.pending -= readings
        self.ledger.dropped[reason] += readings

    async def room(self) -> None:
        """Wait while too much waits to be committed."""
        await self._has_room.wait()

    # -- records go out --

    async def fresh(self) -> None:
        """Wait until `lease_fresh` has something."""
        await self._read_queue.wait_for_fresh()

    async def backlog(self) -> None:
        """Wait until `lease_backlog` has something."""
        await self._read_queue.wait_for_backlog()

    async def sendable(self) -> None:
        """Wait until there is something to lease."""
        await self._read_queue.wait_for_any()

    def lease_fresh(self, most: int) -> list[Spooled]:
        """Return at most `most` of the records that were just committed; they stay in the spool."""
        return self._read_queue.lease_fresh(most)

    async def lease_backlog(self, most: int) -> list[Spooled]:
        """Return the oldest records of the backlog, in the order of their numbers; they stay in the spool."""
        return await self._read_queue.lease_backlog(most)

    async def lease_in_order(self, most: int) -> list[Spooled]:
        """Return the oldest records to send, in the order of their numbers; they stay in the spool."""
        return await self._read_queue.lease_in_order(most)

    def release(self, ranges: Iterable[SeqRange]) -> None:
        """Put records that were leased, and may not have arrived, into the backlog."""
        self._read_queue.release(ranges)

    async def empty(self) -> None:
        """Wait until every record is confirmed."""
        self._hurry = True
        self._has_work.set()
        try:
            await self._is_empty.wait()
        finally:
            self._hurry = False

    async def _read(self, ranges: list[SeqRange], most: int) -> tuple[list[Spooled], list[SeqRange]]:
        found = await self._in_thread(self._database.read, ranges, most)
        if self._database.has_damage_to_settle:
            self._has_work.set()
        return found

    def replace(
        self, seq: int, topic: str, pieces: Iterable[tuple[Callable[[int], bytes], int]], too_large: int
    ) -> None:
        """Put smaller records in place of a leased one, all in one commit.

        Each of `pieces` is a function that makes the payload for a sequence number, and its number of readings;
        `too_large` is the number of readings that are in none of them.
        """
        made = []
        for encode, readings in pieces:
            made.append(Spooled(self._next_seq, topic, encode(self._next_seq), readings))
            self._next_seq += 1
        self._write_queue.replace(Replacement(seq, made, too_large))
        self._has_work.set()

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int] | None = None) -> None:
        """Remove records that have arrived; `set_aside` maps a record to its readings that the store refused.

        A range that is not made of numbers given so far is refused as a whole, and counted: nobody can confirm what
        was never sent.
        """
        valid: list[SeqRange] = []
        for span in ranges:
            if self._is_issued(span):
                valid.append(span)
            else:
                self.counts["confirmations_refused"] += 1
                if self.counts["confirmations_refused"] == 1:
                    log.warning("spool.confirmation_refused", range=str(span)[:MAX_SHOWN], next=self._next_seq)
        refused = {seq: n for seq, n in (set_aside or {}).items() if self._is_issued((seq, seq)) and _is_count(n)}
        self._write_queue.confirm(valid, refused)
        if self._hurry:
            self._has_work.set()
        elif self._confirm_timer is None:
            self._confirm_timer = asyncio.get_running_loop().call_later(CONFIRM_DELAY, self._has_work.set)

    def _is_issued(self, span: SeqRange) -> bool:
        if len(span) != 2 or not all(type(number) is int for number in span):  # noqa: PLR2004 - first and last
            return False
        return 0 < span[0] <= span[1] < self._next_seq

    # -- committing --

    async def run(self) -> None:
        """Commit puts and confirmations, in groups, until cancelled; nothing else ends it."""
        while True:
            await self._has_work.wait()
            await asyncio.sleep(GROUP_COMMIT)
            try:
                written = await self.commit()
            except Exception as error:  # noqa: BLE001 - an error in Lineside: the records must go on all the same
                self._log_failure(error)
                self._has_work.set()
                written = False
            if not written:
                await asyncio.sleep(RETRY)

    async def commit(self) -> bool:
        """Commit all that has gathered, now; returns False if the disk did not take it, and it has to wait on."""
        self._has_work.clear()
        if self._confirm_timer is not None:
            self._confirm_timer.cancel()
            self._confirm_timer = None
        for builder in list(self._open_builders):
            self.close_record(builder)
        if self._in_memory and not await self._open_later():
            self._has_work.set()
            return False
        most = 0 if self._failures >= ISOLATE_AFTER else self._database.limits.commit
        batch = self._write_queue.next_batch(self.ledger.counts(), self._next_seq, most)
        self._committing = batch.puts
        write = asyncio.get_running_loop().run_in_executor(self._thread, self._database.write, batch)
        try:
            await asyncio.wait({write})
        finally:
            if not write.done():  # cancelled: a stop must not leave a commit without its account
                await asyncio.wait({write})
            written = self._settle(batch, write)
            self._committing = []
        return written

    def _settle(self, batch: Batch, write: asyncio.Future[CommitResult]) -> bool:
        error = write.exception()
        if error is not None and is_refused_by_disk(error):
            self._write_queue.give_back(batch, confirms=True)
            self._has_work.set()
            self._report_disk(DISK_FULL if is_no_room(error) else NOT_WRITABLE, error)
            return False
        if error is not None:
            self._settle_failure(batch, error)
            return False
        result = write.result()
        if not (self._write_queue.puts and self._failures >= ISOLATE_AFTER):
            self._failures = 0
        if not result.complete:
            self._write_queue.give_back(batch, confirms=False)
        self._account(result)
        self._report_disk("" if result.complete else DISK_FULL)
        return result.complete

    def _settle_failure(self, batch: Batch, error: BaseException) -> None:
        """Try a batch again without the part that SQLite may not take, after an error that is not the disk's.

        First without its confirmations: those records are sent and confirmed again. Then without its replacements:
        those records are sent again. Then one record at a time, and a record that fails alone is dropped and counted.
        """
        self._failures += 1
        self._log_failure(error)
        self._has_work.set()
        self._read_queue.release(batch.confirms)
        if self._failures > 1:
            self._read_queue.release((replacement.seq, replacement.seq) for replacement in batch.replacements)
            batch.replacements = []
        if self._failures > ISOLATE_AFTER and len(batch.puts) == 1:
            self._drop(NOT_WRITABLE, batch.puts[0].readings)
            batch.puts = []
        self._write_queue.give_back(batch, confirms=False)

    def _log_failure(self, error: BaseException) -> None:
        """Count a failure that is not the disk's; the first one is logged with its traceback."""
        self.counts["commits_failed"] += 1
        if self.counts["commits_failed"] == 1:
            log.error("spool.commit_failed", file=self.path, exc_info=error)

    def _account(self, result: CommitResult) -> None:
        """Update the ledger and the queue of records to send after a commit."""
        ledger = self.ledger
        ledger.confirmed += result.confirmed
        ledger.dropped.update(
            rejected_by_store=result.set_aside,
            spool_full=result.overflow,
            damaged=result.damaged,
            too_large=result.too_large,
        )
        ledger.dropped = +ledger.dropped
        gathering = sum(builder.readings for builder in self._open_builders)
        ledger.pending = result.readings + self._write_queue.readings + gathering
        self.size = result.size
        self._oldest_stored = result.oldest
        if not ledger.pending:
            self._is_empty.set()
        if self._write_queue.puts or not result.complete:
            self._has_work.set()
        self._read_queue.add(result.stored, result.dropped_to)
        self._read_queue.release(result.readable_again)

    def _report_disk(self, trouble: str, error: BaseException | None = None) -> None:
        """Note why the disk takes no records, "" if it does; a change is logged once."""
        before, self._disk_trouble = self._disk_trouble, trouble
        if trouble and not before:
            log.error("spool.not_writable", file=self.path, reason=trouble, error=str(error or ""))
        elif before and not trouble:
            log.info("spool.writable_again", file=self.path)
        self._bound_queue()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0
