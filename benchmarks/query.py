"""Measure queries of a large SQLite store: a month of 50 points at 1 s, 130 million readings, unless stated otherwise.

The store is filled through the store's own `write`, as ingest does, which takes minutes, and its buckets are computed. Both
are measured. Each query is measured twice: with the file out of the cache of the operating system, and again. Those
without buckets are of the newest quarter of an hour, which is not computed yet.

    python benchmarks/query.py [--days 30] [--points 50] [--period 1] [--file readings.db] [--keep]
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import sqlite_rollups
from gateway.stores.base import MachineScan
from gateway.stores.buckets import width_of
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.stores.series import Series

PATH = MachinePath("bench", "site", "area", "line", "m-01")
DAY, HOUR = 86_400_000_000, 3_600_000_000
BUCKETS = 1_000
BATCH_SECONDS = 1800


def store_at(file: Path) -> SqliteStore:
    return SqliteStore(SqliteSettings.model_validate({"path": str(file), "keep": "3650d", "max_size": "500GiB"}))


def fill(file: Path, options: argparse.Namespace) -> None:
    """Write all readings up to now, and compute the buckets of all blocks but the newest."""
    names = [f"p-{number:03d}" for number in range(options.points)]
    meta = MachineMeta("bench", dict.fromkeys(names, "float"), dict.fromkeys(names, "bar"))
    until = time.time_ns() // 1000
    scans = round(options.days * 86_400 / options.period)
    period = round(options.period * 1e6)
    columns = [[(n * 7919 + i * 104_729) % 10_007 / 7 for i in range(options.points)] for n in range(1_000)]
    written = time.process_time()
    with store_at(file) as store:
        for first in range(0, scans, BATCH_SECONDS):
            batch = [
                MachineScan(
                    PATH, meta, NamedScan.of_columns(until - (scans - n) * period, names, columns[n % 1000]), 0
                )
                for n in range(first, min(scans, first + BATCH_SECONDS))
            ]
            store.write(batch)
    written = time.process_time() - written
    rows = scans * options.points
    size = file.stat().st_size
    rolled = time.process_time()
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("pragma synchronous = normal")
    marks = db.execute("select block, mark from unrolled order by block").fetchall()
    for block, mark in marks[:-1]:
        sqlite_rollups.roll_up(db, block, mark)
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    rolled = time.process_time() - rolled
    print(f"{rows:,} readings; file {size / 1e9:.2f} GB, with buckets {file.stat().st_size / 1e9:.2f} GB")
    print(f"write     {written / rows * 1e6:6.2f} us a reading")
    print(f"buckets   {rolled / rows * 1e6:6.2f} us a reading")


def forget(file: Path) -> None:
    """Let the operating system drop the file's pages."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def measure(name: str, file: Path, ask: Callable[[SqliteStore], Iterable[object]]) -> None:
    taken = []
    count = 0
    forget(file)
    for _ in range(3):
        store = store_at(file)
        store.open_for_query()
        began = time.perf_counter()
        count = sum(1 for _ in ask(store))
        taken.append(time.perf_counter() - began)
        store.close()
    print(f"{name:<44} {taken[0]:8.3f} s   {min(taken[1:]):8.3f} s   {count:9,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the file, and use it if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lineside-query-") as folder:
        file = options.file or Path(folder) / "readings.db"
        if not file.exists():
            fill(file, options)
        run(file, options)
        if options.file and not options.keep:
            file.unlink()


def run(file: Path, options: argparse.Namespace) -> None:
    store = store_at(file)
    store.open_for_query()
    series = store.series()
    newest = store.newest(series)
    store.close()
    until = max(reading.time for reading in newest) + 1

    def reduced(length: float, chosen: list[Series] = series) -> Callable[[SqliteStore], Iterable[object]]:
        since = until - round(length)
        width = width_of(since, until, BUCKETS)
        return lambda one: one.reduced(chosen, since, until, width)

    print(f"{'query':<44} {'cold':>10}   {'again':>10}")
    measure("series", file, lambda one: one.series())
    measure("newest", file, lambda one: one.newest(series))
    for name, length in (
        ("all", options.days * DAY),
        ("a week", 7 * DAY),
        ("a day", DAY),
        ("8 h", 8 * HOUR),
        ("1 h", HOUR),
    ):
        if length <= options.days * DAY:
            measure(f"{name}, 1,000 buckets of {len(series)} points", file, reduced(length))
    measure("all, 1,000 buckets of 1 point", file, reduced(options.days * DAY, series[:1]))
    measure("1 h, all readings", file, lambda one: one.range(series, until - HOUR, until))
    measure("10 min, all readings of 1 point", file, lambda one: one.range(series[:1], until - HOUR // 6, until))
    print(f"memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
