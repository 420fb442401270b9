"""A store as ingest writes to it: retried without end, and an outage logged once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import structlog
from fakes.store import MemoryStore
from processes import until

from gateway.ingest import store_writer
from gateway.ingest.store_writer import StoreWriter
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCANS = [MachineScan(MachinePath(*"esalm"), MachineMeta("t"), NamedScan(5, {"a": 1}), 0)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(store_writer, "RETRY_MAX", 0.002)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def writer(store: MemoryStore) -> AsyncIterator[StoreWriter]:
    made = StoreWriter("memory", store)
    yield made
    store.go.set()
    await made.close()


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


class Attempts:
    """What is awaited before each further attempt."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1

    async def reach(self, count: int) -> None:
        await until(lambda: self.count >= count, f"{count} attempts")


async def test_a_store_that_is_away_is_tried_until_it_is_there(
    store: MemoryStore, writer: StoreWriter, logs: list[structlog.typing.EventDict]
):
    """And the log has two lines of it, not one a second."""
    store.away = "connection refused"
    retries = Attempts()
    writing = asyncio.create_task(writer.write(SCANS, retries))
    await retries.reach(20)
    store.away = ""
    assert await writing == ()
    assert store.durable == SCANS
    assert [log["event"] for log in logs] == ["store.unavailable", "store.available_again"]


async def test_nobody_waits_for_a_store_that_nobody_needs_any_more(store: MemoryStore, writer: StoreWriter):
    """The broker was lost: it gives its messages again, and this attempt would be one too many."""
    store.away = "connection refused"

    async def lost() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await writer.write(SCANS, lost)
    assert store.durable == []


async def test_what_is_wrong_with_a_store_is_logged_at_the_start(
    store: MemoryStore, writer: StoreWriter, logs: list[structlog.typing.EventDict]
):
    """And its connection is not left open behind."""
    store.wrong = "start it with -flag"
    await writer.open()
    assert [(log["event"], log["error"]) for log in logs] == [("store.unavailable", "start it with -flag")]
    assert (store.opened, store.closed) == (1, 1)
    store.wrong = ""
    await writer.write(SCANS, Attempts())
    assert store.durable == SCANS
    assert store.opened == 2


async def test_refusals_are_returned_and_no_outage(
    store: MemoryStore, writer: StoreWriter, logs: list[structlog.typing.EventDict]
):
    refusal = Refusal(0, 1, "row", "no")
    store.refusals = [refusal]
    assert await writer.write(SCANS, Attempts()) == (refusal,)
    assert store.writes == 1
    assert logs == []


async def test_a_restarted_server_is_seen_once_and_its_settings_checked():
    """It may have been started by hand, without a flag."""
    store = MemoryStore(durable_after=5.0)
    writer = StoreWriter("memory", store)
    await writer.write(SCANS, Attempts())
    assert await writer.check_instance(Attempts())
    store.kill()
    store.wrong = "start it with -flag"
    retries = Attempts()
    looking = asyncio.create_task(writer.check_instance(retries))
    await retries.reach(3)
    store.wrong = ""
    assert not await looking
    assert await writer.check_instance(Attempts())
    await writer.close()
