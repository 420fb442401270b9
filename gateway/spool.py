"""The spool: records wait here, on disk, until they are confirmed.

Records are committed in groups, by one worker thread; only then may they be leased to be sent. Sequence
numbers are given once and never again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

import structlog

from gateway.ledger import Ledger
from gateway.ranges import Ranges
from gateway.spool_file import Batch, Spooled, SpoolFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from gateway.ranges import Range
    from gateway.settings.sections import SpoolSection
    from gateway.spool_file import Outcome

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

GROUP_COMMIT = 0.04
"""Seconds in which puts gather for one commit."""

QUEUE_BYTES = 32 * 2**20
"""Bytes that may wait for their commit; then acquisition waits too."""

FRESH_BYTES = 16 * 2**20
"""Bytes of committed records that are kept in memory as well, to be sent without reading them back."""

RECORD_READINGS = 5000
"""Readings that make a record large enough to be closed before the next commit."""

RETRY = 1.0
"""Seconds before a commit that failed (a full disk) is tried again."""


class Outbox(Generic[T]):
    """Where scans of one topic gather until the next commit, to become one record: many, when they come fast."""

    def __init__(self, spool: Spool, topic: str, encode: Callable[[int, list[T]], bytes]) -> None:
        self.topic = topic
        self.encode = encode
        self.items: list[T] = []
        self.readings = 0
        self._spool = spool

    def put(self, item: T, readings: int) -> None:
        """Take a scan. It counts as pending from now on; await the spool's `room` now and then."""
        self.items.append(item)
        self.readings += readings
        self._spool.note(self, readings)


