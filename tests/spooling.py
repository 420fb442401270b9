"""Helpers for tests of the spool: lease records as a publisher does, fresh or not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool


async def lease(spool: Spool, most: int) -> list[Spooled]:
    """Return records to send: fresh records first, then the oldest of the backlog."""
    leased = spool.lease_fresh(most)
    return leased + (await spool.lease_backlog(most - len(leased)) if len(leased) < most else [])


def drop_cached(spool: Spool) -> None:
    """Bring everything from the log into the database. The spool reads all of it again."""
    with closing(sqlite3.connect(spool.path, isolation_level=None)) as db:
        [(version,)] = db.execute("pragma user_version")
        db.execute(f"pragma user_version = {version}")  # a write of another connection: the cached pages are outdated
        assert db.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
