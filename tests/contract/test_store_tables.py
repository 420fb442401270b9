"""Readings that are JSON objects of a known kind are rows of tables of their own, in every store that can."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from read_back import InfluxTarget, SqliteTarget, Target, VictoriaMetricsTarget

from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan
from gateway.production.stored import stops_that_began
from gateway.stores.base import FIRST_TIME, MachineScan
from gateway.stores.tables import MOST_ENTRIES, TABLES, UNREADABLE, Column, Table, table_rows

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Value
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Machine

TIME = 1_764_000_000_000_000
TESTS = Table(
    "tests", (Column("name", tag=True), Column("count", "integer"), Column("share", "real"), Column("more"))
)
META = MachineMeta("curing-press", {"pressure": "float", "results": "json"}, {"pressure": "bar"}, {"results": "test"})
PIECES = Table(
    "pieces",
    (Column("name"), Column("count", "integer"), Column("colour", looked_up=True), Column("group", of_whole=True)),
    key=("name",),
)
BOXES = Table("boxes", (Column("group", looked_up=True),), entries=(("pieces", PIECES),))
BOX = '{"group": "g1", "pieces": [{"name": "a", "count": 2, "colour": "red"}, {"name": "b"}, 7, {"count": 1}]}'
TEXT = '{"name": "one", "count": 3, "share": 1, "more": {"a": [1]}, "unknown": 5}'
CELLS = ("one", 3, 1.0, '{"a":[1]}')


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, "test", TESTS)
    monkeypatch.setitem(TABLES, "box", BOXES)


def scan(press: MachinePath, second: int, **values: Value) -> MachineScan:
    return MachineScan(press, META, NamedScan(TIME + second * 1_000_000, values), 0)


def test_rows_are_stored_once_beside_the_readings(target: Target, press: MachinePath) -> None:
    """A batch that is written again changes nothing, and the readings are there as all others are."""
    batch = [scan(press, 0, pressure=1.5), scan(press, 1, results=TEXT), scan(press, 2, results='{"name": "two"}')]
    with target.store() as store:
        store.write(batch)
        store.write(batch)
    target.settle()
    with target.reading() as store:
        names = {(one.id.point, one.type or "json") for one in store.series(f"{press}/*")}
        assert {name for name, _ in names} == {"pressure", "results"}
        for newest_first in (False, True):
            rows = list(store.rows("test", f"{press}/*", TIME, TIME + 10_000_000, newest_first=newest_first))
            assert [row.time for row in rows] == sorted((row.time for row in rows), reverse=newest_first)
            found = {row.time: row for row in rows}
            assert found[TIME + 1_000_000].cells == CELLS
            assert found[TIME + 2_000_000].as_dict() == {"name": "two", "count": None, "share": None, "more": None}
            assert {(row.path, row.point) for row in rows} == {(press, "results")}
        assert not list(store.rows("test", f"{press}/*", TIME + 2_000_001, TIME + 10_000_000))
        assert not list(store.rows("test", "press-99/results", FIRST_TIME, TIME + 10_000_000))


def test_influxdb_has_a_measurement(influxd: object, influx_database: str, press: MachinePath) -> None:
    """With the columns that have few values as tags, so that a query can choose and group by them."""
    target = InfluxTarget(influxd, influx_database)  # type: ignore[arg-type] # the fixture
    with target.store() as store:
        store.write([scan(press, 1, results=TEXT)])
        [rows], _ = store._reader._rows('SELECT * FROM "tests"', 10_000)  # type: ignore[attr-defined] # noqa: SLF001
    [row] = rows.dicts()
    assert (row["name"], row["count"], row["share"], row["more"], row["machine"]) == (*CELLS, press.machine)


def test_a_store_of_numbers_has_no_rows_of_its_own(victoria_metrics: object, press: MachinePath) -> None:
    """Each text would be a series there; the readings themselves can be read."""
    target = VictoriaMetricsTarget(victoria_metrics, press.enterprise, "curing-press")  # type: ignore[arg-type] # the fixture
    with target.store() as store:
        assert b"tests" not in store._writer.body([scan(press, 1, results=TEXT)], [])  # type: ignore[attr-defined] # noqa: SLF001


def test_a_reading_that_is_no_object_is_stored_and_counted(tmp_path: Path, press: MachinePath) -> None:
    """It has no row."""
    with SqliteTarget(tmp_path / "readings.db").store() as store:
        store.write([scan(press, 0, results="[]"), scan(press, 1, results="{"), scan(press, 2, results=TEXT)])
        assert store.counts[UNREADABLE] == 2
        assert len(list(store.rows("test", "*", TIME, TIME + 10_000_000))) == 1
        assert len(list(store.range(store.series(), TIME, TIME + 10_000_000))) == 3


def test_a_value_of_another_type_is_null(press: MachinePath) -> None:
    """The type of a column is fixed."""
    text = '{"name": 5, "count": 1.5, "share": "x", "more": null}'
    [row] = table_rows([scan(press, 0, results=text)], Counter())
    assert row.cells == ("5", None, None, None)
    [row] = table_rows([scan(press, 0, results='{"count": 9223372036854775808, "share": true}')], Counter())
    assert row.cells == (None, None, None, None)


def test_a_column_is_added_to_the_table_of_an_older_file(
    tmp_path: Path, press: MachinePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows from before have no value there; a file of a release without the table has no rows."""
    target = SqliteTarget(tmp_path / "readings.db")
    with target.store() as store:
        store.write([scan(press, 0, results=TEXT)])
    monkeypatch.setitem(TABLES, "test", Table("tests", (*TESTS.columns, Column("unknown", "integer"))))
    monkeypatch.setitem(TABLES, "other", Table("others", TESTS.columns))
    with target.reading() as store:
        assert [row.cells for row in store.rows("test", "*", TIME, TIME + 1)] == [(*CELLS, None)]
        assert not list(store.rows("other", "*", TIME, TIME + 1))
    with target.store() as store:
        store.write([scan(press, 1, results=TEXT)])
        rows = store.rows("test", "*", TIME, TIME + 10_000_000)
        assert [row.cells for row in rows] == [(*CELLS, None), (*CELLS, 5)]


