"""Encodes any value as one JSON text: structures, arrays and matrices as a whole. Pure functions.

The forms are those of OPC UA JSON (Part 6, 5.4.2) where a reading has no form of its own: a ByteString is base64
(5.4.2.7), and NaN and infinity are the strings `"NaN"`, `"Infinity"` and `"-Infinity"` (5.4.2.4). Integers of 64 bits
are numbers, as in records. Other built-in types have the text of a reading.

Equal values have equal texts: fields are in the order of their definition, and there are no blanks.
"""

from __future__ import annotations

import base64
import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import orjson
from asyncua import ua

from drivers.base import Reason
from drivers.opcua.codec.texts import Unfit, kind_of, known_name, text_of, unwrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 65_535
"""Bytes of one text: the largest string field of InfluxDB."""

MAX_DEPTH = 100
"""Levels of structures, arrays and dimensions inside each other."""

_MASK = "Encoding"
"""The mask of optional fields, which asyncua has as a field of its structures."""


def json_text(value: Any, names: Mapping[int, str] | None = None) -> str:  # noqa: ANN401 - whatever a server sends
    """Return a value as JSON text; its structures are decoded.

    `names` are those of a value that is an enumeration, or of all elements of an array; if they are given, the
    enumeration values inside a structure become their names too. A field that was not sent is left out.

    Raises `Unfit` for a missing value, a structure without a definition, and a text of more than `MAX_BYTES`.
    """
    if _unwrapped(value) is None:
        raise Unfit("the server sent null")
    encoded = orjson.dumps(_json(value, names, 1))
    if len(encoded) > MAX_BYTES:
        raise Unfit(f"JSON of {len(encoded)} bytes; at most {MAX_BYTES} are read", Reason.OVERFLOW)
    return encoded.decode()


def _json(value: Any, names: Mapping[int, str] | None, depth: int) -> Any:  # noqa: ANN401 - whatever a server sends
    value = _unwrapped(value)
    if depth > MAX_DEPTH:
        raise Unfit(f"a value of more than {MAX_DEPTH} levels")
    if isinstance(value, list):
        if 2 * len(value) > MAX_BYTES:  # each element has a digit and a comma
            raise Unfit(f"{kind_of(value, None)} with {len(value)} elements, more than fit", Reason.OVERFLOW)
        return [_json(one, names, depth + 1) for one in value]
    simple = _simple(value, names)
    if simple is not None or value is None:
        return simple
    found = _fields_of(value)
    if found is None:
        raise Unfit(f"the server sent {kind_of(value, None)}")
    inside: Mapping[int, str] | None = None if names is None else {}
    sent = {name: one for name, field in found.items() if (one := _unwrapped(field)) is not None}
    return {text_of(name) or "": _json(one, inside, depth + 1) for name, one in sent.items()}


def _simple(value: Any, names: Mapping[int, str] | None) -> bool | int | float | str | None:  # noqa: ANN401 - as above
    """Return a value of a built-in type as JSON can hold it; None for other types."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if names is None else known_name(value, names) or int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return text_of(value)


def _fields_of(value: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - as above
    """Return the fields of a structure; None for a structure that is not decoded, and for other types."""
    if isinstance(value, dict):
        return value
    if not is_dataclass(value) or isinstance(value, ua.ExtensionObject):
        return None
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(found.get(_MASK), int):
        del found[_MASK]
    return found


def _unwrapped(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return the value in a variant or data value; None for a structure without a type and a body."""
    value = unwrapped(value)
    return None if isinstance(value, ua.ExtensionObject) and value.Body is None and value.TypeId.is_null() else value
