"""The contents of the embedded store, the spool and a closing report, as tests read them."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Row(NamedTuple):
    """One row of the view `readings`, with its time in microseconds."""

    machine: str
    point: str
    time: int
    value: Any
    unit: str
    quality: str
    reason: str | None


def rows(database: Path, machine: str = "%", point: str = "%") -> list[Row]:
    """Return the rows that are stored so far, oldest first; no row if there is no store yet."""
    if not database.exists():
        return []
    query = (
        "select machine, point, samples.time, value, unit, quality, reason from samples "
        "join series on series.id = samples.series where machine like ? and point like ? order by samples.time"
    )
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        found = db.execute(query, (machine, point)).fetchall()
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        db.close()
    names = ("good", "uncertain", "bad")
    return [Row(*row[:5], names[row[5] % 4], row[6]) for row in found]


def times(database: Path) -> dict[tuple[str, str], int]:
    """Return the time of the last sample of each point that has one, by machine and point."""
    if not database.exists():
        return {}
    query = "select machine, point, (select max(time) from samples where series = id) from series"
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        found = db.execute(query).fetchall()
    except sqlite3.OperationalError:  # it is being made
        return {}
    finally:
        db.close()
    return {(machine, point): time for machine, point, time in found if time is not None}


def spooled(folder: Path) -> list[dict[str, Any]]:
    """Return the records that a stopped, or killed, gateway left in its spool."""
    [file] = folder.glob("*.spool.db")
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return [json.loads(payload) for (payload,) in db.execute("select payload from records order by seq")]
    finally:
        db.close()


def readings_of(records: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Return point and time of every reading in records."""
    return {
        (name, scan.get("times", {}).get(name, scan["t"]))
        for record in records
        for scan in record["scans"]
        for name in (*scan["values"], *scan.get("bad", {}))
    }


def report(file: Path) -> dict[str, Any]:
    """Return a closing report."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
