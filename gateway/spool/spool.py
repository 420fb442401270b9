"""The spool: records wait here, on disk, until they are confirmed.

Records are committed in groups, by one worker thread; only then may they be leased to be sent. Sequence
numbers are given once and never again.
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
from gateway.spool.files import Replaced, Spooled, SpoolFiles, is_no_room
from gateway.spool.read_queue import ReadQueue
from gateway.spool.record_builder import MAX_RECORD, Halves, RecordBuilder
from gateway.spool.write_queue import WriteQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from gateway.common.seq_ranges import SeqRange
    from gateway.settings.sections import SpoolSection
    from gateway.spool.commit import Outcome
    from gateway.spool.database import Batch

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

GROUP_COMMIT = 0.04
"""Seconds in which puts gather for one commit."""

CONFIRMS_WAIT = 0.25
"""Seconds that confirmations may wait for a commit of puts to go with, since each commit costs; what a crash makes
of them is sent again."""

QUEUE_BYTES = 32 * 2**20
"""Bytes that may wait for their commit; then acquisition waits too."""

RETRY = 0.25
"""Seconds before a commit that failed (a full disk) is tried again."""


class Spool(ReadQueue):
    """The records of one gateway that nobody has confirmed yet, bounded in bytes.

    Used from the event loop. `run` is the task that commits; leaving the context commits what is left.
    """

    def __init__(self, settings: SpoolSection, gateway: str, max_record: int = MAX_RECORD) -> None:
        super().__init__()
        self._max_record = max_record
        self.id = ""
        self.ledger = Ledger()
        self.size = 0
        self._file = SpoolDatabase(
            SpoolFiles(settings.folder, gateway), settings.max_size, settings.when_full, settings.sync
        )
        self._may_drop = settings.when_full is WhenFull.DROP_OLDEST
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._next = 1
        self._filled: dict[RecordBuilder[Any], None] = {}  # in the order in which they got their first scan
        self._waiting = WriteQueue()
        self._committing: list[Spooled] = []
        self._work = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None  # when confirmations have waited long enough
        self._hurry = False
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._trouble = ""  # why the disk takes nothing: the reason of what is dropped meanwhile

    async def __aenter__(self) -> Self:
        await self._in_thread(self._file.open)
        state = self._file.state
        self.id, self.size, self._next = state.spool, state.size, state.next
        self.ledger = Ledger.of(state.counts, state.readings)
        self.release(self._file.pending)
        if not self.ledger.pending:
            self._empty.set()
        self._room.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while await self._commit() and self._waiting.puts:
            pass
        if self._waiting.puts:  # the disk takes nothing, and time is up
            self._drop_to(0)
            await self._commit()  # of the ledger, which needs no room
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    @property
    def path(self) -> str:
        """The file that holds the records."""
        return str(self._file.files.db)

    @property
    def following(self) -> int:
        """The number of the next record."""
        return self._next

    @property
    def oldest(self) -> int:
        """The number of the oldest record that waits to be confirmed; where none does, that of the next."""
        waiting = [record.seq for records in (self._committing, self._waiting.puts) for record in records[:1]]
        stored = [first for first, _ in self._file.pending]
        return min([self._next, *waiting, *stored[:1]])

    # -- taking records in --

    def outbox(
        self,
        topic: str,
        encode: Callable[[int, list[T]], bytes],
        halve: Callable[[T], Halves[T] | None] | None = None,
    ) -> RecordBuilder[T]:
        """Return where scans of a topic go in; see `RecordBuilder`."""
        return RecordBuilder(topic, encode, self.note, halve, self._max_record)

    def note(self, outbox: RecordBuilder[Any], readings: int) -> None:
        """Note that there is more in an outbox; it becomes a record at the next commit, or when it is large."""
        self.ledger.pending += readings
        self._empty.clear()
        self._filled[outbox] = None
        if outbox.large:
            self._gather(outbox)
        self._work.set()

    def close_record(self, outbox: RecordBuilder[Any]) -> None:
        """Make a record of what is in an outbox now: what comes next is in another one."""
        if outbox in self._filled:
            self._gather(outbox)

    def _gather(self, outbox: RecordBuilder[Any]) -> None:
        """Make a record of what is in an outbox: several where it is much."""
        records = outbox.close(self._next)
        self._next += len(records)
        del self._filled[outbox]
        self._waiting.put(records)
        self._bound()

    def _bound(self) -> None:
        """Keep what waits for the disk within its bound: acquisition waits, or the newest records are dropped."""
        if self._trouble and self._may_drop:
            self._drop_to(QUEUE_BYTES)
        if self._waiting.size > QUEUE_BYTES:
            self._room.clear()
        else:
            self._room.set()

    def _drop_to(self, size: int) -> None:
        """Drop the newest records that wait for the disk until so many bytes are left."""
        dropped = self._waiting.drop_to(size)
        self.ledger.pending -= dropped
        self.ledger.dropped[self._trouble] += dropped

    async def room(self) -> None:
        """Wait while too much waits to be committed."""
        await self._room.wait()

    # -- giving them out --

    async def empty(self) -> None:
        """Wait until every record is confirmed."""
        self._hurry = True
        self._work.set()
        try:
            await self._empty.wait()
        finally:
            self._hurry = False

    async def _read_back(self, first: int, last: int) -> list[Spooled]:
        records = await self._in_thread(self._file.read, first, last)
        if self._file.unsettled:
            self._work.set()
        return records

    def replace(
        self, seq: int, topic: str, pieces: Iterable[tuple[Callable[[int], bytes], int]], too_large: int
    ) -> None:
        """Put smaller records in place of a leased one, all in one commit.

        Each of `pieces` is what makes the payload of a number, and how many readings it carries; `too_large` is how
        many readings are in none of them.
        """
        made = []
        for encode, readings in pieces:
            made.append(Spooled(self._next, topic, encode(self._next), readings))
            self._next += 1
        self._waiting.replace(Replaced(seq, made, too_large))
        self._work.set()

    def confirm(self, ranges: Iterable[SeqRange], set_aside: dict[int, int] | None = None) -> None:
        """Forget records that have arrived; `set_aside` says how many of a record's readings the store refused."""
        self._waiting.confirm(ranges, set_aside or {})
        if self._hurry:
            self._work.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(CONFIRMS_WAIT, self._work.set)

    # -- committing --

    async def run(self) -> None:
        """Commit what is put and confirmed, in groups, until cancelled."""
        while True:
            await self._work.wait()
            await asyncio.sleep(GROUP_COMMIT)
            if not await self._commit():
                await asyncio.sleep(RETRY)

    async def _commit(self) -> bool:
        """Commit what has gathered; what fails stays gathered. Returns whether it went well."""
        self._work.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for outbox in list(self._filled):
            self._gather(outbox)
        batch = self._waiting.take(self.ledger.counts(), self._next, self._file.limits.commit)
        self._committing = batch.puts
        write = asyncio.get_running_loop().run_in_executor(self._thread, self._file.write, batch)
        try:
            await asyncio.wait({write})
        finally:
            if not write.done():  # cancelled: a stop must not leave a commit without its account
                await asyncio.wait({write})
            written = self._settle(batch, write)
            self._committing = []
        return written

    def _settle(self, batch: Batch, write: asyncio.Future[Outcome]) -> bool:
        error = write.exception()
        if isinstance(error, sqlite3.Error | OSError):
            self._waiting.give_back(batch, confirms=True)
            self._work.set()
            self._tell("disk_full" if is_no_room(error) else "not_writable", error)
            return False
        outcome = write.result()
        if not outcome.took:
            self._waiting.give_back(batch, confirms=False)
        self._account(outcome)
        self._tell("" if outcome.took else "disk_full")
        return outcome.took

    def _account(self, outcome: Outcome) -> None:
        """Bring the ledger and the lists of what can be sent in line with what was committed."""
        ledger = self.ledger
        ledger.confirmed += outcome.confirmed
        ledger.dropped.update(
            rejected_by_store=outcome.set_aside,
            spool_full=outcome.overflow,
            damaged=outcome.damaged,
            too_large=outcome.too_large,
        )
        ledger.dropped = +ledger.dropped
        gathering = sum(outbox.readings for outbox in self._filled)
        ledger.pending = outcome.readings + self._waiting.readings + gathering
        self.size = outcome.size
        if not ledger.pending:
            self._empty.set()
        if self._waiting.puts or not outcome.took:
            self._work.set()
        self._stored(outcome.stored, outcome.dropped_to)
        self.release(outcome.again)

    def _tell(self, trouble: str, error: Exception | None = None) -> None:
        """Note whether the disk takes records; a change is told once."""
        before, self._trouble = self._trouble, trouble
        if trouble and not before:
            log.error("spool.not_writable", file=self.path, reason=trouble, error=str(error or ""))
        elif before and not trouble:
            log.info("spool.writable_again", file=self.path)
        self._bound()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))
