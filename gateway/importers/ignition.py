"""Tags of Ignition as CSV, which version 7 exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.importers.base import Format
from gateway.importers.ignition_tags import Tag, read_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.importers.content import Content
    from gateway.importers.found import Import, Options
    from gateway.importers.table import Table

COLUMN = "opcitempath"
"""The column by which a table is known as one of these, in small letters."""

_FOLDER = {"6", "folder"}


def read(content: Content, options: Options) -> Import:
    """Return the machines of a table of tags."""
    return read_tags(_tags(content.table), options)


def _tags(table: Table) -> Iterator[Tag]:
    for written in table.lines:
        line = written._replace(cells={key.lower(): cell for key, cell in written.cells.items()})
        if line.get("tagtype").lower() not in _FOLDER:
            yield Tag("/".join(part for part in (line.get("path").strip("/"), line.get("name")) if part), line)


def _recognise(content: Content) -> bool:
    return COLUMN in {column.lower() for column in content.table.columns}


FORMAT = Format("ignition", "tags of Ignition (CSV)", _recognise, read)
