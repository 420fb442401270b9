"""Tables of their own for readings that are JSON objects of a known kind, such as the transitions of alarms.

The metadata of a machine says what the readings of a point are (`MachineMeta.contents`). A store writes them as it
writes all readings, and those in `TABLES` as rows, too: queries then need no functions for JSON. The embedded store
writes both in one transaction. InfluxDB has a measurement for each table. VictoriaMetrics stores numbers alone, and
has no tables.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from gateway.model.path import MachinePath
    from gateway.stores.base import MachineScan

Cell = str | int | float | None

UNREADABLE = "contents_unreadable"
"""Count of readings that are not JSON objects, as their metadata says: they have no row."""

MOST_ENTRIES = 1_000
"""Entries of one list that have rows; a record of a gateway has far fewer."""

_INT64 = range(-(2**63), 2**63)


class Column(NamedTuple):
    """A column, which is a key of the JSON objects.

    `kind` is `text`, `integer` or `real`. A `tag` has few different values, which are worth an index in InfluxDB.
    `looked_up` says that rows are looked up by it: the embedded store has an index of it. `of_whole` is for a table
    of entries: the key is one of the whole object.
    """

    name: str
    kind: str = "text"
    tag: bool = False
    looked_up: bool = False
    of_whole: bool = False


class Table(NamedTuple):
    """A table: its name in the stores, and its columns behind place, point and time.

    `entries` are tables of the entries of lists in the objects, by the keys of the lists: one reading has several
    rows there. Such a table has a `key`: its columns that differ between the rows of one reading, which are tags.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    entries: tuple[tuple[str, Table], ...] = ()

    def cells(self, text: str) -> tuple[Cell, ...] | None:
        """Return the cells of an object; None for another text. A value of another type becomes null."""
        content = _object(text)
        return None if content is None else self.cells_of(content, content)

    def all_cells(self, text: str) -> Iterator[tuple[Table, tuple[Cell, ...]]]:
        """Yield the cells of an object, and those of the entries of its lists, each with its table."""
        content = _object(text)
        if content is None:
            return
        yield self, self.cells_of(content, content)
        for name, table in self.entries:
            found = content.get(name)
            for entry in islice(found, MOST_ENTRIES) if isinstance(found, list) else ():
                if isinstance(entry, dict):
                    cells = table.cells_of(entry, content)
                    yield (
                        table,
                        tuple(
                            "" if cell is None and column.name in table.key else cell
                            for column, cell in zip(table.columns, cells, strict=True)
                        ),
                    )

    def cells_of(self, entry: dict[str, Any], whole: dict[str, Any]) -> tuple[Cell, ...]:
        """Return the cells of an object, or of an entry of a list in the whole object."""
        return tuple(
            _cell((whole if column.of_whole else entry).get(column.name), column.kind) for column in self.columns
        )


def _object(text: str) -> dict[str, Any] | None:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


class TableRow(NamedTuple):
    """A row; a point has one row at a time, in microseconds since the epoch, and one with each key of entries."""

    table: Table
    path: MachinePath
    point: str
    time: int
    cells: tuple[Cell, ...]

    def as_dict(self) -> dict[str, Cell]:
        """Return the cells by the names of their columns."""
        return dict(zip((column.name for column in self.table.columns), self.cells, strict=True))


_OF_PART = (
    Column("serial", of_whole=True),
    Column("operation", tag=True, of_whole=True),
    Column("place", tag=True, of_whole=True),
)
"""The columns of the tables of entries that say whose they are."""

PARTS = Table(
    "parts",
    (
        Column("serial", looked_up=True), Column("operation", tag=True), Column("place", tag=True),
        Column("began", "integer"), Column("ended", "integer"), Column("result"), Column("missing"),
        Column("lot", looked_up=True), Column("tool"), Column("recipe"), Column("operator"), Column("curves"),
    ),
    entries=(
        ("values", Table("part_values", (
            *_OF_PART, Column("name"), Column("value", "real"), Column("text"), Column("unit"), Column("quality"),
            Column("reason"), Column("code"),
        ), key=("name",))),
        ("materials", Table("part_materials", (
            *_OF_PART, Column("name"), Column("lot", looked_up=True),
        ), key=("name", "lot"))),
    ),
)  # fmt: skip
"""The work on parts, with the values and the materials of each."""

