"""Read a spool for display, while a gateway uses it or after it was killed. Change nothing."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from gateway.spool.checkpoint import newest, read_checkpoint
from gateway.spool.errors import Damaged, is_damage
from gateway.spool.files import SELECT_ROWS, Row
from gateway.spool.integrity import open_read_only, stored_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.spool.checkpoint import Checkpoint
    from gateway.spool.files import SpoolFiles

PAGE_OF_RECORDS = 100
"""Records that are read at once: a long read would delay the gateway's checkpoints."""


class NotReadable(Exception):
    """The spool does not exist or can't be read; the text gives the reason and an instruction."""


class SpoolStatus(NamedTuple):
    """The state of a spool. `damage` describes the damage of its database, "" if it has none."""

    state: Checkpoint
    oldest: Row | None
    newest: Row | None
    damage: str


def inspect(files: SpoolFiles) -> SpoolStatus:
    """Return the state of a spool. Raises `NotReadable` if it does not exist or can't be read."""
    slots = read_checkpoint(files.slots)
    state: Checkpoint | None = None
    oldest = latest = None
    damage = ""
    try:
        with open_read_only(files.db) as db:
            state = stored_checkpoint(db)
            oldest, latest = _first(db, "asc"), _first(db, "desc")
    except FileNotFoundError:
        if slots is None:
            raise NotReadable(f"{files.db} is not there: has a gateway run with this configuration?") from None
        damage = "its database is missing"
    except (OSError, sqlite3.Error) as error:
        if not is_damage(error):
            raise NotReadable(_why(files, error)) from error
        damage = str(error)
    known = [slots] if state is None or (slots is not None and slots.spool == state.spool) else []
    state = newest([state, *known])
    if state is None:
        raise NotReadable(f"{files.db} is not a spool, or damaged throughout: {damage}")
    return SpoolStatus(state, oldest, latest, damage)


def records(files: SpoolFiles) -> Iterator[Row]:
    """Yield the pending records, oldest first, up to the present newest record. Raises `NotReadable`."""
    after, last = 0, (inspect(files).newest or _NO_ROW).seq
    query = f"{SELECT_ROWS} where seq > ? order by seq limit ?"
    while after < last:
        try:
            with open_read_only(files.db) as db:
                found = [Row.of(columns) for columns in db.execute(query, (after, PAGE_OF_RECORDS))]
            if found and found[0].seq <= after:
                raise Damaged("its records are not in order")
        except (OSError, sqlite3.Error) as error:
            raise NotReadable(_why(files, error, after)) from error
        if not found:
            return
        yield from (row for row in found if row.seq <= last)
        after = max(row.seq for row in found)


_NO_ROW = Row(0, 0, "", "", 0, 0, b"")


def _first(db: sqlite3.Connection, order: str) -> Row | None:
    found = db.execute(f"{SELECT_ROWS} order by seq {order} limit 1").fetchone()
    return None if found is None else Row.of(found)


def _why(files: SpoolFiles, error: Exception, after: int = 0) -> str:
    if isinstance(error, Damaged) or is_damage(error):
        where = f" after record {after}" if after else ""
        return f"{files.db} is damaged{where}: {error}; the gateway repairs it, at the latest when it starts"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"{files.db} is locked by another process; try again"
    return f"{files.db} can't be read: {error}; are you the gateway's user?"
