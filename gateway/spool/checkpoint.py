"""Encode, store and read the spool's checkpoint: the counts of the ledger and the numbers of the pending records.

It is committed with the records, and a copy is written to a separate file, alternately into two slots: one slot is
always complete. The ledger survives damage to the database, so the lost readings can be counted.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeGuard
from zlib import crc32

import orjson
import structlog

from drivers.own_files import open_own
from gateway.common.own_files import open_or_make

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.common.seq_ranges import SeqRange, SeqRanges

log = structlog.get_logger(__name__)

VERSION = 1

SLOT_SIZE = 8192
"""Bytes of a slot: an encoded checkpoint is never longer."""

MAX_RANGES = 1000
"""Ranges of records in a checkpoint: twice the number of records that may be in flight."""

MAX_NUMBER = 2**63 - 1
"""The largest number in a checkpoint, and of SQLite."""

MAX_NAME, MAX_COUNTS = 64, 200
"""Characters of a name, and names of counts, at most."""

MAGIC = b"LSPL"

_NUMBERS = ("next", "commit", "turn", "records", "readings", "size")

_HEAD = Struct(">4sII")  # magic, length, checksum


class NewerSpool(OSError):
    """A newer version of Lineside wrote this spool."""


@dataclass(slots=True)
class Checkpoint:
    """A spool at the end of a commit. `spool` is its name, `next` the next sequence number to assign.

    `commit` counts the commits of records, `turn` the checkpoints written; the ledger alone may change between
    commits. `records`, `readings` and `size` (bytes of payload) are the totals of the pending records. `pending` are
    their numbers; where these have very many gaps, it includes some numbers of deleted records.
    """

    spool: str
    next: int = 1
    commit: int = 0
    turn: int = 0
    records: int = 0
    readings: int = 0
    size: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    pending: list[SeqRange] = field(default_factory=list)

    @property
    def age(self) -> tuple[int, int]:
        """Sort key: larger in a newer checkpoint of the same spool."""
        return self.commit, self.turn

    @property
    def is_consistent(self) -> bool:
        """Whether numbers and ranges agree with each other."""
        covered = sum(last - first + 1 for first, last in self.pending)
        in_order = all(before[1] + 1 < after[0] for before, after in pairwise(self.pending))
        return (
            in_order
            and all(0 <= first <= last < self.next for first, last in self.pending)
            and (self.records > 0) == bool(self.pending)
            and self.records <= covered
            and (self.records > 0 or self.readings == self.size == 0)
        )

    def same_records(self, records: int, readings: int, size: int) -> bool:
        """Return True if these totals of the records found equal those of the checkpoint."""
        return (self.records, self.readings, self.size) == (records, readings, size)


def encode_checkpoint(state: Checkpoint, pending: SeqRanges) -> bytes:
    """Return a checkpoint as bytes with their own checksum, at most `SLOT_SIZE`."""
    most = MAX_RANGES
    while True:
        body = orjson.dumps(
            {
                "v": VERSION, "spool": state.spool, "next": state.next, "commit": state.commit, "turn": state.turn,
                "records": state.records, "readings": state.readings, "size": state.size,
                "counts": {name: min(n, MAX_NUMBER) for name, n in state.counts.items() if n > 0},
                "pending": _to_steps(pending.covered(most)),
            }
        )  # fmt: skip
        if len(body) <= SLOT_SIZE - _HEAD.size:
            return seal(body)
        most //= 2


def seal(body: bytes) -> bytes:
    """Return bytes with their length and checksum before them."""
    return _HEAD.pack(MAGIC, len(body), crc32(body)) + body


def unseal(data: bytes) -> bytes | None:
    """Return the sealed bytes, None if their checksum is wrong. More bytes may follow them."""
    if len(data) < _HEAD.size:
        return None
    magic, length, check = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    return body if magic == MAGIC and len(body) == length and crc32(body) == check else None


def decode_checkpoint(data: bytes) -> Checkpoint | None:
    """Return the checkpoint in these bytes, None if it is incomplete or damaged. Raises `NewerSpool`."""
    body = unseal(data)
    if body is None:
        return None
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return _parse(fields) if isinstance(fields, dict) else None


def _parse(fields: dict[str, Any]) -> Checkpoint | None:
    """Return the checkpoint with these fields, None if they are invalid. Raises `NewerSpool`."""
    version = fields.get("v")
    if _is_number(version) and version > VERSION:
        raise NewerSpool(
            "the spool was written by a newer Lineside: run that version, or configure another spool folder"
        )
    spool, counts, steps = fields.get("spool"), fields.get("counts"), fields.get("pending")
    numbers = {name: value for name in _NUMBERS if _is_number(value := fields.get(name))}
    if not (
        version == VERSION
        and isinstance(spool, str)
        and len(spool) <= MAX_NAME
        and len(numbers) == len(_NUMBERS)
        and isinstance(counts, dict)
        and len(counts) <= MAX_COUNTS
        and all(len(name) <= MAX_NAME and _is_number(count) for name, count in counts.items())
        and isinstance(steps, list)
        and len(steps) <= 2 * MAX_RANGES
        and all(map(_is_number, steps))
    ):
        return None
    state = Checkpoint(spool, **numbers, counts=Counter(counts), pending=_to_ranges(steps))
    return state if state.is_consistent else None


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def newest(states: Iterable[Checkpoint | None]) -> Checkpoint | None:
    """Return the newest of some checkpoints, None if there is none."""
    return max((state for state in states if state is not None), key=lambda state: state.age, default=None)


def _to_steps(ranges: list[SeqRange]) -> list[int]:
    """Return the first number, then alternately length of range and length of gap: shorter than the numbers."""
    if not ranges:
        return []
    steps = [0] * (2 * len(ranges))
    steps[0] = ranges[0][0]
    steps[1::2] = [last - first + 1 for first, last in ranges]
    steps[2::2] = [after[0] - before[1] - 1 for before, after in pairwise(ranges)]
    return steps


def _to_ranges(steps: list[int]) -> list[SeqRange]:
    ranges: list[SeqRange] = []
    at = steps[0] if steps else 0
    for index, step in enumerate(steps[1:]):
        if index % 2 == 0:
            ranges.append((at, at + step - 1))
        at += step
    return ranges


class CheckpointFile:
    """The file with the two slots."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1
        self._failing = False

    def open(self) -> None:
        """Open the file and allocate its space, so that later writes need no more. Raises `OSError`."""
        if self._descriptor >= 0:
            return
        descriptor = open_or_make(self._file)
        try:
            if os.fstat(descriptor).st_size != 2 * SLOT_SIZE:
                os.ftruncate(descriptor, 2 * SLOT_SIZE)
                os.posix_fallocate(descriptor, 0, 2 * SLOT_SIZE)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def write(self, data: bytes, turn: int) -> None:
        """Write an encoded checkpoint into the slots alternately; log a failure once.

        It is not synced, because the database is. After a power cut the slot can have an older checkpoint; its age
        shows that.
        """
        try:
            os.pwrite(self._descriptor, data, turn % 2 * SLOT_SIZE)
        except OSError as error:
            if not self._failing:
                log.warning("spool.ledger_not_written", file=str(self._file), error=str(error))
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Make the last checkpoint durable, and close the file."""
        if self._descriptor >= 0:
            with suppress(OSError):  # it is only the second copy
                os.fsync(self._descriptor)
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


@dataclass(frozen=True, slots=True)
class Slots:
    """The content of the two slots. `unwritten` is the number of slots that were allocated and never written."""

    first: Checkpoint | None
    second: Checkpoint | None
    unwritten: int

    @property
    def newest(self) -> Checkpoint | None:
        """The newest checkpoint, None if there is none."""
        return newest([self.first, self.second])

    def are_intact(self, commits: int) -> bool:
        """Return True if no slot is damaged, so that the newest checkpoint is the last that was written.

        `commits` is the number of commits in the database: before the first one, the slots may be unwritten.
        """
        written = self.newest
        if written is None:
            return self.unwritten == 2 and commits == 0  # noqa: PLR2004 - both of them
        if written.turn == 0:  # the other slot is not written yet
            return self.unwritten == 1
        return self.first is not None and self.second is not None and abs(self.first.turn - self.second.turn) == 1


def read_slots(file: Path) -> Slots:
    """Return the content of the slots; a file that can't be read has none. Raises `NewerSpool`."""
    try:
        with os.fdopen(open_own(file), "rb") as opened:
            data = opened.read(2 * SLOT_SIZE)
    except OSError:
        data = b""
    slots = data[:SLOT_SIZE], data[SLOT_SIZE:]
    unwritten = sum(slot == bytes(SLOT_SIZE) for slot in slots)
    return Slots(decode_checkpoint(slots[0]), decode_checkpoint(slots[1]), unwritten)


def read_checkpoint(file: Path) -> Checkpoint | None:
    """Return the newest checkpoint in the slots, None if there is none. Raises `NewerSpool`."""
    return read_slots(file).newest
