"""The formats that can be imported, and how the format of a file is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers import ignition, kepware, own, telegraf
from gateway.importers.content import read_content

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importers.base import Format
    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options

FORMATS: tuple[Format, ...] = (
    telegraf.FORMAT,
    kepware.FORMAT,
    ignition.FORMAT,
    own.FORMAT,
)
"""All formats. The first that recognises a file reads it, so a format with few marks comes after those with more."""

_BY_NAME = {one.name: one for one in FORMATS}


def read(file: Path, options: Options, name: str | None = None, encoding: str = "") -> Import:
    """Return the machines of a file. Raises `ValueError` for a file of an unknown format, and `OSError`."""
    content = read_content(file, encoding)
    chosen = _BY_NAME[name] if name else recognised(content)
    found = chosen.read(content, options)
    if "encoding" in vars(content) and not encoding and not content.encoding.startswith("utf"):
        found.note(1, "encoding", f"its text is read as {content.encoding}, not UTF-8; say --encoding for another")
    return found


def recognised(content: Content) -> Format:
    """Return the format of a file. Raises `ValueError` where there is none."""
    for one in FORMATS:
        try:
            if one.recognise(content):
                return one
        except ValueError:  # not JSON, not XML, not a table
            continue
    return own.FORMAT  # which says what a table needs
