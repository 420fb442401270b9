"""The side of the spool where records go out: what was just committed from memory, all else from the disk."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

import structlog

from gateway.common.seq_ranges import SeqRanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.spool.files import Spooled

log = structlog.get_logger()

FRESH_BYTES = 16 * 2**20
"""Bytes of committed records that are kept in memory as well, to be sent without reading them back."""

FRESH_SECONDS = 0.5
"""Seconds for which a committed record is fresh: what could not leave sooner must not hold up what is newer."""

RETRY = 0.25
"""Seconds before a read that failed is tried again."""


class ReadQueue(ABC):
    """Gives out committed records to be sent; they stay in the spool until they are confirmed.

    A record is fresh when it comes from its commit, and in the backlog when it was there at the start, could not
    leave for a while, did not fit into memory, or was given back.
    """

    def __init__(self) -> None:
        self._fresh: deque[Spooled] = deque()
        self._fresh_size = 0
        self._commits: deque[tuple[float, int]] = deque()  # when it was, and its last record
        self._backlog = SeqRanges()
        self._readable = True
        self._fresh_there = asyncio.Event()
        self._backlog_there = asyncio.Event()

    @abstractmethod
    async def _read_back(self, first: int, last: int) -> list[Spooled]:
        """Return those records of a range that are still there. Raises `sqlite3.Error` or `OSError`."""

    def _stored(self, records: list[Spooled], dropped_to: int) -> None:
        """Take what a commit has stored; everything up to `dropped_to` had to make room."""
        self._backlog.remove_to(dropped_to)
        while self._fresh and self._fresh[0].seq <= dropped_to:
            self._fresh_size -= len(self._fresh.popleft().payload)
        self._fresh += records
        self._fresh_size += sum(len(record.payload) for record in records)
        old = self._old(records)
        while self._fresh and (self._fresh[0].seq <= old or self._fresh_size > FRESH_BYTES):
            record = self._fresh.popleft()
            self._fresh_size -= len(record.payload)
            self._backlog.add(record.seq)
        if self._fresh:
            self._fresh_there.set()
        if self._backlog:
            self._backlog_there.set()

    def _old(self, records: list[Spooled]) -> int:
        """Return the last record that was committed too long ago to be fresh."""
        now, old = time.monotonic(), 0
        if records:
            self._commits.append((now, records[-1].seq))
        while self._commits and now - self._commits[0][0] > FRESH_SECONDS:
            old = self._commits.popleft()[1]
        return old

    async def fresh(self) -> None:
        """Wait until `lease_fresh` has something."""
        await self._fresh_there.wait()

    async def backlog(self) -> None:
        """Wait until `lease_backlog` has something."""
        await self._backlog_there.wait()

    def lease_fresh(self, most: int) -> list[Spooled]:
        """Return records to send out of those that were just committed; they stay in the spool."""
        leased = [self._fresh.popleft() for _ in range(min(most, len(self._fresh)))]
        self._fresh_size -= sum(len(record.payload) for record in leased)
        if not self._fresh:
            self._fresh_there.clear()
        return leased

    async def lease_backlog(self, most: int) -> list[Spooled]:
        """Return the oldest records of the backlog, in the order of their numbers; they stay in the spool."""
        old = self._backlog.pop(most)
        if not self._backlog:
            self._backlog_there.clear()
        if old is None:
            return []
        try:
            records = await self._read_back(*old)
        except (sqlite3.Error, OSError) as error:
            if self._readable:
                log.error("spool.not_readable", records=old, error=str(error))  # noqa: TRY400 - told, not traced
            self._readable = False
            asyncio.get_running_loop().call_later(RETRY, self.release, [old])
            return []
        except BaseException:  # cancelled: nothing leased may be forgotten
            self.release([old])
            raise
        self._readable = True
        return records

    async def sendable(self) -> None:
        """Wait until there is something to lease."""
        if not (self._fresh or self._backlog):
            waits = [asyncio.ensure_future(wait()) for wait in (self.fresh, self.backlog)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def lease_in_order(self, most: int) -> list[Spooled]:
        """Return the oldest records to send: the backlog is older than what is fresh."""
        return await self.lease_backlog(most) if self._backlog else self.lease_fresh(most)

    async def lease(self, most: int) -> list[Spooled]:
        """Return records to send, fresh ones first, then the oldest of the backlog."""
        leased = self.lease_fresh(most)
        try:
            return leased + (await self.lease_backlog(most - len(leased)) if len(leased) < most else [])
        except BaseException:
            self.release((record.seq, record.seq) for record in leased)
            raise

    def release(self, ranges: Iterable[SeqRange]) -> None:
        """Take back records that were leased and may not have arrived: they join the backlog."""
        for first, last in ranges:
            self._backlog.add(first, last)
        if self._backlog:
            self._backlog_there.set()
