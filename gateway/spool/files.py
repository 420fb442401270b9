"""Define the spool's files, and the format of a record in the database.

A record is a row with two checksums (CRC-32): `head` over its numbers and its topic, `body` over these and the
payload. The readings of a damaged record can still be counted, and a damaged record is never sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self
from zlib import crc32

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
"""Bytes of a page of the database."""

SCHEMA = """
create table records (
    seq integer primary key, readings integer not null, spool text not null, topic text not null,
    head integer not null, body integer not null, payload blob not null
);
create table state (id integer primary key, state blob not null);
"""
"""`payload` is the last column, so that the other columns of a long record are read without it."""

CHECKPOINT_ROW, ADOPTED_ROW, FIRST_STATE_ROW = 1, 2, 16
"""Rows of the table `state`: the checkpoint, the records of the last adoption, and from the last number on one for
the states of each machine's calculations."""

SELECT_ROWS = "select seq, readings, spool, topic, head, body, payload from records"

SET_ASIDE_SIZE = 64 * 2**20
"""Largest size of the file of set-aside records, in bytes."""


class Spooled(NamedTuple):
    """A record in the spool. `readings` is the number of readings that it carries."""

    seq: int
    topic: str
    payload: bytes
    readings: int


class Replacement(NamedTuple):
    """Smaller records that replace a record. `too_large` is the number of its readings that none of them has."""

    seq: int
    pieces: list[Spooled]
    too_large: int


class Row(NamedTuple):
    """A row of the database: a record with its checksums."""

    seq: int
    readings: int
    spool: str
    topic: str
    head: int
    body: int
    payload: bytes

    @classmethod
    def of(cls, columns: tuple[object, ...]) -> Self:
        """Return the row with these columns. Raises `TypeError` if a column has another type."""
        row = cls._make(columns)
        numbers, texts = (row.seq, row.readings, row.head, row.body), (row.spool, row.topic)
        if not (all(type(number) is int for number in numbers) and all(isinstance(text, str) for text in texts)):
            raise TypeError("a column has another type than was written")
        return row

    @property
    def head_is_right(self) -> bool:
        """Whether the checksum of everything but the payload is correct."""
        return head_checksum(self.seq, self.readings, self.spool, self.topic) == self.head

    @property
    def is_right(self) -> bool:
        """Whether the checksum of the whole record is correct."""
        return (
            self.head_is_right
            and isinstance(self.payload, bytes)
            and body_checksum(self.head, self.payload) == self.body
        )

    @property
    def spooled(self) -> Spooled:
        """The record without its checksums."""
        return Spooled(self.seq, self.topic, self.payload, self.readings)


def row_of(record: Spooled, spool: str) -> Row:
    """Return a record of the spool named `spool` with its checksums."""
    head = head_checksum(record.seq, record.readings, spool, record.topic)
    body = body_checksum(head, record.payload)
    return Row(record.seq, record.readings, spool, record.topic, head, body, record.payload)


def head_checksum(seq: int, readings: int, spool: str, topic: str) -> int:
    """Return the checksum of a record without its payload."""
    return crc32(f"{seq} {readings} {spool} {topic}".encode())


def body_checksum(head: int, payload: bytes) -> int:
    """Return the checksum of a whole record."""
    return crc32(payload, head)


def decode_text(raw: bytes) -> str:
    """Decode a text column. Invalid UTF-8 is accepted here, because a checksum protects the text."""
    return raw.decode("utf-8", "replace")


class SpoolFiles:
    """The files of one gateway's spool, all in one folder."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.folder = folder
        self.gateway = gateway
        self.db = folder / f"{gateway}.spool.db"
        self.wal = folder / f"{gateway}.spool.db-wal"
        self.shm = folder / f"{gateway}.spool.db-shm"
        self.journal = folder / f"{gateway}.spool.db-journal"
        self.lock = folder / f"{gateway}.spool.lock"
        self.slots = folder / f"{gateway}.spool.ledger"
        self.reserve = folder / f"{gateway}.spool.reserve"
        self.new = folder / f"{gateway}.spool.new"
        self.letters = folder / f"{gateway}.set-aside.jsonl"
        self._damaged = f"{gateway}.spool.damaged-"

    @property
    def database(self) -> tuple[Path, ...]:
        """The files that SQLite opens, and those that a rebuild makes."""
        return self.db, self.wal, self.shm, self.journal, self.new

    def damaged(self, stamp: str) -> Path:
        """Return the name under which a damaged database is kept."""
        return self.folder / f"{self._damaged}{stamp}"

    def all_damaged(self) -> list[Path]:
        """Return the damaged databases that are kept, oldest first; the log of each may be in the same folder."""
        return sorted(file for file in self.folder.glob(f"{self._damaged}*") if not file.name.endswith("-wal"))
