"""Tables as spreadsheets write them: CSV with commas, semicolons or tabs, with or without a byte order mark."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Line(NamedTuple):
    """A row of a table: its line in the file, and its cells by their column; empty cells are left out."""

    line: int
    cells: dict[str, str]

    def get(self, column: str) -> str:
        """Return a cell without blanks around it, nothing where it is empty."""
        return self.cells.get(column, "").strip()


class Table(NamedTuple):
    """A table's columns and rows."""

    columns: Sequence[str]
    lines: Sequence[Line]


def read_table(text: str) -> Table:
    """Return the table that a text is. Rows with nothing in them, and comments before the header, are left out.

    Raises `ValueError` for text that is not a table.
    """
    text = text.removeprefix("\ufeff")
    lines = text.splitlines()
    head = next((i for i, line in enumerate(lines) if line.strip(",;\t ") and not line.startswith(("#", ";"))), None)
    if head is None:
        raise ValueError("there is nothing in it")
    delimiter = max(",;\t", key=lines[head].count)
    body = text if head == 0 else "".join(text.splitlines(keepends=True)[head:])
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [cell.strip() for cell in next(reader)]
        rows = []
        began = reader.line_num
        for row in reader:
            cells = {column: cell for column, cell in zip(columns, row, strict=False) if cell and column}
            if cells:
                rows.append(Line(head + began + 1, cells))
            began = reader.line_num
    except csv.Error as error:
        raise ValueError(f"line {head + reader.line_num}: {error}") from None
    return Table(columns, rows)


def write_table(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    """Return a table as CSV (RFC 4180)."""
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
