"""The nodes of a NodeSet2 file, and the references between them (OPC UA 6, annex F)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element as AnyElement

    from gateway.importers.xml_tree import Element

UA = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"
"""The XML namespace of a nodeset."""

STANDARD = "http://opcfoundation.org/UA/"
"""The namespace 0 of OPC UA."""

NAMES = {
    "References": "i=31", "HierarchicalReferences": "i=33", "HasChild": "i=34", "Organizes": "i=35",
    "HasModellingRule": "i=37", "HasTypeDefinition": "i=40", "Aggregates": "i=44", "HasSubtype": "i=45",
    "HasProperty": "i=46", "HasComponent": "i=47", "HasOrderedComponent": "i=49", "HasAddIn": "i=17604",
}  # fmt: skip
"""Reference types by the names that files use as aliases."""

HIERARCHICAL = {"i=33", "i=34", "i=35", "i=44", "i=46", "i=47", "i=49", "i=17604"}
"""Reference types from a node to its parts; subtypes that a file defines are added."""

_ID = re.compile(r"(?:ns=(\d{1,5});)?([sigb]=.+)", re.DOTALL)


class Qualified(NamedTuple):
    """A browse name: the index of its namespace in the file, and the name."""

    namespace: int
    name: str


class NodeSet:
    """Nodes by their id as written, with aliases resolved."""

    def __init__(self, root: Element) -> None:
        self.uris = [STANDARD, *((one.text or "").strip() for one in root.iterfind(f"{UA}NamespaceUris/{UA}Uri"))]
        self._aliases = dict(NAMES)
        for one in root.iterfind(f"{UA}Aliases/{UA}Alias"):
            self._aliases[one.get("Alias", "")] = _plain(one.text or "")
        self.elements: dict[str, Element] = {}
        for element in root:
            if identity := _plain(element.get("NodeId", "")):
                self.elements.setdefault(identity, element)
        self._children: dict[str, dict[str, None]] = {}
        self._parents: dict[str, str] = {}
        self._supertypes: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._rules: dict[str, str] = {}
        self._link()

    def _link(self) -> None:
        references = list(self._references())
        for source, kind, forward, target in references:
            if kind == "i=45":
                first, second = (source, target) if forward else (target, source)
                self._supertypes.setdefault(second, first)
        hierarchical = set(HIERARCHICAL) | {one for one, _ in self.of_class("UAReferenceType") if self._divides(one)}
        for source, kind, forward, target in references:
            first, second = (source, target) if forward else (target, source)
            if kind == "i=40" and forward:
                self._types[source] = target
            elif kind == "i=37" and forward:
                self._rules[source] = target
            elif kind in hierarchical:
                self._children.setdefault(first, {})[second] = None
                self._parents.setdefault(second, first)
        for identity, element in self.elements.items():
            parent = _plain(element.get("ParentNodeId", ""))
            if parent and identity not in self._parents:
                self._parents[identity] = parent
                self._children.setdefault(parent, {})[identity] = None

    def _divides(self, kind: str) -> bool:
        """Return whether a reference type is a subtype of those from a node to its parts."""
        seen: set[str] = set()
        above: str | None = kind
        while above is not None and above not in seen:
            if above in HIERARCHICAL:
                return True
            seen.add(above)
            above = self.supertype(above)
        return False

    def _references(self) -> Iterator[tuple[str, str, bool, str]]:
        """Yield source, type, direction and target of each reference."""
        for identity, element in self.elements.items():
            for one in element.iterfind(f"{UA}References/{UA}Reference"):
                forward = one.get("IsForward", "true").strip().lower() not in {"false", "0"}
                yield identity, self.resolved(one.get("ReferenceType", "")), forward, self.resolved(one.text or "")

    def resolved(self, written: str) -> str:
        """Return a node id in place of an alias."""
        plain = _plain(written)
        return self._aliases.get(plain, plain)

    @staticmethod
    def identity(element: Element) -> str:
        """Return the id of a node, as written."""
        return _plain(element.get("NodeId", ""))

    @staticmethod
    def index_of_id(identity: str) -> int:
        """Return the index of an id's namespace in the file."""
        match = _ID.fullmatch(identity)
        return int(match[1] or 0) if match else 0

    @staticmethod
    def identifier(identity: str) -> str:
        """Return an id without its namespace, as in `i=17`."""
        match = _ID.fullmatch(identity)
        return match[2] if match else identity

    def uri_of_id(self, identity: str) -> str:
        """Return the URI of an id's namespace, nothing if the file does not have it."""
        index = self.index_of_id(identity)
        return self.uris[index] if index < len(self.uris) else ""

    def index_of(self, uri: str) -> int:
        """Return the index of a URI in the file, which has it."""
        return self.uris.index(uri)

    @staticmethod
    def browse_name(element: Element) -> Qualified:
        """Return the browse name of a node."""
        index, colon, name = element.get("BrowseName", "").partition(":")
        if colon and re.fullmatch(r"\d{1,5}", index):
            return Qualified(int(index), name)
        return Qualified(0, element.get("BrowseName", ""))

    def of_class(self, name: str) -> list[tuple[str, Element]]:
        """Return the nodes of a class, as in `UAVariable`, by their ids."""
        return [(identity, one) for identity, one in self.elements.items() if one.tag == f"{UA}{name}"]

    def types(self) -> list[Element]:
        """Return the types of objects of which there can be instances."""
        kinds = self.of_class("UAObjectType")
        return [one for _, one in kinds if one.get("IsAbstract", "false").lower() not in {"true", "1"}]

    def children(self, identity: str) -> list[str]:
        """Return the ids of the parts of a node."""
        return list(self._children.get(identity, ()))

    def parent(self, identity: str) -> str | None:
        """Return the id of the node that a node is a part of."""
        return self._parents.get(identity)

    def supertype(self, identity: str) -> str | None:
        """Return the id of the supertype of a type."""
        return self._supertypes.get(identity)

    def type_of(self, identity: str) -> str | None:
        """Return the id of the type of an object or variable."""
        return self._types.get(identity)

    def modelling_rule(self, identity: str) -> str | None:
        """Return the id of the modelling rule of a part of a type."""
        return self._rules.get(identity)


def _plain(written: str) -> str:
    """Return a node id without blanks around it, and without `ns=0;`."""
    return written.strip().removeprefix("ns=0;")


def own_text(element: AnyElement, name: str) -> str:
    """Return the text of a child with a name."""
    return (element.findtext(f"{UA}{name}") or "").strip()


def text_of(element: AnyElement, name: str) -> str:
    """Return the text of the first element with a name below an element."""
    for one in element.iter():
        if one.tag.rpartition("}")[2] == name and one is not element:
            return (one.text or "").strip()
    return ""
