"""Reads the names of types of objects and variables, and of their supertypes (Part 3, 4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.companion_names import Qualified
from drivers.opcua.browse.references import SUBTYPES, local, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drivers.opcua.connection.session import Session

ROUNDS = 30
"""Maximum number of levels of supertypes."""


class TypeHierarchy:
    """The types of one server. Names of namespace 0 have an empty URI."""

    def __init__(self, session: Session) -> None:
        """Create an empty hierarchy without a request."""
        self._session = session
        self._names: dict[ua.NodeId, Qualified] = {}
        self._above: dict[ua.NodeId, ua.NodeId | None] = {}

    async def learn(self, types: Iterable[ua.ExpandedNodeId]) -> None:
        """Read types that are not known yet, and their supertypes. Raises `REQUEST_ERRORS`."""
        wanted = {one for kind in types if (one := local(self._session, kind)) is not None and not one.is_null()}
        for _ in range(ROUNDS):
            asked = [one for one in wanted if one not in self._above]
            if not asked:
                return
            answers = await references(self._session, asked, SUBTYPES, back=True)
            unnamed = [one for one in asked if one not in self._names]
            for one, name in zip(unnamed, await names(self._session, unnamed), strict=True):
                self._names[one] = name
            wanted = set()
            for one, answer in zip(asked, answers, strict=True):
                above = local(self._session, answer.found[0].NodeId) if answer.found else None
                self._above[one] = above
                if above is not None:
                    self._names[above] = qualified(self._session.uris, answer.found[0].BrowseName)
                    wanted.add(above)

    def of(self, kind: ua.ExpandedNodeId) -> tuple[Qualified, ...]:
        """Return the name of a type, then the names of its supertypes."""
        found: list[Qualified] = []
        current = local(self._session, kind)
        while current is not None and current in self._names and len(found) < ROUNDS:
            found.append(self._names[current])
            current = self._above.get(current)
        return tuple(found)


async def names(session: Session, nodes: list[ua.NodeId]) -> list[Qualified]:
    """Return the browse names of nodes; the node id of a node without a browse name."""
    answers = (await session.read(nodes, ua.AttributeIds.BrowseName)).values
    return [
        qualified(session.uris, name) if isinstance(name, ua.QualifiedName) else Qualified("", node.to_string())
        for node, name in zip(nodes, answers, strict=True)
    ]


def qualified(uris: Sequence[str], name: ua.QualifiedName) -> Qualified:
    """Return a browse name with the URI of its namespace, which is empty for the standard's namespace."""
    index = name.NamespaceIndex
    return Qualified(uris[index] if 0 < index < len(uris) else "", name.Name or "")