def test_pages_of_rows_follow_each_other(tmp_path: Path, press: MachinePath) -> None:
    """Each row is read once, also where several have one time."""
    batch = [
        MachineScan(press._replace(machine=f"m-{machine:02d}"), META, NamedScan(TIME + at, {"results": TEXT}), 0)
        for at in range(300)
        for machine in range(9)
    ]
    with SqliteTarget(tmp_path / "readings.db").store() as store:
        store.write(batch)
        for newest_first in (False, True):
            rows = list(store.rows("test", "*", TIME, TIME + 1_000_000, newest_first=newest_first))
            keys = [(row.time, row.path.machine) for row in rows]
            assert keys == sorted({(TIME + at, f"m-{n:02d}") for at in range(300) for n in range(9)},
                                  reverse=newest_first)  # fmt: skip


def test_old_rows_are_deleted_with_the_readings(tmp_path: Path, press: MachinePath) -> None:
    """The table does not grow without limit."""
    file = tmp_path / "readings.db"
    target = SqliteTarget(file)
    target.entry["sqlite"]["keep"] = "1h"
    with target.store() as store:
        store.write([scan(press, 0, results=TEXT), scan(press, 86_400, results=TEXT)])
        store.prune()  # type: ignore[attr-defined] # of this store
    with closing(sqlite3.connect(file)) as db:
        assert [time for (time,) in db.execute("select time from tests")] == [TIME + 86_400_000_000]


REAL = sorted(content for content in TABLES if content not in {"test", "box"})
"""The contents whose tables the product has."""

HOSTILE = "a \"b\" \\ c, d=e <f> \u00e4 \u65ad \n $1 'g'"
"""A text of a person, with characters that mean something in a line protocol, in SQL, or in both."""


