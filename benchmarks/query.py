"""Measure queries of a large SQLite store: a month of 50 points at 1 s, 130 million readings, unless stated otherwise.

The store is filled through the store's own `write`, as ingest does, which takes minutes, and its buckets are computed. Both
are measured. Each query is measured with the file out of the cache of the operating system, and again. The buckets of the
newest quarter of an hour are not computed, as while ingest runs.

    python benchmarks/query.py [--days 30] [--points 50] [--period 1] [--file readings.db] [--keep]

With `--beside` the times of writes are measured instead, at 10,000 readings/s, while nothing is computed and while the buckets
of a quarter of an hour with 9 million readings are computed.

    python benchmarks/query.py --beside
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import tempfile
import threading
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
    """Print the time of a query with the file out of the cache, then the best of three, and its processor time."""
    walls, processors = [], []
    count = 0
    forget(file)
    for _ in range(4):
        store = store_at(file)
        store.open_for_query()
        began, used = time.perf_counter(), time.process_time()
        count = sum(1 for _ in ask(store))
        walls.append(time.perf_counter() - began)
        processors.append(time.process_time() - used)
        store.close()
    print(f"{name:<40} {walls[0]:8.3f} s {min(walls[1:]):8.3f} s {min(processors[1:]):8.3f} s {count:9,} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--period", type=float, default=1.0)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--keep", action="store_true", help="keep the file, and use it if it is there")
    parser.add_argument("--beside", action="store_true", help="measure writes while buckets are computed")
    options = parser.parse_args()
    if options.beside:
        beside()
        return
    with tempfile.TemporaryDirectory(prefix="lineside-query-") as folder:
        file = options.file or Path(folder) / "readings.db"
        if not file.exists():
            fill(file, options)
        run(file, options)
        if options.file and not options.keep:
            file.unlink()


def beside() -> None:
    """Print the times of writes of 1,000 readings, ten times a second, beside the computation of a block."""
    machines = [PATH._replace(machine=f"m-{number:03d}") for number in range(100)]
    names = [f"p-{number:03d}" for number in range(100)]
    meta = MachineMeta("bench", dict.fromkeys(names, "float"), {})
    with (
        tempfile.TemporaryDirectory(prefix="lineside-query-") as folder,
        store_at(Path(folder) / "readings.db") as store,
    ):
        begin = time.time_ns() // 1000 // sqlite_rollups.BLOCK * sqlite_rollups.BLOCK - 2 * sqlite_rollups.BLOCK
        for second in range(0, 900, 10):
            values = [(second * 7919 + i * 104_729) % 10_007 / 7 for i in range(100)]
            times = range(begin + second * 1_000_000, begin + (second + 10) * 1_000_000, 1_000_000)
            store.write(
                [
                    MachineScan(one, meta, NamedScan.of_columns(at, names, values), 0)
                    for at in times
                    for one in machines
                ]
            )
        for name, computing in (("alone", False), ("beside", True)):
            thread = threading.Thread(target=compute, args=(Path(folder) / "readings.db", begin))
            if computing:
                thread.start()
            took = []
            while thread.is_alive() if computing else len(took) < 100:
                at = time.time_ns() // 1000
                part = [MachineScan(one, meta, NamedScan.of_columns(at, names, values), 0) for one in machines[:10]]
                began = time.perf_counter()
                store.write(part)
                took.append(time.perf_counter() - began)
                time.sleep(max(0.0, 0.1 - took[-1]))
            took.sort()
            p50, p99 = (took[round((len(took) - 1) * part)] * 1000 for part in (0.5, 0.99))
            print(f"{name:<8} {len(took)} writes, p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {took[-1] * 1000:.1f} ms")


def rest(seconds: float) -> bool:
    """Wait as the store's thread does."""
    time.sleep(seconds)
    return False


def compute(file: Path, begin: int) -> None:
    block = begin // sqlite_rollups.BLOCK
    db = sqlite3.connect(file, isolation_level=None, timeout=5)
    db.execute("pragma synchronous = normal")
    [mark] = db.execute("select mark from unrolled where block = ?", (block,)).fetchone()
    began, used = time.perf_counter(), time.thread_time()
    assert sqlite_rollups.roll_up(db, block, mark, rest)
    print(
        f"computed 9,000,000 readings in {time.perf_counter() - began:.1f} s, {time.thread_time() - used:.1f} s of processor time"
    )
    db.close()


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

    print(f"{'query':<40} {'cold':>10} {'again':>10} {'processor':>10}")
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
