"""A full disk: the line is still read, records in the spool can be confirmed, and everything is counted.

The tests run twice: with a limit on the size of files, which any process may give itself, and by
`test_the_same_on_a_file_system_that_is_full` on a small file system of their own.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from spooling import lease
from structlog.testing import capture_logs

from gateway.settings.sections import SpoolSection, WhenFull
from gateway.spool import spool as module
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.spool.files import Spooled

SMALL_DISK = "LINESIDE_TEST_SMALL_DISK"

DISK = 3 * 2**20

SIZE = 2**20
"""Size of the spool: the disk has room for it or for its reserve of twice as much, but not for both when full."""

LOG = 128 * 2**10

HELD = 200_000
"""Bytes that may wait in memory in these tests."""


class Disk:
    """The disk of the spool, which a test can fill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = SMALL_DISK in os.environ

    @contextmanager
    def full(self, *, from_the_start: bool = False) -> Iterator[None]:
        """Let nothing more fit; `from_the_start` where there are no files yet."""
        if self.own:
            filler = self.folder / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            assert shutil.disk_usage(self.folder).free == 0
            try:
                yield
            finally:
                filler.unlink()
            return
        sizes = [file.stat().st_size for file in (self.folder / "spool").glob("*.db*")]
        limit = 0 if from_the_start else max(*sizes, LOG)  # the log has so much in any case
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(module, "QUEUE_BYTES", HELD)
    made = Disk(Path(os.environ.get(SMALL_DISK, tmp_path)))
    yield made
    shutil.rmtree(made.folder / "spool")


