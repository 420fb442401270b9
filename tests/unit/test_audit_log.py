"""The audit log: chained, signed, durable, bounded; any change of it is found."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from fuzzing import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.audit import log as audit_log
from gateway.audit import writer as writer_module
from gateway.audit.entry import FIRST, Action, hash_of, line_of, parse_line
from gateway.audit.files import HEAD, Head, log_files, write_head
from gateway.audit.keys import ENTRY, NEXT, PRIVATE, SigningKey, UnusableKey, open_key
from gateway.audit.keys import HEAD as HEAD_DOMAIN
from gateway.audit.log import AuditLog, NotRecorded
from gateway.audit.verify import verify
from gateway.audit.writer import ChainWriter, Full
from gateway.common.clock import KernelClock
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
    from pathlib import Path


def section(folder: Path, **keys: Any) -> AuditSection:
    return AuditSection.model_validate({"folder": str(folder)} | keys)


def write(folder: Path, *actions: str, max_size: int = 2**24) -> None:
    with AuditLog(section(folder, max_size=max_size)) as audit:
        for action in actions:
            audit.record(action, who="anna", address="10.20.1.7", object="press-01").result(10)


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in log_files(folder) for line in file.read_bytes().splitlines()]


def actions(folder: Path) -> list[str]:
    return [entry["action"] for entry in entries(folder)]


def test_an_entry_says_who_did_what_from_where_and_when(tmp_path: Path) -> None:
    with AuditLog(section(tmp_path)) as audit:
        durable = audit.record(
            "user-role", who="anna", address="::1", object="ben", before="viewer", after={"a": [1]}
        )
        assert durable.result(10) == 2
    created, entry = entries(tmp_path)
    assert created["action"] == "audit-created"
    assert (entry["who"], entry["from"], entry["object"]) == ("anna", "::1", "ben")
    assert (entry["before"], entry["after"], entry["outcome"]) == ("viewer", {"a": [1]}, "done")
    assert entry["previous"] == created["hash"]
    assert verify(tmp_path)[:4] == (2, 1, 2, 1)
    assert verify(tmp_path).broken is None


def test_texts_are_cleaned_and_bounded(tmp_path: Path) -> None:
    """A user name in a form is anything; it must not make a line of its own, or fill the disk."""
    with AuditLog(section(tmp_path)) as audit:
        audit.record("login", who='x\n{"n":1}' + "y" * 10_000, before={"deep": [[[[[1]]]]]}, after="z" * 10**6)
    entry = entries(tmp_path)[1]
    assert len(entry["who"]) <= 128
    assert "\n" not in entry["who"]
    assert len(line_of(entry)) < 3000
    assert verify(tmp_path).broken is None


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    write(folder, "a")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in (folder / PRIVATE, *log_files(folder)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It signs nothing that counts; the entries wait until somebody has mended it."""
    write(tmp_path, "a")
    (tmp_path / PRIVATE).chmod(0o644)
    with pytest.raises(UnusableKey, match="chmod 600"):
        ChainWriter(tmp_path, 2**24).commit([])


