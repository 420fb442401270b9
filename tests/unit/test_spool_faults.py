"""Faults that must not end the spool: hostile confirmations, records that no database accepts, disks that refuse."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from processes import until
from spooling import drop_cached, lease
from structlog.testing import capture_logs

from gateway.common.tasks import cancel_and_wait
from gateway.settings.sections import SpoolSection
from gateway.spool import spool as module
from gateway.spool.checkpoint import NewerSpool
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool
from gateway.spool.write_queue import WriteQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.spool.batch import Batch, CommitResult


@pytest.fixture(autouse=True)
def _confirmations_wait_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIRM_DELAY", 0.1)


def put(spool: Spool, *texts: str, topic: str = "topic") -> None:
    """Acquire two readings for each text, in a record of its own."""
    for text in texts:
        builder = RecordBuilder[str](topic, lambda seq, items: f"{seq} {spool.id} {items[0]}".encode())
        spool.ledger.acquired += 2
        spool.put(builder, text, 2)
        spool.close_record(builder)
        assert spool.ledger.balanced


@asynccontextmanager
async def running(folder: Path, **arguments: Any) -> AsyncIterator[Spool]:
    """Open a spool, and commit as the gateway does; the task that commits must never end by itself."""
    async with Spool(SpoolSection(folder=folder), "edge", **arguments) as spool:
        task = asyncio.create_task(spool.run())
        yield spool
        assert not task.done(), "ended by itself"
        await cancel_and_wait(task)


def logged(logs: Sequence[Any], name: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == name]


HOSTILE: list[Any] = [
    (1, 2**64 - 1), (1, 2**63), (1, 2**62), (1, int(1e300)), (-5, 1), (0, 1), (2, 1), (1, 1.0), (True, 1), ("1", 1),
    (1, None), (1,), (1, 1, 1), (4, 4), (3, 4),
]  # fmt: skip


@pytest.mark.parametrize("span", HOSTILE)
async def test_a_confirmation_of_unknown_numbers_is_refused(tmp_path: Path, span: Any) -> None:
    """Otherwise a client that may publish on the topic could empty the spool, or end the gateway."""
    async with running(tmp_path) as spool:
        put(spool, "a", "b", "c")
        await until(lambda: spool.size > 0, "a commit", 30)
        with capture_logs() as logs:
            spool.confirm([span, (2, 2), span])
            await until(lambda: spool.ledger.confirmed == 2, "the other confirmation", 30)
        assert spool.counts["confirmations_refused"] == 2
        assert [entry["event"] for entry in logs] == ["spool.confirmation_refused"], "once"
        assert (spool.ledger.pending, spool.ledger.balanced) == (4, True)


@pytest.mark.parametrize("refused", [-5, 0, 99, 2**70, 1.5, True, None, "1"])
async def test_readings_refused_by_a_store_are_bounded_by_those_of_the_record(tmp_path: Path, refused: Any) -> None:
    """A negative number would unbalance the ledger, and it survives restarts."""
    async with running(tmp_path) as spool:
        put(spool, "a")
        await until(lambda: spool.size > 0, "a commit", 30)
        spool.confirm([(1, 1)], {1: refused, 2**80: 3})
        await until(lambda: not spool.ledger.pending, "the confirmation", 30)
        assert spool.ledger.balanced
        assert spool.ledger.dropped["rejected_by_store"] == (2 if isinstance(refused, int) and refused > 1 else 0)


@pytest.mark.parametrize("error", [OverflowError("int too large"), TypeError("?"), sqlite3.ProgrammingError("?")])
async def test_a_commit_that_fails_is_tried_again_without_its_confirmations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its records must not be lost for one odd message; those that were confirmed are sent again."""
    real = SpoolDatabase.write

    def write(self: SpoolDatabase, batch: Batch) -> CommitResult:
        if batch.confirms:
            raise error
        return real(self, batch)

    async with running(tmp_path) as spool:
        put(spool, "a")
        await until(lambda: spool.size > 0, "a commit", 30)
        assert len(await lease(spool, 10)) == 1
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(SpoolDatabase, "write", write)
            put(spool, "b")
            spool.confirm([(1, 1)])
            await until(lambda: spool.counts["commits_failed"] == 1, "a failure", 30)
            sent: list[int] = []
            while len(sent) < 2:
                await spool.sendable()
                sent += [record.seq for record in await lease(spool, 10)]
        assert sorted(sent) == [1, 2]
        assert [entry["event"] for entry in logs if "failed" in entry["event"]] == ["spool.commit_failed"]
        spool.confirm([(1, 2)])
        await until(lambda: spool.ledger.confirmed == 4, "both are confirmed", 30)
        assert spool.ledger.balanced