class Spool:
    """The records of one gateway that nobody has confirmed yet, bounded in bytes.

    Used from the event loop. `run` is the task that commits; leaving the context commits what is left.
    """

    def __init__(self, settings: SpoolSection, gateway: str) -> None:
        self.id = ""
        self.ledger = Ledger()
        self.size = 0
        self._file = SpoolFile(settings.folder / f"{gateway}.spool.db", settings.max_size, settings.when_full)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._next = 1
        self._filled: dict[Outbox[Any], None] = {}  # in the order in which they got their first scan
        self._puts: list[Spooled] = []
        self._put_size = 0
        self._confirms: list[Range] = []
        self._set_aside: dict[int, int] = {}
        self._fresh: deque[Spooled] = deque()
        self._fresh_size = 0
        self._backlog = Ranges()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._sendable = asyncio.Event()
        self._empty = asyncio.Event()
        self._broken = False

    async def __aenter__(self) -> Self:
        contents = await self._in_thread(self._file.open)
        self.id = contents.spool
        self.size = contents.size
        self._next = contents.next_seq
        counts = contents.counts
        self.ledger = Ledger(
            acquired=counts["acquired"],
            unchanged=counts["unchanged"],
            confirmed=counts["confirmed"],
            pending=contents.readings,
            dropped=Counter(
                {name.removeprefix("dropped:"): n for name, n in counts.items() if name.startswith("dropped:") and n}
            ),
        )
        if contents.span is not None:
            self._backlog.add(*contents.span)
            self._sendable.set()
        else:
            self._empty.set()
        self._room.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._commit()
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    @property
    def path(self) -> str:
        """The file that holds the records."""
        return str(self._file.file)

    # -- taking records in --

    def outbox(self, topic: str, encode: Callable[[int, list[T]], bytes]) -> Outbox[T]:
        """Return where scans of a topic go in; `encode` makes a record of a sequence number and scans."""
        return Outbox(self, topic, encode)

    def note(self, outbox: Outbox[Any], readings: int) -> None:
        """Note that there is more in an outbox; it becomes a record at the next commit, or when it is large."""
        self.ledger.pending += readings
        self._empty.clear()
        self._filled[outbox] = None
        if outbox.readings >= RECORD_READINGS:
            self._gather(outbox)
        self._work.set()

    def _gather(self, outbox: Outbox[Any]) -> None:
        """Make a record of what is in an outbox."""
        seq = self._next
        self._next += 1
        record = Spooled(seq, outbox.topic, outbox.encode(seq, outbox.items), outbox.readings)
        outbox.items, outbox.readings = [], 0
        del self._filled[outbox]
        self._puts.append(record)
        self._put_size += len(record.payload)
        if self._put_size > QUEUE_BYTES:
            self._room.clear()

    async def room(self) -> None:
        """Wait while too much waits to be committed."""
        await self._room.wait()

    # -- giving them out --

    async def empty(self) -> None:
        """Wait until every record is confirmed."""
        await self._empty.wait()

    async def sendable(self) -> None:
        """Wait until `lease` has something."""
        await self._sendable.wait()

    async def lease(self, most: int) -> list[Spooled]:
        """Return records to send, fresh ones first, then the oldest of the backlog; they stay in the spool."""
        leased: list[Spooled] = []
        while self._fresh and len(leased) < most:
            record = self._fresh.popleft()
            self._fresh_size -= len(record.payload)
            leased.append(record)
        if len(leased) < most and (old := self._backlog.pop(most - len(leased))):
            try:
                leased += await self._in_thread(self._file.read, *old)
            except BaseException:  # cancelled, or the file can't be read: nothing leased may be forgotten
                self.release([old, *((record.seq, record.seq) for record in leased)])
                raise
        if not self._fresh and not self._backlog:
            self._sendable.clear()
        return leased

    def release(self, ranges: Iterable[Range]) -> None:
        """Take back records that were leased and may not have arrived: they join the backlog."""
        for first, last in ranges:
            self._backlog.add(first, last)
        if self._backlog:
            self._sendable.set()

    def confirm(self, ranges: Iterable[Range], set_aside: dict[int, int] | None = None) -> None:
        """Forget records that have arrived; `set_aside` says how many of a record's readings the store refused."""
        self._confirms += ranges
        self._set_aside |= set_aside or {}
        self._work.set()

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
        for outbox in list(self._filled):
            self._gather(outbox)
        ledger = self.ledger
        counts = Counter({f"dropped:{reason}": n for reason, n in ledger.dropped.items()})
        counts.update(acquired=ledger.acquired, unchanged=ledger.unchanged, confirmed=ledger.confirmed)
        batch = Batch(self._puts, self._confirms, self._set_aside, counts)
        self._puts, self._confirms, self._set_aside = [], [], {}
        write = asyncio.get_running_loop().run_in_executor(self._thread, self._file.write, batch)
        try:
            await asyncio.wait({write})
        finally:
            if not write.done():  # cancelled: a stop must not leave a commit without its account
                await asyncio.wait({write})
            written = self._settle(batch, write)
        return written

    def _settle(self, batch: Batch, write: asyncio.Future[Outcome]) -> bool:
        error = write.exception()
        if isinstance(error, sqlite3.Error):
            self._puts[:0], self._confirms[:0] = batch.puts, batch.confirms
            self._set_aside = batch.set_aside | self._set_aside
            self._work.set()
            self._tell(error)
            return False
        self._tell(None)
        self._account(batch, write.result())
        return True

    def _account(self, batch: Batch, outcome: Outcome) -> None:
        """Bring the ledger and the lists of what can be sent in line with what was committed."""
        ledger = self.ledger
        ledger.confirmed += outcome.confirmed
        ledger.dropped.update(rejected_by_store=outcome.set_aside, spool_full=outcome.overflow)
        ledger.dropped = +ledger.dropped
        gathering = sum(outbox.readings for outbox in self._filled)
        ledger.pending = outcome.readings + sum(record.readings for record in self._puts) + gathering
        self.size = outcome.size
        if not ledger.pending:
            self._empty.set()
        self._put_size -= sum(len(record.payload) for record in batch.puts)
        if self._put_size <= QUEUE_BYTES:
            self._room.set()
        self._backlog.remove_to(outcome.dropped_to)
        while self._fresh and self._fresh[0].seq <= outcome.dropped_to:
            self._fresh_size -= len(self._fresh.popleft().payload)
        for record in outcome.stored:
            self._fresh.append(record)
            self._fresh_size += len(record.payload)
        while self._fresh_size > FRESH_BYTES:
            record = self._fresh.popleft()
            self._fresh_size -= len(record.payload)
            self._backlog.add(record.seq)
        if self._fresh or self._backlog:
            self._sendable.set()

    def _tell(self, error: sqlite3.Error | None) -> None:
        if (error is not None) is self._broken:
            return
        self._broken = error is not None
        if error is not None:
            log.error("spool.not_writable", file=self.path, error=str(error))
        else:
            log.info("spool.writable_again", file=self.path)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **kwargs))
