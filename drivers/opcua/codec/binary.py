"""Primitive types of OPC UA Binary (Part 6, 5.2), read within the bytes that were received.

Every function has the message and an offset as arguments, and returns the value and the offset behind it. Reading
beyond the end raises one of `drivers.opcua.errors.MALFORMED`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary

from drivers.opcua.errors import DecodeError

if TYPE_CHECKING:
    from datetime import datetime

MAX_DIAGNOSTICS = 10
"""Maximum depth of nested diagnostics; no decoder has to support more (Part 6, 5.2.2.12)."""

UINT16 = struct.Struct("<H").unpack_from
INT32 = struct.Struct("<i").unpack_from
UINT32 = struct.Struct("<I").unpack_from
INT64 = struct.Struct("<q").unpack_from

NUMBERS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Type id -> format of `struct`, for Booleans and numbers (Part 6, 5.1.2)."""

VALUE, STATUS, SOURCE_TIME, SERVER_TIME, SOURCE_FRACTION, SERVER_FRACTION = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""Bits in the mask of a data value, for its optional parts (Part 6, 5.2.2.17)."""

_XML = 2

_TWO_BYTE, _FOUR_BYTE = int(ua.NodeIdType.TwoByte), int(ua.NodeIdType.FourByte)

_BEHIND_VALUE = (
    (STATUS, UINT32, 4),
    (SOURCE_TIME, INT64, 8),
    (SOURCE_FRACTION, UINT16, 2),
    (SERVER_TIME, INT64, 8),
    (SERVER_FRACTION, UINT16, 2),
)


class Received(Buffer):
    """A bounded reader for asyncua, whose own reader moves backwards for a negative length and may never end."""

    def read(self, size: int) -> bytes:
        if size < 0:
            raise DecodeError(f"a length of {size}")
        return super().read(size)

    def skip(self, size: int) -> None:
        if size < 0:
            raise DecodeError(f"a length of {size}")
        super().skip(size)

    def copy(self, size: int = -1) -> Received:
        if size < -1:
            raise DecodeError(f"a length of {size}")
        return Received(self._data, self._cur_pos, self._size if size == -1 else min(size, self._size))


def count(data: bytes, at: int, smallest: int) -> tuple[int, int]:
    """Return the number of elements that follow, each of at least `smallest` bytes; 0 for null (Part 6, 5.2.5)."""
    number: int = INT32(data, at)[0]
    at += 4
    if number < -1 or number * smallest > len(data) - at:
        raise DecodeError(f"byte {at - 4}: {number} elements can't be in the {len(data) - at} bytes that follow")
    return max(0, number), at


def byte_string(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Read a byte string (Part 6, 5.2.2.7); a length of -1 means null."""
    size: int = INT32(data, at)[0]
    at += 4
    if size == -1:
        return None, at
    if size < 0 or size > len(data) - at:
        raise DecodeError(f"byte {at - 4}: {size} bytes can't be in the {len(data) - at} that follow")
    return data[at : at + size], at + size


def text(data: bytes, at: int) -> tuple[str | None, int]:
    """Read a string (Part 6, 5.2.2.4); invalid UTF-8 becomes surrogates, as in asyncua."""
    size: int = INT32(data, at)[0]
    end = at + 4 + size
    if size < 0 or end > len(data):
        return None, byte_string(data, at)[1]  # null, or raises
    return data[at + 4 : end].decode("utf-8", "surrogateescape"), end


def date_time(data: bytes, at: int) -> tuple[datetime, int]:
    """Read a time, cut to the microsecond (Part 6, 5.2.2.5)."""
    return ua.win_epoch_to_datetime(INT64(data, at)[0]), at + 8


def fixed(kind: ua.VariantType, data: bytes, at: int) -> tuple[Any, int]:
    """Read a type that neither nests nor repeats with asyncua."""
    sent = Received(data, at)
    return ua_binary.unpack_uatype(kind, sent), sent.cur_pos


def type_id(data: bytes, at: int) -> tuple[int | None, int]:
    """Read the id of an encoding (Part 6, 5.2.2.9): its number in namespace 0, None in other namespaces."""
    form = data[at]
    if form == _TWO_BYTE:
        return data[at + 1], at + 2
    if form == _FOUR_BYTE:
        return (None if data[at + 1] else UINT16(data, at + 2)[0]), at + 4
    node, at = fixed(ua.VariantType.NodeId, data, at)
    return (node.Identifier if node.NamespaceIndex == 0 and isinstance(node.Identifier, int) else None), at


def body(data: bytes, at: int) -> tuple[int, int, int | None]:
    """Read the frame of an extension object, which follows its type id (Part 6, 5.2.2.15).

    Returns the encoding of the body (0 no body, 1 binary, 2 XML), the offset of its begin, and the offset of its end.
    The end is None if the length is missing, as from old servers.
    """
    encoding = data[at]
    at += 1
    if encoding == 0:
        return 0, at, at
    if encoding > _XML:
        raise DecodeError(f"byte {at - 1}: an extension object is encoded as 0, 1 or 2, not {encoding}")
    size: int = INT32(data, at)[0]
    at += 4
    if size < -1 or size > len(data) - at:
        raise DecodeError(f"byte {at - 4}: a body of {size} bytes can't be in the {len(data) - at} that follow")
    return encoding, at, None if size == -1 else at + size


def mask_of(data: bytes, at: int, highest: int, what: str) -> int:
    """Return the mask of a type with optional parts; its bits have a meaning up to `highest`."""
    mask = data[at]
    if mask > highest:
        raise DecodeError(f"byte {at}: {mask:#04x} is not a mask of {what}")
    return mask


def behind_value(data: bytes, at: int, mask: int) -> tuple[dict[int, int], int]:
    """Read the parts that follow the value in a data value, in the order of Part 6, 5.2.2.17, unlike asyncua.

    Returns the parts by their bits and the offset of their end. The parts are the status, times in ticks of 100 ns
    since 1601, and their fractions in tens of picoseconds.
    """
    there = {}
    for bit, read, size in _BEHIND_VALUE:
        if mask & bit:
            there[bit] = read(data, at)[0]
            at += size
    return there, at


def diagnostic(data: bytes, at: int, depth: int = 1) -> tuple[ua.DiagnosticInfo, int]:
    """Read diagnostics with the order and the bits of Part 6, 5.2.2.12, unlike asyncua."""
    if depth > MAX_DIAGNOSTICS:
        raise DecodeError(f"byte {at}: diagnostics are nested more than {MAX_DIAGNOSTICS} deep")
    mask = mask_of(data, at, 0x7F, "diagnostics")
    at += 1
    found: dict[str, Any] = {}
    for bit, name in ((0x01, "SymbolicId"), (0x02, "NamespaceURI"), (0x08, "Locale"), (0x04, "LocalizedText")):
        if mask & bit:
            found[name] = INT32(data, at)[0]
            at += 4
    if mask & 0x10:
        found["AdditionalInfo"], at = text(data, at)
    if mask & 0x20:
        found["InnerStatusCode"], at = ua.StatusCode(UINT32(data, at)[0]), at + 4
    if mask & 0x40:
        found["InnerDiagnosticInfo"], at = diagnostic(data, at, depth + 1)
    return ua.DiagnosticInfo(**found), at
