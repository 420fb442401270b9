"""Helpers that fail are logged once, counted, and started again; nothing of them ends a service."""

from __future__ import annotations

import ast
import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import structlog
from fakes.virtual_time import run
from processes import until

from gateway.common import heartbeat
from gateway.common.atomic_file import JsonEntries, load_json, replace_file
from gateway.common.tasks import BestEffort, cancel_and_wait, errors_of, supervise, within

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]

ERRORS = [errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOSPC, errno.ENOENT, errno.EACCES]


def fail_with(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


def test_a_failure_is_logged_once_until_it_is_over() -> None:
    """An hour of a full disk is one line."""
    helper = BestEffort("saving", file="f")
    with structlog.testing.capture_logs() as logs:
        for number in (errno.EIO, errno.EIO, errno.EROFS, 0, 0, errno.EIO):
            with helper:
                if number:
                    fail_with(number)
    events = [(log["event"], log.get("error", "")[:10]) for log in logs]
    assert events == [
        ("helper.failed", "OSError(5,"),
        ("helper.failed", "OSError(30"),
        ("helper.recovered", ""),
        ("helper.failed", "OSError(5,"),
    ]
    assert helper.failures == 4
    assert {(log["helper"], log["file"]) for log in logs} == {("saving", "f")}


def test_an_error_that_is_not_an_os_error_is_logged_with_its_traceback() -> None:
    """Nobody could find it otherwise."""
    with structlog.testing.capture_logs() as logs, BestEffort("saving"):
        raise IndexError("x")
    assert isinstance(logs[0]["exc_info"], IndexError)


def test_an_allowed_error_is_raised() -> None:
    """The worker handles a lost connection."""
    with pytest.raises(KeyError), BestEffort("search", passing=(KeyError,)):
        raise KeyError("x")


async def test_a_cancellation_passes() -> None:
    """Otherwise a task could not be ended."""

    async def wait() -> None:
        with BestEffort("waiting"):
            await asyncio.sleep(1000)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await cancel_and_wait(task)
    assert task.cancelled()


def test_a_helper_that_fails_is_started_again() -> None:
    """After a pause, and until it returns."""
    started = []

    async def helper() -> None:
        started.append(asyncio.get_running_loop().time())
        if len(started) < 4:
            raise ValueError("again")

    run(supervise(helper, BestEffort("helper"), 5.0))
    assert started == [0, 5, 10, 15]


def test_a_task_that_ignores_its_cancellation_is_not_awaited() -> None:
    """A library may; the stop of a gateway does not wait for it."""

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await within(2.0, stubborn(), "stubborn")
        return asyncio.get_running_loop().time()

    assert run(main()) == 2.0


@pytest.mark.parametrize("number", ERRORS)
async def test_a_heartbeat_that_can_not_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full or removed disk must not stop acquisition."""
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    failing, beats = True, asyncio.Event()
    file = tmp_path / "folder" / "edge.alive"
    touch = heartbeat._touch  # noqa: SLF001 - the disk fails there

    def flaky(file: Path) -> None:
        if failing:
            fail_with(number)
        touch(file)
        loop.call_soon_threadsafe(beats.set)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(heartbeat, "_touch", flaky)
    with structlog.testing.capture_logs() as logs:
        beating = asyncio.create_task(heartbeat.beat(file))
        await asyncio.sleep(0.1)
        assert not beating.done()
        failing = False
        await asyncio.wait_for(beats.wait(), 20)
        assert file.exists()
        await cancel_and_wait(beating)
    assert not file.exists()
    assert [log["event"] for log in logs] == ["helper.failed", "helper.recovered"]


async def test_a_folder_that_is_removed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidies up, or a mount comes back empty."""
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    folder = tmp_path / "folder"
    beating = asyncio.create_task(heartbeat.beat(folder / "edge.alive"))
    for _ in range(2):
        async with asyncio.timeout(20):
            while not (folder / "edge.alive").exists():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
        (folder / "edge.alive").unlink()
        folder.rmdir()
    await cancel_and_wait(beating)


async def test_entries_are_written_together_and_read_back(tmp_path: Path) -> None:
    """The file is one JSON object, as in earlier versions."""
    file = tmp_path / "folder" / "entries.json"
    entries = JsonEntries(file)
    assert entries.load() == {}
    assert await entries.save(), "nothing to write"
    assert not file.exists()
    for key, content in (("a", b"1"), ('odd "key"', b'{"x":[1,2]}'), ("b", b"2")):
        entries.set(key, content)
    assert await entries.save()
    assert load_json(file) == {"a": 1, 'odd "key"': {"x": [1, 2]}, "b": 2}
    again = JsonEntries(file)
    assert again.load() == load_json(file)
    for key in ("a", 'odd "key"', "b", "c"):
        again.remove(key)
    assert await again.save()
    assert load_json(file) == {}


async def test_entries_of_a_cancelled_save_are_written_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a stop: the cancelled write goes on in its thread, and the next waits for it."""
    go, calls = threading.Event(), []

    def slow(file: Path, pieces: Iterable[bytes]) -> None:
        calls.append("begins")
        go.wait()
        if len(calls) == 1:
            calls.append("fails")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace_file(file, pieces)
        calls.append("ends")

    monkeypatch.setattr("gateway.common.atomic_file.replace_file", slow)
    entries = JsonEntries(tmp_path / "entries.json")
    entries.set("a", b"1")
    saving = asyncio.create_task(entries.save())
    await until(lambda: calls, "the write has begun")
    saving.cancel()
    await asyncio.wait([saving])
    assert saving.cancelled()
    last = asyncio.create_task(entries.save())
    asyncio.get_running_loop().call_later(0.05, go.set)
    assert await last
    assert calls == ["begins", "fails", "begins", "ends"]
    assert load_json(tmp_path / "entries.json") == {"a": 1}


@pytest.mark.parametrize("number", ERRORS)
async def test_entries_that_can_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The failure is logged once."""
    entries = JsonEntries(tmp_path / "entries.json")
    with structlog.testing.capture_logs() as logs:
        with monkeypatch.context() as broken:
            broken.setattr("gateway.common.atomic_file.replace_file", lambda *_: fail_with(number))
            for content in (b"1", b"2"):
                entries.set("a", content)
                assert not await entries.save()
        assert await entries.save()
    assert load_json(tmp_path / "entries.json") == {"a": 2}
    assert [log["event"] for log in logs] == ["helper.failed", "helper.recovered"]


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ([OSError(1)], 1),
        ([OSError(1), ConnectionError(2)], 2),
        ([ExceptionGroup("inner", [OSError(1), OSError(2)]), OSError(3)], 3),
        ([OSError(1), ValueError()], 0),
        ([ExceptionGroup("inner", [OSError(1), ValueError()]), OSError(3)], 0),
    ],
)
def test_errors_of_a_kind_are_found_where_there_are_no_others(errors: list[Exception], found: int) -> None:
    """A defect beside a lost connection must not be hidden by it."""
    assert [error.args[0] for error in errors_of(ExceptionGroup("tasks", errors), OSError)] == [*range(1, found + 1)]


def test_no_handler_of_a_group_raises() -> None:
    """Before Python 3.11.4 its error would come in a group (CPython gh-103590), which nobody expects."""
    files = [file for folder in ("gateway", "drivers", "simulators") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 500
    raising = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.TryStar)
        and any(isinstance(inner, ast.Raise) for handler in node.handlers for inner in ast.walk(handler))
    ]
    assert raising == []