TABLES: dict[str, Table] = {
    "alarm": Table("alarms", (
        Column("alarm", tag=True), Column("priority", tag=True), Column("class", tag=True), Column("state"),
        Column("previous"), Column("event"), Column("active", "integer"), Column("acknowledged", "integer"),
        Column("source"), Column("type"), Column("severity", "integer"), Column("message"), Column("value", "real"),
        Column("alarm_limit", "real"), Column("unit"), Column("since", "integer"), Column("until", "integer"),
        Column("who"), Column("reason"), Column("condition_id"),
    )),
    "part": PARTS,
    "production": Table("production", (
        Column("kind", tag=True), Column("shift", tag=True), Column("begin", "integer"), Column("end", "integer"),
        Column("order"), Column("recipe"),
        *(Column(f"{name}_time", "real") for name in (
            "busy", "production", "setup", "idle", "starved", "blocked", "waiting", "down", "unknown", "off", "extra",
            "planned_production", "repair", "micro_stop",
        )),
        *(Column(name, "integer") for name in (
            "good", "reject", "parts", "unknown_parts", "unplanned_parts", "wraps", "resets", "jumps", "failures",
            "micro_stops",
        )),
        *(Column(name, "real") for name in (
            "target", "oee", "availability", "performance", "quality_ratio", "utilization", "mtbf", "mttr",
            "scrap_ratio", "throughput",
        )),
        Column("reasons"), Column("cycles"),
    )),
    "stops": Table("stops", (
        Column("state", tag=True), Column("shift", tag=True), Column("begin", "integer"), Column("end", "integer"),
        Column("label"), Column("reason"), Column("order"), Column("recipe"), Column("planned_time", "real"),
    )),
    "stop_reasons": Table("stop_reasons", (
        Column("begin", "integer"), Column("reason"), Column("comment"), Column("by"),
    )),
}  # fmt: skip
"""The content of a point (the key `content` of its metadata) -> the table of its rows."""


def all_tables() -> Iterator[Table]:
    """Yield all tables, those of entries behind their own."""
    for table in TABLES.values():
        yield table
        yield from (below for _, below in table.entries)


def table_of(content: str, entries: str = "") -> Table:
    """Return the table of a content, or that of the entries of one of its lists. Raises `KeyError`."""
    table = TABLES[content]
    return dict(table.entries)[entries] if entries else table


def table_rows(batch: Iterable[MachineScan], counts: Counter[str]) -> Iterator[TableRow]:
    """Yield the rows of a batch; count readings that are not objects."""
    for path, meta, scan, _ in batch:
        if not meta.contents:
            continue
        names, values = scan.columns
        if len(names) > len(meta.contents):
            continue  # of measured points: a scan of results has nothing else
        for name, value in zip(names, values, strict=True):
            table = TABLES.get(meta.contents.get(name, ""))
            if table is None or not isinstance(value, str):
                continue
            time, rows = scan.times.get(name, scan.time), 0
            for rows, (of, cells) in enumerate(table.all_cells(value), 1):  # noqa: B007 - the last is the number
                yield TableRow(of, path, name, time, cells)
            counts.update([UNREADABLE] if not rows else ())


def _cell(value: Any, kind: str) -> Cell:  # noqa: ANN401 - of a JSON object
    if kind == "text":
        return value if isinstance(value, str) else None if value is None else orjson.dumps(value).decode()
    if isinstance(value, bool):
        return int(value) if kind == "integer" else None
    if kind == "integer":
        return value if isinstance(value, int) and value in _INT64 else None
    return float(value) if isinstance(value, int | float) else None
