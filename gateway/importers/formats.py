"""Which format a file has, and what reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers import ignition, kepware, own, telegraf
from gateway.importers.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importers.found import Import, Options

FORMATS = ("points", "kepware", "ignition", "telegraf")
"""Our own table of points, and those of others."""

TOML = frozenset({".toml", ".conf"})


def read(file: Path, options: Options, kind: str | None = None) -> Import:
    """Return what a file has. Raises `ValueError` for what it can't be, and `OSError`."""
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
    readers = {"kepware": kepware.read, "ignition": ignition.read}
    return readers.get(kind or "", own.read)(table, options)
