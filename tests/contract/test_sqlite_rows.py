"""Rows of the embedded store: whichever statement inserts them, they are the readings that came."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from read_back import SqliteTarget

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores import sqlite_rows
from gateway.stores.base import MachineScan, Rejected
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME, SECOND = 1_764_000_000_123_456, 1_000_000
POINTS = {f"p{i:03d}": ("float", "int", "bool", "string")[i % 4] for i in range(60)}
META = MachineMeta("press", POINTS, dict.fromkeys(POINTS, "bar"))


@pytest.fixture
def target(tmp_path: Path) -> SqliteTarget:
    return SqliteTarget(tmp_path / "readings.db")


@pytest.fixture
def store(target: SqliteTarget) -> Iterator[SqliteStore]:
    with SqliteStore(SqliteSettings(path=target.file)) as opened:
        yield opened


def path(machine: int) -> MachinePath:
    return MachinePath("e", "s", "a", "l", f"m-{machine:02d}")


def value(kind: str, number: int) -> Any:
    return {"float": number + 0.5, "int": number, "bool": number % 2 == 0, "string": f"r{number}"}[kind]


def scan(machine: int, number: int, names: list[str], meta: MachineMeta = META) -> MachineScan:
    values = {name: value(POINTS[name], number) for name in names}
    return MachineScan(path(machine), meta, NamedScan(TIME + number * SECOND + machine, values), 0)


def expected(target: SqliteTarget, batch: list[MachineScan]) -> Any:
    return target.expected(reading for one in batch for reading in one.scan.readings(one.path, dict(one.meta.units)))


def test_scans_of_all_points_and_of_some_are_stored_alike(store: SqliteStore, target: SqliteTarget):
    """Points that came together first have consecutive numbers; a change, a fault or an own time breaks them up."""
    chance = random.Random(7)  # noqa: S311 - reproducible
    names = list(POINTS)
    batch = [scan(machine, 0, names[: 20 + 10 * machine]) for machine in range(4)]
    for number in range(1, 30):
        some = chance.sample(names, chance.randint(1, 60)) if number % 2 else list(names)
        one = scan(number % 4, number, some)
        if number % 3 == 0:
            lost = chance.choice(some)
            del one.scan.values[lost]
            one.scan.bad[lost] = "no_response"
            one.scan.codes[lost] = "exception 11"
        if number % 5 == 0:
            one.scan.times[some[0]] = one.scan.time - 5
        if number % 7 == 0 and one.scan.values:
            one.scan.uncertain[next(iter(one.scan.values))] = "out_of_range"
        one.scan.late = number % 11 == 0
        batch.append(one)
    chance.shuffle(batch)
    for start in range(0, len(batch), 10):
        store.write(batch[start : start + 10])
    store.write(batch)
    assert target.held() == expected(target, batch)


def test_a_run_with_a_number_that_no_row_can_hold_loses_only_this(store: SqliteStore, target: SqliteTarget):
    """The whole run is one statement, which fails."""
    good, other = scan(1, 1, list(POINTS)), scan(2, 2, list(POINTS))
    good.scan.values["p001"] = 2**63
    with pytest.raises(Rejected) as refused:
        store.write([good, other])
    assert [(one.readings, "p001" in one.row) for one in refused.value.refusals] == [(1, True)]
    del good.scan.values["p001"]
    assert target.held() == expected(target, [good, other])


def test_a_restarted_writer_continues_the_series_of_its_file(store: SqliteStore, target: SqliteTarget):
    """It reads those of a machine at once, and a point whose unit changed keeps its place."""
    first = scan(1, 1, list(POINTS))
    store.write([first])
    store.close()
    changed = MachineMeta("press", POINTS, META.units | {"p004": "kPa"})
    second = scan(1, 2, list(POINTS), changed)
    with SqliteStore(SqliteSettings(path=target.file)) as again:
        again.write([second, first])
    assert target.held() == expected(target, [first, second])
    with sqlite3.connect(target.file) as db:
        assert db.execute("select count(*), count(distinct place) from series").fetchone() == (61, 60)


def test_two_writers_of_one_file_agree_on_new_series(store: SqliteStore, target: SqliteTarget):
    """Several ingests share a file: both see a new point first."""
    batches = [[scan(1, number, list(POINTS)[:40])] for number in range(4)]
    with SqliteStore(SqliteSettings(path=target.file)) as other:
        store.write([])
        other.write([])
        for number, batch in enumerate(batches):
            (store, other)[number % 2].write(batch)
        store.write([scan(1, 5, list(POINTS))])
        other.write([scan(1, 6, list(POINTS))])
    everything = [one for batch in batches for one in batch]
    everything += [scan(1, 5, list(POINTS)), scan(1, 6, list(POINTS))]
    assert target.held() == expected(target, everything)
    with sqlite3.connect(target.file) as db:
        assert db.execute("select count(*), count(distinct place) from series").fetchone() == (60, 60)


def test_the_cached_machines_are_bounded(monkeypatch: pytest.MonkeyPatch, store: SqliteStore, target: SqliteTarget):
    """A client may publish records of any number of machines; those of known machines are stored as before."""
    monkeypatch.setattr(sqlite_rows, "MAX_MACHINES", 3)
    names = list(POINTS)[:5]
    batch = [scan(machine, number, names) for number in range(3) for machine in range(7)]
    for position in range(0, len(batch), 7):
        store.write(batch[position : position + 7])
    assert target.held() == expected(target, batch)
