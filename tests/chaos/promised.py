"""The answers that a dead gateway had on its disk, and so has promised to deliver."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from chaos.machines import check_of, third_of, unit_of
from gateway.spool.checkpoint import read_checkpoint
from gateway.spool.files import SpoolFiles
from gateway.spool.integrity import open_read_only, stored_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def newest_spooled(spool: Path, units: Iterable[int], aside: Path) -> dict[int, int]:
    """Return the last answer of each unit in the spool of a dead gateway, -1 where there is none.

    The spool is looked at in a copy, since to open a database may change it.
    """
    newest = dict.fromkeys(units, -1)
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(spool, aside, ignore=shutil.ignore_patterns("*.sock"))
    for database in aside.glob("*.spool.db"):
        with closing(sqlite3.connect(database)) as db:
            for unit, count in _answers(db):
                if unit in newest:
                    newest[unit] = max(newest[unit], count)
    return newest


def _answers(db: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Yield unit and count of each answer that can be read, without records that a fault has damaged."""
    rows = db.execute("select topic, payload from records")
    while True:
        try:
            row = rows.fetchone()
        except sqlite3.DatabaseError:
            return
        if row is None:
            return
        try:
            unit = unit_of(str(row[0]).split("/")[-2])
            if unit is None:
                continue
            for scan in json.loads(row[1])["scans"]:
                if scan["values"]:
                    yield unit, _count(scan["values"])
        except (ValueError, KeyError, IndexError, TypeError):
            continue


def _count(values: dict[str, Any]) -> int:
    """Return which answer these are the values of. Raises `ValueError` or `KeyError` where one is not right."""
    count = int(values["count"])
    if values != {"count": count, "check": check_of(count), "third": third_of(count)}:
        raise ValueError(f"damaged: {values}")
    return count


def newest_stored(database: Path, unit: int) -> int:
    """Return the last answer of a unit that is in the SQLite store, -1 where there is none."""
    if not database.exists():
        return -1
    query = (
        "select max(value) from samples join series on series.id = samples.series "
        "where machine in (?, ?) and point = 'count' and value is not null"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        try:
            row = db.execute(query, (f"unit-{unit}", f"unit-{unit}b")).fetchone()
        except sqlite3.OperationalError:  # it is being made
            return -1
    return -1 if row[0] is None else int(row[0])


def accounted_twice(spool: Path, gateway: str) -> bool:
    """Return whether the last commit of a dead gateway is in both copies of its ledger.

    A kill may come between the two. Then only the copy that is about to be damaged would have that commit.
    """
    files = SpoolFiles(spool, gateway)
    known = read_checkpoint(files.slots)
    with open_read_only(files.db) as db:
        state = stored_checkpoint(db)
    return known is not None and known.commit >= state.commit
