"""The spool: records wait here, on disk, until they are confirmed.

Records are committed in groups, by one worker thread; only then may they be leased to be sent. A sequence number is
given once and never again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import structlog

from gateway.model.ledger import Ledger
from gateway.settings.sections import WhenFull
from gateway.spool.database import SpoolDatabase
from gateway.spool.errors import is_no_room
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

RETRY = 0.25
"""Seconds before a commit that failed (a full disk) is tried again."""


class Spool:
    """The records of one gateway that are not confirmed yet, bounded in bytes.

    Used from the event loop. `run` is the task that commits; leaving the context commits the rest.
    """

    def __init__(self, settings: SpoolSection, gateway: str) -> None:
        self.id = ""
        self.ledger = Ledger()
        self.size = 0
        self._database = SpoolDatabase(
            SpoolFiles(settings.folder, gateway), settings.max_size, settings.when_full, settings.sync
        )
        self._drops_when_full = settings.when_full is WhenFull.DROP_OLDEST
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._next_seq = 1
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

    async def __aenter__(self) -> Self:
        await self._in_thread(self._database.open)
        state = self._database.state
        self.id, self.size, self._next_seq = state.spool, state.size, state.next
        self.ledger = Ledger.of(state.counts, state.readings)
        self._oldest_stored = self._database.pending.first
        self._read_queue.release(self._database.pending)
        if not self.ledger.pending:
            self._is_empty.set()
        self._has_room.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while await self.commit() and self._write_queue.puts:
            pass
        if self._write_queue.puts:  # the disk takes nothing, and time is up
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
        dropped = self._write_queue.drop_to(size)
        self.ledger.pending -= dropped
        self.ledger.dropped[self._disk_trouble] += dropped

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
        """Remove records that have arrived; `set_aside` maps a record to its readings that the store refused."""
        self._write_queue.confirm(ranges, set_aside or {})
        if self._hurry:
            self._has_work.set()
        elif self._confirm_timer is None:
            self._confirm_timer = asyncio.get_running_loop().call_later(CONFIRM_DELAY, self._has_work.set)

    # -- committing --

    async def run(self) -> None:
        """Commit puts and confirmations, in groups, until cancelled."""
        while True:
            await self._has_work.wait()
            await asyncio.sleep(GROUP_COMMIT)
            if not await self.commit():
                await asyncio.sleep(RETRY)

    async def commit(self) -> bool:
        """Commit all that has gathered, now; returns False if the disk did not take it, and it has to wait on."""
        self._has_work.clear()
        if self._confirm_timer is not None:
            self._confirm_timer.cancel()
            self._confirm_timer = None
        for builder in list(self._open_builders):
            self.close_record(builder)
        batch = self._write_queue.next_batch(self.ledger.counts(), self._next_seq, self._database.limits.commit)
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
        if isinstance(error, sqlite3.Error | OSError):
            self._write_queue.give_back(batch, confirms=True)
            self._has_work.set()
            self._report_disk("disk_full" if is_no_room(error) else "not_writable", error)
            return False
        result = write.result()
        if not result.complete:
            self._write_queue.give_back(batch, confirms=False)
        self._account(result)
        self._report_disk("" if result.complete else "disk_full")
        return result.complete

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

    def _report_disk(self, trouble: str, error: Exception | None = None) -> None:
        """Note why the disk takes no records, "" if it does; a change is logged once."""
        before, self._disk_trouble = self._disk_trouble, trouble
        if trouble and not before:
            log.error("spool.not_writable", file=self.path, reason=trouble, error=str(error or ""))
        elif before and not trouble:
            log.info("spool.writable_again", file=self.path)
        self._bound_queue()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))
