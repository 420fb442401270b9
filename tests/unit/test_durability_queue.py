"""Batches that a store may still lose: confirmed when they are durable, written again after a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from fakes.store import MemoryStore
from processes import until

from gateway.ingest import durability_queue
from gateway.ingest import store_writer as writers
from gateway.ingest.batch import Batch, ReceivedRecord, Sender
from gateway.ingest.durability_queue import DurabilityQueue
from gateway.ingest.store_writer import StoreWriter
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DURABLE_AFTER = 0.05


class Bench:
    """A queue over two stores, one of which answers early; `durable` are the scans that are confirmed."""

    def __init__(self) -> None:
        self.early, self.sure = MemoryStore(DURABLE_AFTER), MemoryStore()
        self.writers = [StoreWriter("sure", self.sure), StoreWriter("early", self.early)]
        self.queue = DurabilityQueue(self.writers, lambda batch: self.scans[batch.records[0].seq])
        self.scans: dict[int, list[MachineScan]] = {}
        self.durable: list[int] = []
        self.confirmed = asyncio.Event()

    async def write(self, number: int, size: int = 0) -> None:
        path, meta = MachinePath(*"esalm"), MachineMeta("t")
        record = ReceivedRecord(Sender("e", "s", "g", "sp"), number, f"lineside/v1/{path}/data", b"", 1)
        scans = [MachineScan(path, meta, NamedScan(number, {"a": number}), 0)]
        metas = [{meta.id: meta}]
        batch = Batch(cast("Any", None), records=[record], metas=metas, scans=scans, readings=1, size=size)
        self.scans[number] = scans
        instances = [writer.instance for writer in self.writers]
        for writer in self.writers:
            await writer.write(batch.scans, nothing)
        self.queue.add(batch, instances)

    async def confirm(self, done: list[Batch]) -> None:
        self.durable += [record.seq for batch in done for record in batch.records]
        self.confirmed.set()

    async def until_durable(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.durable) < count:
                self.confirmed.clear()
                await self.confirmed.wait()


async def nothing() -> None:
    """Do nothing."""


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(durability_queue, "CHECK_INTERVAL", 0.005)
    monkeypatch.setattr(writers, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(writers, "RETRY_MAX", 0.002)
    made = Bench()
    for writer in made.writers:
        await writer.open()
    task = asyncio.create_task(made.queue.run(made.confirm))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for writer in made.writers:
        await writer.close()


def values(store: MemoryStore) -> list[Any]:
    return [one.scan.time for one in store.durable + store.memory]


async def test_a_batch_is_confirmed_when_its_time_is_over(bench: Bench):
    """It is not confirmed earlier: a kill could still make the store lose it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bench.write(1)
    await bench.write(2)
    await bench.until_durable(2)
    assert loop.time() - began >= DURABLE_AFTER
    assert bench.durable == [1, 2]
    assert bench.early.writes == bench.sure.writes == 2
    assert len(bench.queue) == 0


async def test_after_a_restart_every_queued_batch_is_written_again(bench: Bench):
    """They are written to the restarted store, and to no other."""
    for number in (1, 2, 3):
        await bench.write(number)
    bench.early.kill()
    await bench.write(4)
    await bench.until_durable(4)
    assert bench.durable == [1, 2, 3, 4]
    assert set(values(bench.early)) == {1, 2, 3, 4}
    assert values(bench.sure) == [1, 2, 3, 4]


async def test_a_store_that_dies_again_and_again_loses_nothing(bench: Bench):
    """Each process has to last as long as the store needs."""
    for number in range(1, 21):
        await bench.write(number)
        if number % 4 == 0:
            bench.early.kill()
            before = bench.early.writes
            await until(lambda: bench.early.writes > before, "the restart is seen, and the writing again begins")  # noqa: B023 - awaited here
    await bench.until_durable(20)
    assert bench.durable == list(range(1, 21))
    assert set(values(bench.early)) == set(bench.durable)


async def test_records_written_before_the_store_can_be_identified_are_written_again(
    monkeypatch: pytest.MonkeyPatch,
):
    """Fresh readings must not wait, so they are accepted; another run in the same second would look the same."""
    monkeypatch.setattr(durability_queue, "CHECK_INTERVAL", 0.005)
    bench = Bench()
    bench.early.young = True
    for writer in bench.writers:
        await writer.open()
    task = asyncio.create_task(bench.queue.run(bench.confirm))
    await bench.write(1)
    asked = bench.early.asked
    await until(lambda: bench.early.asked > asked + 20, "the store is asked again and again")
    assert bench.durable == []
    bench.early.memory.clear()  # it dies, and its next run begins in the same second
    bench.early.young = False
    await bench.until_durable(1)
    assert set(values(bench.early)) == {1}
    assert bench.early.writes == 2, "it is another process, and may have lost it"
    assert bench.sure.writes == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for writer in bench.writers:
        await writer.close()


async def test_nothing_is_confirmed_while_the_store_is_away(bench: Bench):
    """It may come back as another process."""
    await bench.write(1)
    bench.early.away = "connection refused"
    asked = bench.early.asked
    await until(lambda: bench.early.asked > asked + 20, "the store is asked again and again")
    assert bench.durable == []
    bench.early.kill()
    bench.early.away = ""
    await bench.until_durable(1)
    assert set(values(bench.early)) == {1}
    assert bench.early.writes == 2, "it is another process, and may have lost it"


async def test_the_queue_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    """When it is full, ingest accepts no more records; the broker and the spools keep them."""
    monkeypatch.setattr(durability_queue, "MAX_QUEUED_BYTES", 100)
    await bench.write(1, size=60)
    await bench.queue.wait_for_room()
    await bench.write(2, size=60)
    waiting = asyncio.create_task(bench.queue.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with asyncio.timeout(20):
        await waiting
    assert bench.durable