def test_many_threads_make_one_chain(tmp_path: Path) -> None:
    with AuditLog(section(tmp_path)) as audit:
        threads = [
            threading.Thread(target=lambda: [audit.record("a", who="anna") for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = verify(tmp_path)
    assert found.broken is None
    assert found.entries == 201
    assert audit.recorded == 200


def test_two_processes_make_one_chain(tmp_path: Path) -> None:
    """`lineside users` records beside a dashboard that runs."""
    with AuditLog(section(tmp_path)) as one, AuditLog(section(tmp_path)) as two:
        for _ in range(5):
            one.record("one", who="a").result(10)
            two.record("two", who="b").result(10)
    assert verify(tmp_path).broken is None
    assert actions(tmp_path) == ["audit-created", *["one", "two"] * 5]


def test_a_chain_goes_on_in_the_next_file(tmp_path: Path) -> None:
    """A file that is lost between two others is found, since the chain crosses files."""
    with AuditLog(section(tmp_path, max_size=2**20)) as audit:
        for _ in range(400):
            audit.record("a", who="anna", after="x" * 500)
    files = log_files(tmp_path)
    assert len(files) > 2
    assert verify(tmp_path).broken is None
    first = json.loads(files[1].read_bytes().splitlines()[0])
    assert first["previous"] == json.loads(files[0].read_bytes().splitlines()[-1])["hash"]
    files[1].unlink()
    assert "missing" in str(verify(tmp_path).broken)


def test_a_full_log_refuses_and_counts(tmp_path: Path) -> None:
    """An archive that nobody empties must not fill the disk of the box."""
    writer = ChainWriter(tmp_path, 200_000)
    made = [audit_log.clean_action(1, "a", "anna", "", "", None, "x" * 500, "done")] * 20
    written = 0
    with suppress(Full):
        while written < 100:
            writer.commit(made)
            written += 1
    assert 0 < written < 100
    assert sum(file.stat().st_size for file in log_files(tmp_path)) <= 200_000
    assert verify(tmp_path).broken is None


def test_each_change_of_the_synchronisation_is_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader knows of each entry whether its time can be relied on; so do the writers of other processes."""
    states = iter([True, True, False, None, False, True])

    def clock() -> KernelClock | None:
        state = next(states)
        return None if state is None else KernelClock(synchronised=state, maximum_error=0.25, estimated_error=0.001)

    monkeypatch.setattr(writer_module, "kernel_clock", clock)
    for action in "abcdef":
        ChainWriter(tmp_path, 2**20).commit([an_action(action)])
    assert actions(tmp_path) == [
        "audit-created", "a", "b", "clock-not-synchronised", "c", "d", "e", "clock-synchronised", "f",
    ]  # fmt: skip
    created, *_, changed, _ = entries(tmp_path)
    assert created["after"]["clock_synchronised"] is True
    assert changed["after"] == {"error_seconds": {"maximum": 0.25, "estimated": 0.001}}
    assert verify(tmp_path).broken is None


@pytest.mark.parametrize(
    ("keys", "until", "events"),
    [
        ({}, 0.82, ["audit.recording", "audit.nearly_full"]),
        ({}, 0.7, ["audit.recording"]),
        ({"nearly_full": 0.3}, 0.32, ["audit.recording", "audit.nearly_full"]),
        ({"when_full": "remove_oldest"}, 0.82, ["audit.recording"]),
    ],
)
def test_a_log_that_is_nearly_full_warns(
    tmp_path: Path, keys: dict[str, Any], until: float, events: list[str]
) -> None:
    """A person has time to act before entries are lost; a log that removes its oldest file needs nobody."""
    wanted = section(tmp_path, max_size=2**20, **keys)
    with structlog.testing.capture_logs() as logs, AuditLog(wanted) as audit:
        while audit.filled < until:
            for _ in range(49):
                audit.record("a", who="anna", after="x" * 500)
            audit.record("a", who="anna").result(10)
    assert [entry["event"] for entry in logs] == events
    assert audit.lost == 0


def test_a_refused_entry_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Full("it has its greatest size")

    monkeypatch.setattr(ChainWriter, "commit", full)
    with AuditLog(section(tmp_path)) as audit, pytest.raises(NotRecorded, match="greatest size"):
        audit.record("a", who="anna").result(10)
    assert audit.lost == 1


def test_the_oldest_file_is_removed_only_by_choice_and_that_is_recorded(tmp_path: Path) -> None:
    writer = ChainWriter(tmp_path, 400_000, remove_oldest=True)
    made = [audit_log.clean_action(1, "a", "anna", "", "", None, "x" * 500, "done")] * 20
    for _ in range(50):
        writer.commit(made)
    found = verify(tmp_path)
    assert found.broken is None
    assert found.first > 1
    assert "audit-removed" in actions(tmp_path)
    assert sum(file.stat().st_size for file in log_files(tmp_path)) <= 400_000
    log_files(tmp_path)[0].unlink()
    assert "no entry says that it was removed" in str(verify(tmp_path).broken)


def test_a_disk_that_works_again_gets_the_entries_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "RETRY_AFTER", 0.01)
    real, failures = os.fsync, iter([OSError(28, "No space left on device")] * 3)

    def fsync(descriptor: int) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with AuditLog(section(tmp_path)) as audit:
        audit.record("a", who="anna").result(10)
    assert verify(tmp_path).broken is None
    assert actions(tmp_path)[-1] == "a"


def test_a_log_that_is_cut_is_found(tmp_path: Path) -> None:
    """The head is signed apart: nobody can make one of an older entry."""
    write(tmp_path, *"abcdef")
    [file] = log_files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:4]))
    assert "entry 5: is missing" in str(verify(tmp_path).broken)
    last = json.loads(lines[3])
    forged = {"n": 4, "hash": last["hash"], "key": last["key"], "signature": last["signature"]}
    (tmp_path / HEAD).write_text(json.dumps(forged))
    assert "signature of the head is wrong" in str(verify(tmp_path).broken)
    (tmp_path / HEAD).unlink()
    assert "audit-head.json: is missing" in str(verify(tmp_path).broken)


def test_entries_that_are_missing_leave_a_gap(tmp_path: Path) -> None:
    """The next entry must not take the number of a lost entry."""
    write(tmp_path, *"abcdef")
    [file] = log_files(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    write(tmp_path, "g")
    assert "audit-entries-missing" in actions(tmp_path)
    assert "entry 5: is missing" in str(verify(tmp_path).broken)


def test_a_torn_line_is_repaired_and_the_chain_says_so(tmp_path: Path) -> None:
    """A power cut in the middle of a write is not an attack, and must not look like one in later years."""
    write(tmp_path, "a", "b")
    [file] = log_files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines(keepends=True)[-1][:100])
    assert "cut off" in str(verify(tmp_path).broken)
    write(tmp_path, "c")
    assert actions(tmp_path) == ["audit-created", "a", "b", "audit-repaired", "c"]
    assert entries(tmp_path)[3]["before"]["removed_bytes"] == 100
    assert verify(tmp_path).broken is None


@pytest.mark.parametrize("rest", [b"", b"\0" * 4096, b'{"n":1'])
def test_a_first_file_that_was_cut_off_starts_anew(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "audit-000001.jsonl").write_bytes(rest)
    write(tmp_path, "a")
    assert verify(tmp_path).broken is None
    assert actions(tmp_path)[-1] == "a"


def test_a_new_key_is_an_entry_and_can_be_pinned(tmp_path: Path) -> None:
    write(tmp_path, "a")
    [old] = verify(tmp_path).keys
    (tmp_path / PRIVATE).unlink()
    write(tmp_path, "b")
    assert "audit-key-changed" in actions(tmp_path)
    assert verify(tmp_path).broken is None
    assert "is not trusted here" in str(verify(tmp_path, (old,)).broken)


def renew(folder: Path) -> str:
    """Let the key be old, and write an entry; returns the key before."""
    before = open_key(folder).id
    os.utime(folder / PRIVATE, (1.0, 1.0))
    write(folder, "a")
    return before


def test_a_key_names_its_successor_and_is_destroyed(tmp_path: Path) -> None:
    """A person who takes the key of today can't sign the entries of yesterday."""
    write(tmp_path, "a")
    first = renew(tmp_path)
    second = renew(tmp_path)
    assert actions(tmp_path) == ["audit-created", "a", "audit-key-renewed", "a", "audit-key-renewed", "a"]
    found = verify(tmp_path, (first,))
    assert (found.broken, found.keys) == (None, (first, second, open_key(tmp_path).id))
    assert entries(tmp_path)[2]["key"] == first
    assert entries(tmp_path)[2]["after"]["key"] == second
    assert not (tmp_path / NEXT).exists()
    assert verify(tmp_path).broken is None


def test_a_key_that_is_not_old_stays(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b")
    assert actions(tmp_path) == ["audit-created", "a", "b"]


def rewritten(folder: Path, upto: int, *, key: SigningKey, cut: bool = False) -> None:
    """Change entry `upto` as an intruder who has `key`: hashes and signatures from there on are made again."""
    [file] = log_files(folder)
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    kept, rest = lines[: upto - 1], lines[upto - 1 :]
    made, previous = [], kept[-1]["hash"]
    for entry in rest[:1] if cut else rest:
        changed = {name: value for name, value in entry.items() if name not in {"hash", "signature", "key"}}
        changed |= {"previous": previous, "key": key.id, "who": "nobody" if entry is rest[0] else entry["who"]}
        previous = hash_of(changed)
        made.append(changed | {"hash": previous, "signature": key.sign(ENTRY, previous)})
    file.write_bytes(b"".join(map(line_of, kept + made)))
    write_head(folder, Head(made[-1]["n"], previous, key.id, key.sign(HEAD_DOMAIN, previous)))


@pytest.mark.parametrize("cut", [False, True])
def test_the_key_of_today_can_not_rewrite_yesterday(tmp_path: Path, cut: bool) -> None:  # noqa: FBT001 - of a table
    """The intruder has all files of the box, and the key; the first public key is elsewhere."""
    write(tmp_path, "a", "b")
    first = renew(tmp_path)
    write(tmp_path, "c")
    today = open_key(tmp_path)
    rewritten(tmp_path, 2, key=today, cut=cut)
    found = verify(tmp_path, (first,)).broken
    assert found is not None
    assert "is not trusted here" in found.reason


def test_a_destroyed_key_signs_nothing_more(tmp_path: Path) -> None:
    """A copy of an old key, as out of a backup, does not continue the log."""
    write(tmp_path, "a")
    old = open_key(tmp_path)
    first = renew(tmp_path)
    rewritten(tmp_path, 4, key=old)
    found = verify(tmp_path, (first,)).broken
    assert found is not None
    assert found.reason == f"is signed with the key {first}, which was destroyed after entry 3"


@pytest.mark.parametrize("at", ["make_next_key", "_append", "promote_next_key", "replace"])
def test_a_renewal_that_is_killed_at_any_point_goes_on_or_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The old key may be destroyed already, and its successor not yet in its place."""

    class Killed(BaseException):
        """The process ends."""

    def killed(*_: object) -> None:
        raise Killed

    write(tmp_path, "a")
    first = open_key(tmp_path).id
    os.utime(tmp_path / PRIVATE, (1.0, 1.0))
    patched = {"_append": ChainWriter, "replace": type(tmp_path)}.get(at, writer_module)
    with monkeypatch.context() as patch:
        patch.setattr(patched, at, killed)
        with pytest.raises(Killed):
            ChainWriter(tmp_path, 2**20, renew_key=60.0).commit([an_action("lost")])
    write(tmp_path, "b")
    write(tmp_path, "c")
    assert actions(tmp_path) == ["audit-created", "a", "audit-key-renewed", "b", "c"]
    assert verify(tmp_path, (first,)).broken is None
    assert not (tmp_path / NEXT).exists()


def test_a_writer_that_stays_open_uses_the_key_of_another_process(tmp_path: Path) -> None:
    """The page has the log open for weeks, and a command renews the key."""
    page = ChainWriter(tmp_path, 2**20, renew_key=60.0)
    page.commit([an_action("a")])
    first = renew(tmp_path)
    page.commit([an_action("c")])
    assert actions(tmp_path) == ["audit-created", "a", "audit-key-renewed", "a", "c"]
    assert verify(tmp_path, (first,)).broken is None


def test_a_full_log_keeps_its_key(tmp_path: Path) -> None:
    """There is no room for the entry that names another key."""
    writer = ChainWriter(tmp_path, 100_000, renew_key=60.0)
    with suppress(Full):
        while True:
            writer.commit([an_action("a")])
    os.utime(tmp_path / PRIVATE, (1.0, 1.0))
    with pytest.raises(Full):
        writer.commit([an_action("b")])
    assert verify(tmp_path).broken is None
    assert "audit-key-renewed" not in actions(tmp_path)


def an_action(action: str) -> Action:
    return audit_log.clean_action(1, action, "anna", "", "", None, None, "done")


@pytest.fixture(scope="module")
def whole_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    with AuditLog(section(folder)) as audit:
        for at in range(8):
            audit.record("a", who="anna", object=str(at))
            if at % 3 == 0:
                audit.record("b", who="ben").result(10)
    assert verify(folder).broken is None
    return folder


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk, which takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def _changed(folder: Path, whole: Path, content: bytes) -> bool:
    """Return whether verify finds that the only file has another content."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    [file] = log_files(folder)
    assert content != file.read_bytes()
    file.write_bytes(content)
    return verify(folder).broken is not None


HYPOTHESIS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@HYPOTHESIS
@given(data=st.data())
def test_any_changed_byte_is_found(whole_log: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(log_files(whole_log)[0].read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    assert _changed(tmp_path / "copy", whole_log, bytes(content))


@HYPOTHESIS
@given(data=st.data())
def test_any_removal_reordering_or_insertion_of_lines_is_found(
    whole_log: Path, tmp_path: Path, data: st.DataObject
) -> None:
    lines = log_files(whole_log)[0].read_bytes().splitlines(keepends=True)
    places = st.integers(0, len(lines) - 1)
    match data.draw(st.sampled_from(["remove", "swap", "copy", "cut"])):
        case "remove":
            del lines[data.draw(places)]
        case "swap":
            one, two = data.draw(st.tuples(places, places).filter(lambda pair: pair[0] != pair[1]))
            lines[one], lines[two] = lines[two], lines[one]
        case "copy":
            lines.insert(data.draw(st.integers(0, len(lines))), lines[data.draw(places)])
        case _:
            del lines[data.draw(places) :]
    assert _changed(tmp_path / "copy", whole_log, b"".join(lines))


@HYPOTHESIS
@given(data=st.data())
def test_a_change_with_new_hashes_is_found(whole_log: Path, tmp_path: Path, data: st.DataObject) -> None:
    """A person who can write the file, and has not the key, can compute hashes as well."""
    found = [parse_line(line) for line in log_files(whole_log)[0].read_bytes().splitlines(keepends=True)]
    at = data.draw(st.integers(0, len(found) - 1))
    match data.draw(st.sampled_from(["change", "remove", "insert", "unsign"])):
        case "change":
            found[at]["who"] = "somebody"
        case "remove":
            del found[at]
        case "insert":
            found.insert(at + 1, {key: one for key, one in found[at].items() if key not in {"key", "signature"}})
        case _:
            for entry in found[at:]:
                entry.pop("key", None)
                entry.pop("signature", None)
    previous = FIRST
    for n, entry in enumerate(found, 1):
        entry |= {"n": n, "previous": previous}
        previous = entry["hash"] = hash_of(entry)
    content = b"".join(map(line_of, found))
    assert _changed(tmp_path / "copy", whole_log, content)


@pytest.mark.usefixtures("no_disk")
@HYPOTHESIS
@given(data=st.data())
def test_a_commit_that_was_cut_at_any_byte_takes_no_earlier_entry_with_it(
    tmp_path: Path, data: st.DataObject
) -> None:
    """A kill in the middle of a write loses the entries whose commit had not returned, and no others."""
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    writer = ChainWriter(folder, 2**24)
    made = [audit_log.clean_action(1, "a", "anna", "", str(at), None, None, "done") for at in range(3)]
    writer.commit(made)
    head, durable = (folder / HEAD).read_bytes(), log_files(folder)[0].read_bytes()
    writer.commit(made)
    whole = log_files(folder)[0].read_bytes()
    cut = data.draw(st.integers(len(durable), len(whole)))
    log_files(folder)[0].write_bytes(whole[:cut])
    (folder / HEAD).write_bytes(head)
    ChainWriter(folder, 2**24).commit(made)
    found = log_files(folder)[0].read_bytes()
    assert found.startswith(durable)
    assert verify(folder).broken is None
    assert ("audit-repaired" in actions(folder)) == (cut not in {len(durable), len(whole)})
