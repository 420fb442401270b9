"""Looks up structures in the type dictionaries of a server (Part 3, Annex C of editions before 1.04; Part 5, 11.5).

    data type --HasEncoding--> Default Binary --HasDescription--> description <--HasComponent-- dictionary

The value of a description is the name of the type in the dictionary, and the value of a dictionary is its document.
The structures are returned as StructureDefinitions, as if the server had the attribute DataTypeDefinition. A type
that only the dictionary names, since it is only used in others, has a node id that no server uses.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.references import local, references
from drivers.opcua.codec.type_dictionary import (
    STANDARD,
    TypeDictionary,
    TypeName,
    built_in,
    read_dictionary,
)
from drivers.opcua.errors import TOO_LARGE, DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.codec.type_dictionary import DescribedStructure
    from drivers.opcua.connection.session import Session

MOST_DICTIONARIES = 50
"""Dictionaries of one server that are read."""

MOST_TYPES = 2000
"""Structures of dictionaries that are used."""

_BINARY_ENCODING = "DefaultBinary"
"""The browse name of the binary encoding, without the blank that some servers leave out."""

_UNUSED = 0xFFFF
"""The index of a namespace that no server has."""


@dataclass(slots=True)
class DictionaryTypes:
    """Types of dictionaries, by data type: definitions, and the supertypes and names of enumerations.

    `left_out` are the reasons why structures can't be read, by the ids of their encodings.
    """

    structures: dict[ua.NodeId, ua.StructureDefinition] = field(default_factory=dict)
    supertypes: dict[ua.NodeId, ua.NodeId | None] = field(default_factory=dict)
    names: dict[ua.NodeId, dict[int, str]] = field(default_factory=dict)
    left_out: dict[ua.NodeId, str] = field(default_factory=dict)


class Dictionaries:
    """The type dictionaries of one server."""

    def __init__(self, session: Session) -> None:
        """Prepare without a request."""
        self._session = session
        self._read: dict[ua.NodeId, TypeDictionary | None] = {}  # None if it can't be read
        self._all_read = False
        self._found = DictionaryTypes()
        self._pending: list[tuple[ua.StructureDefinition, DescribedStructure]] = []  # without fields

    async def learn(self, data_types: Sequence[ua.NodeId]) -> DictionaryTypes:
        """Return the structures among data types, and the types of their fields. Raises `REQUEST_ERRORS`."""
        for data_type, encoding, name, dictionary in await self._described(data_types):
            described = await self._find(name, dictionary)
            if described is None:
                self._found.left_out[encoding] = self._why(name)
            else:
                self._define(data_type, described, encoding)
        while self._pending:
            definition, structure = self._pending.pop()
            definition.Fields = [
                ua.StructureField(
                    Name=one.name,
                    DataType=await self._data_type(one.type),
                    ValueRank=ua.Int32(1 if one.array else -1),
                    IsOptional=one.optional and structure.form is ua.StructureType.StructureWithOptionalFields,
                )
                for one in structure.fields
            ]
        return self._found

    async def _described(
        self, data_types: Sequence[ua.NodeId]
    ) -> list[tuple[ua.NodeId, ua.NodeId, str, ua.NodeId | None]]:
        """Return the data types that have a description: with encoding, name, and the node of the dictionary."""
        encodings = await self._targets(data_types, ua.ObjectIds.HasEncoding, name=_BINARY_ENCODING)
        encoded = [
            (one, encoding) for one, encoding in zip(data_types, encodings, strict=True) if encoding is not None
        ]
        descriptions = await self._targets([encoding for _, encoding in encoded], ua.ObjectIds.HasDescription)
        found = [(*one, node) for one, node in zip(encoded, descriptions, strict=True) if node is not None]
        nodes = [node for _, _, node in found]
        names = (await self._session.read(nodes)).values
        above = await self._targets(nodes, ua.ObjectIds.HasComponent, back=True)
        return [
            (data_type, encoding, name, dictionary)
            for (data_type, encoding, _), name, dictionary in zip(found, names, above, strict=True)
            if isinstance(name, str) and name
        ]

    async def _targets(
        self, nodes: Sequence[ua.NodeId], kind: int, *, name: str = "", back: bool = False
    ) -> list[ua.NodeId | None]:
        """Return the first node to which each node refers, with a browse name without blanks if it is given."""
        found: list[ua.NodeId | None] = []
        for answer in await references(self._session, nodes, kind, back=back):
            named = [one for one in answer.found if not name or (one.BrowseName.Name or "").replace(" ", "") == name]
            found.append(local(self._session, named[0].NodeId) if named else None)
        return found

    async def _find(self, name: str, node: ua.NodeId | None) -> DescribedStructure | None:
        """Return a structure by its name in a dictionary, in any dictionary if that is not known."""
        if node is not None:
            dictionary = await self._dictionary(node)
            return _structure_of(dictionary, name)
        await self._read_all()
        return next((found for one in self._read.values() if (found := _structure_of(one, name)) is not None), None)

    def _why(self, name: str) -> str:
        """Return why a structure is not described by the dictionaries that were read."""
        reasons = (one.left_out.get(name) for one in self._read.values() if one is not None)
        return next((reason for reason in reasons if reason), "no type dictionary that can be read describes it")

    async def _dictionary(self, node: ua.NodeId) -> TypeDictionary | None:
        """Return the dictionary of a node, None if it can't be read."""
        if node not in self._read:
            self._read[node] = None
            if len(self._read) <= MOST_DICTIONARIES:
                # without the dictionary its structures stay encoded
                with suppress(DecodeError):
                    self._read[node] = await asyncio.to_thread(read_dictionary, await self._document(node))
        return self._read[node]

    async def _document(self, node: ua.NodeId) -> bytes:
        """Return the document of a dictionary, empty if the server can't send it."""
        try:
            [document] = (await self._session.read([node])).values
        except ua.UaStatusCodeError as error:
            if error.code not in TOO_LARGE:
                raise
            return b""
        if isinstance(document, str):
            return document.encode("utf-8", "surrogateescape")
        return document if isinstance(document, bytes) else b""

    async def _read_all(self) -> None:
        """Read all dictionaries: those of the server's type system of OPC Binary."""
        if self._all_read:
            return
        self._all_read = True
        system = ua.NodeId(ua.Int32(ua.ObjectIds.OPCBinarySchema_TypeSystem))
        [answer] = await references(self._session, [system], ua.ObjectIds.HasComponent)
        for one in answer.found:
            node = local(self._session, one.NodeId)
            if node is not None:
                await self._dictionary(node)

    def _define(self, data_type: ua.NodeId, structure: DescribedStructure, encoding: ua.NodeId | None = None) -> None:
        """Add the definition of a structure, whose fields `learn` adds."""
        if data_type in self._found.structures or len(self._found.structures) >= MOST_TYPES:
            return
        definition = ua.StructureDefinition(StructureType=structure.form)
        if encoding is not None:
            definition.DefaultEncodingId = encoding
        self._found.structures[data_type] = definition
        self._pending.append((definition, structure))

    async def _data_type(self, name: TypeName) -> ua.NodeId:
        """Return the data type of a field; add a type that is in a dictionary."""
        kind = built_in(name)
        if kind is not None:
            return ua.NodeId(ua.Int32(kind.value))
        if name.uri == STANDARD:
            return ua.NodeId(ua.Int32(getattr(ua.ObjectIds, name.name, 0)))
        data_type = ua.NodeId(ua.String(f"{name.uri} {name.name}"), ua.Int16(_UNUSED))
        dictionary = await self._of_uri(name.uri)
        if dictionary is None:
            return data_type  # without a definition: reading its values raises an error
        if (enumeration := dictionary.enumerations.get(name.name)) is not None:
            number = (
                ua.ObjectIds.Enumeration if enumeration.type == "Int32" else ua.VariantType[enumeration.type].value
            )
            self._found.supertypes[data_type] = ua.NodeId(ua.Int32(number))
            self._found.names[data_type] = enumeration.names
        elif (structure := dictionary.structures.get(name.name)) is not None:
            self._define(data_type, structure)
        return data_type

    async def _of_uri(self, uri: str) -> TypeDictionary | None:
        """Return the dictionary with a URI."""
        for last in (False, True):
            found = next((one for one in self._read.values() if one is not None and one.uri == uri), None)
            if found is not None or last:
                return found
            await self._read_all()
        return None


def _structure_of(dictionary: TypeDictionary | None, name: str) -> DescribedStructure | None:
    return dictionary.structures.get(name) if dictionary is not None else None
