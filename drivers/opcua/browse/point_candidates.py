"""Makes points of a template from explored variables: address, type and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from asyncua import ua

from drivers.base import Reason, ValueType
from drivers.opcua.browse.companion_names import Known, known
from drivers.opcua.browse.point_names import snake, unique
from drivers.opcua.browse.type_hierarchy import qualified
from drivers.opcua.codec.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drivers.opcua.browse.nodes import BrowsedNode, Details
    from drivers.opcua.codec.data_types import DataTypes

DEEPEST = 5
"""Depth of nested structures whose fields are offered."""

MOST_ELEMENTS = 10_000
"""Elements of an array that can be points."""

DURATION = ua.NodeId(ua.Int32(ua.ObjectIds.Duration))
"""A number of milliseconds (Part 3, 8.13)."""

_NUMBERS = ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
_TEXTS = (
    "String", "DateTime", "Guid", "ByteString", "XmlElement", "NodeId", "StatusCode", "QualifiedName", "LocalizedText"
)  # fmt: skip
_TYPES = {
    int(ua.VariantType.Boolean): ValueType.BOOL,
    int(ua.VariantType.Float): ValueType.FLOAT,
    int(ua.VariantType.Double): ValueType.FLOAT,
    **{int(ua.VariantType[name]): ValueType.INT for name in _NUMBERS},
    **{int(ua.VariantType[name]): ValueType.STRING for name in _TEXTS},
}
_BY_VALUE = {bool: ValueType.BOOL, int: ValueType.INT, float: ValueType.FLOAT, str: ValueType.STRING}

_TELLING = {"CurrentState", "Number", "Value"}
"""Names of the standard that can be points; the other names describe the address space."""


@dataclass(slots=True, eq=False)
class PointCandidate:
    """A possible point. `count` is the length of an array, `field` the path into a structure."""

    found: BrowsedNode
    details: Details
    type: ValueType
    data_type: ua.NodeId
    field: tuple[str, ...] = ()
    count: int | None = None
    known: Known | None = None
    name: str = ""


class Unusable(NamedTuple):
    """A variable or a field that can't be a point, and the reason."""

    path: str
    why: str


def offers(
    variables: Iterable[BrowsedNode], types: DataTypes, uris: Sequence[str]
) -> tuple[list[PointCandidate], list[Unusable]]:
    """Return the possible points of variables with unique names, and the unusable variables."""
    found: list[PointCandidate] = []
    left_out: list[Unusable] = []
    for one in variables:
        if one.details is None or (one.name.NamespaceIndex == 0 and one.name.Name not in _TELLING):
            continue
        fault = one.details.fault
        if fault is not None and fault.reason in {Reason.REFUSED, Reason.NOT_FOUND}:
            left_out.append(Unusable(one.path, fault.code))
            continue
        for offer in _of_variable(one, one.details, types):
            if isinstance(offer, Unusable):
                left_out.append(offer)
            else:
                offer.known = _known(offer, uris)
                found.append(offer)
    names = unique([(offer.known.name if offer.known else None, _words(offer), offer.count) for offer in found])
    for offer, name in zip(found, names, strict=True):
        offer.name = name
    return found, left_out


def _known(offer: PointCandidate, uris: Sequence[str]) -> Known | None:
    way = offer.found.way
    if not way:
        return None
    *above, one = way
    parents = [(qualified(uris, parent.name), parent.kinds) for parent in (*reversed(above), offer.found.top)]
    found = known(qualified(uris, one.name), parents)
    return found if found is None or not offer.field else Known(_joined((found.name, *offer.field)))


def _words(offer: PointCandidate) -> list[str]:
    """Return the words for a name; the last word is the most specific."""
    *above, last = [one.name.Name or one.display for one in offer.found.way] or ["value"]
    # some servers write a path into one name, as in `Moulds.Mould_1`
    return [*(snake(part) for name in above for part in name.split(".")), _joined((last, *offer.field))]


def _joined(names: Sequence[str]) -> str:
    return "_".join(word for word in map(snake, names) if word)


