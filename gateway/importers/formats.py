"""Which format a file has, and what reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers import ignition, kepware, own, telegraf
from gateway.importers.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importers.found import Import, Options

TABLES = {"points": own.read, "kepware": kepware.read, "ignition": ignition.read}
"""Formats of tables, and the function that reads each: the own table of points, and those of other programs."""

FORMATS = (*TABLES, "telegraf")
"""All formats."""

TOML = frozenset({".toml", ".conf"})


def read(file: Path, options: Options, kind: str | None = None) -> Import:
    """Return the machines of a file. Raises `ValueError` for another format, and `OSError`."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        text = opened.read()  # UnicodeDecodeError is a ValueError
    if kind == "telegraf" or (kind is None and file.suffix in TOML):
        return telegraf.read(text, options)
    table = read_table(text)
    if kind is None:
        small = {column.lower() for column in table.columns}
        if kepware.COLUMNS.issubset(table.columns):
            kind = "kepware"
        elif ignition.COLUMN in small:
            kind = "ignition"
    return TABLES[kind or "points"](table, options)
