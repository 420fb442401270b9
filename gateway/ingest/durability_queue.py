"""Queue written batches that a store may still lose.

A store may respond before the readings are on its disk (`Store.durable_after`). A batch waits here until that time
has passed and the server of the store is still the process that wrote it. After a restart of the server, every
waiting batch is written again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.ingest.batch import Batch
    from gateway.ingest.store_writer import StoreWriter
    from gateway.stores.base import MachineScan

log = structlog.get_logger()

MAX_QUEUED_BYTES = 256 * 2**20
"""Bytes of memory of the records that may wait; above it ingest receives no messages."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks of a store that responds before its data is durable."""


class DurabilityQueue:
    """The batches that are not durable yet, in the order in which they were written.

    They wait as encoded records; `decode` returns their scans if they have to be written again.
    """

    def __init__(self, writers: Sequence[StoreWriter], decode: Callable[[Batch], list[MachineScan]]) -> None:
        self._writers = writers
        self._decode = decode
        self._batches: deque[Batch] = deque()
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
        batch.instances = instances
        batch.durable_at = asyncio.get_running_loop().time() + self.seconds
        batch.release_scans()
        self._batches.append(batch)
        self._bytes += batch.size

    async def wait_for_room(self) -> None:
        """Wait until the queue is below its limit."""
        while self._bytes > MAX_QUEUED_BYTES:
            self._removed.clear()
            await self._removed.wait()

    async def run(self, on_durable: Callable[[list[Batch]], Awaitable[None]]) -> None:
        """Pass batches to `on_durable` once they are durable, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            now = loop.time()
            if not self._batches or self._batches[0].durable_at > now:
                continue
            if not await self._same_instances():
                continue
            durable = []
            while self._batches and self._batches[0].durable_at <= now:
                durable.append(self._batches.popleft())
            self._bytes -= sum(batch.size for batch in durable)
            self._removed.set()
            await on_durable(durable)

    async def _same_instances(self) -> bool:
        """Return True if the servers that wrote the waiting batches still run; else write the batches again."""
        same = True
        for index, writer in enumerate(self._writers):
            if writer.durable_after:
                if not await writer.check_instance(_retry_forever):
                    same = False
                if writer.instance is None:
                    continue  # the process is too young to be identified
                lost = [batch for batch in self._batches if batch.instances[index] != writer.instance]
                for batch in lost:
                    await self._write_again(batch, index)
                if lost:
                    log.warning("readings.written_again", store=writer.name, readings=sum(b.readings for b in lost))
        return same

    async def _write_again(self, batch: Batch, index: int) -> None:
        writer = self._writers[index]
        instance = writer.instance
        await writer.write(self._decode(batch), _retry_forever)  # refusals were set aside after the first write
        batch.instances[index] = instance
        batch.durable_at = asyncio.get_running_loop().time() + self.seconds


async def _retry_forever() -> None:
    """Never give up: the broker no longer has these messages."""
