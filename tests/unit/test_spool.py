"""The spool: durable, numbered, bounded, and in agreement with its ledger whatever happens."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spooling import lease

from gateway.settings.sections import SMALLEST_SPOOL, SpoolSection, WhenFull
from gateway.spool import read_queue, record_builder
from gateway.spool import spool as module
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.spool.files import Spooled


def encode(seq: int, items: list[str]) -> bytes:
    return f"{seq}:{','.join(items)}".encode()


class Story:
    """A spool and the operations of a gateway on it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.builder = RecordBuilder("topic", encode)

    def take(self, *items: str, readings: int = 1) -> None:
        """Acquire a scan for each item, and close the record behind each."""
        for item in items:
            self.spool.ledger.acquired += readings
            self.spool.put(self.builder, item, readings)
            self.spool.close_record(self.builder)

    async def commit(self) -> bool:
        return await self.spool.commit()

    async def leased(self, most: int = 100) -> list[int]:
        return [record.seq for record in await lease(self.spool, most)]


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[Story]:
    async with Spool(SpoolSection(folder=folder, **settings), "edge") as spool:
        yield Story(spool)


async def test_a_record_is_leased_only_after_it_is_durable(tmp_path: Path):
    """A record that is published before it is on disk can be published and then lost."""
    assert module.GROUP_COMMIT <= 0.05, "the time that a power cut may lose"
    async with opened(tmp_path) as story:
        story.take("a")
        assert await story.leased() == []
        await story.commit()
        [record] = await lease(story.spool, 10)
        assert record == (1, "topic", b"1:a", 1)


async def test_late_scans_of_a_wave_do_not_wait_for_others_and_further_scans_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The last devices of a wave may answer a little late; scans that come evenly share their commits."""
    monkeypatch.setattr(module, "GROUP_COMMIT", 60.0)
    monkeypatch.setattr(module, "COMMITS_APART", 60.0)
    async with opened(tmp_path) as story:
        committing = asyncio.create_task(story.spool.run())
        for item in ("a wave", "late"):
            story.take(item)
            async with asyncio.timeout(20.0):
                await story.spool.fresh()
            assert len(await story.leased()) == 1
        story.take("more")
        await asyncio.sleep(20 * module.QUIET)
        assert not story.spool.has_fresh
        committing.cancel()
        await asyncio.wait({committing})


async def test_scans_between_two_commits_become_one_record(tmp_path: Path):
    """Otherwise fast machines would need a record for every scan."""
    async with opened(tmp_path) as story:
        for item in "abc":
            story.spool.put(story.builder, item, 2)
        story.spool.ledger.acquired += 6
        assert story.spool.ledger.balanced
        await story.commit()
        [record] = await lease(story.spool, 10)
        assert (record.payload, record.readings) == (b"1:a,b,c", 6)


async def test_a_large_record_is_closed_before_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Brokers bound a packet, and memory is bounded too."""
    monkeypatch.setattr(record_builder, "RECORD_READINGS", 10)
    async with opened(tmp_path) as story:
        for item in "abcd":
            story.spool.put(story.builder, item, 5)
        await story.commit()
        assert [record.payload for record in await lease(story.spool, 10)] == [b"1:a,b", b"2:c,d"]


async def test_a_confirmed_record_is_gone_and_counted(tmp_path: Path):
    """Only readings in the store are confirmed."""
    async with opened(tmp_path) as story:
        story.take(*"abcd", readings=3)
        await story.commit()
        story.spool.confirm([(2, 3)])
        await story.commit()
        ledger = story.spool.ledger
        assert (ledger.confirmed, ledger.pending, ledger.acquired) == (6, 6, 12)
        assert ledger.balanced
        await story.leased()
        story.spool.release([(1, 4)])
        assert await story.leased() == [1, 4]


async def test_a_record_confirmed_twice_is_counted_once(tmp_path: Path):
    """A record that is sent twice is confirmed twice."""
    async with opened(tmp_path) as story:
        story.take("a", readings=5)
        await story.commit()
        for _ in range(3):
            story.spool.confirm([(1, 1)])
            await story.commit()
        assert story.spool.ledger.confirmed == 5
        assert story.spool.ledger.balanced


async def test_readings_that_the_store_set_aside_are_dropped_with_a_reason(tmp_path: Path):
    """They have left the spool and are not stored: the ledger must say so."""
    async with opened(tmp_path) as story:
        story.take("a", readings=5)
        await story.commit()
        story.spool.confirm([(1, 1)], {1: 2})
        await story.commit()
        ledger = story.spool.ledger
        assert (ledger.confirmed, dict(ledger.dropped)) == (3, {"rejected_by_store": 2})
        assert ledger.balanced


