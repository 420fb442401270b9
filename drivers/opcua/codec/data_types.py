"""Reads the data types of a server: definitions of structures, and the names of enumeration values.

The attribute DataTypeDefinition contains them (Part 3, 5.8.3). Older servers describe structures in type dictionaries
(`type_dictionary`) alone. Any other type without this attribute is like its supertype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.references import SUBTYPES, local, references
from drivers.opcua.codec.dictionaries import Dictionaries
from drivers.opcua.codec.structures import Member, Structure, Structures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup

ROUNDS = 30
"""Maximum number of levels of nested types and of supertypes."""

MOST = 2000
"""Maximum number of types."""

_BUILT_IN = 25
"""Data types up to this number are built-in types of the same number (Part 6, 5.1.2)."""

_ENUMERATION = int(ua.ObjectIds.Enumeration)
_AS = {
    int(ua.ObjectIds.Number): int(ua.VariantType.Variant),
    int(ua.ObjectIds.Integer): int(ua.VariantType.Variant),
    int(ua.ObjectIds.UInteger): int(ua.VariantType.Variant),
    _ENUMERATION: int(ua.VariantType.Int32),
}
"""Abstract types, and the built-in type by which their values are sent (Part 6, 5.2.4 and 5.1.10)."""

_MAYBE_SUBTYPES = {ua.StructureType.StructureWithSubtypedValues, ua.StructureType.UnionWithSubtypedValues}


class DataTypes:
    """The data types of one server."""

    def __init__(self) -> None:
        self._definitions: dict[ua.NodeId, ua.StructureDefinition] = {}
        self._supers: dict[ua.NodeId, ua.NodeId | None] = {}
        self._encodings: dict[ua.NodeId, ua.NodeId] = {}  # of values, which their definitions do not name
        self._left_out: dict[ua.NodeId, str] = {}  # reasons, by the ids of encodings
        self._searched: set[ua.NodeId] = set()  # structures that were looked up in dictionaries
        self._dictionaries: Dictionaries | None = None
        self.labels: dict[ua.NodeId, dict[int, str]] = {}
        """Names of enumeration values, by data type."""

    async def learn(self, session: Session, data_types: Iterable[ua.NodeId], *, in_dictionaries: bool = True) -> None:
        """Read types, and the types of their fields, `in_dictionaries` too if need be. Raises `REQUEST_ERRORS`."""
        wanted = {one for one in data_types if not self._known(one)}
        await self._learn_definitions(session, wanted)
        undefined = [one for one in self._supers if in_dictionaries and self._is_undefined_structure(one)]
        if undefined:
            if self._dictionaries is None:
                self._dictionaries = Dictionaries(session)
            found = await self._dictionaries.learn(undefined)
            self._searched.update(undefined)
            self._definitions |= found.structures
            self._supers |= found.supertypes
            self.labels |= found.names
            self._left_out |= found.left_out
            # the types of the standard that their fields have
            await self._learn_definitions(session, {one for one in _inside(found.structures) if not self._known(one)})

    async def learn_encodings(self, session: Session, encodings: Iterable[ua.NodeId]) -> None:
        """Read the types of values by the ids of their encodings, since the types of their variables are abstract.

        Raises `REQUEST_ERRORS`.
        """
        known = {one.DefaultEncodingId for one in self._definitions.values()}
        asked = list(dict.fromkeys(one for one in encodings if one not in known))[:MOST]
        answers = await references(session, asked, ua.ObjectIds.HasEncoding, back=True)
        for encoding, answer in zip(asked, answers, strict=True):
            data_type = local(session, answer.found[0].NodeId) if answer.found else None
            if data_type is not None:
                self._encodings[encoding] = data_type
        await self.learn(session, set(self._encodings.values()))

    async def _learn_definitions(self, session: Session, wanted: set[ua.NodeId]) -> None:
        for _ in range(ROUNDS):
            if not wanted or len(self._supers) + len(self._definitions) > MOST:
                return
            asked = list(wanted)
            answers = await session.read(asked, ua.AttributeIds.DataTypeDefinition)
            rest = []
            for data_type, definition in zip(asked, answers.values, strict=True):
                if isinstance(definition, ua.StructureDefinition):
                    self._definitions[data_type] = definition
                    continue
                if isinstance(definition, ua.EnumDefinition):
                    self.labels[data_type] = {
                        one.Value: one.DisplayName.Text or one.Name or "" for one in definition.Fields
                    }
                rest.append(data_type)
            self._supers.update(zip(rest, await _supertypes(session, rest), strict=True))
            inside = _inside(self._definitions)
            above = {one for one in self._supers.values() if one is not None}
            wanted = {one for one in inside | above if not self._known(one)}

    def _is_undefined_structure(self, data_type: ua.NodeId) -> bool:
        return (
            data_type not in self._definitions
            and data_type not in self._searched
            and self._root(data_type) == int(ua.ObjectIds.Structure)
        )

    def is_abstract(self, data_type: object) -> bool:
        """Return True if a value may be a structure that the data type of its variable does not describe."""
        if not isinstance(data_type, ua.NodeId) or data_type.is_null():
            return True
        any_structure = {int(ua.ObjectIds.Structure), int(ua.ObjectIds.BaseDataType), None}
        return data_type not in self._definitions and self._root(data_type) in any_structure

    def is_enumeration(self, data_type: ua.NodeId) -> bool:
        """Return True if values of a type are numbers that have names."""
        return self._root(data_type) == _ENUMERATION

    def structures(self, labels: Mapping[tuple[OpcUaGroup, int], Mapping[int, str]] | None = None) -> Structures:
        """Return the structure definitions; `labels` are those of points."""
        defined = {data_type: self._structure(one) for data_type, one in self._definitions.items()}
        encodings = {one: data_type for one, data_type in self._encodings.items() if data_type in defined} | {
            one.DefaultEncodingId: data_type
            for data_type, one in self._definitions.items()
            if not one.DefaultEncodingId.is_null()
        }
        return Structures(defined, encodings, labels, self._left_out)

    def definition(self, data_type: ua.NodeId) -> ua.StructureDefinition | None:
        """Return the definition of a structure; None for another type, or without a definition."""
        return self._definitions.get(data_type)

    def built_in(self, data_type: ua.NodeId) -> int | None:
        """Return the number of the built-in type by which values are sent; None of a structure or an unknown type."""
        kind = self._kind(data_type)
        return kind if isinstance(kind, int) else None

    def _known(self, data_type: ua.NodeId) -> bool:
        return _standard(data_type) is not None or data_type in self._definitions or data_type in self._supers

    def _structure(self, definition: ua.StructureDefinition) -> Structure:
        members = []
        for field in definition.Fields:
            subtyped = definition.StructureType in _MAYBE_SUBTYPES and field.IsOptional
            kind = self._kind(field.DataType)
            if subtyped:  # sent in a frame that contains the type id of the subtype (Part 6, 5.2.6)
                kind = ua.VariantType.ExtensionObject if isinstance(kind, ua.NodeId) else ua.VariantType.Variant
            optional = field.IsOptional and not subtyped
            members.append(Member(field.Name or "", kind if isinstance(kind, ua.NodeId) else int(kind),
                                  max(field.ValueRank, 0), optional, self.labels.get(field.DataType)))  # fmt: skip
        return Structure(definition.StructureType, tuple(members))

    def _kind(self, data_type: ua.NodeId) -> int | ua.NodeId:
        """Return the built-in type by which values are sent, or the data type of a structure.

        A type without a known supertype is returned as it is: reading its values raises an error.
        """
        if data_type in self._definitions:
            return data_type
        root = self._root(data_type)
        return data_type if root is None else _AS.get(root, root)

    def _root(self, data_type: ua.NodeId) -> int | None:
        """Return the standard type that is a supertype of a type."""
        current: ua.NodeId | None = data_type
        for _ in range(ROUNDS):
            if current is None:
                return None
            standard = _standard(current)
            if standard is not None:
                return standard
            current = self._supers.get(current)
        return None


def _inside(definitions: Mapping[ua.NodeId, ua.StructureDefinition]) -> set[ua.NodeId]:
    """Return the data types of fields."""
    return {field.DataType for one in definitions.values() for field in one.Fields}


def _standard(data_type: ua.NodeId) -> int | None:
    """Return the number of a type that is known without a request."""
    number = data_type.Identifier
    if data_type.NamespaceIndex != 0 or not isinstance(number, int):
        return None
    return number if 0 < number <= _BUILT_IN or number in _AS else None


async def _supertypes(session: Session, data_types: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
    """Return the supertype of each type, or None."""
    answers = await references(session, data_types, SUBTYPES, ua.NodeClass.DataType, back=True)
    return [local(session, answer.found[0].NodeId) if answer.found else None for answer in answers]
