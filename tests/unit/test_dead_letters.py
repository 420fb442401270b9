"""What can't be stored is set aside: readable, with its reason, and bounded."""

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
    """It is a person who looks at it; the folder is made where there is none."""
    letters = DeadLetters(tmp_path / "new" / "letters.jsonl", 10_000)
    before = datetime.now(UTC)
    letters.add("lineside/v1/x", "is no JSON", b'{"a"')
    [entry] = entries(letters.file)
    assert before <= datetime.fromisoformat(entry.pop("time")) <= datetime.now(UTC)
    assert entry == {"topic": "lineside/v1/x", "reason": "is no JSON", "payload": '{"a"'}
    assert letters.count == 1


@pytest.mark.parametrize("payload", [b"\xff\x00", b"\xed\xa0\x80", b"", "Zürich\n".encode(), b"\0"])
def test_any_payload_comes_back_byte_for_byte(tmp_path: Path, payload: bytes) -> None:
    """It can be sent again, once what was wrong is right."""
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


def test_a_full_file_becomes_the_older_one_and_the_older_one_goes(tmp_path: Path) -> None:
    """The newest letters are there, in order, and the disk does not fill."""
    letters, older = DeadLetters(tmp_path / "letters.jsonl", 2000), tmp_path / "letters.jsonl.1"
    for number in range(200):
        letters.add("t", str(number), b"x" * (number % 60))
        assert letters.file.stat().st_size + (older.stat().st_size if older.exists() else 0) <= 2000
    kept = [int(entry["reason"]) for entry in entries(older) + entries(letters.file)]
    assert kept == list(range(kept[0], 200))
    assert len(kept) >= 8
    assert letters.count == 200


def test_of_a_payload_that_is_too_large_the_beginning_is_kept(tmp_path: Path) -> None:
    """It shows what it was, and says that it is not all."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 2000)
    letters.add("t", "r", b"abcd" * 300)
    [entry] = entries(letters.file)
    assert (b"abcd" * 300).startswith(entry["payload"].encode())
    assert (len(entry["payload"]), entry["cut_from"]) == (125, 1200)


def test_letters_are_read_back_oldest_first_with_what_else_was_known(tmp_path: Path) -> None:
    """From the full file too, which became the older one."""
    letters = DeadLetters(tmp_path / "letters.jsonl", 2000)
    for number in range(20):
        letters.add("t", "r", b"x" * 50, seq=number)
    kept = [entry["seq"] for entry in read_letters(letters.file)]
    assert kept == list(range(kept[0], 20))
    assert len(kept) > len(entries(letters.file))
    assert list(read_letters(tmp_path / "none")) == []


def test_a_line_that_a_power_cut_has_cut_costs_no_other(tmp_path: Path) -> None:
    """The next letter begins on a line of its own, and the piece is shown as what it is."""
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
    """One message that is larger than all the room there is must not fill the disk of the box."""
    folder = tmp_path_factory.mktemp("letters")
    letters = DeadLetters(folder / "letters.jsonl", 2000)
    for payload in payloads:
        letters.add("t", "r", payload)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 2000
    assert len(entries(letters.file)) >= 1


def test_letters_are_on_the_disk_before_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records that they are of are confirmed next, and leave the spool: one fsync for all of them."""
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
    """The caller writes all of them again once there is room: each stands there once."""
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
