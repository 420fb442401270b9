"""Reads the references of nodes (Part 4, 5.9.2 and 5.9.3), with continuation points."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.connection.session import BROWSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.opcua.connection.session import Session

MOST = 100_000
"""Maximum number of references of one node."""

PER_ANSWER = 1000
"""References of one node in one response; continuation points return more."""

HIERARCHICAL, PARTS, SUBTYPES = (
    ua.ObjectIds.HierarchicalReferences,
    ua.ObjectIds.Aggregates,  # properties, and the components that some servers have instead
    ua.ObjectIds.HasSubtype,
)
"""Types of references; each includes its subtypes (Part 3, 7)."""


@dataclass(slots=True)
class References:
    """The references of one node; `status` is bad if the server refused, `whole` False if there are more."""

    found: list[ua.ReferenceDescription] = field(default_factory=list)
    status: int = 0
    whole: bool = True


async def references(
    session: Session,
    nodes: Sequence[ua.NodeId],
    kind: int = HIERARCHICAL,
    classes: int = 0,
    *,
    back: bool = False,
    most: int = MOST,
) -> list[References]:
    """Return the references of nodes, of one type and its subtypes, forward or inverse.

    `classes` is a mask of the requested node classes, 0 for all. Raises `REQUEST_ERRORS`.
    """
    questions = [_question(node, kind, classes, back=back) for node in nodes]
    send = partial(_send, session, most)
    answers = await session.in_parts(BROWSE, questions, send)
    for place, answer in enumerate(answers):
        # with several nodes in a request the server may run out of continuation points
        if answer.status == ua.StatusCodes.BadNoContinuationPoints:
            [answers[place]] = await session.in_parts(BROWSE, [questions[place]], send)
    return answers


def local(session: Session, node: ua.ExpandedNodeId) -> ua.NodeId | None:
    """Return the id of a node of this server; None for a node of another server (Part 4, 7.16)."""
    if getattr(node, "ServerIndex", 0):
        return None
    uri = getattr(node, "NamespaceUri", None)
    if uri and uri not in session.uris:
        return None
    index = session.uris.index(uri) if uri else node.NamespaceIndex
    return ua.NodeId(node.Identifier, ua.Int16(index), node.NodeIdType)


def _question(node: ua.NodeId, kind: int, classes: int, *, back: bool) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Inverse if back else ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.Int32(kind)),
        IncludeSubtypes=True,
        NodeClassMask=ua.UInt32(classes),
        ResultMask=ua.UInt32(ua.BrowseResultMask.All),
    )


async def _send(session: Session, most: int, part: Sequence[ua.BrowseDescription]) -> list[References]:
    results = await session.client.uaclient.browse(
        ua.BrowseParameters(NodesToBrowse=list(part), RequestedMaxReferencesPerNode=PER_ANSWER)
    )
    answers = [References(list(one.References or ()), one.StatusCode.value) for one in results]
    points = {place: point for place, one in enumerate(results) if (point := one.ContinuationPoint)}
    while points:
        more = await session.in_parts(BROWSE, list(points.values()), partial(_go_on, session))
        wanted, enough = {}, []
        for place, result in zip(points, more, strict=True):
            answer, point = answers[place], result.ContinuationPoint
            answer.found += result.References or ()
            if result.StatusCode.value >> 30:
                answer.status = result.StatusCode.value
            elif point and (not result.References or len(answer.found) >= most):
                answer.whole = False
                enough.append(point)
            elif point:
                wanted[place] = point
        points = wanted
        if enough:
            await session.in_parts(BROWSE, enough, partial(_go_on, session, release=True))
    return answers


async def _go_on(session: Session, points: Sequence[bytes], *, release: bool = False) -> list[ua.BrowseResult]:
    """Continue browsing, or release continuation points."""
    return await session.client.uaclient.browse_next(
        ua.BrowseNextParameters(ReleaseContinuationPoints=release, ContinuationPoints=list(points))
    )