async def test_fresh_records_are_leased_before_the_backlog(tmp_path: Path):
    """After an outage the line's present state comes first."""
    async with opened(tmp_path) as story:
        story.take(*"abc")
        await story.commit()
    async with opened(tmp_path) as story:
        story.take("d")
        await story.commit()
        assert await story.leased() == [4, 1, 2, 3]


async def test_released_records_are_leased_again(tmp_path: Path):
    """A record that may not have arrived is sent again."""
    async with opened(tmp_path) as story:
        story.take(*"abc")
        await story.commit()
        assert await story.leased() == [1, 2, 3]
        assert await story.leased() == []
        story.spool.release([(2, 3)])
        assert await story.leased() == [2, 3]


async def test_a_lease_that_is_cancelled_forgets_nothing(tmp_path: Path):
    """The connection may be lost while the backlog is read from disk."""
    async with opened(tmp_path) as story:
        story.take(*"abc")
        await story.commit()
    async with opened(tmp_path) as story:
        cancelled = asyncio.create_task(story.spool.lease_backlog(10))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await story.leased() == [1, 2, 3]


async def test_records_numbers_and_ledger_survive_a_restart(tmp_path: Path):
    """A number that is used twice would confirm a record that was never stored."""
    async with opened(tmp_path) as story:
        story.take(*"ab", readings=2)
        story.spool.ledger.acquired += 7
        story.spool.ledger.unchanged += 7
        await story.commit()
        story.spool.confirm([(1, 1), (2, 2)])
        name = story.spool.id
    async with opened(tmp_path) as story:
        ledger = story.spool.ledger
        assert (ledger.acquired, ledger.unchanged, ledger.confirmed, ledger.pending) == (11, 7, 4, 0)
        assert story.spool.id == name
        story.take("c")
        await story.commit()
        assert await story.leased() == [3]


async def test_a_kill_between_two_commits_loses_only_uncommitted_records(tmp_path: Path):
    """The ledger on disk agrees with the records on disk."""
    async with opened(tmp_path) as story:
        story.take("a", readings=2)
        await story.commit()
        story.take("b", readings=3)
        # as after SIGKILL: a copy of the files as they are now
        for file in tmp_path.glob("edge.spool.db*"):
            (tmp_path / "killed").mkdir(exist_ok=True)
            (tmp_path / "killed" / file.name).write_bytes(file.read_bytes())
    async with opened(tmp_path / "killed") as story:
        ledger = story.spool.ledger
        assert (ledger.acquired, ledger.pending) == (2, 2)
        assert ledger.balanced
        assert [record.payload for record in await lease(story.spool, 10)] == [b"1:a"]


@pytest.mark.parametrize("when_full", list(WhenFull))
async def test_a_full_spool_drops_the_configured_end_and_counts_it(tmp_path: Path, when_full: WhenFull):
    """The plant decides which end is lost; the gateway counts it."""
    async with opened(tmp_path, max_size=SMALLEST_SPOOL, when_full=when_full.value) as story:
        for number in range(20):
            story.take(f"{number:08d}" * 4000, readings=2)  # each needs nine pages
            await story.commit()
            assert (tmp_path / "edge.spool.db").stat().st_size <= SMALLEST_SPOOL
        ledger = story.spool.ledger
        assert ledger.balanced
        assert ledger.acquired == 40
        assert 4 <= ledger.pending < 16
        assert ledger.dropped["spool_full"] == 40 - ledger.pending
        kept = await story.leased()
        expected = (
            list(range(1, 1 + len(kept))) if when_full is WhenFull.REFUSE_NEWEST else list(range(21 - len(kept), 21))
        )
        assert sorted(kept) == expected
        story.spool.confirm([(1, 20)])
        await story.commit()
        assert ledger.pending == 0
        assert ledger.balanced
        story.take("fresh")
        await story.commit()
        assert await story.leased() == [21], "a spool that was full goes on"