class Story:
    """A spool and the operations of a gateway on it: scans of ten readings and about two thousand bytes."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.builder = RecordBuilder[None]("topic", lambda seq, _: b"%d:" % seq + bytes(2000))

    def take(self, scans: int) -> None:
        for _ in range(scans):
            self.spool.ledger.acquired += 10
            self.spool.put(self.builder, None, 10)
            self.spool.close_record(self.builder)
            assert self.spool.ledger.balanced

    async def commit(self) -> bool:
        done = await self.spool.commit()
        assert self.spool.ledger.balanced
        return done

    @property
    def stored_readings(self) -> int:
        """Readings that are on disk: each record has ten, and as many bytes as the next."""
        return round(self.spool.size / 2000) * 10

    async def fill(self) -> None:
        """Put scans into the spool until the disk is full."""
        for _ in range(100):
            self.take(20)
            if not await self.commit():
                return
        pytest.fail("the disk is not full")

    async def leased(self) -> list[Spooled]:
        found: list[Spooled] = []
        while batch := await lease(self.spool, 100):
            found += batch
        return found


@asynccontextmanager
async def opened(disk: Disk, when_full: WhenFull = WhenFull.DROP_OLDEST) -> AsyncIterator[Story]:
    section = SpoolSection(folder=disk.folder / "spool", max_size=SIZE, when_full=when_full)
    async with Spool(section, "edge") as spool:
        yield Story(spool)


async def test_the_line_is_still_read_and_lost_readings_are_counted(disk: Disk) -> None:
    """A log file that grew must not stop the line; when it is gone, the spool continues, and logs this once."""
    async with opened(disk) as story:
        story.take(20)
        assert await story.commit()
        with capture_logs() as logs:
            with disk.full():
                await story.fill()
                story.take(2 * HELD // 2000)
                assert not await story.commit()
                ledger = story.spool.ledger
                assert ledger.dropped.keys() == {"disk_full"}
                assert ledger.dropped["disk_full"] >= 10 * HELD // 2000
                await story.spool.room()
            assert await story.commit()
            assert await story.commit()
        assert [(log["event"], log.get("reason")) for log in logs] == [
            ("spool.not_writable", "disk_full"), ("spool.writable_again", None)
        ]  # fmt: skip
        kept = await story.leased()
        assert sum(record.readings for record in kept) == ledger.pending
        assert [record.seq for record in kept] == list(range(1, len(kept) + 1)), "the newest are dropped, not others"


async def test_a_spool_that_refuses_the_newest_lets_acquisition_wait(disk: Disk) -> None:
    """Scans are then missed, and counted as missed; no acquired reading is dropped."""
    async with opened(disk, WhenFull.REFUSE_NEWEST) as story:
        story.take(20)
        assert await story.commit()
        with disk.full():
            await story.fill()
            story.take(2 * HELD // 2000)
            assert not await story.commit()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(story.spool.room(), 0.01)
            assert not story.spool.ledger.dropped
        while not await story.commit() or story.stored_readings != story.spool.ledger.pending:
            pass
        await story.spool.room()
        ledger = story.spool.ledger
        assert sum(record.readings for record in await story.leased()) == ledger.pending == ledger.acquired


async def test_records_can_be_confirmed_on_a_full_disk(disk: Disk) -> None:
    """Only confirmations free the spool, and to delete a record needs space, too: it is kept in reserve."""
    async with opened(disk) as story:
        story.take(100)
        assert await story.commit()
        stored = await story.leased()
        with disk.full():
            await story.fill()
            for record in stored:
                story.spool.confirm([(record.seq, record.seq)])
                await story.commit()
            assert story.spool.ledger.confirmed == 1000
            story.take(5)
            assert await story.commit(), "there is room in the file again, whatever the disk says"
    async with opened(disk) as again:
        assert again.spool.ledger == story.spool.ledger


async def test_a_spool_starts_on_a_full_disk(disk: Disk) -> None:
    """The box was restarted because of a fault: the stored records must still be sent."""
    async with opened(disk) as story:
        story.take(50)
        assert await story.commit()
    with disk.full():
        async with opened(disk) as story:
            assert len(await story.leased()) == 50
            story.spool.confirm([(1, 50)])
            await story.commit()
            assert story.spool.ledger.confirmed == 500
    async with opened(disk) as story:
        assert (story.spool.ledger.acquired, story.spool.ledger.confirmed) == (500, 500)


async def test_a_first_start_on_a_full_disk_works_from_memory(disk: Disk) -> None:
    """A gateway may be installed on a box with a full disk: its machines are read, and the readings kept."""
    with ExitStack() as stack:
        stack.enter_context(capture_logs())  # a log in a file would meet the limit, too
        stack.enter_context(disk.full(from_the_start=True))
        async with opened(disk) as story:
            story.take(20)
            assert not await story.commit()
            story.take(2 * HELD // 2000)
            assert not await story.commit()
            ledger = story.spool.ledger
            dropped = ledger.dropped["disk_full"]
            assert dropped >= 10 * HELD // 2000
            stack.close()
            async with asyncio.timeout(30):
                while story.stored_readings < ledger.pending:
                    await story.commit()
                    await asyncio.sleep(0.05)
            assert await story.commit()
            assert sum(record.readings for record in await story.leased()) == ledger.pending
    async with opened(disk) as again:
        assert again.spool.ledger == ledger
        assert ledger.dropped == {"disk_full": dropped}


async def test_a_stop_on_a_full_disk_counts_the_lost_readings(disk: Disk) -> None:
    """The ledger needs no additional space: it is always written to the same place."""
    async with opened(disk) as story:
        story.take(20)
        assert await story.commit()
    with disk.full():
        async with opened(disk) as story:
            await story.fill()
            before = story.spool.ledger.acquired
            assert story.stored_readings < story.spool.ledger.pending
        ledger = story.spool.ledger
        assert ledger.balanced
        assert ledger.dropped["disk_full"] > 0
    async with opened(disk) as story:
        assert story.spool.ledger == ledger
        assert ledger.acquired == before
        assert sum(record.readings for record in await story.leased()) == ledger.pending


def test_the_same_on_a_file_system_that_is_full(tmp_path: Path) -> None:
    """A limit on file sizes can't show that other programs fill the disk, and use the space that is released."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    script = f'mount -t tmpfs -o size={DISK} tmpfs "$0" && exec "$@"'
    others = ["-k", "not file_system", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-q"]
    pytest_again = [sys.executable, "-m", "pytest", *others, __file__]
    for own in (["--user", "--map-root-user"], []):
        unshare = ["unshare", *own, "--mount", "sh", "-c", script, str(mounted)]
        if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("this process may not mount a file system, and there is no other way to have one that is full")
    environment = os.environ | {SMALL_DISK: str(mounted)}
    ran = subprocess.run([*unshare, *pytest_again], check=False, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stdout[-5000:]
