"""Check that a spool's database is undamaged, and read it without a lock that delays its gateway."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import Checkpoint, decode_checkpoint
from gateway.spool.errors import Damaged, damage_raised
from gateway.spool.files import SCHEMA, decode_text, head_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"SQLite format 3\0"

BUSY = 5.0
"""Seconds to wait for another process that has locked the file, as at its first start after a kill."""


class Inventory(NamedTuple):
    """The records in a database: their number, readings, bytes of payload (`size`) and sequence numbers."""

    records: int
    readings: int
    size: int
    pending: SeqRanges


@contextmanager
def open_read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to read it. Raises `Damaged` if the file is not a database, else `OSError`, `sqlite3.Error`.

    A rollback journal of the database is ignored: a reader can't apply it, and it is never needed, see
    `gateway.spool.recovery.rebuild.recover`.
    """
    with damage_raised():
        with file.open("rb") as opened:
            if opened.read(len(MAGIC)) != MAGIC:  # checked here, because SQLite removes the log of an empty file
                raise Damaged("it does not begin as a database does")
        with ExitStack() as stack:
            mode = "mode=ro"
            if _sibling(file, "-journal").exists():
                mode = "mode=ro&immutable=1"  # without journal and log
                if _has_content(_sibling(file, "-wal")):
                    file, mode = _copy(file, Path(stack.enter_context(TemporaryDirectory()))), "mode=ro"
            address = f"file:{quote(str(file))}?{mode}"
            db = stack.enter_context(closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY)))
            db.text_factory = decode_text
            yield db


def _sibling(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _has_content(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _copy(file: Path, folder: Path) -> Path:
    """Copy a database with its log, but without its journal; return the copy."""
    for part in (_sibling(file, "-wal"), file):
        shutil.copyfile(part, folder / part.name)
    return folder / file.name


def stored_checkpoint(db: sqlite3.Connection) -> Checkpoint:
    """Return the checkpoint of the last commit. Raises `Damaged` if it can't be read."""
    row = db.execute("select state from state where id = 1").fetchone()
    state = decode_checkpoint(row[0]) if row and isinstance(row[0], bytes) else None
    if state is None:
        raise Damaged("its checkpoint can't be read")
    return state


def take_inventory(db: sqlite3.Connection) -> Inventory:
    """Check the head of each record, and return the records found. Raises `Damaged`."""
    records, readings, size = 0, 0, 0
    pending = SeqRanges()
    first = last = 0
    rows = db.execute("select seq, readings, spool, topic, head, length(payload) from records order by seq")
    for seq, carried, spool, topic, head, length in rows:
        if head_checksum(seq, carried, spool, topic) != head:
            raise Damaged(f"the head of record {seq} differs from its checksum")
        records, readings, size = records + 1, readings + carried, size + length
        if seq != last + 1 or not first:
            if first:
                pending.add(first, last)
            first = seq
        last = seq
    if first:
        pending.add(first, last)
    return Inventory(records, readings, size, pending)


def _check_schema(db: sqlite3.Connection) -> None:
    """Raise `Damaged` if the schema differs: a flipped bit in a column type can turn names of digits into numbers."""
    found = {_normal(sql) for (sql,) in db.execute("select sql from sqlite_master")}
    if found != {_normal(statement) for statement in SCHEMA.split(";") if statement.strip()}:
        raise Damaged("its schema is damaged")


def _normal(sql: object) -> str:
    return " ".join(str(sql).lower().split())


def verify(file: Path, known: Checkpoint | None) -> tuple[Checkpoint, Inventory]:
    """Return checkpoint and records of an undamaged database; `known` is the checkpoint of the slots.

    Raises `Damaged` or `sqlite3.Error` if it is damaged, or if commits are missing that `known` includes.
    """
    with open_read_only(file) as db:
        _check_schema(db)
        state = stored_checkpoint(db)
        if known is not None and known.spool == state.spool:
            if known.commit > state.commit:
                raise Damaged(f"its last {known.commit - state.commit} commits are missing")
            if known.age > state.age:
                state = known
        found = take_inventory(db)
    if not state.same_records(found.records, found.readings, found.size):
        raise Damaged(f"{found.records} records are found where {state.records} should be")
    return state, found
