"""Decodes values of any type (Part 6, 5.2.2.16) into asyncua's objects, for types that are too rare to optimize.

asyncua decodes types of a fixed form (node ids, names, texts, plain structures). This module decodes types that nest
or repeat: asyncua believes every count that it receives, so forty bytes could keep it busy without end.
"""

from __future__ import annotations

import math
import struct
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua
from asyncua.ua import ua_binary, uatypes

from drivers.opcua.codec.binary import (
    INT32,
    NUMBERS,
    SERVER_FRACTION,
    SERVER_TIME,
    SOURCE_FRACTION,
    SOURCE_TIME,
    STATUS,
    VALUE,
    Received,
    behind_value,
    body,
    byte_string,
    count,
    date_time,
    diagnostic,
    fixed,
    mask_of,
    text,
)
from drivers.opcua.errors import MALFORMED, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NESTING = 100
"""Maximum depth of nested variants: the minimum that a decoder must support (Part 6, 5.1.8)."""

MAX_DIMENSIONS = 8
"""Maximum dimensions of an array: each can cost a list for every element, so few bytes could use much memory."""

LAST_RESERVED = 31
"""Type ids above the assigned ids, up to this id, are decoded as byte strings."""

_ARRAY, _DIMENSIONS, _TYPE = 0x80, 0x40, 0x3F


def variant(data: bytes, at: int, depth: int = 1) -> tuple[ua.Variant, int]:
    """Read one value, `depth` levels down. Raises one of `MALFORMED`."""
    mask = data[at]
    kind = mask & _TYPE
    at += 1
    if depth > MAX_NESTING:
        raise DecodeError(f"byte {at - 1}: variants are nested more than {MAX_NESTING} deep")
    if kind > LAST_RESERVED:
        raise DecodeError(f"byte {at - 1}: {kind} is not the number of a type")
    if mask & _ARRAY:
        return _array(data, at, mask, depth)
    if mask & _DIMENSIONS:
        raise DecodeError(f"byte {at - 1}: {mask:#04x} has dimensions but is not an array")
    value, at = element(kind, data, at, depth)
    if isinstance(value, ua.Variant):  # no server should nest variants; asyncua uses the inner variant
        return value, at
    return ua.Variant(value, _type(kind)), at


def _type(kind: int) -> ua.VariantType:
    return cast("ua.VariantType", ua.datatype_to_varianttype(kind))  # or a VariantTypeCustom, which behaves the same


def _array(data: bytes, at: int, mask: int, depth: int) -> tuple[ua.Variant, int]:
    """Read an array; the value of an array with several dimensions is a list of lists."""
    kind = mask & _TYPE
    null = INT32(data, at)[0] == -1 or kind == 0
    values: list[Any] = []
    if kind == 0:  # an element has no bytes, so a message could state any number of elements
        at += 4
    elif kind in NUMBERS:
        form = f"<{count(data, at, struct.calcsize('<' + NUMBERS[kind]))[0]}{NUMBERS[kind]}"
        values, at = list(struct.unpack_from(form, data, at + 4)), at + 4 + struct.calcsize(form)
    else:
        size, at = count(data, at, 1)
        for _ in range(size):
            value, at = element(kind, data, at, depth)
            values.append(value)
    dimensions = None
    if mask & _DIMENSIONS:
        number, at = count(data, at, 4)
        dimensions = list(struct.unpack_from(f"<{number}i", data, at))
        at += 4 * number
        values = _nested(values, dimensions)
    found = ua.Variant(None if null else values, _type(kind), dimensions, is_array=True)
    return found, at


def _nested(values: list[Any], dimensions: list[int]) -> list[Any]:
    if len(dimensions) > MAX_DIMENSIONS:
        raise DecodeError(f"an array of {len(dimensions)} dimensions; at most {MAX_DIMENSIONS} are read")
    if dimensions and math.prod(max(size, 0) for size in dimensions) != len(values):
        raise DecodeError(f"an array of {len(values)} elements with dimensions {dimensions}")
    if values:
        for size in reversed(dimensions[1:]):
            values = [values[i : i + size] for i in range(0, len(values), size)]
    return values


