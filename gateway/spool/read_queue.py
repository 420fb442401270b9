"""Lease records to the publisher: fresh records from memory, all others from the disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from gateway.common.seq_ranges import SeqRanges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.spool.files import Spooled

log = structlog.get_logger(__name__)

FRESH_BYTES = 16 * 2**20
"""Bytes of committed records that are also kept in memory, to be sent without reading them from disk."""

FRESH_SECONDS = 0.5
"""Seconds for which a committed record is fresh; after that it must not delay newer records."""

RETRY = 0.25
"""Seconds before a read that failed is tried again."""


class ReadQueue:
    """Lease committed records to be sent; they stay in the spool until they are confirmed.

    A record is fresh after its commit. It is in the backlog if it was stored at the start, was not leased in time,
    did not fit into memory, or was released.

    `read` gets ranges and a number of records. It returns at most that many of the stored records, and the ranges
    that it did not read. It is called again after any exception.
    """

    def __init__(
        self, read: Callable[[list[SeqRange], int], Awaitable[tuple[list[Spooled], list[SeqRange]]]]
    ) -> None:
        self._read = read
        self._fresh: deque[Spooled] = deque()
        self._fresh_size = 0
        self._commits: deque[tuple[float, int]] = deque()  # time of the commit, and its last record
        self._backlog = SeqRanges()
        self._readable = True
        self._has_fresh = asyncio.Event()
        self._has_backlog = asyncio.Event()

    def add(self, records: list[Spooled], dropped_to: int) -> None:
        """Add the records of a commit; forget the dropped records, up to `dropped_to`."""
        self._backlog.remove_to(dropped_to)
        while self._fresh and self._fresh[0].seq <= dropped_to:
            self._fresh_size -= len(self._fresh.popleft().payload)
        self._fresh += records
        self._fresh_size += sum(len(record.payload) for record in records)
        last_old = self._last_old(records)
        while self._fresh and (self._fresh[0].seq <= last_old or self._fresh_size > FRESH_BYTES):
            record = self._fresh.popleft()
            self._fresh_size -= len(record.payload)
            self._backlog.add(record.seq)
        if self._fresh:
            self._has_fresh.set()
        if self._backlog:
            self._has_backlog.set()

    def _last_old(self, records: list[Spooled]) -> int:
        """Return the number of the last record that is no longer fresh."""
        now, last = time.monotonic(), 0
        if records:
            self._commits.append((now, records[-1].seq))
        while self._commits and now - self._commits[0][0] > FRESH_SECONDS:
            last = self._commits.popleft()[1]
        return last

    async def wait_for_fresh(self) -> None:
        """Wait until `lease_fresh` has records."""
        await self._has_fresh.wait()

    @property
    def has_fresh(self) -> bool:
        """Whether `lease_fresh` has records."""
        return bool(self._fresh)

    async def wait_for_backlog(self) -> None:
        """Wait until `lease_backlog` has records."""
        await self._has_backlog.wait()

    async def wait_for_any(self) -> None:
        """Wait until there are records to lease."""
        if not (self._fresh or self._backlog):
            waits = [asyncio.ensure_future(event.wait()) for event in (self._has_fresh, self._has_backlog)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def lease_fresh(self, most: int) -> list[Spooled]:
        """Return at most `most` of the fresh records; they stay in the spool."""
        leased = [self._fresh.popleft() for _ in range(min(most, len(self._fresh)))]
        self._fresh_size -= sum(len(record.payload) for record in leased)
        if not self._fresh:
            self._has_fresh.clear()
        return leased

    async def lease_backlog(self, most: int) -> list[Spooled]:
        """Return at most `most` of the oldest records of the backlog, by number; they stay in the spool."""
        ranges = self._backlog.pop_ranges(most)
        if not self._backlog:
            self._has_backlog.clear()
        if not ranges:
            return []
        try:
            records, rest = await self._read(ranges, most)
        except Exception as error:  # noqa: BLE001 - whatever it is, the records are read again
            if self._readable:
                log.error("spool.not_readable", records=ranges[0], error=repr(error))  # noqa: TRY400 - no trace
            self._readable = False
            asyncio.get_running_loop().call_later(RETRY, self.release, ranges)
            return []
        except BaseException:  # cancelled: the ranges go back into the backlog
            self.release(ranges)
            raise
        self._readable = True
        self.release(rest)
        return records

    async def lease_in_order(self, most: int) -> list[Spooled]:
        """Return the oldest records to send: the backlog first, then the fresh records."""
        return await self.lease_backlog(most) if self._backlog else self.lease_fresh(most)

    def release(self, ranges: Iterable[SeqRange]) -> None:
        """Put leased records that may not have arrived into the backlog."""
        for first, last in ranges:
            self._backlog.add(first, last)
        if self._backlog:
            self._has_backlog.set()
