"""Tables of their own for readings that are JSON objects of a known kind, such as the transitions of alarms.

The metadata of a machine says what the readings of a point are (`MachineMeta.contents`). A store writes them as it
writes all readings, and those in `TABLES` as rows, too: queries then need no functions for JSON. The embedded store
writes both in one transaction. InfluxDB has a measurement for each table. VictoriaMetrics stores numbers alone, and
has no tables.
"""

from __future__ import annotations

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

_INT64 = range(-(2**63), 2**63)


class Column(NamedTuple):
    """A column, which is a key of the JSON objects.

    `kind` is `text`, `integer` or `real`. A `tag` has few different values, which are worth an index.
    """

    name: str
    kind: str = "text"
    tag: bool = False


class Table(NamedTuple):
    """A table: its name in the stores, and its columns behind place, point and time."""

    name: str
    columns: tuple[Column, ...]

    def cells(self, text: str) -> tuple[Cell, ...] | None:
        """Return the cells of an object; None for another text. A value of another type becomes null."""
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(content, dict):
            return None
        return tuple(_cell(content.get(column.name), column.kind) for column in self.columns)


class TableRow(NamedTuple):
    """A row; a point has one row at a time, in microseconds since the epoch."""

    table: Table
    path: MachinePath
    point: str
    time: int
    cells: tuple[Cell, ...]

    def as_dict(self) -> dict[str, Cell]:
        """Return the cells by the names of their columns."""
        return dict(zip((column.name for column in self.table.columns), self.cells, strict=True))


TABLES: dict[str, Table] = {
    "alarm": Table("alarms", (
        Column("alarm", tag=True), Column("priority", tag=True), Column("class", tag=True), Column("state"),
        Column("previous"), Column("event"), Column("active", "integer"), Column("acknowledged", "integer"),
        Column("source"), Column("type"), Column("severity", "integer"), Column("message"), Column("value", "real"),
        Column("alarm_limit", "real"), Column("unit"), Column("since", "integer"), Column("until", "integer"),
        Column("who"), Column("reason"), Column("condition_id"),
    )),
}  # fmt: skip
"""The content of a point (the key `content` of its metadata) -> the table of its rows."""


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
            cells = table.cells(value)
            if cells is None:
                counts[UNREADABLE] += 1
            else:
                yield TableRow(table, path, name, scan.times.get(name, scan.time), cells)


def _cell(value: Any, kind: str) -> Cell:  # noqa: ANN401 - of a JSON object
    if kind == "text":
        return value if isinstance(value, str) else None if value is None else orjson.dumps(value).decode()
    if isinstance(value, bool):
        return int(value) if kind == "integer" else None
    if kind == "integer":
        return value if isinstance(value, int) and value in _INT64 else None
    return float(value) if isinstance(value, int | float) else None
