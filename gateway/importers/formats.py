"""The formats that can be imported, and how the format of a file is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers import (
    edgex,
    homeassistant,
    ignition,
    ignition_json,
    ignition_xml,
    kepware,
    kepware_json,
    neuron,
    neuron_table,
    nodered,
    nodeset,
    own,
    registers,
    sunspec,
    telegraf,
    thingsboard,
    tia,
    tia_xml,
)
from gateway.importers.content import read_content
from gateway.importers.found import TooManyPointsError
from gateway.importers.unknown import describe

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.importers.base import Format
    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options

FORMATS: tuple[Format, ...] = (
    own.FORMAT,
    kepware.FORMAT,
    kepware_json.FORMAT,
    ignition.FORMAT,
    ignition_json.FORMAT,
    ignition_xml.FORMAT,
    neuron.FORMAT,
    neuron_table.FORMAT,
    tia.FORMAT,
    tia_xml.FORMAT,
    telegraf.FORMAT,
    thingsboard.FORMAT,
    nodered.FORMAT,
    sunspec.FORMAT,
    edgex.FORMAT,
    homeassistant.FORMAT,
    nodeset.FORMAT,
    registers.FORMAT,
)
"""All formats. The first that recognises a file reads it, so a format with few marks comes after those with more."""

_SHOWN = 12
"""Columns of an unknown table that are shown."""

_BY_NAME = {one.name: one for one in FORMATS}


def read(file: Path, options: Options, name: str | None = None, encoding: str = "") -> Import:
    """Return the machines of a file. Raises `ValueError` for a file of an unknown format, and `OSError`."""
    content = read_content(file, encoding)
    if name is None and options.columns:
        name = registers.FORMAT.name
    chosen = _BY_NAME[name] if name else recognised(content)
    try:
        found = chosen.read(content, options)
    except TooManyPointsError as error:
        raise ValueError(str(error)) from None
    if content.start not in {"", "<"} and not encoding and content.encoding in {"cp1252", "gb18030"}:
        found.note(1, "encoding", f"its text is read as {content.encoding}, not UTF-8; say --encoding for another")
    return found


def recognised(content: Content) -> Format:
    """Return the format of a file. Raises `ValueError` where there is none, and says what the file is."""
    if not content.data.strip():
        raise ValueError("there is nothing in it")
    if content.is_workbook:
        _ = content.sheets  # a workbook that can't be read is of no format
    for one in FORMATS:
        try:
            if one.recognise(content):
                return one
        except ValueError:  # not JSON, not XML, not a table
            continue
    raise ValueError(describe(content) or _why(content))


def _why(content: Content) -> str:
    """Return why a file is not recognised: a mistake in it, if it begins as a format does, or nothing known."""
    kind = "it is a file of an unknown format"
    try:
        if content.start in {"{", "["}:
            _ = content.json
        elif content.start == "<":
            _ = content.xml
        elif content.is_binary:
            kind = "it is a binary file of an unknown format"
        elif len(columns := [one for one in content.table.columns if one]) > 1:
            kind = (
                f"it is a table of an unknown format, with the columns {', '.join(columns[:_SHOWN])}; of a list of "
                "registers say the columns, as in --column address=COLUMN --column name=COLUMN"
            )
    except ValueError as error:
        return str(error)
    return f"{kind}. These can be imported: {'; '.join(one.title for one in FORMATS)}"