def whole(table: Table, **changed: Value) -> dict[str, Value]:
    """Return an object with a value in each column of a table."""
    values: dict[str, Value] = {"text": HOSTILE, "integer": 2**53 + 1, "real": -1.25e-7}
    return {one.name: f"{one.name} 1" if one.tag else values[one.kind] for one in table.columns} | changed


def results(press: MachinePath, content: str, second: int, entry: dict[str, Value]) -> MachineScan:
    meta = MachineMeta("curing-press", {content: "json"}, {}, {content: content})
    return MachineScan(press, meta, NamedScan(TIME + second * 1_000_000, {content: json.dumps(entry)}), 0)


@pytest.mark.parametrize("content", REAL)
def test_each_table_is_read_as_it_was_written(target: Target, press: MachinePath, content: str) -> None:
    """Also where a column has the name of a word of a query language, such as begin, by, end or order."""
    table = TABLES[content]
    full, empty = whole(table), {one.name: None for one in table.columns if not one.tag}
    text = {one.name: "" for one in table.columns if one.kind == "text" and not one.tag}
    batch = [results(press, content, at, whole(table, **more)) for at, more in enumerate(({}, empty, text))]
    with target.store() as store:
        store.write(batch)
        store.write(batch)
    target.settle()
    with target.reading() as store:
        rows = list(store.rows(content, f"{press}/*", TIME, TIME + 10_000_000))
        assert [row.as_dict() for row in rows] == [full, full | empty, full | text]
        newest = list(store.rows(content, f"{press}/*", TIME, TIME + 1_000_001, newest_first=True))
        assert [row.as_dict() for row in newest] == [full | empty, full]


def test_a_table_that_nobody_wrote_to_has_no_rows(target: Target, press: MachinePath) -> None:
    """As the reasons of stops on the first day."""
    with target.store() as store:
        store.write([scan(press, 0, pressure=1.5)])
    target.settle()
    with target.reading() as store:
        for content in REAL:
            assert list(store.rows(content, f"{press}/{content}", TIME, TIME + 10_000_000)) == []


def test_the_last_reason_that_a_person_gave_for_a_stop_counts(target: Target, press: MachinePath) -> None:
    """Of two stops at one machine, and of another machine with a stop that began at the same time."""
    other, machine = press._replace(machine="press-99"), cast("Machine", SimpleNamespace(path=press))
    begins = TIME - 60_000_000, TIME - 30_000_000

    def stop(path: MachinePath, at: int) -> MachineScan:
        entry = whole(TABLES["stops"], state="down", begin=begins[at], end=begins[at] + 10_000_000, reason="3")
        return results(path, "stops", at, entry)

    def reason(path: MachinePath, second: int, at: int, text: str) -> MachineScan:
        entry = {"begin": begins[at], "reason": text, "comment": HOSTILE, "by": "anna"}
        return results(path, "stop_reasons", second, entry)

    batch = [
        stop(press, 0), stop(press, 1), stop(other, 0),
        reason(press, 5, 0, "bladder"), reason(press, 6, 1, HOSTILE), reason(press, 7, 0, "no material"),
        reason(other, 8, 0, "of the other"),
    ]  # fmt: skip
    with target.store() as store:
        store.write(batch)
    target.settle()
    with target.reading() as store:
        found = stops_that_began(store, machine, begins[0], TIME)
        assert [(one.begin, one.reason, one.given) for one in found] == [
            (begins[0], "3", "no material"), (begins[1], "3", HOSTILE),
        ]  # fmt: skip
        rows = store.rows("stop_reasons", f"{press}/stop_reasons", TIME, TIME + 10_000_000)
        assert [(row["reason"], row["comment"], row["by"]) for row in (one.as_dict() for one in rows)] == [
            ("bladder", HOSTILE, "anna"), (HOSTILE, HOSTILE, "anna"), ("no material", HOSTILE, "anna"),
        ]  # fmt: skip


BOX_META = MachineMeta("curing-press", {"boxes": "json"}, {}, {"boxes": "box"})


def box(press: MachinePath, second: int, text: str = BOX) -> MachineScan:
    return MachineScan(press, BOX_META, NamedScan(TIME + second * 1_000_000, {"boxes": text}), 0)


