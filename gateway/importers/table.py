"""Tables: CSV as spreadsheets and other programs write it, and rows of any other source."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.importers.found import Where

MOST_ROWS = 200_000
"""Rows of a table."""

MOST_COLUMNS = 512
"""Columns of a table."""

_DELIMITERS = ",;\t|"
_LOOKED_AT = 20
"""Lines among which a delimiter is looked for, if the first has none."""


class TooLarge(ValueError):
    """A table is beyond a limit."""


class Line(NamedTuple):
    """A row of a table: its place in the file, and its cells by their column; empty cells are left out."""

    line: Where
    cells: dict[str, str]

    def get(self, column: str) -> str:
        """Return a cell without blanks around it, nothing where it is empty."""
        return self.cells.get(column, "").strip()


class Table(NamedTuple):
    """A table's columns and rows."""

    columns: Sequence[str]
    lines: Sequence[Line]


class Cells(NamedTuple):
    """A row as it is, before anybody knows which row is the header."""

    line: Where
    cells: list[str]


def read_rows(text: str) -> list[Cells]:
    """Return the rows of a CSV file. Rows with nothing in them, and comments before the first row, are left out.

    The delimiter is that of a first line `sep=;`, as Excel writes it, or the most frequent in the first row. Raises
    `ValueError` for text that is not a table, and beyond a limit.
    """
    lines = text.splitlines(keepends=True)
    delimiter = ""
    if lines and lines[0].strip().lower().startswith("sep=") and len(lines[0].strip()) <= len("sep=;"):
        delimiter = lines[0].strip()[len("sep=") :] or "\t"
    skipped = 1 if delimiter else 0
    head = next(
        (
            number
            for number, line in enumerate(lines[skipped:], skipped)
            if line.strip(_DELIMITERS + " \r\n") and not line.startswith(("#", ";"))
        ),
        None,
    )
    if head is None:
        raise ValueError("there is nothing in it")
    if not delimiter:
        delimiter = _delimiter(lines[head : head + _LOOKED_AT])
    reader = csv.reader(io.StringIO("".join(lines[head:]), newline=""), delimiter=delimiter, strict=True)
    rows: list[Cells] = []
    began = 0
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(Cells(head + began + 1, row))
                check_size(len(rows), len(row))
            began = reader.line_num
    except csv.Error as error:
        raise ValueError(f"line {head + reader.line_num}: {error}") from None
    if not rows:
        raise ValueError("there is nothing in it")
    return rows


def check_size(rows: int, columns: int) -> None:
    """Raise `TooLarge` for a table beyond a limit."""
    if rows > MOST_ROWS:
        raise TooLarge(f"it has more than {MOST_ROWS:,} rows; import it in parts")
    if columns > MOST_COLUMNS:
        raise TooLarge(f"it has more than {MOST_COLUMNS} columns")


def _delimiter(lines: Sequence[str]) -> str:
    """Return the most frequent delimiter of the first line, or of the first of some lines that has any."""
    for line in lines:
        if any(one in line for one in _DELIMITERS):
            return max(_DELIMITERS, key=line.count)
    return ","


def table_of(rows: Sequence[Cells], head: int = 0) -> Table:
    """Return a table whose columns are named by one of its rows. Rows before it are left out."""
    columns = [cell.strip() for cell in rows[head].cells]
    lines = []
    for row in rows[head + 1 :]:
        cells: dict[str, str] = {}
        for column, cell in zip(columns, row.cells, strict=False):
            if cell and column:
                cells.setdefault(column, cell)
        if cells:
            lines.append(Line(row.line, cells))
    return Table(columns, lines)


def read_table(text: str) -> Table:
    """Return the table of a CSV file whose first row names the columns. Raises `ValueError`."""
    return table_of(read_rows(text.removeprefix("\ufeff")))


def write_table(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    """Return a table as CSV (RFC 4180)."""
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
