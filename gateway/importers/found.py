"""The result of an import: machines with their points, and notes on parts that were not translated."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.common.setting_types import LONGEST_NAME, NAME
from gateway.model.text import MAX_TEXT, clean_text
from gateway.settings.units import LOOKALIKES, check_unit, is_unit, usual_unit

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path


Where = int | str
"""A place in a file: a line, from 1, or a path as of JSON (`$.nodes[0].tags[3]`) or a sheet (`Tags!12`)."""


MOST_POINTS = 200_000
"""Points of a file."""


class TooManyPointsError(Exception):
    """A file has more points than a gateway reads; lists with a count can have any number in a few characters."""


class Row(NamedTuple):
    """A point's keys, and its place in the file."""

    where: Where
    keys: dict[str, Any]


class Note(NamedTuple):
    """A part that was left out or needs a check, as `file:where: what: message`."""

    where: Where
    what: str
    message: str


@dataclass(slots=True)
class Found:
    """One machine. Its points share a template with machines of the same type that have the same."""

    machine: str
    template: str
    protocol: str
    connection: str | dict[str, Any]
    area: str
    line: str
    where: Where = 1
    points: dict[str, Row] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def free_name(self, written: str) -> str:
        """Return the name of a point that is valid and free; equal names are numbered."""
        name = free_name(written)
        number = self._numbers.get(name, 1)
        free = name
        while free in self.points:
            number += 1
            free = _numbered(name, number)
        self._numbers[name] = number
        return free


class Options(NamedTuple):
    """Values that a file does not give, and the person who imports it has to.

    `order` is that of values of 32 and 64 bits, `kind` the type of values, where a format knows neither; each format
    has a default for an empty `order`. Of lists of registers `columns` are `FIELD=COLUMN`, `base` is the number of a
    table's first entry, `table` the table of an address that does not name it, and `sheet` the sheet of a workbook.
    `rates` are `GROUP=PERIOD`. Of a model of SunSpec `address` is the first register, and `repeat` how often groups
    repeat, as in `module=4`. Of a nodeset `nodes` says how nodes are addressed: `auto`, `id` or `path`. `env_file` is
    a file with values of environment variables.
    """

    area: str = "area"
    line: str = "line"
    machine: str = ""
    connection: str = ""
    order: str = ""
    kind: str = "float"
    columns: tuple[str, ...] = ()
    base: str = ""
    table: str = "holding"
    sheet: str = ""
    rates: tuple[str, ...] = ()
    address: int | None = None
    repeat: tuple[str, ...] = ()
    nodes: str = "auto"
    env_file: Path | None = None


@dataclass(slots=True)
class Import:
    """All that was found in one file."""

    machines: list[Found] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _noted: set[Note] = field(default_factory=set)
    _points: int = 0

    def note(self, where: Where, what: str, message: str) -> None:
        """Note what could not be translated, once."""
        note = Note(where, what, message)
        if note not in self._noted:
            self._noted.add(note)
            self.notes.append(note)

    def add(self, machine: Found, name: str, row: Row) -> None:
        """Add a point under its name, or one that is like it and free.

        A name in letters that names here can't have becomes the description, and the address becomes the name.
        Raises `TooManyPointsError`.
        """
        self._points += 1
        if self._points > MOST_POINTS:
            raise TooManyPointsError(f"it has more than {MOST_POINTS:,} points; import it in parts")
        wanted = name
        if lost := _lost_letters(name):
            wanted = str(row.keys.get("address") or "point")
            more = row.keys.get("description")
            row = row._replace(keys=row.keys | {"description": f"{name} ({more})" if more else name})
        free = machine.free_name(wanted)
        if free != name:
            why = "names are letters, digits, '-', '_' and '.', each once"
            self.note(row.where, name, f"is called {free}: {'it is in the description; ' if lost else ''}{why}")
        machine.points[free] = row._replace(keys=self._with_clean_texts(row, free))

    def _with_clean_texts(self, row: Row, what: str) -> dict[str, Any]:
        """Return a point's keys with descriptions and labels that settings accept."""
        keys = dict(row.keys)
        if isinstance(description := keys.get("description"), str):
            keys["description"] = clean_text(description, MAX_TEXT)
        if isinstance(labels := keys.get("labels"), dict):
            keys["labels"] = {
                number: clean_text(label, MAX_TEXT) if isinstance(label, str) else label
                for number, label in labels.items()
            }
        if keys != row.keys:
            self.note(row.where, what, "has text with quotes, backslashes or control characters; they are replaced")
        return keys

    def unit(self, where: Where, what: str, written: str) -> dict[str, str]:
        """Return a unit as a key of a point: the UCUM code, or what was written as something that is counted."""
        written = written.strip()
        if not written:
            return {}
        code = written if is_unit(written) else usual_unit(written)
        if code is None:
            code = "{" + re.sub(r"[^!-z|~]|[\"\\\\]", "_", written) + "}"
            self.note(where, what, f"the unit {written!r} is not a UCUM unit; it is written as {code!r}")
        if code in LOOKALIKES:
            self.note(where, what, f"the unit {code!r} is {LOOKALIKES[code]}")
        return {"unit": check_unit(code)}


_LATIN = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa",
     "Æ": "Ae", "Ø": "Oe", "Å": "Aa", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
)  # fmt: skip


def _latin(written: str) -> str:
    """Return a text with Latin letters in place of those with marks."""
    composed = unicodedata.normalize("NFC", written).translate(_LATIN)
    return "".join(one for one in unicodedata.normalize("NFKD", composed) if not unicodedata.combining(one))


def _lost_letters(written: str) -> bool:
    """Return whether a text has letters that a name can't have, as in Chinese, which nothing can stand for."""
    return not written.isascii() and any(one.isalpha() and not one.isascii() for one in _latin(written))


def free_name(written: str, taken: Container[str] = ()) -> str:
    """Return a valid name made of a text, different from the names in use."""
    name = written
    if not NAME.fullmatch(written) or len(written) > LONGEST_NAME:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", _latin(written[:MAX_TEXT]).strip())
        name = name[:LONGEST_NAME].strip("_-.") or "unnamed"
    number, free = 1, name
    while free in taken:
        number += 1
        free = _numbered(name, number)
    return free


def _numbered(name: str, number: int) -> str:
    return f"{name[: LONGEST_NAME - len(str(number)) - 1]}_{number}"


def with_unit(url: str, unit: int | str) -> str:
    """Return the URL of a Modbus device with another unit id, or none where it is empty."""
    plain = re.sub(r"([?&])unit=[^&]*&?", r"\1", url).rstrip("?&")
    return f"{plain}{'&' if '?' in plain else '?'}unit={unit}" if unit != "" else plain


def without_defaults(keys: dict[str, Any], **defaults: object) -> dict[str, Any]:
    """Return keys but for those that have these values, or None."""
    return {
        key: value
        for key, value in keys.items()
        if value is not None and (key not in defaults or value != defaults[key])
    }
