"""Finds the node at which an exploration starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.browse.nodes import OBJECTS, BrowsedNode
from drivers.opcua.browse.references import local, references
from drivers.opcua.browse.resolve import resolved
from drivers.opcua.node_address import BrowsePath
from drivers.opcua.settings import OpcUaSource
from drivers.scan import Group

if TYPE_CHECKING:
    from drivers.opcua.connection.session import Session
    from drivers.opcua.node_address import Node, Step
    from drivers.opcua.settings import OpcUaConnection

HIGHEST = 30
"""Maximum number of levels from a node up to the Objects folder."""


async def start_at(session: Session, written: Node | BrowsePath | None, settings: OpcUaConnection) -> BrowsedNode:
    """Return the node to start from, with its parents up to the Objects folder.

    If neither the path nor the connection names a namespace, the names of all namespaces match. Raises `LookupError`
    if the node does not exist, and `REQUEST_ERRORS`.
    """
    top = BrowsedNode(OBJECTS, ua.QualifiedName("Objects"), display="Objects")
    if written is None:
        return top
    if isinstance(written, BrowsePath):
        found = top
        for step in written.steps:
            found = await _below(session, found, step, settings.namespace)
        return found
    source = OpcUaSource.model_validate({"node": str(written)})
    [node] = await resolved(session, Group("", settings, ("start",), (source,), 1.0), [0])
    if not isinstance(node, ua.NodeId):
        raise LookupError(node.code)  # noqa: TRY004 - the node of a user's settings is missing
    climbed = await _climbed(session, node)
    if climbed is None:
        where = "" if written.namespace or settings.namespace else f"; write its namespace, as in 'nsu=URI;{written}'"
        raise LookupError(f"the server has no node {written}{where}")
    return climbed


async def _below(session: Session, above: BrowsedNode, step: Step, own: str | None) -> BrowsedNode:
    """Return the node at one step of a path."""
    wanted = step.namespace if step.namespace is not None else own
    [answer] = await references(session, [above.id])
    names = []
    for one in answer.found:
        node, name = local(session, one.NodeId), one.BrowseName
        uri = session.uris[name.NamespaceIndex] if name.NamespaceIndex < len(session.uris) else ""
        if node is not None and name.Name == step.name and wanted in {None, uri, name.NamespaceIndex}:
            return BrowsedNode(node, name, above, variable=one.NodeClass == ua.NodeClass.Variable)
        names.append(name.Name)
    where = f"/{above.path}" if above.path else "Objects"
    raise LookupError(f"{where} has no {step.name}; it has {', '.join(sorted(set(names))[:20]) or 'nothing'}")


async def _climbed(session: Session, node: ua.NodeId) -> BrowsedNode | None:
    """Return a node with its parents, up to the Objects folder if possible."""
    rising = [node]
    while rising[-1] != OBJECTS and len(rising) < HIGHEST:
        [answer] = await references(session, [rising[-1]], back=True)
        higher = [one for ref in answer.found if (one := local(session, ref.NodeId)) is not None]
        if not higher:
            break
        rising.append(OBJECTS if OBJECTS in higher else higher[0])
    names = (await session.read(rising, ua.AttributeIds.BrowseName)).values
    classes = (await session.read(rising, ua.AttributeIds.NodeClass)).values
    if not isinstance(names[0], ua.QualifiedName):
        return None
    found: BrowsedNode | None = None
    for one, name, kind in reversed(list(zip(rising, names, classes, strict=True))):
        found = BrowsedNode(one, name or ua.QualifiedName(), found, variable=kind == ua.NodeClass.Variable)
    return found
