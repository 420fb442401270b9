"""Records that are too large for a broker are split, and the parts get sequence numbers of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from scans import CODEC, encode, facts, facts_of_records, scans
from structlog.testing import capture_logs

from gateway.common.dead_letters import DeadLetters
from gateway.model.reading import NamedScan
from gateway.spool.files import Spooled
from gateway.spool.splitter import Splitter, halve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@given(scan=scans())
def test_two_halves_have_the_readings_of_the_whole(scan: NamedScan):
    """This includes bad and uncertain readings, and readings with a time of their own."""
    halves = halve(scan)
    if len(scan) < 2:
        assert halves is None
        return
    assert halves is not None
    (first, few), (second, rest) = halves
    assert facts(first) | facts(second) == facts(scan)
    assert (few, rest) == (len(first), len(second))
    assert few + rest == len(scan)
    assert min(few, rest) >= 1


class Spool:
    """A spool that keeps the replacements of records."""

    def __init__(self) -> None:
        self.replaced: list[tuple[int, list[bytes], int]] = []

    def replace(
        self, seq: int, topic: str, pieces: Iterable[tuple[Callable[[int], bytes], int]], too_large: int
    ) -> None:
        assert topic == "topic"
        made = [make(1000 + i) for i, (make, _) in enumerate(pieces)]
        self.replaced.append((seq, made, too_large))


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "letters.jsonl", 2**20)


def test_a_record_that_a_broker_refuses_is_replaced_by_smaller_records(letters: DeadLetters):
    """Their sequence numbers are new, so that each record is confirmed separately."""
    spool, whole = Spool(), [NamedScan(t, {f"p{i}": i for i in range(50)}) for t in range(5)]
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", encode(7, whole), 250), 400)
    [(seq, payloads, too_large)] = spool.replaced
    assert (seq, too_large) == (7, 0)
    records = [CODEC.decode(payload) for payload in payloads]
    assert all(len(payload) <= 400 for payload in payloads)
    assert facts_of_records(records) == {fact for scan in whole for fact in facts(scan)}
    assert {record.meta for record in records} == {"meta"}
    assert [record.seq for record in records] == list(range(1000, 1000 + len(records)))
    assert not letters.file.exists()


def test_a_reading_that_is_too_large_by_itself_is_set_aside_and_the_others_go_on(letters: DeadLetters):
    """The reading can't be sent; the rest of its scan can."""
    spool, whole = Spool(), [NamedScan(1, {"a": 1, "long": "x" * 1000, "b": 2})]
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", encode(7, whole), 3), 400)
    [(_, payloads, too_large)] = spool.replaced
    assert too_large == 1
    assert {fact[0] for fact in facts_of_records(CODEC.decode(payload) for payload in payloads)} == {"a", "b"}
    assert letters.count == 1
    assert "x" * 1000 in letters.file.read_text()


def test_a_record_that_can_no_longer_be_read_is_set_aside_whole(letters: DeadLetters):
    """A codec may have changed since it was spooled."""
    spool = Spool()
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", b"?" * 500, 9), 400)
    assert spool.replaced == [(7, [], 9)]
    assert letters.count == 1


def test_a_reading_that_can_not_be_set_aside_is_counted_and_holds_up_nothing(tmp_path: Path):
    """The file of set-aside records is on a disk that may be full; the others are sent all the same."""
    (tmp_path / "file").write_text("in the way of a folder")
    letters = DeadLetters(tmp_path / "file" / "letters.jsonl", 2**20)
    spool = Spool()
    splitter = Splitter(spool, CODEC, letters)
    whole = [NamedScan(1, {"a": 1, "long": "x" * 1000, "longer": "y" * 1000, "b": 2})]
    with capture_logs() as logs:
        splitter(Spooled(7, "topic", encode(7, whole), 4), 400)
        splitter(Spooled(8, "topic", b"?" * 500, 9), 400)
    [(_, payloads, too_large), (*_, of_the_other)] = spool.replaced
    assert (too_large, of_the_other) == (2, 9)
    assert {fact[0] for fact in facts_of_records(CODEC.decode(payload) for payload in payloads)} == {"a", "b"}
    events = [entry["event"] for entry in logs]
    assert events == ["record.not_set_aside", "record.too_large", "record.not_readable"], "its failure is logged once"