def test_entries_of_a_list_are_rows_that_can_be_looked_up(target: Target, press: MachinePath) -> None:
    """Each once, however often the batch is written, with the keys of the object that they need."""
    other = press._replace(machine="press-99")
    batch = [box(press, 0), box(press, 1, '{"group": "g2", "pieces": {}}'), box(other, 0, '{"group": "g1"}')]
    with target.store() as store:
        store.write(batch)
        store.write(batch)
    target.settle()
    with target.reading() as store:
        found = sorted(row.cells for row in store.lookup("box", "colour", ["red", "blue"], "pieces"))
        assert found == [("a", 2, "red", "g1")]
        rows = sorted(store.lookup("box", "time", [TIME, TIME + 5], "pieces"))
        assert [row.cells for row in rows] == [
            ("", 1, None, "g1"), ("a", 2, "red", "g1"), ("b", None, None, "g1"),
        ]  # fmt: skip
        assert {(row.path, row.point, row.time) for row in rows} == {(press, "boxes", TIME)}
        assert sorted((row.path.machine, row.time) for row in store.lookup("box", "group", ["g1"])) == sorted(
            [(press.machine, TIME), ("press-99", TIME)]
        )
        assert not list(store.lookup("box", "group", ["g3"], pattern="*/boxes"))


def test_entries_are_a_measurement_of_influxdb(influxd: object, influx_database: str, press: MachinePath) -> None:
    """The rows of one reading differ in a tag: without it they would replace each other."""
    target = InfluxTarget(influxd, influx_database)  # type: ignore[arg-type] # the fixture
    with target.store() as store:
        store.write([box(press, 0), box(press, 0)])
        [rows], _ = store._reader._rows('SELECT * FROM "pieces"', 10_000)  # type: ignore[attr-defined] # noqa: SLF001
    assert sorted((row["name"] or "", row["group"]) for row in rows.dicts()) == [("", "g1"), ("a", "g1"), ("b", "g1")]


def test_rows_are_looked_up_by_an_index(tmp_path: Path, press: MachinePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a file of a release that did not look them up by this column, or had no such table."""
    file = tmp_path / "readings.db"
    monkeypatch.setitem(TABLES, "box", Table("boxes", (Column("group"),)))
    with SqliteTarget(file).store() as store:
        store.write([box(press, 0)])
    monkeypatch.setitem(TABLES, "box", BOXES)
    with SqliteTarget(file).reading() as store:
        assert [row.cells for row in store.lookup("box", "group", ["g1"])] == [("g1",)]
        assert not list(store.lookup("box", "colour", ["red"], "pieces"))
    with SqliteTarget(file).store() as store:
        store.write([box(press, 1)])
    with closing(sqlite3.connect(file)) as db:
        plan = db.execute('explain query plan select * from boxes where "group" = 1').fetchall()
        assert "boxes_group" in plan[0][3]
        plan = db.execute("explain query plan select * from pieces where time in (1, 2)").fetchall()
        assert "PRIMARY KEY" in plan[0][3]


def test_a_long_list_has_rows_up_to_a_limit(press: MachinePath) -> None:
    """A message from elsewhere can't fill a store with one reading."""
    entries = ",".join(f'{{"name": "{n}"}}' for n in range(2_000))
    rows = list(table_rows([box(press, 0, f'{{"pieces": [{entries}]}}')], Counter()))
    assert len(rows) == 1 + MOST_ENTRIES


def test_old_rows_of_entries_are_deleted_too(tmp_path: Path, press: MachinePath) -> None:
    """They are as old as the reading that they are of."""
    file = tmp_path / "readings.db"
    target = SqliteTarget(file)
    target.entry["sqlite"]["keep"] = "1h"
    with target.store() as store:
        store.write([box(press, 0), box(press, 86_400, '{"pieces": [{"name": "z"}]}')])
        store.prune()  # type: ignore[attr-defined] # of this store
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("select name from pieces").fetchall() == [("z",)]
