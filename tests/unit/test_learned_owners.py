"""The gateways of machines that ingest has learned, over restarts and damage."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import structlog
from processes import until

from gateway.common.worker_thread import WorkerThread
from gateway.ingest import learned_owners, saved_file
from gateway.ingest.learned_owners import LearnedOwners
from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")


async def saved(owners: LearnedOwners) -> bool:
    """Save as ingest does; return whether there was a change."""
    changed, disk = owners.changed, WorkerThread("disk")
    await owners.save(disk)
    disk.stop()
    return changed


async def test_they_are_known_after_a_restart(tmp_path: Path) -> None:
    """Else ingest would take the first to publish after it for the owner."""
    file = tmp_path / "folder" / "ingest.owners.json"
    owners = LearnedOwners(file)
    owners.load()
    owners.learn(PRESS, "edge-01")
    owners.learn(PRESS._replace(machine="press-02"), "edge-02")
    assert await saved(owners)
    again = LearnedOwners(file)
    again.load()
    assert [again.of(path) for path in (PRESS, PRESS._replace(machine="press-02"))] == ["edge-01", "edge-02"]
    assert again.of(PRESS._replace(machine="press-03")) is None
    assert not await saved(again)


async def test_a_file_that_can_not_be_written_is_logged_once_and_written_later(tmp_path: Path) -> None:
    """A read-only disk must not end ingest, nor fill its log."""
    (tmp_path / "folder").write_text("a file where a folder belongs", encoding="utf-8")
    owners = LearnedOwners(tmp_path / "folder" / "ingest.owners.json")
    with structlog.testing.capture_logs() as logs:
        owners.load()
        for gateway in ("edge-01", "edge-02", "edge-03"):
            owners.learn(PRESS, gateway)
            assert await saved(owners)
        (tmp_path / "folder").unlink()
        assert await saved(owners)
    assert [log["event"] for log in logs] == ["owners.unreadable", "owners.not_saved", "owners.saved"]
    assert not await saved(owners)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"gateways":5}', b'{"gateways":{"edge-01":"press"}}', b"[" * 100_000,
        b'{"gateways":{"edge-01":[5]}}', b'{"gateways":{"edge-01":["a/b/c/d/' + b"e" * 5_000 + b'"]}}', b"\xff",
    ],
)  # fmt: skip
async def test_a_damaged_file_is_set_aside_and_said_once(tmp_path: Path, content: bytes) -> None:
    """A person can look at it, and the next start does not find it again."""
    file = tmp_path / "ingest.owners.json"
    file.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        LearnedOwners(file).load()
        owners = LearnedOwners(file)
        owners.load()
    assert [log["event"] for log in logs] == ["owners.unreadable"]
    assert (tmp_path / "ingest.owners.json.damaged").read_bytes() == content
    assert len(owners) == 0
    owners.learn(PRESS, "edge-01")
    assert await saved(owners)


async def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that invents machines fills neither memory nor disk; known machines stay known."""
    monkeypatch.setattr(learned_owners, "MAX_MACHINES", 3)
    owners = LearnedOwners(tmp_path / "ingest.owners.json")
    owners.learn(PRESS, "edge-01")
    for number in range(100):
        owners.learn(PRESS._replace(machine=f"m{number}"), "edge-02")
    owners.learn(PRESS, "edge-02")
    assert len(owners) == 3
    assert owners.of(PRESS) == "edge-02"
    assert await saved(owners)
    monkeypatch.setattr(learned_owners, "MAX_FILE_BYTES", 10)
    again = LearnedOwners(tmp_path / "ingest.owners.json")
    again.load()
    assert len(again) == 0


@pytest.mark.parametrize("learned", [False, True], ids=["before the stop", "meanwhile"])
async def test_a_stop_during_a_save_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, learned: bool
) -> None:
    """The periodic save is cancelled then, and its write goes on in the thread."""
    disk, go = WorkerThread("disk"), threading.Event()
    replace = saved_file.replace_file

    def slow(file: Path, pieces: Iterable[bytes]) -> None:
        go.wait()
        replace(file, pieces)

    monkeypatch.setattr(saved_file, "replace_file", slow)
    owners = LearnedOwners(tmp_path / "ingest.owners.json")
    owners.learn(PRESS, "edge-01")
    periodic = asyncio.create_task(owners.save(disk))
    await until(lambda: disk.busy, "the periodic save is under way")
    periodic.cancel()
    await asyncio.wait([periodic])
    assert owners.changed  # nobody waits for the result of that write
    if learned:
        owners.learn(PRESS, "edge-02")
    await owners.save(disk)
    assert disk.busy  # left to the next
    asyncio.get_running_loop().call_later(0.05, go.set)
    await owners.save(disk, wait=True)
    again = LearnedOwners(tmp_path / "ingest.owners.json")
    again.load()
    assert again.of(PRESS) == ("edge-02" if learned else "edge-01")
    assert not owners.changed
    disk.stop()


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
async def test_what_must_be_on_the_disk_waits_for_the_save_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """Records are acknowledged afterwards, and the periodic save may have the same content."""
    disk, go, errors = WorkerThread("disk"), threading.Event(), [OSError("the disk is full")] * fails
    replace = saved_file.replace_file

    def slow(file: Path, pieces: Iterable[bytes]) -> None:
        go.wait()
        if errors:
            raise errors.pop()
        replace(file, pieces)

    monkeypatch.setattr(saved_file, "replace_file", slow)
    owners = LearnedOwners(tmp_path / "ingest.owners.json")
    owners.learn(PRESS, "edge-01")
    periodic = asyncio.create_task(owners.save(disk))
    await until(lambda: disk.busy, "the periodic save is under way")
    asyncio.get_running_loop().call_later(0.05, go.set)
    await owners.save(disk, wait=True)
    again = LearnedOwners(tmp_path / "ingest.owners.json")
    again.load()
    assert again.of(PRESS) == "edge-01"
    await periodic
    assert not owners.changed
    disk.stop()


async def test_a_disk_that_hangs_delays_a_stop_by_a_second_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is not saved then, which is logged, and no further write is queued."""
    disk, go = WorkerThread("disk"), threading.Event()
    hanging = asyncio.create_task(disk.run(go.wait))
    await until(lambda: disk.busy, "the disk hangs")
    owners = LearnedOwners(tmp_path / "ingest.owners.json")
    owners.learn(PRESS, "edge-01")
    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logs:
        patched.setattr(saved_file, "SAVE_TIMEOUT", 0.02)
        await owners.save(disk, wait=True)
    assert [(log["event"], log["error"]) for log in logs] == [("owners.not_saved", "the disk does not answer")]
    assert owners.changed
    go.set()
    await hanging
    await disk.idle()
    assert not (tmp_path / "ingest.owners.json").exists()
    assert await saved(owners)
    assert (tmp_path / "ingest.owners.json").exists()
    disk.stop()
