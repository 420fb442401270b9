"""XML as a tree whose elements know their lines, by expat without entities, and bounded in size and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from xml.etree.ElementTree import Element as _Element
from xml.etree.ElementTree import TreeBuilder
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MOST_ELEMENTS = 2_000_000
"""Elements of a file."""

MOST_LEVELS = 64
"""Elements in each other."""


class Element(_Element):
    """An element of `xml.etree`, with the line in which it begins."""

    line: int = 1

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Element]: ...
        def iter(self, tag: str | None = None) -> Generator[Element, None, None]: ...


class _Refused(Exception):
    """A file goes beyond a limit."""


def parse(data: bytes) -> Element:
    """Return the root element; names are `{namespace}name`. Raises `ValueError`, beyond a limit too.

    A declaration of an entity is refused: entities can grow without limit, or read other files (CWE-776, CWE-611).
    """
    builder = TreeBuilder(element_factory=Element)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    levels, elements = 0, 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal levels, elements
        levels, elements = levels + 1, elements + 1
        if levels > MOST_LEVELS or elements > MOST_ELEMENTS:
            what = f"{MOST_LEVELS} levels" if levels > MOST_LEVELS else f"{MOST_ELEMENTS:,} elements"
            raise _Refused(f"line {parser.CurrentLineNumber}: it has more than {what}")
        named = {_clark(key): value for key, value in attributes.items()}
        cast("Element", builder.start(_clark(name), named)).line = parser.CurrentLineNumber

    def end(name: str) -> None:
        nonlocal levels
        levels -= 1
        builder.end(_clark(name))

    def entity(*_: object) -> None:
        raise _Refused(f"line {parser.CurrentLineNumber}: it declares an entity; remove the declaration")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)  # noqa: FBT003 - the last part; expat has no names
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise ValueError(f"line {error.lineno}: it is not XML: {message} (column {error.offset + 1})") from None
    except (_Refused, LookupError, ValueError) as error:  # of an encoding that Python does not have
        raise ValueError(str(error)) from None
    return cast("Element", builder.close())


def _clark(name: str) -> str:
    return "{" + name if "}" in name else name
