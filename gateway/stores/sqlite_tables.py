"""The tables of `tables.py` in the embedded store, each with place, point and time in front of its columns.

A release may add a column or an index: it is added to the table of an older file.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway.model.path import MachinePath, matches
from gateway.stores.tables import TableRow, all_tables, table_rows

if TYPE_CHECKING:
    import sqlite3
    from collections import Counter
    from collections.abc import Collection, Iterator, Sequence

    from gateway.stores.base import MachineScan
    from gateway.stores.tables import Cell, Table

_HEAD = ("time", *MachinePath._fields, "point")

_PAGE = 1_000
"""Rows of a page, which is read in a transaction of its own."""

_AT_ONCE = 500
"""Values that are looked up in one statement."""

MOST_FOUND = 100_000
"""Rows of one statement, at most: a value such as an empty text may be in nearly all."""


def prepare(db: sqlite3.Connection) -> None:
    """Create the tables, columns and indexes that are missing. Raises `sqlite3.Error`."""
    for table in all_tables():
        present = {row[1] for row in db.execute(f"pragma table_info({_name(table.name)})")}
        if not present:
            columns = ", ".join(f"{_name(column.name)} {column.kind}" for column in table.columns)
            head = "time integer not null, " + ", ".join(f"{name} text not null" for name in _HEAD[1:])
            key = f"primary key ({', '.join((*_HEAD, *map(_name, table.key)))})"
            db.execute(f"create table if not exists {_name(table.name)} ({head}, {columns}, {key}) without rowid")
        for column in table.columns:
            if present and column.name not in present:
                db.execute(f"alter table {_name(table.name)} add column {_name(column.name)} {column.kind}")
            if column.looked_up:
                index = _name(f"{table.name}_{column.name}")
                db.execute(f"create index if not exists {index} on {_name(table.name)} ({_name(column.name)})")


def insert(db: sqlite3.Connection, batch: Sequence[MachineScan], counts: Counter[str]) -> None:
    """Insert the rows of a batch that are not stored yet, in the transaction that writes it."""
    together: dict[Table, list[tuple[Any, ...]]] = defaultdict(list)
    for row in table_rows(batch, counts):
        together[row.table].append((row.time, *row.path, row.point, *row.cells))
    for table, rows in together.items():
        names = ", ".join(map(_name, (*_HEAD, *(column.name for column in table.columns))))
        marks = ", ".join("?" * (len(_HEAD) + len(table.columns)))
        db.executemany(f"insert or ignore into {_name(table.name)} ({names}) values ({marks})", rows)  # noqa: S608 - no value in it


def drop(db: sqlite3.Connection, since: int, until: int) -> None:
    """Delete the rows of a span of time."""
    for table in all_tables():
        db.execute(f"delete from {_name(table.name)} where time >= ? and time < ?", (since, until))  # noqa: S608 - no value in it


def rows(
    db: sqlite3.Connection, table: Table, pattern: str, since: int, until: int, *, newest_first: bool
) -> Iterator[TableRow]:
    """Yield the rows of a table whose `path/point` matches a glob, in the order of their times, a page at a time."""
    if not (columns := _columns(db, table)):
        return  # a file of an older release
    head = ", ".join(_HEAD)
    compare, order = ("<", "desc") if newest_first else (">", "asc")
    by = ", ".join(f"{name} {order}" for name in _HEAD)
    query = (
        f"select {head}, {columns} from {_name(table.name)} where time >= :since and time < :until"  # noqa: S608 - no value in it
        f" and ({head}) {compare} ({', '.join(f':{name}' for name in _HEAD)}) order by {by} limit {_PAGE}"
    )
    last: Sequence[Any] = (until if newest_first else since - 1, *[""] * (len(_HEAD) - 1))
    while True:
        found = db.execute(query, {"since": since, "until": until} | dict(zip(_HEAD, last, strict=True))).fetchall()
        for row in found:
            path, point = MachinePath(*row[1:6]), row[6]
            if matches(pattern, path, point):
                yield TableRow(table, path, point, row[0], tuple(row[len(_HEAD) :]))
        if len(found) < _PAGE:
            return
        last = found[-1][: len(_HEAD)]


def lookup(db: sqlite3.Connection, table: Table, column: str, values: Collection[Cell]) -> Iterator[TableRow]:
    """Yield the rows of a table with one of some values in a column, or with one of some times (`time`)."""
    if not (columns := _columns(db, table)):
        return
    wanted = list(dict.fromkeys(values))
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        query = f"select {', '.join(_HEAD)}, {columns} from {_name(table.name)} where {_name(column)} in ({marks})"  # noqa: S608 - no value in it
        query += f" limit {MOST_FOUND}"
        for row in db.execute(query, some).fetchall():
            yield TableRow(table, MachinePath(*row[1:6]), row[6], row[0], tuple(row[len(_HEAD) :]))


def _columns(db: sqlite3.Connection, table: Table) -> str:
    """Return the columns as they are selected; a file of an older release has no such table, or not all columns."""
    present = {row[1] for row in db.execute(f"pragma table_info({_name(table.name)})")}
    columns = ", ".join(_name(column.name) if column.name in present else "null" for column in table.columns)
    return columns if present else ""


def _name(text: str) -> str:
    return f'"{text}"'
