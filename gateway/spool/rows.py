"""Reading a spool without disturbing who works with it, and finding out whether it is whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import Checkpoint, decode_checkpoint
from gateway.spool.files import Damaged, Spooled, body_of, head_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"SQLite format 3\0"

BUSY = 5.0
"""Seconds that another process may hold the file, as in its first moment after a kill."""


class Found(NamedTuple):
    """The records that there are: how many, what they carry, and which; `size` is in bytes of payload."""

    records: int
    readings: int
    size: int
    pending: SeqRanges


class Row(NamedTuple):
    """A record as it stands in the file, with its checksums."""

    seq: int
    readings: int
    spool: str
    topic: str
    head: int
    body: int
    payload: bytes

    @property
    def head_is_right(self) -> bool:
        """Whether everything but the payload is as it was written."""
        return head_of(self.seq, self.readings, self.spool, self.topic) == self.head

    @property
    def is_right(self) -> bool:
        """Whether it is as it was written."""
        return (
            self.head_is_right and isinstance(self.payload, bytes) and body_of(self.head, self.payload) == self.body
        )

    @property
    def spooled(self) -> Spooled:
        """The record, for who sends it."""
        return Spooled(self.seq, self.topic, self.payload, self.readings)


ROWS = "select seq, readings, spool, topic, head, body, payload from records"


def row_of(record: Spooled, spool: str) -> Row:
    """Return a record as it is to stand in the file."""
    head = head_of(record.seq, record.readings, spool, record.topic)
    return Row(
        record.seq, record.readings, spool, record.topic, head, body_of(head, record.payload), record.payload
    )  # fmt: skip


def text_of(raw: bytes) -> str:
    """Return text that a checksum will judge: what is no UTF-8 is no error here."""
    return raw.decode("utf-8", "replace")


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a database only to read. Raises `Damaged` for a file that is none, else `sqlite3.Error`."""
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:  # checked here, since SQLite removes the log of an empty file
            raise Damaged("it does not begin as a database does")
    address = f"file:{quote(str(file))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY)) as db:
        db.text_factory = text_of
        yield db


def stored_state(db: sqlite3.Connection) -> Checkpoint:
    """Return the state that was committed last. Raises `Damaged` where it can't be read."""
    row = db.execute("select state from state where id = 1").fetchone()
    state = decode_checkpoint(row[0]) if row and isinstance(row[0], bytes) else None
    if state is None:
        raise Damaged("its own account of itself can't be read")
    return state


def walk(db: sqlite3.Connection) -> Found:
    """Return what records there are, every one's head checked. Raises `Damaged`."""
    found, readings, size = 0, 0, 0
    pending = SeqRanges()
    first = last = 0
    rows = db.execute("select seq, readings, spool, topic, head, length(payload) from records order by seq")
    for seq, carried, spool, topic, head, length in rows:
        if head_of(seq, carried, spool, topic) != head:
            raise Damaged(f"the head of record {seq} is not what was written")
        found, readings, size = found + 1, readings + carried, size + length
        if seq != last + 1 or not first:
            if first:
                pending.add(first, last)
            first = seq
        last = seq
    if first:
        pending.add(first, last)
    return Found(found, readings, size, pending)


def examine(file: Path, known: Checkpoint | None) -> tuple[Checkpoint, Found]:
    """Return the state and the records of a spool that is whole; `known` is what the slots say.

    Raises `Damaged` or `sqlite3.Error` where it is not, or where commits are missing that the slots know of.
    """
    with reading(file) as db:
        state = stored_state(db)
        if known is not None and known.spool == state.spool:
            if known.commit > state.commit:
                raise Damaged(f"its last {known.commit - state.commit} commits are missing")
            if known.age > state.age:
                state = known
        found = walk(db)
    if not state.same_records(found.records, found.readings, found.size):
        raise Damaged(f"{found.records} records are found where {state.records} should be")
    return state, found
