"""Store records on disk until they are confirmed.

One worker thread commits records in groups; only committed records are leased. A sequence number is never used twice.
"""

from __future__ import annotations

import asyncio
import math
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
from gateway.spool.record_ages import RecordAges
from gateway.spool.write_queue import WriteQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from types import TracebackType

    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import SpoolSection
    from gateway.spool.batch import Batch, CommitResult
    from gateway.spool.record_builder import RecordBuilder

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

GROUP_COMMIT = 0.04
"""Seconds for which puts are collected for one commit, at most."""

QUIET = 0.005
"""Seconds without a put after which the wave of scans has ended, and its commit begins, unless another commit began
less than `COMMITS_APART` seconds ago: scans that come more often would each have their own. After a commit without
another before it, one more need not wait: for the late scans of its wave. The time apart is shorter than the usual
publishing interval of OPC UA, whose scans are alone in a commit however long it waits."""

COMMITS_APART = 0.08

CONFIRM_DELAY = 1.1
"""Seconds that confirmations may wait for a commit of puts, because each commit costs: until the next wave of scans
with a period of a second. Records whose confirmations are lost in a crash are sent again."""

QUEUE_BYTES = 32 * 2**20
"""Bytes of records that may wait for their commit; above it acquisition waits too."""

DISK_FULL, NOT_WRITABLE = "disk_full", "not_writable"
"""Drop reasons of records that can't be written to the disk."""

ISOLATE_AFTER = 2
"""Failed commits in a row after which each record is committed alone."""

MAX_OPEN_PAUSE = 5.0
"""Most seconds between two attempts to open a database on a disk that refuses."""

MAX_SHOWN = 80
"""Most characters of a refused range in the log."""

RETRY = 0.25
"""Seconds before a failed commit (such as on a full disk) is repeated."""


