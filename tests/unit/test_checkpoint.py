"""The checkpoint of the spool is written to two slots: whole or not at all, and never too long."""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import (
    MAX_RANGES,
    SLOT_SIZE,
    Checkpoint,
    CheckpointFile,
    decode_checkpoint,
    encode_checkpoint,
    newest,
    read_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = st.integers(0, 2**53)


@given(
    st.text(max_size=8),
    st.tuples(*[NUMBERS] * 4),
    st.dictionaries(st.sampled_from(["acquired", "confirmed", "dropped:damaged"]), st.integers(1, 2**53)),
    st.sets(st.integers(1, 500)),
    NUMBERS,
)
def test_a_checkpoint_comes_back_as_it_was(
    name: str, numbers: tuple[int, ...], counts: dict[str, int], pending: set[int], start: int
) -> None:
    """The ledger survives a restart by it."""
    ranges = SeqRanges((start + seq, start + seq) for seq in pending)
    commit, turn, readings, size = numbers
    state = Checkpoint(name, start + 501, commit, turn, len(pending), counts=Counter(counts), pending=list(ranges))
    if pending:
        state.readings, state.size = readings, size
    data = encode_checkpoint(state, ranges)
    assert decode_checkpoint(data) == state
    assert decode_checkpoint(data + b"what an older, longer one left") == state


TRUE = {
    "v": 1, "spool": "9f2c81aa", "next": 20, "commit": 3, "turn": 4, "records": 3, "readings": 9, "size": 100,
    "counts": {"acquired": 9}, "pending": [5, 2, 7, 1],
}  # fmt: skip


def test_a_checkpoint_with_right_types_and_ranges_is_read() -> None:
    """The false checkpoints below differ from this content."""
    state = decode_checkpoint(sealed(TRUE))
    assert state is not None
    assert state.pending == [(5, 6), (14, 14)]


@pytest.mark.parametrize(
    "lie",
    [
        {"next": 14}, {"next": -1}, {"next": 1e300}, {"next": "20"}, {"next": True}, {"next": None}, {"next": 2**63},
        {"records": 0}, {"records": 4}, {"records": -3}, {"readings": -1}, {"size": -1}, {"size": 1.5},
        {"counts": {"acquired": -9}}, {"counts": {"acquired": 2**64}}, {"counts": {"acquired": True}},
        {"counts": ["acquired"]}, {"counts": {"x" * 100: 1}}, {"counts": {f"dropped:{n}": 1 for n in range(300)}},
        {"pending": []}, {"pending": [5, 0, 7, 1]}, {"pending": [5, 2, 0, 1]}, {"pending": [5, -2, 7, 1]},
        {"pending": [5, 2, 7, "1"]}, {"pending": {"5": 2}}, {"pending": [5, 2, 7, 2**62]}, {"pending": [1, 1] * 2000},
        {"spool": 7}, {"spool": "x" * 100}, {"v": 0}, {"v": "1"}, {"v": None},
    ],
)  # fmt: skip
def test_an_impossible_checkpoint_is_refused(lie: dict[str, Any]) -> None:
    """Its checksum is right: SQLite would get numbers out of range, and lost records would go unnoticed."""
    assert decode_checkpoint(sealed(TRUE | lie)) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b'{"v":1}', b"\xff"])
def test_sealed_bytes_that_are_not_a_checkpoint_are_refused(body: bytes) -> None:
    """A right checksum is not enough, whatever program wrote it."""
    assert decode_checkpoint(seal(body)) is None


def sealed(fields: dict[str, Any]) -> bytes:
    return seal(json.dumps(fields).encode())


def seal(body: bytes) -> bytes:
    return struct.pack(">4sII", b"LSPL", len(body), crc32(body)) + body


def test_a_negative_count_is_left_out() -> None:
    """Each checkpoint that is written can be read."""
    state = Checkpoint("9f2c81aa", counts=Counter(acquired=-5, confirmed=3))
    read = decode_checkpoint(encode_checkpoint(state, SeqRanges()))
    assert read is not None
    assert read.counts == Counter(confirmed=3)


@given(st.integers(0, 10_000), st.integers(1, 2**62))
def test_a_checkpoint_is_never_longer_than_its_slot(gaps: int, step: int) -> None:
    """With very many gaps it names some records too many, but never too few."""
    ranges = SeqRanges((number * step % 2**61 * 2,) * 2 for number in range(gaps))
    data = encode_checkpoint(Checkpoint("9f2c81aa", 2**62, 2**62, 2**62, records=min(gaps, len(ranges))), ranges)
    assert len(data) <= SLOT_SIZE
    state = decode_checkpoint(data)
    assert state is not None
    named = SeqRanges(state.pending)
    assert all(first in named for first, _ in ranges)


def test_a_gap_for_every_record_in_flight_is_kept() -> None:
    """Otherwise a damaged spool would not know exactly which records were confirmed."""
    ranges = SeqRanges((2**40 + 3 * number,) * 2 for number in range(MAX_RANGES))
    state = decode_checkpoint(encode_checkpoint(Checkpoint("9f2c81aa", 2**50, records=MAX_RANGES), ranges))
    assert state is not None
    assert state.pending == list(ranges)


@pytest.mark.parametrize("bit", range(0, 8 * 200, 7))
def test_a_checkpoint_with_a_flipped_bit_is_refused(bit: int) -> None:
    """A ledger that is wrong is worse than one that is lost: it would be believed."""
    data = bytearray(
        encode_checkpoint(
            Checkpoint("9f2c81aa", 20, records=11, counts=Counter(acquired=5)), SeqRanges([(1, 9), (11, 12)])
        )
    )
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    assert decode_checkpoint(bytes(data)) is None


@pytest.mark.parametrize("data", [b"", b"LSPL", bytes(SLOT_SIZE), b"\xff" * SLOT_SIZE])
def test_bytes_that_are_not_a_checkpoint_are_refused(data: bytes) -> None:
    """The file may be new, short, or of another format."""
    assert decode_checkpoint(data) is None


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[CheckpointFile]:
    made = CheckpointFile(tmp_path / "slots")
    made.open()
    yield made
    made.close()


def test_the_newest_checkpoint_that_is_whole_is_read(slots: CheckpointFile, tmp_path: Path) -> None:
    """A power failure leaves the last checkpoint incomplete; the checkpoint before it is whole."""
    file = tmp_path / "slots"
    assert read_checkpoint(file) is None
    for turn in range(1, 6):
        slots.write(encode_checkpoint(Checkpoint("9f2c81aa", commit=turn // 2, turn=turn), SeqRanges()), turn)
        found = read_checkpoint(file)
        assert found is not None
        assert found.turn == turn
    slots.write(b"LSPL and then the power failed", 6)
    found = read_checkpoint(file)
    assert found is not None
    assert found.turn == 5
    assert file.stat().st_size == 2 * SLOT_SIZE


def test_the_checkpoint_of_the_last_commit_is_the_newest() -> None:
    """Turns begin again when a spool is made from the rest of a damaged spool."""
    states = [
        Checkpoint("a", commit=2, turn=9),
        None,
        Checkpoint("a", commit=3, turn=1),
        Checkpoint("a", commit=3, turn=4),
    ]
    found = newest(states)
    assert found is not None
    assert found.age == (3, 4)
    assert newest([None]) is None
