"""Errors of InfluxDB about rows: which lines of a request they refuse. Pure; `influxdb.py` sends the lines.

Others of the request are written where the error is a partial write. Sending them again changes nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gateway.stores.line_protocol import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.stores.line_protocol import Line

_ABOUT_ROWS = re.compile(
    r"partial write|unable to parse|field type conflict|(beyond|outside) retention|parsing failed|line_number"
    r"|failure writing points|missing (fields|measurement|tag)|invalid field|bad timestamp|max key length",
    re.IGNORECASE,
)
"""What InfluxDB 1, 2 and 3 say about rows; any other answer is about the client, the moment, or a proxy."""

_CONFLICT = re.compile(r'input field \\?"(?P<field>.+?)\\?" on measurement')
_DROPPED = re.compile(r"dropped=(\d+)")
"""The first field whose type conflicts, and the number of lines that were dropped, in a partial write."""

_EXPIRED = re.compile(r"(beyond|outside) retention policy")
_TOO_NEW = re.compile(r"upper bound", re.IGNORECASE)


class RefusedLines(NamedTuple):
    """The refused lines and why; `parts` are to be sent again, each in a request of its own.

    `conflict` is the start of a field, as `pressure=`, whose type conflicts: one of the parts has this field alone.
    Where nothing is refused and nothing conflicts, the error does not show which lines it is about.
    """

    refused: Sequence[Line] = ()
    kind: str = "refused"
    parts: Sequence[list[Line]] = ()
    conflict: str = ""


def is_about_rows(text: str) -> bool:
    """Return whether an error is about rows."""
    return _ABOUT_ROWS.search(text) is not None


def refused_lines(lines: list[Line], text: str) -> RefusedLines:
    """Return which lines of a request an error refuses."""
    return _numbered(lines, text) or _expired(lines, _message(text)) or _refused(lines, _message(text))


def _expired(lines: list[Line], text: str) -> RefusedLines | None:
    found = _DROPPED.search(text)
    dropped = int(found[1]) if found else 0
    if not _EXPIRED.search(text) or _TOO_NEW.search(text) or not 0 < dropped <= len(lines):
        return None
    # the oldest lines are those that were dropped, and all others are written
    return RefusedLines(sorted(lines, key=lambda line: line.time)[:dropped], "expired")


def _refused(lines: list[Line], text: str) -> RefusedLines:
    found = _DROPPED.search(text)
    all_of_them = len(lines) == 1 or (found is not None and int(found[1]) == len(lines))
    if all_of_them and all(len(line.fields) == 1 for line in lines):
        return RefusedLines(lines)
    if (conflict := _CONFLICT.search(text)) and (split := _without_field(lines, escape(conflict["field"]) + "=")):
        return split
    if all_of_them:
        return RefusedLines(lines)
    if named := _named(lines, text):
        others = [line for at, line in enumerate(lines) if at not in named]
        return RefusedLines([lines[at] for at in sorted(named)], parts=[others])
    return RefusedLines()


def _without_field(lines: list[Line], start: str) -> RefusedLines | None:
    """Split a field from all others; None where that makes no difference."""
    blamed = [line.only([field]) for line in lines for field in line.fields if field.startswith(start)]
    others = [line.only([field for field in line.fields if not field.startswith(start)]) for line in lines]
    others = [line for line in others if line.fields]
    return RefusedLines(parts=[others, blamed], conflict=start) if blamed and others else None


def _named(lines: list[Line], text: str) -> set[int]:
    """Return the positions of lines that InfluxDB 1 and 2 repeat in an error."""
    return {at for at, line in enumerate(lines) if f"unable to parse '{line}'" in text}


def _numbered(lines: list[Line], text: str) -> RefusedLines | None:
    """Return the lines that InfluxDB 3 names by their numbers, from 1."""
    try:
        numbers = {entry["line_number"] - 1 for entry in orjson.loads(text)["data"]}
    except (ValueError, TypeError, KeyError):
        return None
    named = {number for number in numbers if number in range(len(lines))}
    if not named:
        return None
    others = [line for at, line in enumerate(lines) if at not in named]
    return RefusedLines([lines[at] for at in sorted(named)], parts=[others])


def _message(text: str) -> str:
    """Return the text in the JSON of an answer, without its escapes."""
    try:
        data = orjson.loads(text)
        found = data.get("error") or data.get("message")
    except (ValueError, AttributeError):
        return text
    return found if isinstance(found, str) else text
