"""Tag tables of TIA Portal as xlsx or CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers.base import Format
from gateway.importers.table import table_of
from gateway.importers.tia_tags import Tag, read_tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options
    from gateway.importers.table import Cells, Table

COLUMNS = {
    "name": ("name", "runtime name"),
    "type": ("data type", "datentyp", "数据类型"),
    "address": ("logical address", "logische adresse", "逻辑地址"),
    "comment": ("comment", "kommentar", "注释"),
    "accessible": ("hmi accessible", "accessible", "erreichbar aus hmi", "从 hmi 可访问"),
}
"""The columns that are read, by their names in small letters."""


def read(content: Content, options: Options) -> Import:
    """Return the machine of a tag table. Raises `ValueError` without the address of its OPC UA server."""
    return read_tags((tag for table in _tables(content.sheets.values()) for tag in _tags(table)), options)


def _tables(sheets: Iterable[Sequence[Cells]]) -> Iterator[Table]:
    """Yield the sheets that have tags; others have properties of tables and constants."""
    for rows in sheets:
        table = table_of(rows)
        if {"name", "type", "address"}.issubset(_columns(table)):
            yield table


def _columns(table: Table) -> dict[str, str]:
    """Return the names of the columns that are read."""
    small = {column.strip().lower(): column for column in table.columns}
    return {field: small[name] for field, names in COLUMNS.items() for name in names if name in small}


def _tags(table: Table) -> Iterator[Tag]:
    columns = _columns(table)
    for line in table.lines:
        cells = {field: line.get(column) for field, column in columns.items()}
        accessible = cells.get("accessible", "").lower() not in {"false", "0", "nein", "no"}
        name = cells["name"].strip('"')
        if name:
            yield Tag(line.line, (name,), cells["type"], cells.get("comment", ""), accessible, cells["address"])


def _recognise(content: Content) -> bool:
    return any(True for _ in _tables(content.sheets.values()))


FORMAT = Format("tia", "tag table of TIA Portal (xlsx, CSV)", _recognise, read)
