"""Workbooks of Excel (xlsx, ECMA-376) as rows of text, by openpyxl, within limits of size."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from drivers.extras import require
from gateway.importers.table import Cells, TooLarge, check_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_UNPACKED = 256 * 2**20
"""Bytes of all parts of a workbook, unpacked."""

MOST_SHEETS = 200
"""Sheets of a workbook."""

MOST_EMPTY = 5_000
"""Empty rows that end a sheet."""

_EMPTY = (None, "")
_FAILURES = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, SyntaxError, KeyError,
    TypeError, AttributeError, IndexError, OverflowError,
)  # fmt: skip
"""What zipfile and openpyxl raise for damaged files, beside ValueError."""


def parts(data: bytes) -> frozenset[str]:
    """Return the names in a ZIP archive, nothing for other files."""
    if not data.startswith(b"PK\x03\x04"):
        return frozenset()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return frozenset(archive.namelist())
    except (ValueError, *_FAILURES):
        return frozenset()


def read_workbook(data: bytes) -> dict[str, list[Cells]]:
    """Return the rows of each sheet by its name; sheets and rows with nothing in them are left out.

    A row's place is `Sheet!12`. Raises `ValueError` for a damaged or oversized workbook, and
    `MissingExtra`.
    """
    require("xlsx")
    import openpyxl  # noqa: PLC0415 - an extra; it reads XML by defusedxml, which refuses entities (CWE-776)

    try:
        _check(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations, which nobody needs here
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            sheets = _sheets(book)
            book.close()
    except TooLarge:
        raise
    except (ValueError, *_FAILURES) as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise ValueError(f"it is not a workbook that can be read: {reason.splitlines()[0][:200]}") from None
    return sheets


def _check(data: bytes) -> None:
    """Raise `TooLarge` for an archive that is too large unpacked (CWE-409)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # zipfile reads no more of a part than its declared size
        if sum(info.file_size for info in archive.infolist()) > MOST_UNPACKED:
            raise TooLarge(f"it is larger than {MOST_UNPACKED // 2**20} MiB unpacked")


def _sheets(book: Any) -> dict[str, list[Cells]]:  # noqa: ANN401 - a workbook of openpyxl
    if len(book.sheetnames) > MOST_SHEETS:
        raise TooLarge(f"it has more than {MOST_SHEETS} sheets")
    sheets: dict[str, list[Cells]] = {}
    read = 0
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # the size that is written in the file may be wrong
        rows = [Cells(f"{sheet.title}!{number}", cells) for number, cells in _rows(sheet)]
        read += len(rows)
        check_size(read, 0)
        if rows:
            sheets[sheet.title] = rows
    return sheets


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - a sheet of openpyxl
    """Yield the number and the cells of each row that has any, up to a long run of empty rows."""
    empty = read = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        width = len(row)
        while width and row[width - 1] in _EMPTY:
            width -= 1
        empty = 0 if width else empty + 1
        read += bool(width)
        check_size(read, width)
        if width:
            yield number, [_text(value) for value in row[:width]]
        elif empty > MOST_EMPTY:  # the next row may claim to be the last of a million
            return


def write_workbook(columns: Sequence[str], rows: Sequence[dict[str, str]]) -> bytes:
    """Return a table as a workbook; all cells are text. Raises `MissingExtra`."""
    require("xlsx")
    from openpyxl import Workbook  # noqa: PLC0415 - an extra
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415 - an extra

    book = Workbook(write_only=True)
    sheet = book.create_sheet("points")
    sheet.freeze_panes = "A2"
    for row in (dict(zip(columns, columns, strict=True)), *rows):
        cells = [WriteOnlyCell(sheet, value=row.get(column) or None) for column in columns]
        for cell in cells:
            if cell.value is not None:
                cell.data_type = "s"  # openpyxl takes a text that begins with = for a formula
        sheet.append(cells)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def _text(value: object) -> str:
    """Return the value of a cell as a person would write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
