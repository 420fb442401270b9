"""Batches that are written and may still be lost: confirmed when they are safe, written again after a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from fakes.store import MemoryStore
from processes import until

from gateway.ingest import batch as batches
from gateway.ingest import store_writer as writers
from gateway.ingest.batch import Batch, DurabilityQueue
from gateway.ingest.store_writer import StoreWriter
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DURABLE_AFTER = 0.05


class Bench:
    """Held batches over two stores, one of which answers early; `safe` are the numbers of what is confirmed."""

    def __init__(self) -> None:
        self.early, self.sure = MemoryStore(DURABLE_AFTER), MemoryStore()
        self.writers = [StoreWriter("sure", self.sure), StoreWriter("early", self.early)]
        self.held = DurabilityQueue(self.writers)
        self.safe: list[int] = []
        self.confirmed = asyncio.Event()

    async def write(self, number: int, readings: int = 1) -> None:
        path, meta = MachinePath(*"esalm"), MachineMeta("t")
        batch = Batch(cast("Any", None), scans=[MachineScan(path, meta, NamedScan(number, {"a": number}), 0)])
        batch.readings = readings
        lives = [writer.life for writer in self.writers]
        for writer in self.writers:
            await writer.write(batch.scans, nothing)
        self.held.add(batch, lives)

    async def confirm(self, done: list[Batch]) -> None:
        self.safe += [one.scan.time for batch in done for one in batch.scans]
        self.confirmed.set()

    async def until_safe(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.safe) < count:
                self.confirmed.clear()
                await self.confirmed.wait()


async def nothing() -> None:
    """Be needed still."""


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(batches, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(writers, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(writers, "RETRY_MAX", 0.002)
    made = Bench()
    for writer in made.writers:
        await writer.open()
    task = asyncio.create_task(made.held.run(made.confirm))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for writer in made.writers:
        await writer.close()


def values(store: MemoryStore) -> list[Any]:
    return [one.scan.time for one in store.safe + store.memory]


async def test_a_batch_is_confirmed_when_its_time_is_over(bench: Bench):
    """And not before: what a kill can take away is not stored."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bench.write(1)
    await bench.write(2)
    await bench.until_safe(2)
    assert loop.time() - began >= DURABLE_AFTER
    assert bench.safe == [1, 2]
    assert bench.early.writes == bench.sure.writes == 2
    assert len(bench.held) == 0


async def test_after_a_restart_all_that_is_held_is_written_again(bench: Bench):
    """To the store that was restarted, and to no other."""
    for number in (1, 2, 3):
        await bench.write(number)
    bench.early.kill()
    await bench.write(4)
    await bench.until_safe(4)
    assert bench.safe == [1, 2, 3, 4]
    assert set(values(bench.early)) == {1, 2, 3, 4}
    assert values(bench.sure) == [1, 2, 3, 4]


async def test_a_store_that_dies_again_and_again_loses_nothing(bench: Bench):
    """Each life has to last as long as the store needs."""
    for number in range(1, 21):
        await bench.write(number)
        if number % 4 == 0:
            bench.early.kill()
            before = bench.early.writes
            await until(lambda: bench.early.writes > before, "the restart is seen, and the writing again begins")  # noqa: B023 - awaited here
    await bench.until_safe(20)
    assert bench.safe == list(range(1, 21))
    assert set(values(bench.early)) == set(bench.safe)


async def test_what_is_written_while_the_store_is_too_young_to_be_told_apart_is_written_again(
    monkeypatch: pytest.MonkeyPatch,
):
    """It is taken at once, since fresh readings must not wait; another run in the same second would look the same."""
    monkeypatch.setattr(batches, "LOOK_EVERY", 0.005)
    bench = Bench()
    bench.early.young = True
    for writer in bench.writers:
        await writer.open()
    task = asyncio.create_task(bench.held.run(bench.confirm))
    await bench.write(1)
    asked = bench.early.asked
    await until(lambda: bench.early.asked > asked + 20, "the store is asked again and again")
    assert bench.safe == []
    bench.early.memory.clear()  # it dies, and its next run begins in the same second
    bench.early.young = False
    await bench.until_safe(1)
    assert values(bench.early) == [1]
    assert bench.sure.writes == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for writer in bench.writers:
        await writer.close()


async def test_while_the_store_is_away_nothing_is_confirmed(bench: Bench):
    """Nobody knows whether it comes back as the one that it was."""
    await bench.write(1)
    bench.early.away = "connection refused"
    asked = bench.early.asked
    await until(lambda: bench.early.asked > asked + 20, "the store is asked again and again")
    assert bench.safe == []
    bench.early.kill()
    bench.early.away = ""
    await bench.until_safe(1)
    assert values(bench.early) == [1]


async def test_what_is_held_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """Then ingest takes nothing more, and the broker and the spools keep it."""
    monkeypatch.setattr(batches, "MAX_QUEUED_READINGS", 100)
    await bench.write(1, readings=60)
    await bench.held.room()
    await bench.write(2, readings=60)
    waiting = asyncio.create_task(bench.held.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with asyncio.timeout(20):
        await waiting
    assert bench.safe
