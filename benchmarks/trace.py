"""Measure `trace` with a store of many parts: the history of a part, and where a lot was used.

The store is generated: a million tyres of three operations each by default, with their treads and compounds. It is kept
for the next run.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import time
from collections import Counter
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import sqlite_tables
from gateway.stores.base import MachineScan
from gateway.stores.part_history import Uses, history, where_used
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

META = MachineMeta("machine", {"part": "json"}, {}, {"part": "part"})
BEGIN, SECOND = 1_764_000_000_000_000, 1_000_000
OPERATIONS = ("building", "curing", "uniformity")
"""The work on each tyre; before it is a tread of 40 tyres, and a compound of 12 treads."""

BATCH = 5_000
TYRES, TREADS = 40, 12


def scan_of(at: int, machine: str, record: dict[str, object]) -> MachineScan:
    path = MachinePath("acme", "north", "area", "line", machine)
    moment = BEGIN + at * SECOND
    record = {"place": "", "began": moment - 50 * SECOND, "ended": moment, "result": "good"} | record
    return MachineScan(path, META, NamedScan(moment, {"part": orjson.dumps(record).decode()}), 0)


def records(parts: int, values: int) -> Iterator[MachineScan]:
    """Yield the records of so many tyres, with their treads and compounds, in the order of time."""
    measured = [{"name": f"value_{n}", "value": n * 1.5, "unit": "bar"} for n in range(values)]
    at = 0
    for tyre in range(parts):
        tread = tyre // TYRES
        if tyre % (TYRES * TREADS) == 0:
            batch = {"serial": f"B-{tyre // (TYRES * TREADS)}", "operation": "mixing", "lot": f"ML-{tread // TREADS}"}
            yield scan_of(at := at + 1, "mixer-01", batch)
        if tyre % TYRES == 0:
            compound = [{"name": "compound", "lot": f"ML-{tread // TREADS}"}]
            yield scan_of(at := at + 1, "extruder-01", {
                "serial": f"TR-{tread}", "operation": "extrusion", "materials": compound,
            })  # fmt: skip
        for number, operation in enumerate(OPERATIONS):
            materials = [{"name": "tread", "lot": f"TR-{tread}"}] if number == 0 else []
            record = {"serial": f"GT-{tyre}", "operation": operation, "values": measured, "materials": materials}
            yield scan_of(at := at + 1, f"{operation}-01", record)


def fill(file: Path, parts: int, values: int) -> None:
    """Write the rows of the tables alone: the readings beside them are not looked at."""
    began = time.monotonic()
    with SqliteStore(SqliteSettings.model_validate({"path": str(file)})):
        pass  # it has made the file
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("pragma synchronous = off")
        work = records(parts, values)
        while batch := list(islice(work, BATCH)):
            db.execute("begin")
            sqlite_tables.insert(db, batch, Counter())
            db.execute("commit")
        [(written,)] = db.execute("select count(*) from parts").fetchall()
    size = file.stat().st_size / 2**20
    print(f"{written:,} records written in {time.monotonic() - began:.0f} s: {size:,.0f} MiB")


def measure(name: str, work: Sequence[Callable[[], object]]) -> None:
    times = []
    for one in work:
        began = time.perf_counter()
        assert one() is not None
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    median, last = statistics.median(times), times[-1]
    print(f"{name:<38} least {times[0]:7.2f} ms, median {median:7.2f} ms, most {last:7.2f} ms")


def uses(store: SqliteStore, lot: str) -> Uses:
    found = where_used(store.lookup, lot)
    assert found.found
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parts", type=int, default=1_000_000, help="tyres")
    options.add_argument("--values", type=int, default=4, help="values of each operation")
    options.add_argument(
        "--store", type=Path, default=Path("lineside-data/trace.db"), help="the store to make or use"
    )
    options.add_argument("--asked", type=int, default=200, help="serial numbers that are traced")
    given = options.parse_args()
    if not given.store.exists():
        fill(given.store, given.parts, given.values)
    numbers = random.Random(1).choices(range(given.parts), k=given.asked)
    store = SqliteStore(SqliteSettings.model_validate({"path": str(given.store)}))
    store.open_for_query()
    try:
        assert len(history(store.lookup, "GT-5")) == len(OPERATIONS)
        measure("history of a part", [partial(history, store.lookup, f"GT-{n}") for n in numbers])
        lots = [n // (TYRES * TREADS) for n in numbers[:20]]
        measure(
            f"where a lot of {TYRES * TREADS} tyres was used",
            [lambda n=n: where_used(store.lookup, f"ML-{n}") for n in lots],
        )
        treads = [n // TYRES for n in numbers[:50]]
        measure(
            f"where a tread of {TYRES} tyres was used",
            [lambda n=n: where_used(store.lookup, f"TR-{n}") for n in treads],
        )
    finally:
        store.close()


if __name__ == "__main__":
    main()
