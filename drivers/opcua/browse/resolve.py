"""Resolves the address of a point to a node id at each connect, since a restart of the server may change it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import Fault, Reason, bad
from drivers.opcua.codec.values import fault_of
from drivers.opcua.connection.session import TRANSLATE
from drivers.opcua.events.events import EventSelection
from drivers.opcua.node_address import BrowsePath, Namespace, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup

Resolved = ua.NodeId | Fault
"""The node id of a point on this server, or the fault of a missing node."""

GONE = bad(Reason.NOT_FOUND, "removed from the server")
"""Fault of a node that the server removed."""


async def resolved(session: Session, group: OpcUaGroup, positions: Sequence[int]) -> list[Resolved]:
    """Return the nodes of points of a group, given by position. Raises `REQUEST_ERRORS`."""
    own = group.connection.namespace
    sources = [group.sources[position] for position in positions]
    found: list[Resolved] = []
    paths: dict[int, ua.BrowsePath] = {}
    for place, source in enumerate(sources):
        written = source.node
        try:
            if isinstance(written, Node):
                found.append(_node_id(session, written, own))
            else:
                paths[place] = _browse_path(session, written, own)
                found.append(bad(Reason.NOT_FOUND))
        except LookupError as error:
            found.append(bad(Reason.NOT_FOUND, str(error.args[0])))
    results = await session.in_parts(TRANSLATE, list(paths.values()), partial(_translate, session))
    for place, result in zip(paths, results, strict=True):
        found[place] = _target(result, sources[place].node)
    return found


async def _translate(session: Session, part: Sequence[ua.BrowsePath]) -> Sequence[ua.BrowsePathResult]:
    return await session.client.uaclient.translate_browsepaths_to_nodeids(list(part))


def _target(result: ua.BrowsePathResult, written: object) -> Resolved:
    fault = fault_of(result.StatusCode.value)
    if fault is not None:
        name, _ = get_name_and_doc(result.StatusCode.value)
        return bad(Reason.NOT_FOUND, f"{written}: {name}")
    whole = [target.TargetId for target in result.Targets if target.RemainingPathIndex == 0xFFFFFFFF]  # noqa: PLR2004 - the whole path
    if not whole:
        return bad(Reason.NOT_FOUND, f"{written}: the path leads to another server")
    return ua.NodeId(whole[0].Identifier, whole[0].NamespaceIndex, whole[0].NodeIdType)


def _index(session: Session, namespace: Namespace, own: str | None) -> int:
    """Return the index of a namespace on this server. Raises `LookupError` if the server does not have it."""
    wanted = own if namespace is None else namespace
    if wanted is None:
        return 0
    if isinstance(wanted, int):
        return wanted
    if wanted not in session.uris:
        raise LookupError(f"namespace {wanted} is not on the server")
    return session.uris.index(wanted)


def _node_id(session: Session, node: Node, own: str | None) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns={_index(session, node.namespace, own)};{node.identifier}")


def _browse_path(session: Session, path: BrowsePath, own: str | None) -> ua.BrowsePath:
    steps = [
        ua.RelativePathElement(
            ReferenceTypeId=ua.NodeId(ua.Int32(ua.ObjectIds.HierarchicalReferences)),
            IsInverse=False,  # type: ignore[arg-type] # asyncua accepts a bool
            IncludeSubtypes=True,  # type: ignore[arg-type] # as above
            TargetName=ua.QualifiedName(step.name, ua.UInt16(_index(session, step.namespace, own))),
        )
        for step in path.steps
    ]
    return ua.BrowsePath(ua.NodeId(ua.Int32(ua.ObjectIds.ObjectsFolder)), ua.RelativePath(steps))


def event_selection(session: Session, group: OpcUaGroup, position: int) -> EventSelection | None:
    """Return the events that a point selects, with the server's namespace indexes.

    Returns None if a type belongs to a namespace that the server does not have. Such fields are left out: no event of
    this server has them.
    """
    source, own = group.sources[position], group.connection.namespace
    try:
        types = tuple(_node_id(session, node, own) for node in source.event_types)
    except LookupError:
        return None
    fields = {}
    for path in source.event_fields:
        with suppress(LookupError):
            fields[path.identifier] = tuple(
                ua.QualifiedName(step.name, ua.UInt16(_index(session, step.namespace, own))) for step in path.steps
            )
    return EventSelection(types, fields, source.severity)
