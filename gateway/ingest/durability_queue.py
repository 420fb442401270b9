"""Queue the numbers of written records that a store may still lose.

A store may respond before the readings are on its disk (`Store.durable_after`). The numbers of a batch wait here
until that time has passed and the server of the store is still the process that wrote it. After a restart of the
server, the senders of all batches that the former process wrote are asked for them again: they have every record that
was not confirmed. So ingest keeps no record, and its memory does not limit the rate.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.ingest.batch import Batch, WrittenBatch
    from gateway.ingest.store_writer import StoreWriter

log = structlog.get_logger(__name__)

MAX_QUEUED_BYTES = 256 * 2**20
"""Bytes of memory of the numbers that may wait; above it ingest receives no messages until the oldest are durable."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks of a store that responds before its data is durable."""


class DurabilityQueue:
    """The batches that are not durable yet, in the order in which they were written."""

    def __init__(self, writers: Sequence[StoreWriter]) -> None:
        self._writers = writers
        self._batches: deque[WrittenBatch] = deque()
        self._bytes = 0
        self._removed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def seconds(self) -> float:
        """Return the seconds that a batch waits: 0 if every store is durable when it responds."""
        return max(writer.durable_after for writer in self._writers)

    def add(self, batch: Batch, instances: list[str | None]) -> None:
        """Queue a written batch, with the instances of the servers before the write."""
        written = batch.written(instances, asyncio.get_running_loop().time() + self.seconds)
        self._batches.append(written)
        self._bytes += written.size

    async def wait_for_room(self) -> None:
        """Wait until the queue is below its limit."""
        while self._bytes > MAX_QUEUED_BYTES:
            self._removed.clear()
            await self._removed.wait()

    async def run(
        self,
        on_durable: Callable[[list[WrittenBatch]], Awaitable[None]],
        on_lost: Callable[[list[WrittenBatch]], Awaitable[None]],
    ) -> None:
        """Pass batches to `on_durable` once they are durable, or to `on_lost` after a restart, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            now = loop.time()
            if not self._batches or self._batches[0].durable_at > now:
                continue
            same = await self._same_instances()
            if lost := self._remove([batch for batch in self._batches if self._is_lost(batch)]):
                log.warning(
                    "records.requested_again", records=sum(batch.records for batch in lost),
                    why="a store restarted before they were on its disk",
                )  # fmt: skip
                await on_lost(lost)
            if same:
                await on_durable(self._remove([batch for batch in self._batches if batch.durable_at <= now]))

    async def _same_instances(self) -> bool:
        """Return True if the servers of all stores are known to be the processes of the last check."""
        checks = [await writer.check_instance(_retry_forever) for writer in self._writers if writer.durable_after]
        return all(checks)

    def _is_lost(self, batch: WrittenBatch) -> bool:
        """Return True if a store was restarted since the batch was written, or may have been."""
        return any(
            writer.durable_after and writer.instance not in {None, written_by}  # None: too young to be identified
            for writer, written_by in zip(self._writers, batch.instances, strict=True)
        )

    def _remove(self, batches: list[WrittenBatch]) -> list[WrittenBatch]:
        if batches:
            removed = set(map(id, batches))
            self._batches = deque(batch for batch in self._batches if id(batch) not in removed)
            self._bytes -= sum(batch.size for batch in batches)
            self._removed.set()
        return batches


async def _retry_forever() -> None:
    """Never give up: without the store nothing can be confirmed."""