def _of_variable(found: BrowsedNode, details: Details, types: DataTypes) -> Iterator[PointCandidate | Unusable]:
    value = details.value
    is_array = details.rank == 1 or (details.rank in {0, -2, -3} and isinstance(value, list))
    if _is_matrix(details):
        yield PointCandidate(found, details, ValueType.JSON, details.data_type)
    elif types.definition(details.data_type) is not None or isinstance(value, dict):
        yield from (
            _of_structures(found, details, types)
            if is_array
            else _of_structure(found, details, types, details.data_type, value, ())
        )
    else:
        size = details.dimensions[0] if details.dimensions else 0
        yield _offer(found, details, types, details.data_type, value, (), size if is_array else None)


def _is_matrix(details: Details) -> bool:
    value = details.value
    return details.rank > 1 or (isinstance(value, list) and any(isinstance(one, list) for one in value))


def is_structured(details: Details, types: DataTypes) -> bool:
    """Return True if a value is a structure, an array or a matrix: only a point of type `json` has it as a whole."""
    is_structure = types.definition(details.data_type) is not None
    return is_structure or isinstance(details.value, dict | list) or details.rank > 0


def _of_structures(found: BrowsedNode, details: Details, types: DataTypes) -> Iterator[PointCandidate | Unusable]:
    """Yield the fields of an array of structures, each for all elements."""
    values = details.value if isinstance(details.value, list) else []
    if not 0 < len(values) <= MOST_ELEMENTS:
        yield Unusable(found.path, "an array of structures that is empty now, or too long")
        return
    for offer in _of_structure(found, details, types, details.data_type, values[0], ()):
        if isinstance(offer, Unusable):
            yield offer
        elif offer.count is not None:
            yield Unusable(".".join((found.path, *offer.field)), "an array in each structure of an array")
        else:
            offer.count = len(values)
            yield offer


def _of_structure(
    found: BrowsedNode,
    details: Details,
    types: DataTypes,
    data_type: ua.NodeId,
    value: object,
    field: tuple[str, ...],
) -> Iterator[PointCandidate | Unusable]:
    """Yield the fields of a structure and of the structures inside it."""
    definition = types.definition(data_type)
    path = ".".join((found.path, *field))
    if definition is None or len(field) >= DEEPEST:
        why = "a structure that the server does not describe" if definition is None else "structures too deep"
        yield Unusable(path, why)
        return
    for one in definition.Fields:
        name = one.Name or ""
        inside = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        way = (*field, name)
        if one.ValueRank > 1 or (types.definition(one.DataType) is not None and one.ValueRank == 1):
            yield Unusable(f"{path}.{name}", "an array of structures, or of several dimensions")
        elif types.definition(one.DataType) is not None:
            yield from _of_structure(found, details, types, one.DataType, inside, way)
        else:
            yield _offer(found, details, types, one.DataType, inside, way, 0 if one.ValueRank == 1 else None)


def _offer(
    found: BrowsedNode,
    details: Details,
    types: DataTypes,
    data_type: ua.NodeId,
    value: object,
    field: tuple[str, ...],
    size: int | None,
) -> PointCandidate | Unusable:
    """Return the point that a value could be; `size` is that of an array, 0 to use its present length."""
    path = ".".join((found.path, *field))
    first = value
    if size is not None:
        values = value if isinstance(value, list) else []
        size, first = size or len(values), values[0] if values else None
        if not 0 < size <= MOST_ELEMENTS:
            return Unusable(path, "an array that is empty now" if size == 0 else f"an array of {size} elements")
    built_in = types.built_in(data_type)
    by_value = built_in in {
        None,
        int(ua.VariantType.Variant),
    }  # any type, or a type that the server does not describe
    kind = _type_of(first) if by_value else _TYPES.get(built_in or 0)
    if kind is None:
        why = "of any type, and without a value now" if first is None else "of a type that no point has"
        return Unusable(path, why if built_in == ua.VariantType.Variant else _why(details, built_in))
    return PointCandidate(found, details, kind, data_type, field, size)


def _type_of(value: object) -> ValueType | None:
    """Return the type of a point with a value; None for null and for structures."""
    return _BY_VALUE.get(type(value)) or (None if text_of(value) is None else ValueType.STRING)


def _why(details: Details, built_in: int | None) -> str:
    if built_in in {None, int(ua.VariantType.ExtensionObject)}:
        return f"a structure that the server does not describe ({details.type or 'without a type'})"
    return f"of type {ua.VariantType(built_in).name}, which no point has"
