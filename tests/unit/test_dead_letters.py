"""Messages that can't be stored are set aside: readable, with a reason, and within a size limit."""

from __future__ import annotations

import base64
import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.common.dead_letters import DeadLetter, DeadLetters, read_letters


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_a_payload_is_set_aside_with_when_where_and_why(tmp_path: Path) -> None:
    """A person looks at it; the folder is made if it is missing."""
    letters = DeadLetters(tmp_path / "new" / "letters.jsonl", 10_000)
    before = datetime.now(UTC)
    letters.add("lineside/v1/x", "is not JSON", b'{"a"')
    [entry] = entries(letters.file)
    assert before <= datetime.fromisoformat(entry.pop("time")) <= datetime.now(UTC)
    assert entry == {"topic": "lineside/v1/x", "reason": "is not JSON", "payload": '{"a"'}
    assert letters.count == 1


@pytest.mark.parametrize("payload", [b"\xff\x00", b"\xed\xa0\x80", b"", "Zürich\n".encode(), b"\0"])
def test_any_payload_comes_back_byte_for_byte(tmp_path: Path, payload: bytes) -> None:
    """It can be sent again once the fault is corrected."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 10_000)
    letters.add("t", "r", payload)
    [entry] = entries(letters.file)
    assert ("base64" in entry) != ("payload" in entry)
    found = base64.b64decode(entry["base64"]) if "base64" in entry else entry["payload"].encode()
    assert found == payload


def test_letters_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    """Ingest may be restarted before anybody has looked."""
    for number in range(3):
        DeadLetters(tmp_path / "letters.jsonl", 10_000).add("t", str(number), b"")
    assert [entry["reason"] for entry in entries(tmp_path / "letters.jsonl")] == ["0", "1", "2"]


def test_a_full_file_replaces_the_older_file(tmp_path: Path) -> None:
    """The newest letters are there, in order, and the disk does not fill."""
    letters, older = DeadLetters(tmp_path / "letters.jsonl", 2000), tmp_path / "letters.jsonl.1"
    for number in range(200):
        letters.add("t", str(number), b"x" * (number % 60))
        assert letters.file.stat().st_size + (older.stat().st_size if older.exists() else 0) <= 2000
    kept = [int(entry["reason"]) for entry in entries(older) + entries(letters.file)]
    assert kept == list(range(kept[0], 200))
    assert len(kept) >= 8
    assert letters.count == 200


def test_the_beginning_of_a_payload_that_is_too_large_is_kept(tmp_path: Path) -> None:
    """The entry shows the beginning, and says that the rest is missing."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 2000)
    letters.add("t", "r", b"abcd" * 300)
    [entry] = entries(letters.file)
    assert (b"abcd" * 300).startswith(entry["payload"].encode())
    assert (len(entry["payload"]), entry["cut_from"]) == (125, 1200)


def test_letters_are_read_back_oldest_first_with_their_fields(tmp_path: Path) -> None:
    """The full file, which became the older file, is read too."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 2000)
    for number in range(20):
        letters.add("t", "r", b"x" * 50, seq=number)
    kept = [entry["seq"] for entry in read_letters(letters.file)]
    assert kept == list(range(kept[0], 20))
    assert len(kept) > len(entries(letters.file))
    assert list(read_letters(tmp_path / "none")) == []


def test_a_line_cut_by_a_power_failure_costs_no_other_line(tmp_path: Path) -> None:
    """The next letter begins on a new line, and the cut line is reported as incomplete."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 10_000)
    letters.add("t", "first", b"1")
    letters.add("t", "second", b"2")
    letters.file.write_bytes(letters.file.read_bytes()[:-10])
    letters.add("t", "third", b"3")
    reasons = [entry["reason"] for entry in read_letters(letters.file)]
    assert reasons == ["first", "this line is no longer whole", "third"]


@given(st.lists(st.binary(max_size=300) | st.builds(bytes, st.integers(0, 3000)), min_size=1, max_size=12))
@example([b"\xff" * 700, b"\0" * 3000, b""])
def test_the_bound_holds_for_payloads_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    """One message that is larger than the limit must not fill the disk of the box."""
    folder = tmp_path_factory.mktemp("letters")
    letters = DeadLetters(folder / "letters.jsonl", 2000)
    for payload in payloads:
        letters.add("t", "r", payload)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 2000
    assert len(entries(letters.file)) >= 1


def test_letters_are_on_the_disk_before_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their records are confirmed next, and leave the spool: one fsync for all letters."""
    synced: list[bytes] = []
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").resolve()
        if name.is_file():
            synced.append(name.read_bytes())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    letters = DeadLetters(tmp_path / "letters.jsonl", 100_000)
    letters.write([DeadLetter("t", str(number), b"p") for number in range(50)])
    assert [content.count(b"\n") for content in synced] == [50]
    assert letters.count == 50


def test_a_batch_that_is_larger_than_the_file_keeps_the_bound(tmp_path: Path) -> None:
    letters, older = DeadLetters(tmp_path / "letters.jsonl", 2000), tmp_path / "letters.jsonl.1"
    letters.write(DeadLetter("t", str(number), b"x" * 20) for number in range(100))
    assert letters.file.stat().st_size <= 1000
    assert older.stat().st_size <= 1000
    assert entries(letters.file)[-1]["reason"] == "99"


def test_a_disk_that_fills_up_in_the_middle_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller writes all letters again once there is space: each is in the file once."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 100_000)
    letters.add("t", "first", b"")
    full = {"is": True}
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if full["is"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space"):
        letters.write([DeadLetter("t", "second", b"")])
    full["is"] = False
    letters.write([DeadLetter("t", "second", b"")])
    assert [entry["reason"] for entry in entries(letters.file)] == ["first", "second"]
