"""A store as ingest writes to it: retried without end, and an outage logged once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest
import structlog
from fakes.store import MemoryStore
from processes import until

from gateway.ingest import store_writer
from gateway.ingest.store_writer import StoreWriter
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.mqtt.messages import parse_ingest_report
from gateway.stores.base import MachineScan, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

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
    """A pause before each further attempt, which counts the attempts."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1

    async def reach(self, count: int) -> None:
        await until(lambda: self.count >= count, f"{count} attempts")


async def test_each_change_of_the_state_is_announced_once(store: MemoryStore, writer: StoreWriter):
    states: list[str] = []
    writer.on_change = lambda: states.append(writer.state)
    await writer.open()
    await writer.write([], Attempts())
    assert states == ["available"]
    store.away = "connection refused"
    attempts = Attempts()
    writing = asyncio.create_task(writer.write([], attempts))
    await attempts.reach(3)
    assert states == ["available", "unavailable"]
    store.away = ""
    await writing
    assert states == ["available", "unavailable", "available"]


async def test_a_store_that_is_away_is_tried_until_it_is_there(
    store: MemoryStore, writer: StoreWriter, logs: list[structlog.typing.EventDict]
):
    """The log has two lines, not one line per second."""
    store.away = "connection refused"
    retries = Attempts()
    writing = asyncio.create_task(writer.write(SCANS, retries))
    await retries.reach(20)
    store.away = ""
    assert await writing == ()
    assert store.durable == SCANS
    assert [log["event"] for log in logs] == ["store.unavailable", "store.available_again"]


async def test_the_report_of_a_store_has_its_state_and_the_error(store: MemoryStore, writer: StoreWriter):
    """`lineside status` and `lineside fleet` show it; an error of a server may have any characters."""
    assert writer.report()["state"] == "opening"
    store.away = '401 {"code": "unauthorized"}\n'
    retries = Attempts()
    writing = asyncio.create_task(writer.write(SCANS, retries))
    await retries.reach(2)
    away = writer.report()
    assert (away["store"], away["state"], away["error"]) == ("memory", "unavailable", "401 {'code': 'unauthorized'}")
    assert parse_ingest_report(orjson.dumps(COUNTS | {"stores": [away]})).stores[0].error == away["error"]
    store.away = ""
    await writing
    there = writer.report()
    assert (there["state"], there["error"]) == ("available", "")
    assert there["since"] >= away["since"]


COUNTS = {"time": 1, "records": 0, "readings": 0, "dead_letters": 0}


async def test_an_attempt_that_is_not_needed_any_more_ends(store: MemoryStore, writer: StoreWriter):
    """The broker was lost: it gives its messages again, and this attempt would be one too many."""
    store.away = "connection refused"

    async def lost() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await writer.write(SCANS, lost)
    assert store.durable == []


async def test_a_problem_of_a_store_is_logged_at_the_start(
    store: MemoryStore, writer: StoreWriter, logs: list[structlog.typing.EventDict]
):
    """Its connection is closed."""
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


# -- unforeseen errors --


class BrokenStore(MemoryStore):
    """A store with a defect: scans of some times make it fail."""

    def __init__(self, *times: int) -> None:
        super().__init__()
        self.broken = set(times)

    def write(self, batch: Sequence[MachineScan]) -> None:
        if self.broken & {entry.scan.time for entry in batch}:
            raise TypeError("unhashable type: 'list'")
        super().write(batch)


def scans(count: int) -> list[MachineScan]:
    return [SCANS[0]._replace(scan=NamedScan(at, {"a": at}), record=at) for at in range(count)]


async def test_a_scan_that_makes_a_store_fail_costs_no_other(logs: list[structlog.typing.EventDict]):
    """A defect in a store must neither end nor block ingest: the failing scan is set aside, with the error."""
    store = BrokenStore(3, 11)
    writer = StoreWriter("memory", store)
    refusals = await writer.write(scans(16), Attempts())
    assert [(one.record, one.readings, one.kind) for one in refusals] == [
        (3, 1, "store_error"), (11, 1, "store_error"),
    ]  # fmt: skip
    assert "TypeError" in refusals[0].message
    assert [entry.scan.time for entry in store.durable] == [at for at in range(16) if at not in store.broken]
    assert [log["event"] for log in logs] == ["store.failed"]
    await writer.close()


async def test_a_store_that_fails_on_everything_is_an_outage(logs: list[structlog.typing.EventDict]):
    """A library may raise an untranslated error: no reading is discarded because of it."""
    store = BrokenStore(*range(16))
    writer = StoreWriter("memory", store)
    retries = Attempts()
    writing = asyncio.create_task(writer.write(scans(16), retries))
    await retries.reach(3)
    store.broken.clear()
    assert await writing == ()
    assert len(store.durable) == 16
    assert [log["event"] for log in logs if log["event"] != "store.failed"] == [
        "store.unavailable", "store.available_again",
    ]  # fmt: skip
    await writer.close()


async def test_an_unexpected_error_of_opening_is_an_outage(logs: list[structlog.typing.EventDict]):
    store = MemoryStore()
    failing = iter([ValueError("Invalid IPv6 URL")])

    def check() -> None:
        for error in failing:
            raise error

    store.check = check  # type: ignore[method-assign]
    writer = StoreWriter("memory", store)
    await writer.write(SCANS, Attempts())
    assert store.durable == SCANS
    assert [log["event"] for log in logs] == ["store.failed", "store.unavailable", "store.available_again"]
    await writer.close()


async def test_a_store_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch):
    """Its batch is not confirmed, so it comes again."""
    monkeypatch.setattr(store_writer, "CLOSE_TIMEOUT", 0.05)
    store = MemoryStore()
    store.go.clear()
    writer = StoreWriter("memory", store)
    writing = asyncio.create_task(writer.write(SCANS, Attempts()))
    await until(lambda: store.opened, "the store is written to")
    writing.cancel()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await writer.close()
    assert loop.time() - began < 5
    assert store.closed == 0
    store.go.set()
