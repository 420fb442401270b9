"""Copy a spool while a gateway uses it, and give a copy a name of its own.

A copy has the numbers that were free when it was made, and the gateway has used some of them since. A number is never
used twice: a copy that is put back into use gets another spool name, and a record is known by both.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.codecs import codec_of
from gateway.codecs.base import Undecodable
from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import encode_checkpoint, read_checkpoint
from gateway.spool.errors import is_damage
from gateway.spool.files import CHECKPOINT_ROW, SELECT_ROWS, Row, Spooled, decode_text, row_of
from gateway.spool.inspect import NotReadable
from gateway.spool.integrity import open_read_only, verify
from gateway.spool.renumber import renumber

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.spool.files import SpoolFiles

AT_ONCE = 100
"""Records that are encoded again at once."""


class Copied(NamedTuple):
    """A copy of a spool: its name, its next sequence number, and the pending records and readings."""

    spool: str
    next: int
    records: int
    readings: int


def copy_spool(files: SpoolFiles, copy: Path) -> Copied:
    """Copy the database of a spool into a new file, as of one moment; the gateway commits on meanwhile.

    The checkpoint in the copy has the newest counts of the ledger. Raises `NotReadable` if there is no spool or it is
    damaged, and `OSError` or `sqlite3.Error` if the disk refuses the copy.
    """
    known = read_checkpoint(files.slots)  # before the records: it is never ahead of them
    try:
        with open_read_only(files.db) as db, closing(sqlite3.connect(copy, isolation_level=None)) as target:
            db.backup(target)  # in one step, so that no commit comes between
        state, found = verify(copy, known)
    except FileNotFoundError:
        raise NotReadable(f"{files.db} is not there: has a gateway run with this configuration?") from None
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        raise NotReadable(
            f"{files.db} is damaged: {error}; the gateway repairs it, at the latest when it starts"
        ) from None
    with closing(_open(copy)) as db:
        data = encode_checkpoint(state, found.pending)
        db.execute("update state set state = ? where id = ?", (data, CHECKPOINT_ROW))
    return Copied(state.spool, state.next, state.records, state.readings)


def rename_spool(copy: Path, gateway: str, name: str) -> Copied:
    """Give a copy of a spool another name, in one transaction; each record is encoded again with it, and a new tag.

    A record that is damaged, or that no codec can decode, keeps its bytes and a wrong checksum: the gateway sets it
    aside and counts it. Raises `sqlite3.Error` if the copy is damaged or the disk refuses.
    """
    state, _ = verify(copy, None)
    pending = SeqRanges()
    size = 0
    with closing(_open(copy)) as db:
        db.execute("begin immediate")
        for row in _rows(db):
            made = _renamed(row, gateway, name)
            values = (made.spool, made.head, made.body, made.payload, made.seq)
            db.execute("update records set spool = ?, head = ?, body = ?, payload = ? where seq = ?", values)
            pending.add(made.seq)
            size += len(made.payload)
        state.spool, state.size = name, size
        data = encode_checkpoint(state, pending)
        db.execute("update state set state = ? where id = ?", (data, CHECKPOINT_ROW))
        db.execute("commit")
    return Copied(name, state.next, state.records, state.readings)


def _renamed(row: Row, gateway: str, name: str) -> Row:
    payload = row.payload if isinstance(row.payload, bytes) else b""
    if row.is_right:
        try:
            made = renumber(codec_of(payload), gateway, payload, name, row.seq)
        except Undecodable:
            pass
        else:
            return row_of(Spooled(row.seq, row.topic, made, row.readings), name)
    damaged = row_of(Spooled(row.seq, row.topic, payload, row.readings), name)
    return damaged._replace(body=damaged.body ^ 1)


def _rows(db: sqlite3.Connection) -> Iterator[Row]:
    """Yield all records, some at a time: they are changed meanwhile."""
    after = 0
    query = f"{SELECT_ROWS} where seq > ? order by seq limit ?"
    while found := [Row.of(columns) for columns in db.execute(query, (after, AT_ONCE))]:
        yield from found
        after = found[-1].seq


def _open(copy: Path) -> sqlite3.Connection:
    """Open a copy to change it: without a log of its own, since it is thrown away if that fails."""
    db = sqlite3.connect(copy, isolation_level=None)
    db.text_factory = decode_text
    db.execute("pragma journal_mode = delete")
    db.execute("pragma synchronous = full")
    return db
