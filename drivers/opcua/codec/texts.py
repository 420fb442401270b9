"""The texts of OPC UA values: of built-in types that are not numbers, and of enumeration values. Pure functions."""

from __future__ import annotations

from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import Reason, bad

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Unfit(Exception):
    """The value does not fit a reading."""

    def __init__(self, code: str, reason: Reason = Reason.TYPE_MISMATCH) -> None:
        self.fault = bad(reason, code)


class EnumerationValue(int):
    """The number of an enumeration value in a structure, with its name; the name is empty if it is not known."""

    name: str

    @classmethod
    def of(cls, number: int, names: Mapping[int, str]) -> EnumerationValue:
        """Return a number with its name."""
        value = cls(number)
        value.name = names.get(number, "")
        return value


def utf8(value: str) -> str:
    """Return text that can be encoded: asyncua accepts bytes that are not UTF-8, and old servers send Latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def iso(time: datetime) -> str:
    """Return a time as ISO 8601, UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")


_AS_TEXT: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (str, str),
    (ua.LocalizedText, lambda value: value.Text or ""),
    (ua.QualifiedName, lambda value: value.Name or ""),
    (ua.XmlElement, lambda value: value.Value or ""),
    (datetime, iso),
    (UUID, str),
    (bytes, bytes.hex),
    (ua.StatusCode, lambda value: get_name_and_doc(value.value)[0]),
    (ua.NodeId, ua.NodeId.to_string),
)
"""Types that become text, and their converters."""


def text_of(value: Any) -> str | None:  # noqa: ANN401 - whatever a server sends
    """Return the text of a value of a built-in type that is not a number; None for other types."""
    for kind, text in _AS_TEXT:
        if isinstance(value, kind):
            return utf8(text(value))
    return None


def name_of(value: Any, names: Mapping[int, str]) -> str:  # noqa: ANN401 - whatever a server sends
    """Return the name of an enumeration value; a text stays as it is.

    Raises `Unfit` for another type, and for a number without a name.
    """
    name = known_name(value, names)
    if name is None and (text := text_of(value)) is not None:
        return text
    if name is None:
        raise Unfit(f"{kind_of(value, None)} is not a value of an enumeration")
    if not name:
        raise Unfit(f"{int(value)} has no name", Reason.OUT_OF_RANGE)
    return name


def known_name(value: Any, names: Mapping[int, str]) -> str | None:  # noqa: ANN401 - whatever a server sends
    """Return the name of a number, empty if it has none; None for a value that is not an integer."""
    if isinstance(value, Enum) and isinstance(value, int):  # an enumeration of the standard
        return value.name
    if isinstance(value, EnumerationValue):
        return utf8(value.name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return utf8(names.get(value, ""))


def unwrapped(value: Any) -> Any:  # noqa: ANN401 - whatever a server sends
    """Return the value in a variant or a data value."""
    while isinstance(value, ua.Variant | ua.DataValue):
        value = value.Value
    return value


def kind_of(value: Any, variant: ua.Variant | None) -> str:  # noqa: ANN401 - whatever a server sends
    """Return the description of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, list):
        name = variant.VariantType.name if variant is not None else type(value[0]).__name__ if value else "nothing"
        return f"an array of {name}"
    if isinstance(value, ua.ExtensionObject):
        return f"a structure that can't be read ({value.TypeId.to_string()})"
    if isinstance(value, dict):
        return f"a structure of {', '.join(value)}"
    if is_dataclass(value):
        return f"a structure, {type(value).__name__}"
    return variant.VariantType.name if variant is not None else type(value).__name__
