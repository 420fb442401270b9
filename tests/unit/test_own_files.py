"""Files that Lineside reads back are its own: no link is followed, and no file of another user is trusted."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

import orjson
import pytest
from structlog.testing import capture_logs

from drivers.opcua.security.pki import Pki, certificates
from drivers.own_files import ForeignFile, check_own, open_own, read_own
from gateway.audit.files import read_head
from gateway.common.atomic_file import JsonEntries, load_json, save_json
from gateway.common.dead_letters import DeadLetters, read_letters
from gateway.common.heartbeat import beat
from gateway.common.own_files import SET_ASIDE, keep_files_private, open_or_make
from gateway.common.tasks import cancel_and_wait
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.settings.sections import SpoolSection, Sync, WhenFull
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import SpoolFiles
from gateway.workers.assignment import read_assignment
from gateway.workers.locks import locked
from tests.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = 65534
"""A user id that owns neither the folder nor this process."""

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the same user that an intruder wants to be read or overwritten."""
    folder = tmp_path / "victim"
    folder.mkdir()
    file = folder / "secret"
    file.write_text('{"secret": 1}\n')
    return file


def link(file: Path, victim: Path) -> None:
    file.symlink_to(victim)


def foreign(file: Path, victim: Path) -> None:
    file.write_bytes(victim.read_bytes())
    os.chown(file, NOBODY, NOBODY)


def fifo(file: Path, victim: Path) -> None:
    del victim
    os.mkfifo(file)


PLANTED = [link, fifo, *([foreign] if IS_ROOT else [])]
"""Things that an intruder leaves in place of a file; only root can make a file of another user."""


@pytest.mark.parametrize(("mode", "refused"), [(0o700, False), (0o755, False), (0o775, True), (0o1777, True)])
def test_a_second_name_of_a_file_is_refused_in_a_folder_of_others(
    tmp_path: Path, victim: Path, mode: int, *, refused: bool
) -> None:
    """A hard link leads to another file as a symbolic link does; in our own folder it is the work of its owner."""
    folder = tmp_path / "state"
    folder.mkdir()
    file = folder / "state.json"
    os.link(victim, file)
    folder.chmod(mode)
    for attempt in (open_own, check_own, lambda file: read_own(file, 100)):
        if refused:
            with pytest.raises(ForeignFile, match="has 2 names"):
                attempt(file)
        elif isinstance(descriptor := attempt(file), int):
            os.close(descriptor)
    file.unlink()
    file.write_text("{}")
    assert read_own(file, 100) == b"{}"


def test_a_second_name_is_set_aside_and_the_other_file_kept(tmp_path: Path, victim: Path) -> None:
    """A service that needs its file goes on with a new file."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.link(victim, folder / "edge-01.lock")
    folder.chmod(0o777)
    with capture_logs() as logs:
        os.close(open_or_make(folder / "edge-01.lock"))
    assert [one["event"] for one in logs] == ["file.refused"]
    assert (folder / "edge-01.lock").stat().st_nlink == 1
    assert victim.read_text() == '{"secret": 1}\n'


@pytest.mark.parametrize("plant", PLANTED)
def test_a_foreign_file_is_neither_read_nor_written(tmp_path: Path, victim: Path, plant: Callable[..., None]) -> None:
    """The error is one of the system, so each reader treats it as it treats a damaged file."""
    file = tmp_path / "state.json"
    plant(file, victim)
    for attempt in (open_own, check_own, load_json, lambda file: read_own(file, 100)):
        with pytest.raises(ForeignFile) as caught:
            attempt(file)
        assert caught.value.filename == str(file)
        assert caught.value.strerror is not None
    save_json(file, {"own": 1})
    assert load_json(file) == {"own": 1}
    assert victim.read_text() == '{"secret": 1}\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_new_file_is_replaced(tmp_path: Path, victim: Path, plant: Callable[..., None]) -> None:
    """The name of the half-written file is known, so a link could be waiting there."""
    plant(tmp_path / "state.json.new", victim)
    save_json(tmp_path / "state.json", {"own": 1})
    assert load_json(tmp_path / "state.json") == {"own": 1}
    assert victim.read_text() == '{"secret": 1}\n'


@pytest.mark.parametrize("plant", PLANTED)
def test_a_service_sets_a_foreign_file_aside_and_goes_on(
    tmp_path: Path, victim: Path, plant: Callable[..., None]
) -> None:
    """It needs its file; the foreign file keeps its content, under another name, and a log event names it."""
    file = tmp_path / "file"
    plant(file, victim)
    with capture_logs() as logs:
        descriptor = open_or_make(file)
        os.write(descriptor, b"own")
        os.close(descriptor)
    assert file.read_bytes() == b"own"
    assert victim.read_text() == '{"secret": 1}\n'
    assert os.path.lexists(f"{file}{SET_ASIDE}")
    assert [(one["event"], one["file"]) for one in logs] == [("file.refused", str(file))]


def test_a_folder_in_the_way_of_a_new_file_does_not_keep_the_service_from_its_file(tmp_path: Path) -> None:
    """A folder can't be replaced by a file."""
    (tmp_path / "state.json.new").mkdir()
    for count in (1, 2):
        save_json(tmp_path / "state.json", {"count": count})
        assert load_json(tmp_path / "state.json") == {"count": count}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["state.json", "state.json.new"]


