"""A file to import, as bytes, text, JSON, XML or tables: each view is made when it is used, and once.

Every view is bounded, and raises `ValueError` with a message that names line and column where the file has them.
"""

from __future__ import annotations

import codecs
import re
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import orjson

from gateway.importers import xml_tree
from gateway.importers.table import Cells, Table, read_rows, table_of
from gateway.importers.workbook import parts, read_workbook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.importers.xml_tree import Element

MOST_BYTES = 64 * 2**20
"""The size of a file."""

MOST_JSON_VALUES = 5_000_000
"""Values of a JSON file, counted by its commas and brackets before it is parsed."""

MOST_LEVELS = 64
"""Objects and lists in each other."""

_HEAD = 65_536
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_GB2312 = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe])*")
_FIRST_LEVEL, _MOSTLY = 0xD7, 0.8
"""The last lead byte of frequent characters, and the part of such characters in a Chinese text."""

_UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


T = TypeVar("T")


class _View(Generic[T]):
    """A property that is made once; a `ValueError` is kept, too, since each format asks for the same views."""

    def __init__(self, make: Callable[[Content], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, content: Content, owner: type[Content]) -> T:
        made = content.made.get(self._name)
        if made is None:
            try:
                made = self._make(content), None
            except ValueError as error:
                made = None, error
            content.made[self._name] = made
        value, failed = made
        if failed is not None:
            raise failed
        return cast("T", value)


class Content:
    """The content of a file. `name` is its name without folders; `encoding`, if given, overrides detection."""

    def __init__(self, name: str, data: bytes, encoding: str = "") -> None:
        self.name = PurePath(name).name
        self.data = data
        self._encoding = encoding
        self.made: dict[str, tuple[object, ValueError | None]] = {}  # by the names of views

    @property
    def suffix(self) -> str:
        """The suffix of the name in lower case, as in `.csv`."""
        return PurePath(self.name).suffix.lower()

    @property
    def head(self) -> bytes:
        """The first 64 KiB."""
        return self.data[:_HEAD]

    @cached_property
    def encoding(self) -> str:
        """The encoding of the text: by its byte order mark, else UTF-8, else GB 2312 or Windows-1252 by its bytes."""
        if self._encoding:
            return self._encoding
        data = self.data
        if data.startswith(b"\xef\xbb\xbf"):
            return "utf-8-sig"
        if (mark := _UTF_16.get(data[:2])) is not None:
            return mark
        for zero, encoding in (1, "utf-16-le"), (0, "utf-16-be"):  # without a mark: every second byte is zero
            if len(data) > zero + 2 and any(data[:64]) and not any(data[zero:64:2]):
                return encoding
        try:
            data.decode()
        except UnicodeDecodeError:
            return "gb18030" if _is_chinese(data) else "cp1252"
        return "utf-8"

    @property
    def is_binary(self) -> bool:
        """Whether it has control characters that no text has."""
        return not self.encoding.startswith("utf-16") and bool(_BINARY.search(self.head)) and not self.is_workbook

    @property
    def start(self) -> str:
        """The first character of the text that is not blank, nothing of a binary file: `{` of JSON, `<` of XML."""
        try:
            return self.text[:_HEAD].lstrip()[:1]
        except ValueError:
            return ""

    @_View
    def text(self) -> str:
        """Return the text. Raises `ValueError` for a binary file, and for bytes that the encoding does not have."""
        encoding = self.encoding
        if self.is_binary or self.is_workbook:
            raise ValueError("it is a binary file, not text")
        try:
            text = self.data.decode(encoding)
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"line {line}: the bytes are not {encoding}; say --encoding") from None
        return text.removeprefix("\ufeff")

    @_View
    def json(self) -> Any:  # noqa: ANN401 - what a file has
        """Return the data of a JSON file. Raises `ValueError`."""
        text = self.text
        if text.count(",") + text.count("[") + text.count("{") > MOST_JSON_VALUES:
            raise ValueError(f"it has more than {MOST_JSON_VALUES:,} values")
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"line {error.lineno}: it is not JSON: {error.msg} (column {error.colno})") from None
        _bounded(data)
        return data

    @_View
    def xml(self) -> Element:
        """Return the root of an XML file; elements know their lines. Raises `ValueError`."""
        if self.is_binary or self.is_workbook:
            raise ValueError("it is a binary file, not XML")
        return xml_tree.parse(self.data)

    @cached_property
    def parts(self) -> frozenset[str]:
        """The names in a ZIP archive, which many programs use under other suffixes; nothing for other files."""
        return parts(self.data)

    @property
    def is_workbook(self) -> bool:
        """Whether it is a workbook of Excel (xlsx)."""
        return "xl/workbook.xml" in self.parts

    @_View
    def sheets(self) -> dict[str, list[Cells]]:
        """Return the rows of each sheet of a workbook, or of a CSV file by no name. Raises `ValueError`."""
        return read_workbook(self.data) if self.is_workbook else {"": read_rows(self.text)}

    @_View
    def table(self) -> Table:
        """Return the table of a CSV file, or of a workbook's first sheet; its first row names the columns.

        Raises `ValueError`.
        """
        for rows in self.sheets.values():
            return table_of(rows)
        raise ValueError("there is nothing in it")


def _is_chinese(data: bytes) -> bool:
    """Return whether the bytes are GB 2312, mostly with characters of its first level: others are two of German."""
    if not _GB2312.fullmatch(data):
        return False
    pairs: list[bytes] = re.findall(rb"[\xa1-\xf7][\xa1-\xfe]", data)
    return sum(pair[0] <= _FIRST_LEVEL for pair in pairs) >= _MOSTLY * len(pairs)


def _bounded(data: Any) -> None:  # noqa: ANN401 - what a file has
    """Raise `ValueError` for data that is nested too deep for functions that call themselves."""
    level = [data]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MOST_LEVELS} levels")


def _inside(data: Any) -> list[Any]:  # noqa: ANN401 - what a file has
    values = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return [value for value in values if isinstance(value, (dict, list))]


def read_content(file: Path, encoding: str = "") -> Content:
    """Return the content of a file. Raises `ValueError` for a large file and an unknown encoding, and `OSError`."""
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise ValueError(f"there is no encoding {encoding!r}; well known are utf-8, cp1252, gb18030") from None
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB; import it in parts")
    return Content(file.name, data, encoding)
