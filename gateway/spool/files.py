"""What the spool's files are called, and how a record stands in them.

A record is a row with two checksums (CRC-32): `head` over its numbers and its topic, `body` over those and the
payload. So what a damaged record held can still be counted, and nothing damaged is sent.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING, NamedTuple
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
"""`payload` comes last, so that the rest of a long record is read without it."""

_PRIMARY = 0xFF
"""The part of an extended result code of SQLite that says what kind of error it is."""

_READING = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
}
"""Parts of the disk that can't be read any more."""

_OUTSIDE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_INTERRUPT,
}  # fmt: skip
"""What does not lie in the file; everything else can only come from damage, since the statements are right."""

_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}


class Damaged(sqlite3.DatabaseError):
    """What is on disk is not what was written; the text says how that shows."""


class Spooled(NamedTuple):
    """A record as the spool holds it. `readings` is how many it carries."""

    seq: int
    topic: str
    payload: bytes
    readings: int


class Replaced(NamedTuple):
    """Smaller records in place of one. `too_large` is how many of its readings are in none of them."""

    seq: int
    pieces: list[Spooled]
    too_large: int


class SpoolFiles:
    """The files of one gateway's spool, all in one folder."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.folder = folder
        self.db = folder / f"{gateway}.spool.db"
        self.wal = folder / f"{gateway}.spool.db-wal"
        self.shm = folder / f"{gateway}.spool.db-shm"
        self.lock = folder / f"{gateway}.spool.lock"
        self.slots = folder / f"{gateway}.spool.ledger"
        self.reserve = folder / f"{gateway}.spool.reserve"
        self.new = folder / f"{gateway}.spool.new"
        self.letters = folder / f"{gateway}.set-aside.jsonl"
        self._aside = f"{gateway}.spool.damaged-"

    def aside(self, stamp: str) -> Path:
        """Return where a damaged database goes."""
        return self.folder / f"{self._aside}{stamp}"

    def all_aside(self) -> list[Path]:
        """Return the damaged databases that were set aside, oldest first; each may have its log beside it."""
        return sorted(file for file in self.folder.glob(f"{self._aside}*") if not file.name.endswith("-wal"))


def head_of(seq: int, readings: int, spool: str, topic: str) -> int:
    """Return the checksum of what is known of a record without its payload."""
    return crc32(f"{seq} {readings} {spool} {topic}".encode())


def body_of(head: int, payload: bytes) -> int:
    """Return the checksum of a whole record."""
    return crc32(payload, head)


def is_damage(error: Exception) -> bool:
    """Return whether an error comes from what is in the file, and not from the disk or another process."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and (code is None or code in _READING or code & _PRIMARY not in _OUTSIDE)


def is_no_room(error: Exception) -> bool:
    """Return whether the disk, or the process's share of it, is full."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return getattr(error, "sqlite_errorcode", None) in _NO_ROOM
