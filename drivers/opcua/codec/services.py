"""Decodes responses of services (Part 4, 5) within the bytes that were received.

asyncua's own decoders believe every count and length: 60 bytes can keep them busy without end. These decoders read
the same classes of asyncua by their type hints, and check every count against the bytes that follow before they
allocate memory.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from enum import Enum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

from asyncua import ua
from asyncua.ua import ua_binary

from drivers.opcua.codec.binary import INT32, NUMBERS, UINT32, body, byte_string, count, date_time, text, type_id
from drivers.opcua.codec.response_header import malformed, parameters_at
from drivers.opcua.codec.variant import data_value, element, variant
from drivers.opcua.errors import MALFORMED, DecodeError
from drivers.opcua.limits import MAX_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[bytes, int], tuple[Any, int]]
    """Reads a value at an offset; returns the value and its end."""

T = TypeVar("T")

_HISTORY_DATA = ua.ObjectIds.HistoryData_Encoding_DefaultBinary

_SMALLEST = {
    "Guid": 16,
    "NodeId": 2,
    "ExpandedNodeId": 2,
    "QualifiedName": 6,
    "LocalizedText": 1,
    "DiagnosticInfo": 1,
    "ExtensionObject": 3,
    "Variant": 1,
    "DataValue": 1,
}
"""Built-in types that `variant.element` reads, and their minimum sizes in bytes."""


def response(kind: type[T], message: bytes) -> T:
    """Decode a response, from its type id on; bytes behind it are ignored.

    Raises `ServiceFault` if the server refused the service, `DecodeError` for any other message.
    """
    try:
        at = parameters_at(message, getattr(ua.ObjectIds, f"{kind.__name__}_Encoding_DefaultBinary"))
        values, _ = _read_fields(_parameters(cast("type", kind)), message, at)
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error
    return kind(**values)


def history_read_response(message: bytes) -> list[ua.HistoryReadResult]:
    """Decode a history read response with raw values (Part 4, 5.11.3); other history data is left out."""
    try:
        at = parameters_at(message, ua.ObjectIds.HistoryReadResponse_Encoding_DefaultBinary)
        return _list(_history_result, 11, message, at)[0]
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error


def call_response(message: bytes) -> list[ua.CallMethodResult]:
    """Decode a response of method calls (Part 4, 5.12.2)."""
    try:
        at = parameters_at(message, ua.ObjectIds.CallResponse_Encoding_DefaultBinary)
        return _list(_call_result, 16, message, at)[0]
    except DecodeError:
        raise
    except MALFORMED as error:
        raise malformed(message, error) from error


def _history_result(data: bytes, at: int) -> tuple[ua.HistoryReadResult, int]:
    status = ua.StatusCode(UINT32(data, at)[0])
    point, at = byte_string(data, at + 4)
    kind, at = type_id(data, at)
    encoding, at, end = body(data, at)
    if end is None:
        raise DecodeError(f"byte {at - 4}: the length of history data is missing")
    found = ua.HistoryReadResult(StatusCode=status, ContinuationPoint=cast("ua.ByteString", point))
    if kind == _HISTORY_DATA and encoding == 1:
        values, behind = _list(data_value, 1, data, at)
        if behind != end:
            raise DecodeError(f"history data ends at byte {behind}, not {end}")
        found.HistoryData = ua.HistoryData(DataValues=values)
    return found, end


def _call_result(data: bytes, at: int) -> tuple[ua.CallMethodResult, int]:
    status = ua.StatusCode(UINT32(data, at)[0])
    arguments, at = _list(_status, 4, data, at + 4)
    _, at = _list(partial(element, int(ua.VariantType.DiagnosticInfo), depth=1), 1, data, at)
    outputs, at = _list(variant, 1, data, at)
    return ua.CallMethodResult(StatusCode=status, InputArgumentResults=arguments, OutputArguments=outputs), at


def _list(read: Read, smallest: int, data: bytes, at: int) -> tuple[list[Any], int]:
    """Read an array of elements, each of at least `smallest` bytes; a null array is empty."""
    size, at = count(data, at, smallest)
    if size > MAX_ELEMENTS:
        raise DecodeError(f"byte {at - 4}: {size} elements; at most {MAX_ELEMENTS} are read")
    found = []
    for _ in range(size):
        value, at = read(data, at)
        found.append(value)
    return found, at


def _status(data: bytes, at: int) -> tuple[ua.StatusCode, int]:
    return ua.StatusCode(UINT32(data, at)[0]), at + 4


def _enumeration(kind: type[Enum], data: bytes, at: int) -> tuple[object, int]:
    """Read an enumeration value; a number without a name in asyncua stays a number."""
    number = INT32(data, at)[0]
    try:
        return kind(number), at + 4
    except ValueError:
        return number, at + 4


def _number(form: str, data: bytes, at: int) -> tuple[Any, int]:
    return struct.unpack_from(f"<{form}", data, at)[0], at + struct.calcsize(form)


_BUILT_IN: dict[str, tuple[Read, int]] = {
    **{ua.VariantType(kind).name: (partial(_number, form), struct.calcsize(form)) for kind, form in NUMBERS.items()},
    **{name: (partial(element, int(ua.VariantType[name]), depth=1), size) for name, size in _SMALLEST.items()},
    "String": (text, 4),
    "CharArray": (text, 4),
    "ByteString": (byte_string, 4),
    "DateTime": (date_time, 8),
    "StatusCode": (_status, 4),
}
"""Readers of built-in types, and the minimum sizes in bytes."""

Fields = tuple[tuple[str, "Read"], ...]


@cache
def _parameters(kind: type) -> Fields:
    """Return the fields of a response behind its header, with their readers."""
    return tuple(one for one in _fields(kind) if one[0] not in {"TypeId", "ResponseHeader"})


@cache
def _fields(kind: type) -> Fields:
    hints = ua_binary.get_safe_type_hints(kind, {"ua": ua})
    return tuple((field.name, _reader(hints[field.name])[0]) for field in fields(kind))


def _read_fields(parts: Fields, data: bytes, at: int) -> tuple[dict[str, Any], int]:
    values = {}
    for name, read in parts:
        values[name], at = read(data, at)
    return values, at


def _structure(kind: type, data: bytes, at: int) -> tuple[Any, int]:
    values, at = _read_fields(_fields(kind), data, at)
    return kind(**values), at


@cache
def _reader(hint: Any) -> tuple[Read, int]:  # noqa: ANN401 - a type hint
    """Return the reader of a type, and the minimum size of a value in bytes."""
    if get_origin(hint) is list:
        read, smallest = _reader(get_args(hint)[0])
        return partial(_list, read, smallest), 4
    if hint.__name__ in _BUILT_IN:
        return _BUILT_IN[hint.__name__]
    if issubclass(hint, Enum):
        return partial(_enumeration, hint), 4
    hints = ua_binary.get_safe_type_hints(hint, {"ua": ua})
    return partial(_structure, hint), sum(_reader(hints[field.name])[1] for field in fields(hint))
