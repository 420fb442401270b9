"""Records that fit: cut before they get a number, or put anew under numbers of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs import CODECS
from gateway.common.dead_letters import DeadLetters
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.spool.files import Spooled
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.splitter import Splitter, halve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

CODEC = CODECS["json"]
names = st.text("abcdefgh", min_size=1, max_size=3)


@st.composite
def scans(draw: st.DrawFn) -> NamedScan:
    values = draw(st.dictionaries(names, st.integers(0, 10**6) | st.text(max_size=40), max_size=12))
    bad = draw(st.dictionaries(names.filter(lambda name: name not in values), st.just("no_response"), max_size=4))
    some = st.lists(st.sampled_from(sorted({*values, *bad, "zz"})), unique=True, max_size=5)
    known = {*values, *bad}
    return NamedScan(
        draw(st.integers(0, 10**15)), values, bad,
        {name: "out_of_range" for name in draw(some) if name in values},
        {name: "0x80" for name in draw(some) if name in known},
        {name: 7 for name in draw(some) if name in known},
    )  # fmt: skip


def facts(scan: NamedScan) -> set[tuple[Any, ...]]:
    """Return what a scan says, reading by reading."""
    return {
        (
            name, scan.times.get(name, scan.time), scan.values.get(name), scan.bad.get(name),
            scan.uncertain.get(name), scan.codes.get(name),
        )
        for name in (*scan.values, *scan.bad)
    }  # fmt: skip


@given(scan=scans())
def test_two_halves_say_what_the_whole_says(scan: NamedScan):
    """Also of what is bad, doubtful, and has a time of its own."""
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


@given(taken=st.lists(scans().filter(len), min_size=1, max_size=12), bound=st.integers(150, 1500))
def test_an_outbox_makes_records_within_the_bound_and_leaves_nothing_out(taken: list[NamedScan], bound: int):
    """Only a reading that is larger by itself may be in a larger record, alone."""
    outbox: RecordBuilder[NamedScan] = RecordBuilder("topic", encode, lambda *_: None, halve, bound)
    for scan in taken:
        outbox.put(scan, len(scan))
    assert outbox.readings == sum(map(len, taken))
    records = outbox.close(41)
    assert [record.seq for record in records] == list(range(41, 41 + len(records)))
    decoded = [CODEC.decode(record.payload) for record in records]
    assert [record.seq for record in decoded] == [record.seq for record in records]
    assert [record.readings for record in records] == [len(record) for record in decoded]
    assert all(len(record.payload) <= bound or record.readings == 1 for record in records)
    assert said(decoded) == {fact for scan in taken for fact in facts(scan)}
    assert outbox.readings == 0
    assert outbox.close(99)[0].readings == 0


def test_an_outbox_closes_early_by_what_its_last_record_came_to():
    """Encoding what then has to be cut costs twice."""
    outbox: RecordBuilder[NamedScan] = RecordBuilder("topic", encode, lambda *_: None, halve, 10_000)
    for _ in range(2):
        while not outbox.large:
            outbox.put(NamedScan(1, {f"p{i}": 12345 for i in range(100)}), 100)
        records = outbox.close(1)
    assert len(records) == 1
    assert 5_000 < len(records[0].payload) <= 10_000


def encode(seq: int, items: list[NamedScan]) -> bytes:
    return CODEC.encode(Record("edge", "spool", seq, items, "meta"))


def said(records: Iterable[Record]) -> set[tuple[Any, ...]]:
    return {fact for record in records for scan in record.scans for fact in facts(scan)}


class Spool:
    """Keeps what is put in place of a record."""

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


def test_what_a_broker_does_not_take_is_put_anew_in_smaller_records(letters: DeadLetters):
    """Whose numbers are their own, so that each is confirmed by itself."""
    spool, taken = Spool(), [NamedScan(t, {f"p{i}": i for i in range(50)}) for t in range(5)]
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", encode(7, taken), 250), 400)  # type: ignore[arg-type] # its only method
    [(seq, payloads, too_large)] = spool.replaced
    assert (seq, too_large) == (7, 0)
    records = [CODEC.decode(payload) for payload in payloads]
    assert all(len(payload) <= 400 for payload in payloads)
    assert said(records) == {fact for scan in taken for fact in facts(scan)}
    assert {record.meta for record in records} == {"meta"}
    assert [record.seq for record in records] == list(range(1000, 1000 + len(records)))
    assert not letters.file.exists()


def test_a_reading_that_is_too_large_by_itself_is_set_aside_and_the_others_go_on(letters: DeadLetters):
    """It is the reading that can't be sent, and not the scan that it was taken with."""
    spool, taken = Spool(), [NamedScan(1, {"a": 1, "long": "x" * 1000, "b": 2})]
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", encode(7, taken), 3), 400)  # type: ignore[arg-type] # its only method
    [(_, payloads, too_large)] = spool.replaced
    assert too_large == 1
    assert {fact[0] for fact in said(CODEC.decode(payload) for payload in payloads)} == {"a", "b"}
    assert letters.count == 1
    assert "x" * 1000 in letters.file.read_text()


def test_a_record_that_can_no_longer_be_read_is_set_aside_whole(letters: DeadLetters):
    """A codec may have changed since it was spooled."""
    spool = Spool()
    Splitter(spool, CODEC, letters)(Spooled(7, "topic", b"?" * 500, 9), 400)  # type: ignore[arg-type] # its only method
    assert spool.replaced == [(7, [], 9)]
    assert letters.count == 1