async def test_a_spool_that_was_full_at_a_kill_has_room_after_confirmations(tmp_path: Path):
    """The used space is computed from the records, not from a stored number."""
    async with opened(tmp_path / "spool", max_size=SMALLEST_SPOOL, when_full="refuse_newest") as story:
        for number in range(20):
            story.take(f"{number:08d}" * 4000)
            await story.commit()
        dropped = story.spool.ledger.dropped["spool_full"]
        assert dropped
        shutil.copytree(tmp_path / "spool", tmp_path / "killed")
    async with opened(tmp_path / "killed", max_size=SMALLEST_SPOOL, when_full="refuse_newest") as story:
        ledger = story.spool.ledger
        assert ledger.dropped["spool_full"] == dropped
        story.spool.confirm([(1, 3)])
        await story.commit()
        story.take("f" * 30_000)
        await story.commit()
        assert ledger.dropped["spool_full"] == dropped, "there is room for fresh records"
        assert ledger.balanced


async def test_a_new_spool_has_a_new_name(tmp_path: Path):
    """Confirmations of records of the old spool must not delete records of the new spool."""
    async with opened(tmp_path / "one") as story:
        first = story.spool.id
    async with opened(tmp_path / "two") as story:
        assert story.spool.id != first


async def test_acquisition_waits_while_too_much_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded: then scans are missed, and counted as missed."""
    monkeypatch.setattr(module, "QUEUE_BYTES", 10)
    async with opened(tmp_path) as story:
        story.take("a" * 20)
        room = asyncio.create_task(story.spool.room())
        await asyncio.sleep(0)
        assert not room.done()
        await story.commit()
        await asyncio.wait_for(room, 5)


async def test_memory_keeps_a_bounded_part_of_the_fresh_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The other records are read from the disk."""
    monkeypatch.setattr(read_queue, "FRESH_BYTES", 30)
    async with opened(tmp_path) as story:
        story.take(*(f"{number:08d}" for number in range(10)))
        await story.commit()
        assert len(story.spool.lease_fresh(2)) == 2
        assert len(story.spool.lease_fresh(10)) <= 1
        story.spool.release([(1, 10)])
        found: list[int] = []
        while batch := await story.leased(4):
            found += batch
        assert sorted(found) == list(range(1, 11))


@pytest.mark.parametrize(("sync", "level"), [("full", 2), ("normal", 1)])
async def test_the_loss_at_a_power_cut_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: str, level: int
):
    """Each commit is synced, unless the configuration spares a memory card."""
    connect, connections = sqlite3.connect, []

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connected)
    async with opened(tmp_path, sync=sync) as story:
        [(found,)] = connections[-1].execute("pragma synchronous")
        assert found == level
        story.take("a")
        assert await story.commit()


async def test_empty_returns_when_everything_is_confirmed(tmp_path: Path):
    """A gateway that stops waits for this, for a moment."""
    async with opened(tmp_path) as story:
        await asyncio.wait_for(story.spool.empty(), 1)
        story.take("a")
        waiting = asyncio.create_task(story.spool.empty())
        await story.commit()
        assert not waiting.done()
        story.spool.confirm([(1, 1)])
        await story.commit()
        await asyncio.wait_for(waiting, 1)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["take", "commit", "lease", "confirm", "release", "reopen"]), st.integers(1, 12)),
    max_size=40,
)

SIZES = st.integers(SMALLEST_SPOOL, 2 * SMALLEST_SPOOL)


@pytest.mark.slow
@given(ACTIONS, st.sampled_from(list(WhenFull)), SIZES)
def test_whatever_happens_the_ledger_balances_and_nothing_is_invented(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]], when_full: WhenFull, max_size: int
):
    """Every accepted record is leased until it is confirmed, or dropped and counted; none appears from nowhere."""
    folder = tmp_path_factory.mktemp("spool")
    issued: dict[int, bytes] = {}

    async def story_of() -> None:
        todo = list(actions)
        leased: list[Spooled] = []
        while True:
            async with opened(folder, max_size=max_size, when_full=when_full.value) as story:
                spool = story.spool
                leased.clear()
                while todo:
                    action, number = todo.pop(0)
                    if action == "take":
                        item = "item" * (2500 * number)  # three to thirty pages
                        issued[spool.next_seq] = f"{spool.next_seq}:{item}".encode()
                        story.take(item, readings=number)
                    elif action == "commit":
                        await story.commit()
                    elif action == "lease":
                        leased += await lease(spool, number)
                    elif action == "confirm":
                        spool.confirm((record.seq, record.seq) for record in leased[:number])
                    elif action == "release":
                        spool.release((record.seq, record.seq) for record in leased)
                    else:
                        break
                    assert spool.ledger.balanced
                    assert all(record.payload == issued[record.seq] for record in leased)
                await story.commit()
                assert spool.ledger.balanced
            if not todo:
                return

    asyncio.run(story_of())