def element(kind: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Read one value of a type, given by its number."""
    if kind in NUMBERS:
        form = "<" + NUMBERS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if kind == ua.VariantType.Variant:
        return variant(data, at, depth + 1)
    if kind == ua.VariantType.DataValue:
        return data_value(data, at, depth)
    if kind == 0:
        return None, at
    return _READERS.get(kind, byte_string)(data, at)


def data_value(data: bytes, at: int, depth: int = 1) -> tuple[ua.DataValue, int]:
    """Read one data value, `depth` levels down. Raises one of `MALFORMED`."""
    mask = mask_of(data, at, 0x3F, "a data value")
    parts: dict[str, Any] = {}
    at += 1
    if mask & VALUE:
        parts["Value"], at = variant(data, at, depth + 1)
    behind, at = behind_value(data, at, mask)
    for bit, (name, make) in _PARTS.items():
        if bit in behind:
            parts[name] = make(behind[bit])
    return ua.DataValue(**parts), at


def _localized_text(data: bytes, at: int) -> tuple[ua.LocalizedText, int]:
    mask_of(data, at, 0x03, "a localized text")
    return fixed(ua.VariantType.LocalizedText, data, at)


def _extension_object(data: bytes, at: int) -> tuple[Any, int]:
    """Read a structure: decode it if asyncua knows its type and the type is plain, else leave it encoded."""
    node, at = fixed(ua.VariantType.NodeId, data, at)
    encoding, begin, end = body(data, at)
    if encoding == 0:
        return ua.ExtensionObject(TypeId=node), begin
    if end is None:  # its end is unknown, so the next value can't be found
        raise DecodeError(f"byte {begin - 4}: the length of an extension object is missing")
    raw = data[begin:end]
    known = ua.extension_objects_by_typeid.get(node)
    if encoding == 1 and known is not None and _is_plain(known):
        sent = Received(raw)
        try:
            found: object = ua_binary.struct_from_binary(known, sent)
        except MALFORMED:
            pass  # another edition of its type, such as with an enumeration member that asyncua lacks
        else:
            if not sent:
                return found, end
    return ua.ExtensionObject(TypeId=node, Body=cast("ua.ByteString", raw)), end


@cache
def _is_plain(structure: type, *within: type) -> bool:
    """Return True if a structure has no fields that nest, and no fields of size 0, whose number is not bounded."""
    if structure in within or issubclass(structure, ua.UaUnion) or not is_dataclass(structure):
        return False
    try:
        hints = ua_binary.get_safe_type_hints(structure, {"ua": ua})
    except (NameError, AttributeError):  # a field has a type that asyncua names but doesn't define
        return False
    within = (*within, structure)
    return bool(hints) and all(_is_plain_field(hints[field.name], within) for field in fields(structure))


def _is_plain_field(hint: object, within: tuple[type, ...]) -> bool:
    if uatypes.type_is_optional(hint):
        hint = uatypes.type_from_optional(hint)
    if uatypes.type_is_list(hint):
        hint = uatypes.type_from_list(hint)
    if not isinstance(hint, type):  # any subtype, as an extension object
        return False
    if issubclass(hint, Enum) or hasattr(ua_binary.Primitives, hint.__name__):
        return True
    kind = getattr(ua.VariantType, hint.__name__, None)
    return kind in _FIXED if kind is not None else _is_plain(cast("type", hint), *within)


_FIXED = (
    ua.VariantType.Guid,
    ua.VariantType.XmlElement,
    ua.VariantType.NodeId,
    ua.VariantType.ExpandedNodeId,
    ua.VariantType.StatusCode,
    ua.VariantType.QualifiedName,
    ua.VariantType.LocalizedText,
)
"""Types that asyncua decodes without a loop over a count."""

_PARTS: dict[int, tuple[str, Callable[[Any], object]]] = {
    STATUS: ("StatusCode", ua.StatusCode),
    SOURCE_TIME: ("SourceTimestamp", ua.win_epoch_to_datetime),
    SERVER_TIME: ("ServerTimestamp", ua.win_epoch_to_datetime),
    SOURCE_FRACTION: ("SourcePicoseconds", int),
    SERVER_FRACTION: ("ServerPicoseconds", int),
}
"""The bits of a data value's mask, and asyncua's names of the parts."""

_READERS: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    **{kind: partial(fixed, kind) for kind in _FIXED},
    ua.VariantType.String: text,
    ua.VariantType.DateTime: date_time,
    ua.VariantType.LocalizedText: _localized_text,
    ua.VariantType.ExtensionObject: _extension_object,
    ua.VariantType.DiagnosticInfo: diagnostic,
}
