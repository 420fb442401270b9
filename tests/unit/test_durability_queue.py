"""Batches that a store may still lose: confirmed when they are durable, requested again after a restart."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import TYPE_CHECKING, Any, cast

import pytest
from fakes.store import MemoryStore
from processes import until

from gateway.ingest import durability_queue
from gateway.ingest import store_writer as writers
from gateway.ingest.batch import (
    WRITTEN_OVERHEAD,
    WRITTEN_RECORD,
    Batch,
    ReceivedRecord,
    Sender,
    Settlement,
)
from gateway.ingest.durability_queue import DurabilityQueue
from gateway.ingest.store_writer import StoreWriter
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gateway.ingest.batch import Confirmation, WrittenBatch

DURABLE_AFTER = 0.05
SENDER = Sender("e", "s", "g", "sp")


class Bench:
    """A queue over two stores, one of which answers early, and a gateway that sends lost records again.

    `durable` are the records that are confirmed, `lost` those that were requested again.
    """

    def __init__(self) -> None:
        self.early, self.sure = MemoryStore(DURABLE_AFTER), MemoryStore()
        self.writers = [StoreWriter("sure", self.sure), StoreWriter("early", self.early)]
        self.queue = DurabilityQueue(self.writers)
        self.durable: list[int] = []
        self.lost: list[int] = []
        self.confirmed = asyncio.Event()

    async def write(self, *numbers: int, settlements: dict[int, Settlement] | None = None) -> None:
        path, meta = MachinePath(*"esalm"), MachineMeta("t")
        records = [received(number) for number in numbers]
        scans = [MachineScan(path, meta, NamedScan(number, {"a": number}), 0) for number in numbers]
        batch = Batch(cast("Any", None), records=records, scans=scans, readings=len(scans))
        batch.settlements |= settlements or {}
        instances = [writer.instance for writer in self.writers]
        for writer in self.writers:
            await writer.write(batch.scans, nothing)
        self.queue.add(batch, instances)

    async def confirm(self, done: list[WrittenBatch]) -> None:
        self.durable += numbers(one for batch in done for one in batch.confirmations())
        self.confirmed.set()

    async def send_again(self, lost: list[WrittenBatch]) -> None:
        for batch in lost:
            again = numbers(batch.lost())
            self.lost += again
            await self.write(*again)

    async def until_durable(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.durable) < count:
                self.confirmed.clear()
                await self.confirmed.wait()


def numbers(confirmations: Iterable[Confirmation]) -> list[int]:
    return [one.seq for one in confirmations]


def received(seq: int) -> ReceivedRecord:
    return ReceivedRecord(SENDER, seq, "lineside/v1/e/s/a/l/m/data", b"", 1, seq.to_bytes(32))


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
    task = asyncio.create_task(made.queue.run(made.confirm, made.send_again))
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


async def test_after_a_restart_every_queued_batch_is_requested_again(bench: Bench):
    """Only their numbers were kept: the gateways have the records. Batches of the new process are not requested."""
    for number in (1, 2, 3):
        await bench.write(number)
    bench.early.kill()
    await bench.write(4)
    await bench.until_durable(4)
    assert sorted(bench.durable) == [1, 2, 3, 4]
    assert set(values(bench.early)) == set(values(bench.sure)) == {1, 2, 3, 4}
    assert set(bench.lost) >= {1, 2, 3}


async def test_a_store_that_dies_again_and_again_loses_nothing(bench: Bench):
    """Each process has to last as long as the store needs."""
    for number in range(1, 21):
        await bench.write(number)
        if number % 4 == 0:
            bench.early.kill()
            before = len(bench.lost)
            await until(lambda: len(bench.lost) > before, "the restart is seen, and lost records come again")  # noqa: B023 - awaited here
    await bench.until_durable(20)
    assert sorted(bench.durable) == list(range(1, 21))
    assert set(values(bench.early)) == set(bench.durable)


async def test_records_written_before_the_store_can_be_identified_are_requested_again(
    monkeypatch: pytest.MonkeyPatch,
):
    """Fresh readings must not wait, so they are accepted; another run in the same second would look the same."""
    monkeypatch.setattr(durability_queue, "CHECK_INTERVAL", 0.005)
    bench = Bench()
    bench.early.young = True
    for writer in bench.writers:
        await writer.open()
    task = asyncio.create_task(bench.queue.run(bench.confirm, bench.send_again))
    await bench.write(1)
    asked = bench.early.asked
    await until(lambda: bench.early.asked > asked + 20, "the store is asked again and again")
    assert bench.durable == []
    bench.early.memory.clear()  # it dies, and its next run begins in the same second
    bench.early.young = False
    await bench.until_durable(1)
    assert set(values(bench.early)) == {1}
    assert bench.early.writes == 2, "it is another process, and may have lost it"
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
    """When it is full, ingest accepts no more records until the oldest are durable; the spools keep them."""
    monkeypatch.setattr(durability_queue, "MAX_QUEUED_BYTES", 1.5 * (WRITTEN_OVERHEAD + WRITTEN_RECORD))
    await bench.write(1)
    await bench.queue.wait_for_room()
    await bench.write(2)
    waiting = asyncio.create_task(bench.queue.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with asyncio.timeout(20):
        await waiting
    assert bench.durable


async def test_a_record_with_unwritten_dead_letters_is_confirmed_by_its_settlement(bench: Bench):
    """It is durable and not confirmed; where a store loses it, it is requested again with all others."""
    settlement = Settlement(received(2), 1)
    await bench.write(1, 2, 3, settlements={1: settlement})
    await bench.until_durable(2)
    assert bench.durable == [1, 3]
    assert settlement.durable
    lost = Settlement(received(5), 1)
    await bench.write(4, 5, 6, settlements={1: lost})
    bench.early.kill()
    await bench.until_durable(5)
    assert sorted(bench.lost) == [4, 5, 6]
    assert not lost.durable


@pytest.mark.slow
def test_the_memory_of_waiting_receipts_is_what_it_says():
    """A record of any size costs as much, and ten thousand records a second are some forty megabytes."""
    written = []
    records = [ReceivedRecord(SENDER, 10**6 + seq, "topic", b"x" * 1000, 1, b"") for seq in range(500)]
    gc.collect()
    gc.freeze()  # the objects of earlier tests, which a later collection would visit for a second
    tracemalloc.start()
    for first in range(0, 20_000, 500):
        moved = [record._replace(seq=(seq := record.seq + first), receipt=seq.to_bytes(32)) for record in records]
        written.append(Batch(cast("Any", None), records=moved).written([None], 0.0))
        del moved
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < sum(batch.size for batch in written) < 2 * used
    assert used < 5_000_000
