"""Decodes a server's own structures by their definitions into fields by name (Part 6, 5.2.6 to 5.2.8). Pure.

asyncua makes a class of each definition for the whole process, but two servers may use the same number for different
structures. Here the definitions belong to one session.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.opcua.codec.binary import UINT32, count
from drivers.opcua.codec.texts import EnumerationValue, Unfit, kind_of
from drivers.opcua.codec.variant import MAX_DIMENSIONS, element
from drivers.opcua.errors import MALFORMED, DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drivers.opcua.settings import OpcUaGroup

MAX_DEPTH = 20
"""Maximum depth of nested structures."""

_UNIONS = {ua.StructureType.Union, ua.StructureType.UnionWithSubtypedValues}

_WRAPPED = {int(ua.VariantType.ExtensionObject), int(ua.VariantType.Variant), int(ua.VariantType.DataValue)}
"""Built-in types that can contain a structure."""


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a structure (Part 3, 8.51).

    `type`  number of a built-in type; or the data type of a structure, which is sent without a frame
    `rank`  0 for a single value, else the number of dimensions of an array
    `names` the names of numbers, of an enumeration
    """

    name: str
    type: int | ua.NodeId
    rank: int = 0
    optional: bool = False
    names: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure definition (Part 3, 8.48)."""

    form: ua.StructureType
    members: tuple[Member, ...]


class Structures:
    """The structure definitions of one server, by their data types.

    `labels` are the names of numbers of points whose enumeration values become names.
    """

    def __init__(
        self,
        defined: Mapping[ua.NodeId, Structure],
        encodings: Mapping[ua.NodeId, ua.NodeId],
        labels: Mapping[tuple[OpcUaGroup, int], Mapping[int, str]] | None = None,
        left_out: Mapping[ua.NodeId, str] | None = None,
    ) -> None:
        """Store definitions; `encodings` maps ids of binary encodings to data types, `left_out` to reasons."""
        self.labels = labels or {}
        self._defined = defined
        self._encodings = encodings
        self._left_out = left_out or {}

    def decoded(self, value: Any) -> Any:  # noqa: ANN401 - whatever a server sends
        """Return a structure as a mapping of its fields; decode nested structures and arrays of structures too.

        Other values, and a structure without a definition, are returned as they are. Raises `DecodeError` if the
        bytes do not match the definition, and `Unfit` if the server describes a structure in a way that is not read.
        """
        return self._decoded(value, 1)

    def _decoded(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - whatever a server sends
        if isinstance(value, list):
            return [self._decoded(one, depth) for one in value]
        if isinstance(value, ua.Variant | ua.DataValue):
            return self._decoded(value.Value, depth)
        if not isinstance(value, ua.ExtensionObject) or value.Body is None:
            return value
        data_type = self._encodings.get(value.TypeId)
        if data_type is None:
            if reason := self._left_out.get(value.TypeId):
                raise Unfit(f"{kind_of(value, None)}: {reason}")
            return value
        body = bytes(value.Body)
        try:
            found, at = self._structure(data_type, body, 0, depth)
        except DecodeError:
            raise
        except MALFORMED as error:
            raise DecodeError(f"a structure of {len(body)} bytes ends early, or breaks the rules: {error}") from error
        if at != len(body):
            raise DecodeError(f"a structure ends at byte {at} of {len(body)}: it is not as it is defined")
        return found

    def _structure(self, data_type: ua.NodeId, data: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
        if depth > MAX_DEPTH:
            raise DecodeError(f"structures are nested more than {MAX_DEPTH} deep")
        defined = self._defined.get(data_type)
        if defined is None:
            raise DecodeError(f"{data_type.to_string()} is not defined")
        members, at = _members(defined, data, at)
        found: dict[str, Any] = dict.fromkeys(member.name for member in defined.members)
        for member in members:
            value, at = self._member(member, data, at, depth)
            found[member.name] = _named(value, member.names) if member.names else value
        return found, at

    def _member(self, member: Member, data: bytes, at: int, depth: int) -> tuple[Any, int]:
        if member.rank == 0:
            return self._one(member.type, data, at, depth)
        if member.rank == 1:
            size, at = count(data, at, 1)
            return self._several(member.type, size, data, at, depth)
        number, at = count(data, at, 4)  # the sizes of the dimensions precede all elements (Part 6, 5.2.5)
        sizes = [UINT32(data, at + 4 * i)[0] for i in range(number)]
        at += 4 * number
        if number > MAX_DIMENSIONS:
            raise DecodeError(f"an array of {number} dimensions; at most {MAX_DIMENSIONS} are read")
        if math.prod(sizes) > len(data) - at:
            raise DecodeError(f"byte {at}: an array of {sizes} can't be in the {len(data) - at} bytes that follow")
        values, at = self._several(member.type, math.prod(sizes), data, at, depth)
        for size in reversed(sizes[1:]):
            values = [values[i : i + size] for i in range(0, len(values), size)] if size else []
        return values, at

    def _several(self, kind: int | ua.NodeId, size: int, data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
        values = []
        for _ in range(size):
            value, at = self._one(kind, data, at, depth)
            values.append(value)
        return values, at

    def _one(self, kind: int | ua.NodeId, data: bytes, at: int, depth: int) -> tuple[Any, int]:
        if isinstance(kind, ua.NodeId):
            return self._structure(kind, data, at, depth + 1)
        value, at = element(kind, data, at, 1)
        if value is None and kind == ua.VariantType.String:
            value = ""  # a null string is an empty string; None means a field that was not sent
        return (self._decoded(value, depth + 1) if kind in _WRAPPED else value), at


def _named(value: Any, names: Mapping[int, str]) -> Any:  # noqa: ANN401 - whatever a server sends
    """Add the names to the numbers of an enumeration, also in an array."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return EnumerationValue.of(value, names) if isinstance(value, int) else value


def _members(defined: Structure, data: bytes, at: int) -> tuple[Iterable[Member], int]:
    """Return the members that were sent, and the offset of the first."""
    if defined.form in _UNIONS:
        chosen = UINT32(data, at)[0]
        if chosen > len(defined.members):
            raise DecodeError(f"byte {at}: {chosen} is not a field of a union of {len(defined.members)}")
        return defined.members[chosen - 1 : chosen] if chosen else (), at + 4
    if defined.form != ua.StructureType.StructureWithOptionalFields:
        return defined.members, at
    mask = UINT32(data, at)[0]
    optional = [member for member in defined.members if member.optional]
    if mask >> len(optional):
        raise DecodeError(f"byte {at}: {mask:#x} has bits for more than {len(optional)} optional fields")
    left_out = {member.name for i, member in enumerate(optional) if not mask >> i & 1}
    return [member for member in defined.members if member.name not in left_out], at + 4