@pytest.mark.slow
async def test_a_record_that_no_database_takes_is_dropped_alone_and_counted(tmp_path: Path) -> None:
    """The others must not wait for it, nor acquisition stop when the memory is full."""
    async with running(tmp_path) as spool:
        put(spool, "a", "b")
        put(spool, "poison", topic="a lone surrogate \ud800")
        put(spool, "c", "d")
        await until(lambda: spool.ledger.dropped["not_writable"] == 2, "it is dropped", 30)
        put(spool, "e")
        sent: list[int] = []
        while len(sent) < 5:
            await spool.sendable()
            sent += [record.seq for record in await lease(spool, 10)]
        assert sorted(sent) == [1, 2, 4, 5, 6]
        assert spool.ledger.balanced
    async with running(tmp_path) as spool:
        assert (spool.ledger.pending, spool.ledger.dropped, spool.ledger.balanced) == (10, {"not_writable": 2}, True)


@pytest.mark.slow
async def test_a_stop_with_a_record_that_no_database_takes_saves_the_others(tmp_path: Path) -> None:
    """The last commit is made without the task that commits."""
    async with Spool(SpoolSection(folder=tmp_path), "edge") as spool:
        put(spool, "a")
        put(spool, "poison", topic="\udfff")
        put(spool, "b")
    assert (spool.ledger.pending, spool.ledger.dropped["not_writable"]) == (4, 2)
    async with running(tmp_path) as spool:
        assert [record.seq for record in await lease(spool, 10)] == [1, 3]


async def test_a_scan_that_no_codec_takes_is_dropped_alone_and_counted(tmp_path: Path) -> None:
    """It is in a record with others, of the same machine."""

    def encode(seq: int, items: list[str]) -> bytes:
        return f"{seq}:{','.join(items)}".encode()

    async with running(tmp_path) as spool:
        builder = RecordBuilder("topic", encode)
        spool.ledger.acquired += 8
        with capture_logs() as logs:
            for item in ("a", "b", "\ud800", "d"):
                spool.put(builder, item, 2)
            await until(lambda: spool.size > 0, "a commit", 30)
        assert b"".join(record.payload for record in await lease(spool, 10)) == b"1:a,b2:d"
        assert (spool.ledger.dropped, spool.ledger.balanced) == ({"not_encodable": 2}, True)
        assert [entry["event"] for entry in logs] == ["record.not_encodable"]


async def test_an_error_that_nobody_foresaw_does_not_end_the_task_that_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway ends when a person ends it."""
    async with running(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(WriteQueue, "next_batch", lambda *_: 1 / 0)
            put(spool, "a")
            await until(lambda: spool.counts["commits_failed"] > 1, "two attempts", 30)
        await until(lambda: spool.size > 0, "a commit", 30)
        assert spool.ledger.balanced


AWAY = [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "I/O"), OSError(errno.EROFS, "read-only"),
        OSError(errno.EMFILE, "files")]  # fmt: skip


class Disk:
    """A disk that refuses to open a spool, until it does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.error: Exception | None = error
        self.attempts = 0
        real = SpoolDatabase.open

        def open_(database: SpoolDatabase) -> None:
            self.attempts += 1
            if self.error is not None:
                raise self.error
            real(database)

        monkeypatch.setattr(SpoolDatabase, "open", open_)


@pytest.mark.parametrize("error", AWAY)
async def test_a_first_start_on_a_disk_that_refuses_works_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """The line is read, and the readings are written when the disk accepts them."""
    disk = Disk(monkeypatch, error)
    with capture_logs() as logs:
        async with running(tmp_path) as spool:
            put(spool, "a", "b")
            assert (spool.ledger.pending, spool.ledger.balanced) == (4, True)
            await until(lambda: disk.attempts > 1, "another attempt", 30)
            assert await lease(spool, 10) == [], "nothing is sent that is not durable"
            disk.error = None
            await spool.sendable()
            payloads = [f"{seq} {spool.id} {text}".encode() for seq, text in enumerate("ab", 1)]
            assert [record.payload for record in await lease(spool, 10)] == payloads
    reason = "disk_full" if error.errno == errno.ENOSPC else "not_writable"
    assert [(entry["event"], entry.get("reason")) for entry in logs if entry["event"] != "spool.opened"] == [
        ("spool.not_writable", reason), ("spool.writable_again", None)
    ]  # fmt: skip
    async with running(tmp_path) as spool:
        assert (spool.ledger.pending, spool.ledger.acquired, spool.next_seq) == (4, 4, 3)


