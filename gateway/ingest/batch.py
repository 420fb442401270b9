"""What ingest takes and writes together, and what of it is written and may still be lost.

A store may answer before what it took is on its disk (`Store.durable_after`). Batches are held until that time is
over and the store's process is seen to be the one that took them; after a restart what is held is written again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from paho.mqtt.client import MQTTMessage

    from gateway.ingest.store_writer import StoreWriter
    from gateway.model.record import Record
    from gateway.mqtt.client import MqttClient
    from gateway.stores.base import MachineScan

log = structlog.get_logger()

MAX_QUEUED_READINGS = 1_000_000
"""How many readings may wait until they are safe, some 100 bytes each; then nothing more is taken."""

LOOK_EVERY = 1.0
"""Seconds between two looks at a store that answers early."""


class Sender(NamedTuple):
    """Whose records are confirmed together."""

    enterprise: str
    site: str
    gateway: str
    spool: str


@dataclass(slots=True)
class Batch:
    """Messages of one link that are written together, and what was in them.

    `refused` counts readings by the place of their record; `unsettled` are the places of records that are not to be
    confirmed, since what was refused of them could not be set aside. `lives` are of the stores' processes before the
    write, and `due` is when it will be safe, by the loop's clock.
    """

    link: MqttClient
    messages: list[MQTTMessage] = field(default_factory=list)
    records: list[tuple[Sender, Record]] = field(default_factory=list)
    scans: list[MachineScan] = field(default_factory=list)
    readings: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    unsettled: set[int] = field(default_factory=set)
    lives: list[str | None] = field(default_factory=list)
    due: float = 0.0


class DurabilityQueue:
    """The batches that are written and not safe yet, in the order of their writing."""

    def __init__(self, writers: Sequence[StoreWriter]) -> None:
        self._writers = writers
        self._batches: deque[Batch] = deque()
        self._readings = 0
        self._moved = asyncio.Event()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def seconds(self) -> float:
        """How long a batch is held: 0 where every store is safe when it answers."""
        return max(writer.durable_after for writer in self._writers)

    def add(self, batch: Batch, lives: list[str | None]) -> None:
        """Hold a batch that is written now, by processes that had these lives before."""
        batch.lives = lives
        batch.due = asyncio.get_running_loop().time() + self.seconds
        self._batches.append(batch)
        self._readings += batch.readings

    async def room(self) -> None:
        """Wait until more may be held."""
        while self._readings > MAX_QUEUED_READINGS:
            self._moved.clear()
            await self._moved.wait()

    async def run(self, safe: Callable[[list[Batch]], Awaitable[None]]) -> None:
        """Hand batches to `safe` when they are, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = loop.time()
            if not self._batches or self._batches[0].due > now:
                continue
            if not await self._same_lives():
                continue
            done = []
            while self._batches and self._batches[0].due <= now:
                done.append(self._batches.popleft())
            self._readings -= sum(batch.readings for batch in done)
            self._moved.set()
            await safe(done)

    async def _same_lives(self) -> bool:
        """Return whether all that is held was taken by processes that live; else it is written to them again."""
        same = True
        for index, writer in enumerate(self._writers):
            if writer.durable_after:
                if not await writer.look(_for_ever):
                    same = False
                if writer.life is None:
                    continue  # whether what is held was lost can't be told yet
                lost = [batch for batch in self._batches if batch.lives[index] != writer.life]
                for batch in lost:
                    await self._write_again(batch, index)
                if lost:
                    log.warning("readings.written_again", store=writer.name, readings=sum(b.readings for b in lost))
        return same

    async def _write_again(self, batch: Batch, index: int) -> None:
        writer = self._writers[index]
        life = writer.life
        await writer.write(batch.scans, _for_ever)  # what it refuses has been set aside the first time
        batch.lives[index] = life
        batch.due = asyncio.get_running_loop().time() + self.seconds


async def _for_ever() -> None:
    """Never give up: what is held was taken."""
