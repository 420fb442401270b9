"""The spool's checkpoint: the ledger's counts, and which records wait.

It is committed with the records, and written a second time into a file of its own: alternately into two slots, so
that one of them is always whole. So the ledger survives damage to the database, and the damage can be counted.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.common.seq_ranges import SeqRange, SeqRanges

log = structlog.get_logger()

VERSION = 1

SLOT_SIZE = 8192
"""Bytes of a slot: an encoded checkpoint is never longer."""

MAX_RANGES = 1000
"""Ranges of records in a checkpoint: twice the number of records that may be in flight."""

MAGIC = b"LSPL"

_HEAD = Struct(">4sII")  # magic, length, checksum


class NewerSpool(OSError):
    """A newer version of Lineside has written this spool."""


@dataclass(slots=True)
class Checkpoint:
    """A spool at the end of a commit. `spool` is its name, `next` the next sequence number to be given.

    `commit` counts the commits of records, `turn` the checkpoints written; the ledger alone may change between
    commits. `records`, `readings` and `size` (bytes of payload) are those of the records that wait. `pending` are
    their numbers; where these have very many gaps, it includes some numbers of records that are gone.
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

    def same_records(self, records: int, readings: int, size: int) -> bool:
        """Return True if the records found are as many, and as large, as they should be."""
        return (self.records, self.readings, self.size) == (records, readings, size)


def encode_checkpoint(state: Checkpoint, pending: SeqRanges) -> bytes:
    """Return a checkpoint as bytes with their own checksum, at most `SLOT_SIZE`."""
    most = MAX_RANGES
    while True:
        body = orjson.dumps(
            {
                "v": VERSION, "spool": state.spool, "next": state.next, "commit": state.commit, "turn": state.turn,
                "records": state.records, "readings": state.readings, "size": state.size,
                "counts": {name: n for name, n in state.counts.items() if n},
                "pending": _to_steps(pending.covered(most)),
            }
        )  # fmt: skip
        if len(body) <= SLOT_SIZE - _HEAD.size:
            return _HEAD.pack(MAGIC, len(body), crc32(body)) + body
        most //= 2


def decode_checkpoint(data: bytes) -> Checkpoint | None:
    """Return the checkpoint in these bytes, None if they hold no whole one. Raises `NewerSpool`."""
    if len(data) < _HEAD.size:
        return None
    magic, length, check = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if magic != MAGIC or len(body) != length or crc32(body) != check:
        return None
    fields: dict[str, Any] = orjson.loads(body)
    if fields.pop("v") != VERSION:
        raise NewerSpool(
            "the spool was written by a newer Lineside: run that version, or configure another spool folder"
        )
    fields["counts"] = Counter(fields["counts"])
    fields["pending"] = _to_ranges(fields["pending"])
    return Checkpoint(**fields)


def newest(states: Iterable[Checkpoint | None]) -> Checkpoint | None:
    """Return the newest of some checkpoints, None if there is none."""
    return max((state for state in states if state is not None), key=lambda state: state.age, default=None)


def _to_steps(ranges: list[SeqRange]) -> list[int]:
    """Return the first number, then alternately length of range and length of gap: shorter than the numbers."""
    if not ranges:
        return []
    edges = [ranges[0][0], *(edge for first, last in ranges for edge in (first, last + 1))]
    return [edges[0], *(after - before for before, after in pairwise(edges[1:]))]


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
        """Open the file to write, and allocate its room, so that later writes need none. Raises `OSError`."""
        if self._descriptor >= 0:
            return
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._descriptor).st_size != 2 * SLOT_SIZE:
            os.ftruncate(self._descriptor, 2 * SLOT_SIZE)
            os.posix_fallocate(self._descriptor, 0, 2 * SLOT_SIZE)

    def write(self, data: bytes, turn: int) -> None:
        """Write an encoded checkpoint into one of the slots, alternately; a failure is logged once.

        It is not synced, since the database is: after a power cut an older checkpoint stands here, known by its age.
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
            os.close(self._descriptor)
            self._descriptor = -1


def read_checkpoint(file: Path) -> Checkpoint | None:
    """Return the newest checkpoint in the slots, None if there is none. Raises `NewerSpool`."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return newest([decode_checkpoint(data[:SLOT_SIZE]), decode_checkpoint(data[SLOT_SIZE : 2 * SLOT_SIZE])])