def test_a_folder_in_the_way_of_a_file_that_is_set_aside_does_not_stop_the_service(tmp_path: Path) -> None:
    """Two folders, one with the name of the file and one with the name for foreign files, would end each start."""
    file = tmp_path / "file"
    for folder in (file, tmp_path / f"file{SET_ASIDE}"):
        folder.mkdir()
        (folder / "content").touch()
    with capture_logs() as logs:
        os.close(open_or_make(file))
    assert file.is_file()
    [event] = logs
    assert event["set_aside"].startswith(f"{file}{SET_ASIDE}.")
    assert os.path.lexists(f"{event['set_aside']}/content")
    assert os.path.lexists(f"{file}{SET_ASIDE}/content")


async def test_dead_letters_and_heartbeats_are_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    """Both are made at well-known names, again and again."""
    before = victim.stat().st_mtime_ns
    letters = tmp_path / "ingest.dead-letters.jsonl"
    link(letters, victim)
    DeadLetters(letters, 10_000).add("topic", "reason", b"payload")
    assert [entry["payload"] for entry in read_letters(letters)] == ["payload"]
    alive = tmp_path / "edge-01.alive"
    link(alive, victim)
    beating = asyncio.create_task(beat(alive))
    await until(lambda: alive.is_file() and not alive.is_symlink(), "a heartbeat", 10.0)
    await cancel_and_wait(beating)
    assert (victim.read_text(), victim.stat().st_mtime_ns) == ('{"secret": 1}\n', before)


def test_learned_state_from_a_foreign_file_counts_as_missing(tmp_path: Path, victim: Path) -> None:
    """As a damaged file does: it is logged, and learned again."""
    for name in ("found.json", "metas.json", "workers.json", "states.json", "audit-head.json"):
        link(tmp_path / name, victim)
    with capture_logs() as logs:
        assert JsonEntries(tmp_path / "found.json").load() == {}
        MetadataRegistry(tmp_path / "metas.json").load()
        assert read_assignment(tmp_path / "workers.json") == {}
    assert [one["event"] for one in logs] == ["file.unreadable", "metadata.unreadable", "assignment.unreadable"]
    with pytest.raises(ForeignFile):
        read_head(tmp_path)


@pytest.mark.parametrize("name", ["db", "lock", "slots", "reserve", "wal"])
def test_a_spool_opens_beside_a_link_in_place_of_each_of_its_files(tmp_path: Path, victim: Path, name: str) -> None:
    """SQLite and the locks would follow it, and write into the file of another service."""
    files = SpoolFiles(tmp_path, "edge-01")
    link(getattr(files, name), victim)
    database = SpoolDatabase(files, SpoolSection().max_size, WhenFull.DROP_OLDEST, Sync.FULL)
    with capture_logs() as logs:
        database.open()
    database.close()
    assert victim.read_text() == '{"secret": 1}\n'
    assert "file.refused" in [one["event"] for one in logs]
    assert not any(file.is_symlink() for file in (files.db, files.lock, files.slots, files.reserve))


def test_the_lock_of_workers_is_not_a_link(tmp_path: Path, victim: Path) -> None:
    """Opening it for writing used to empty the file that the link names."""
    link(tmp_path / "edge-01.workers.lock", victim)
    with locked(tmp_path, "edge-01", [1]):
        assert victim.read_text() == '{"secret": 1}\n'


def test_a_key_and_a_trusted_certificate_are_not_links(tmp_path: Path) -> None:
    """A link in the trust list is reported as unreadable, and a linked key ends in the reason."""
    pki = Pki(tmp_path / "pki")
    own = pki.own()
    kept = tmp_path / "elsewhere.pem"
    pki.key_file.rename(kept)
    pki.key_file.symlink_to(kept)
    with pytest.raises(ForeignFile, match="is a symbolic link"):
        pki.own()
    (pki.trusted / "linked.der").symlink_to(pki.certificate_file)
    unreadable: list[Path] = []
    assert list(certificates(pki.trusted, unreadable)) == []
    assert unreadable == [pki.trusted / "linked.der"]
    assert own.certificate in [one for _, one in certificates(pki.certificate_file.parent, [])]


@pytest.mark.skipif(not IS_ROOT, reason="only root can make files of another user")
def test_the_owner_of_the_folder_may_have_made_the_file(tmp_path: Path) -> None:
    """Root looks at the files of a service that runs as a user of its own."""
    folder = tmp_path / "state"
    folder.mkdir()
    file = folder / "a.json"
    file.write_bytes(orjson.dumps({"a": 1}))
    for one in (folder, file):
        os.chown(one, NOBODY, NOBODY)
    assert load_json(file) == {"a": 1}


def test_new_files_of_a_service_are_for_its_owner_alone(tmp_path: Path) -> None:
    """Also those that a library makes."""
    before = os.umask(0o022)
    try:
        keep_files_private()
        (tmp_path / "made").touch()
        (tmp_path / "folder").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