async def test_a_start_with_a_backlog_on_a_disk_that_refuses_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ledger and its numbers are those of before, and confirmations that come meanwhile count."""
    async with running(tmp_path) as spool:
        put(spool, "a", "b", "c")
        name = spool.id
    disk = Disk(monkeypatch, OSError(errno.EROFS, "read-only"))
    async with running(tmp_path) as spool:
        assert spool.id == name
        put(spool, "d")
        spool.confirm([(2, 2)])
        disk.error = None
        await until(lambda: spool.ledger.confirmed == 2, "it is open", 30)
        assert (spool.ledger.acquired, spool.ledger.pending, spool.ledger.balanced) == (8, 6, True)
        sent = {record.seq: record.payload for record in await lease(spool, 10)}
        assert sent.keys() == {1, 3, 4}
        assert sent[4] == f"4 {name} d".encode()


@pytest.mark.parametrize("renumber", [True, False])
async def test_records_in_memory_continue_the_numbers_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, renumber: bool
) -> None:
    """The disk was unreadable at the start; a number used twice would confirm a record that was never stored."""
    async with running(tmp_path) as spool:
        put(spool, "a", "b", "c")
        name = spool.id
    disk = Disk(monkeypatch, OSError(errno.EIO, "I/O"))
    monkeypatch.setattr(SpoolDatabase, "expected", lambda _: ("guessed", 1))

    def again(payload: bytes, spool: str, seq: int) -> bytes:
        return f"{seq} {spool} {payload.split()[-1].decode()}".encode()

    async with running(tmp_path, renumber=again if renumber else None) as spool:
        put(spool, "d")
        disk.error = None
        await until(lambda: spool.size > 0, "it is open", 30)
        put(spool, "e")
        sent: dict[int, bytes] = {}
        while len(sent) < 4 + renumber:
            await spool.sendable()
            sent |= {record.seq: record.payload for record in await lease(spool, 10)}
        assert [payload.split()[-1] for _, payload in sorted(sent.items())] == (
            [b"a", b"b", b"c", b"d", b"e"] if renumber else [b"a", b"b", b"c", b"e"]
        )
        assert all(payload.startswith(f"{seq} {name} ".encode()) for seq, payload in sent.items())
        assert spool.ledger.dropped["not_writable"] == (0 if renumber else 2)
        assert spool.ledger.balanced


async def test_memory_is_bounded_while_the_disk_refuses_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may be full for weeks; records that do not fit into memory are counted with the reason."""
    monkeypatch.setattr(module, "QUEUE_BYTES", 2000)
    Disk(monkeypatch, OSError(errno.ENOSPC, "full"))
    with capture_logs() as logs:
        async with Spool(SpoolSection(folder=tmp_path), "edge") as spool:
            put(spool, *("x" * 100 for _ in range(100)))
            assert not await spool.commit()
            assert 0 < spool.ledger.pending < 40
            assert spool.ledger.dropped["disk_full"] == 200 - spool.ledger.pending
            await spool.room()
        assert spool.ledger.dropped["disk_full"] == 200
        assert spool.ledger.balanced
    assert [entry["event"] for entry in logs] == ["spool.not_writable", "spool.records_lost"]


@pytest.mark.parametrize(
    "error", [BlockingIOError(errno.EAGAIN, "in use"), NewerSpool("newer"), PermissionError(errno.EACCES, "no")]
)
async def test_a_start_that_only_a_person_can_mend_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Another gateway uses the spool, a newer version wrote it, or the rights are missing."""
    Disk(monkeypatch, error)
    with pytest.raises(type(error)):
        async with Spool(SpoolSection(folder=tmp_path), "edge"):
            pass


async def test_a_database_that_can_not_be_rebuilt_for_want_of_room_is_rebuilt_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage on a full disk: the line is read on, and when there is room everything intact is there."""
    from gateway.spool import database
    from gateway.spool.recovery import rebuild

    monkeypatch.setattr(database, "REBUILD_AGAIN", 0.1)
    async with running(tmp_path) as spool:
        put(spool, *"abc")
    real, full = rebuild.rebuild, [True]

    def rebuilt(*arguments: Any, **options: Any) -> Any:
        if full[0]:
            raise OSError(errno.ENOSPC, "full")
        return real(*arguments, **options)

    monkeypatch.setattr(rebuild, "rebuild", rebuilt)
    async with running(tmp_path) as spool:
        drop_cached(spool)
        with SpoolFiles(tmp_path, "edge").db.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(8192))
        put(spool, "d")
        with capture_logs() as logs:
            await until(lambda: logged(logs, "spool.not_writable"), "the disk refuses", 30)
        assert logged(logs, "spool.not_writable")[0]["reason"] == "disk_full"
        put(spool, "e")
        assert spool.ledger.balanced
        full[0] = False
        with capture_logs() as logs:
            await until(lambda: logged(logs, "spool.writable_again"), "it is rebuilt", 30)
        sent: set[int] = set()
        while len(sent) < spool.ledger.pending // 2:
            await spool.sendable()
            sent |= {record.seq for record in await lease(spool, 10)}
        assert {4, 5} <= sent
        assert spool.ledger.balanced