class Spool:
    """The unconfirmed records of one gateway, bounded in bytes.

    Used from the event loop. `run` is the task that commits; leaving the context commits the rest.

    Entering the context raises for a spool that another gateway uses, that a newer version has written, or that may
    not be opened. It does not raise for a disk that is full, failing or read-only: records then wait in memory until
    the disk can be written. `renumber` returns the payload of such a record for the name and the numbers that the
    spool has when it opens; without it those records are dropped and counted. `changed_states` returns the states of
    calculations, by their names, that changed since its last call. A state is on the disk when all records are that
    were put before it was returned, and not earlier.
    """

    def __init__(
        self,
        settings: SpoolSection,
        gateway: str,
        renumber: Callable[[bytes, str, int], bytes] | None = None,
        changed_states: Callable[[], dict[str, bytes]] = dict,
    ) -> None:
        self._renumber = renumber
        self._in_memory = False
        self._open_at, self._open_pause = 0.0, RETRY
        self.id = ""
        self.ledger = Ledger()
        self.size = 0
        """Bytes of payload of the records on the disk."""
        self.used = 0
        """Bytes of the database that are in use, at the last commit; the limit applies to them."""
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
        self._stored = 0  # records on the disk
        self._ages = RecordAges()
        self._committing: list[Spooled] = []
        self._has_work = asyncio.Event()
        self._confirm_timer: asyncio.TimerHandle | None = None
        self._hurry = False
        self._puts = 0  # since the start
        self._committed_at = -math.inf
        self._late_allowed = False
        self.has_room = True
        """Whether the write queue has room."""
        self._room = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._disk_trouble = ""  # why the disk can't be written: the drop reason meanwhile
        self._failures = 0  # commits in a row that failed for another reason than the disk
        self._changed_states = changed_states
        self._flushes: list[asyncio.Future[None]] = []
        self.counts: Counter[str] = Counter()
        """Confirmations refused, and commits that failed for another reason than the disk; since the start."""

    async def __aenter__(self) -> Self:
        self._room.set()
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
        """Log the spools of other gateway ids that have records: the id may have been changed with a backlog."""
        files = self._database.files
        with suppress(OSError):
            for other in await self._in_thread(other_spools, files.folder, files.gateway):
                log.warning("spool.other_gateway", gateway=other.gateway, records=other.records,
                            readings=other.readings, hint=f"if gateway {other.gateway} is gone, take its records "
                            f"over: lineside spool adopt CONFIG --from {other.gateway}")  # fmt: skip

    def _load(self) -> None:
        """Load the contents of the opened database; the ledger may have counts from before."""
        state, ledger = self._database.state, self.ledger
        self.id, self.size, self._next_seq = state.spool, state.size, max(self._next_seq, state.next)
        stored = Ledger.of(state.counts, state.readings)
        ledger.acquired += stored.acquired
        ledger.unchanged += stored.unchanged
        ledger.confirmed += stored.confirmed
        ledger.pending += stored.pending
        ledger.dropped.update(stored.dropped)
        self._oldest_stored, self._stored = self._database.pending.first, state.records
        self._ages.note(self._next_seq, asyncio.get_running_loop().time())
        self._read_queue.release(self._database.pending)
        if ledger.pending:
            self._is_empty.clear()

    async def _open_later(self) -> bool:
        """Try to open a database that could not be opened at the start; return True if it is open now."""
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
        """Assign numbers from `seq` to the records that wait in memory, for the spool named `spool`."""
        records = self._write_queue.take_puts()
        for record in records:
            try:
                if self._renumber is None:
                    raise LookupError("no codec")  # noqa: TRY301 - as if it could not be decoded
                payload = self._renumber(record.payload, spool, seq)
            except Exception:  # noqa: BLE001 - a record that the codec refuses must not cost the others
                self._drop(NOT_WRITABLE, record.readings)
            else:
                self._write_queue.put([Spooled(seq, record.topic, payload, record.readings)])
                seq += 1
        self._next_seq = seq
        self._write_queue.renumber_states(seq)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while (await self.commit() or self._failures) and self._write_queue.puts:
            pass
        if self._write_queue.puts:  # the disk can't be written, and time is up
            log.error("spool.records_lost", file=self.path, readings=self._write_queue.readings)
            self._drop_to(0)
            await self.commit()  # of the ledger, which needs no room
        await self._in_thread(self._database.close)
        self._thread.shutdown()

    @property
    def path(self) -> str:
        """The database file of the records."""
        return str(self._database.files.db)

    @property
    def next_seq(self) -> int:
        """The sequence number of the next record."""
        return self._next_seq

    @property
    def oldest_seq(self) -> int:
        """The sequence number of the oldest unconfirmed record, or of the next record if there is none."""
        waiting = [record.seq for records in (self._committing, self._write_queue.puts) for record in records[:1]]
        stored = [] if self._oldest_stored is None else [self._oldest_stored]
        return min([self._next_seq, *waiting, *stored])

    @property
    def records(self) -> int:
        """The number of unconfirmed records."""
        return self._stored + len(self._write_queue.puts) + len(self._committing)

    @property
    def disk_trouble(self) -> str:
        """Why the disk can't be written; empty if it can."""
        return self._disk_trouble

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the oldest record was made, exact to a second; None if a former process made it."""
        oldest = self.oldest_seq
        if oldest == self._next_seq:
            return 0.0
        return self._ages.age(oldest, asyncio.get_running_loop().time())

    async def oldest_record(self) -> Spooled | None:
        """Return the oldest record on the disk; None if there is none, or if it is damaged."""
        if self._oldest_stored is None or self._in_memory:
            return None
        found, _ = await self._read([(self._oldest_stored, self._oldest_stored)], 1)
        return found[0] if found else None

    def ping(self) -> Future[bool]:
        """Return a future that the thread of the spool fulfils when it has its next turn. From any thread."""
        return self._thread.submit(bool)

    # -- the states of calculations --

    @property
    def states(self) -> dict[str, bytes]:
        """The states of calculations by their names, as they were committed last."""
        return dict(self._database.states)

    def save_soon(self) -> None:
        """Begin a commit within `CONFIRM_DELAY`: a state has changed."""
        if self._confirm_timer is None:
            self._confirm_timer = asyncio.get_running_loop().call_later(CONFIRM_DELAY, self._has_work.set)

    async def flush(self) -> None:
        """Wait until a commit that begins from now on has ended."""
        done = asyncio.get_running_loop().create_future()
        self._flushes.append(done)
        self._has_work.set()
        await done

    # -- input --

    def put(self, builder: RecordBuilder[T], item: T, readings: int) -> None:
        """Add a scan with this number of readings to a record that is closed when it is large, or at the next commit.

        The readings count as pending at once. Await `room` regularly.
        """
        if not self._open_builders:  # else a put before it has done this
            self._is_empty.clear()
            self._has_work.set()
        self._puts += 1
        self.ledger.pending += readings
        self._open_builders[builder] = None
        if builder.add(item, readings):
            self.close_record(builder)

    def close_record(self, builder: RecordBuilder[Any]) -> None:
        """Make records of the scans in a builder now."""
        if builder in self._open_builders:
            self._close([builder])

    def _close(self, builders: Iterable[RecordBuilder[Any]]) -> None:
        """Queue records of the scans in some of the open builders."""
        records: list[Spooled] = []
        for builder in builders:
            made = builder.close(self._next_seq)
            del self._open_builders[builder]
            self._next_seq += len(made)
            records += made
            if builder.failed_readings:
                self._drop("not_encodable", builder.failed_readings)
                log.error("record.not_encodable", topic=builder.topic, readings=builder.failed_readings,
                          exc_info=builder.error)  # fmt: skip
        self._write_queue.put(records)
        self._bound_queue()

    def _bound_queue(self) -> None:
        """Limit the write queue: make acquisition wait, or drop the newest records."""
        if self._disk_trouble and self._drops_when_full:
            self._drop_to(QUEUE_BYTES)
        self.has_room = self._write_queue.size <= QUEUE_BYTES
        if self.has_room:
            self._room.set()
        else:
            self._room.clear()

    def _drop_to(self, size: int) -> None:
        """Drop the newest records of the write queue until at most `size` bytes are left."""
        if dropped := self._write_queue.drop_to(size):
            self._drop(self._disk_trouble or NOT_WRITABLE, dropped)

    def _drop(self, reason: str, readings: int) -> None:
        self.ledger.pending -= readings
        self.ledger.dropped[reason] += readings

    async def room(self) -> None:
        """Wait while the write queue is full."""
        await self._room.wait()

    # -- output --

    async def fresh(self) -> None:
        """Wait until `lease_fresh` has records."""
        await self._read_queue.wait_for_fresh()

    @property
    def has_fresh(self) -> bool:
        """Whether `lease_fresh` has records."""
        return self._read_queue.has_fresh

    async def backlog(self) -> None:
        """Wait until `lease_backlog` has records."""
        await self._read_queue.wait_for_backlog()

    async def sendable(self) -> None:
        """Wait until there are records to lease."""
        await self._read_queue.wait_for_any()

    def lease_fresh(self, most: int) -> list[Spooled]:
        """Return at most `most` of the fresh records; they stay in the spool."""
        return self._read_queue.lease_fresh(most)

    async def lease_backlog(self, most: int) -> list[Spooled]:
        """Return at most `most` of the oldest records of the backlog, by number; they stay in the spool."""
        return await self._read_queue.lease_backlog(most)

    async def lease_in_order(self, most: int) -> list[Spooled]:
        """Return at most `most` of the oldest records, by number; they stay in the spool."""
        return await self._read_queue.lease_in_order(most)

    def release(self, ranges: Iterable[SeqRange]) -> None:
        """Put leased records that may not have arrived into the backlog."""
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
        """Replace a leased record by smaller records in one commit.

        Each of `pieces` is a function that returns the payload for a sequence number, and its number of readings;
        `too_large` is the number of readings that none of them has.
        """
        made = []
        for encode, readings in pieces:
            made.append(Spooled(self._next_seq, topic, encode(self._next_seq), readings))
            self._next_seq += 1
        self._write_queue.replace(Replacement(seq, made, too_large))
        self._has_work.set()

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int] | None = None) -> None:
        """Remove confirmed records; `set_aside` maps a record to the number of its readings that the store refused.

        A range with numbers that were never assigned is refused as a whole, and counted: such records were not sent.
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
        else:
            self.save_soon()

    def _is_issued(self, span: SeqRange) -> bool:
        if len(span) != 2 or not all(type(number) is int for number in span):  # noqa: PLR2004 - first and last
            return False
        return 0 < span[0] <= span[1] < self._next_seq

    # -- committing --

    async def run(self) -> None:
        """Commit puts and confirmations in groups until cancelled."""
        while True:
            await self._has_work.wait()
            await self._collect()
            try:
                written = await self.commit()
            except Exception as error:  # noqa: BLE001 - an error in Lineside must not stop the records
                self._log_failure(error)
                self._has_work.set()
                written = False
            if not written:
                await asyncio.sleep(RETRY)

    async def _collect(self) -> None:
        """Wait until the wave of scans that has begun is complete, or for `GROUP_COMMIT`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GROUP_COMMIT
        alone = loop.time() - self._committed_at >= COMMITS_APART
        if not alone and not self._late_allowed:
            await asyncio.sleep(GROUP_COMMIT)
        else:
            puts = -1
            while puts != self._puts and loop.time() < until:
                puts = self._puts
                await asyncio.sleep(QUIET)
        self._late_allowed = alone  # a few scans of the wave may have come late
        self._committed_at = loop.time()

    async def commit(self) -> bool:
        """Commit the write queue now; return False if the disk refused, so that the queue has to wait."""
        self._has_work.clear()
        if self._confirm_timer is not None:
            self._confirm_timer.cancel()
            self._confirm_timer = None
        self._ages.note(self._next_seq, asyncio.get_running_loop().time())
        self._close(list(self._open_builders))
        flushes, self._flushes = self._flushes, []
        if states := self._changed_states():
            self._write_queue.note_states(self._next_seq, states)
        if self._in_memory and not await self._open_later():
            self._has_work.set()
            _fulfil(flushes)
            return False
        most = 0 if self._failures >= ISOLATE_AFTER else self._database.limits.commit
        batch = self._write_queue.next_batch(self.ledger.counts(), self._next_seq, most)
        self._committing = batch.puts
        write = asyncio.get_running_loop().run_in_executor(self._thread, self._database.write, batch)
        try:
            await asyncio.wait({write})
        finally:
            if not write.done():  # cancelled: a stop must not leave a commit uncounted
                await asyncio.wait({write})
            written = self._settle(batch, write)
            self._committing = []
            _fulfil(flushes)
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
        """Repeat a batch without the part that may have failed, after an error that is not the disk's.

        First without its confirmations: those records are sent and confirmed again. Then without its replacements:
        those records are sent again. Then one record at a time: a record that fails alone is dropped and counted.
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
        """Count a failure that is not the disk's; log the first failure with its traceback."""
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
        self.size, self.used = result.size, result.used
        self._oldest_stored, self._stored = result.oldest, result.records
        if not ledger.pending:
            self._is_empty.set()
        if self._write_queue.puts or not result.complete:
            self._has_work.set()
        self._read_queue.add(result.stored, result.dropped_to)
        self._read_queue.release(result.readable_again)

    def _report_disk(self, trouble: str, error: BaseException | None = None) -> None:
        """Store why the disk can't be written, "" if it can; log a change once."""
        before, self._disk_trouble = self._disk_trouble, trouble
        if trouble and not before:
            log.error("spool.not_writable", file=self.path, reason=trouble, error=str(error or ""))
        elif before and not trouble:
            log.info("spool.writable_again", file=self.path)
        self._bound_queue()

    async def answer(self) -> None:
        """Return once the thread of the spool has done all that it was given before: it is not frozen."""
        await self._in_thread(int)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))


def _fulfil(waiting: Iterable[asyncio.Future[None]]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0
