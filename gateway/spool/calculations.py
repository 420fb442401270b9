"""The states of calculations in a spool's database: they are committed with the records that were made from them.

Each name, such as that of a machine, has a row of the table `state`, with a checksum.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.spool.checkpoint import seal, unseal
from gateway.spool.files import FIRST_STATE_ROW, SpoolFiles
from gateway.spool.integrity import open_read_only

if TYPE_CHECKING:
    from pathlib import Path


class SavedState(NamedTuple):
    """A state, and its row."""

    row: int
    state: bytes


def encode_state(name: str, state: bytes) -> bytes:
    """Return the content of a row."""
    return seal(name.encode() + b"\n" + state)


def read_states(db: sqlite3.Connection) -> dict[str, SavedState]:
    """Return the states in a database by their names; leave out damaged rows."""
    found: dict[str, SavedState] = {}
    for row, data in db.execute("select id, state from state where id >= ?", (FIRST_STATE_ROW,)):
        body = unseal(data) if isinstance(data, bytes) else None
        if body is not None:
            name, _, state = body.partition(b"\n")
            found[name.decode()] = SavedState(row, state)
    return found


def saved_states(folder: Path, name: str) -> dict[str, bytes]:
    """Return the states in a spool by their names; none if it is not there or can't be read."""
    return {key: saved.state for key, saved in states_on_disk(SpoolFiles(folder, name)).items()}


def states_on_disk(files: SpoolFiles) -> dict[str, SavedState]:
    """Return the states in the database of a spool; if it is damaged, those that can be read."""
    with suppress(OSError, sqlite3.Error, UnicodeDecodeError), open_read_only(files.db) as db:
        return read_states(db)
    return {}
