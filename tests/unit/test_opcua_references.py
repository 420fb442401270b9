"""References are followed to their end, with servers that remember little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from asyncua import ua

from drivers.opcua.browse.references import local, references

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.opcua.connection.session import Session

MANY = 7
"""References of every node."""


class Remembering:
    """A server and the session with it: two references an answer, and so many nodes remembered at a time."""

    def __init__(self, room: int, *, endless: bool = False) -> None:
        self.client = self.uaclient = self
        self.uris = ["http://opcfoundation.org/UA/", "urn:a", "urn:b"]
        self.open: dict[bytes, int] = {}
        self.together: list[int] = []
        self._room = room
        self._endless = endless

    async def in_parts(
        self, _: str, items: Sequence[Any], send: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
    ) -> list[Any]:
        return list(await send(items)) if items else []

    async def browse(self, parameters: ua.BrowseParameters) -> list[ua.BrowseResult]:
        self.together.append(len(parameters.NodesToBrowse))
        return [self._answer(f"{one.NodeId.Identifier}".encode(), 0) for one in parameters.NodesToBrowse]

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        given = {point: self.open.pop(point) for point in parameters.ContinuationPoints}
        if parameters.ReleaseContinuationPoints:
            return [ua.BrowseResult() for _ in given]
        return [self._answer(point, at) for point, at in given.items()]

    def _answer(self, point: bytes, at: int) -> ua.BrowseResult:
        size = 2 if self._endless else min(2, MANY - at)
        found = [
            ua.ReferenceDescription(NodeId=ua.ExpandedNodeId(ua.Int32(at + i), ua.Int16(1))) for i in range(size)
        ]
        more = self._endless or at + size < MANY
        if more and len(self.open) >= self._room:
            return ua.BrowseResult(StatusCode=ua.StatusCode(ua.UInt32(ua.StatusCodes.BadNoContinuationPoints)))
        if more:
            self.open[point] = at + size
        return ua.BrowseResult(ContinuationPoint=point if more else None, References=found)


def nodes(count: int) -> list[ua.NodeId]:
    return [ua.NodeId(ua.Int32(i), ua.Int16(1)) for i in range(count)]


@pytest.mark.parametrize("room", [1, 2, 5])
async def test_all_references_are_found_whatever_the_server_remembers(room: int) -> None:
    """Nodes for which the server has no continuation point are browsed one by one (Part 4, 5.9.2)."""
    server = Remembering(room)
    answers = await references(cast("Session", server), nodes(4))
    assert [len(answer.found) for answer in answers] == [MANY] * 4
    assert all(answer.whole and answer.status == 0 for answer in answers)
    assert server.together == [4] + [1] * max(0, 4 - room)
    assert server.open == {}


async def test_an_endless_response_is_ended_and_its_continuation_point_released() -> None:
    """Servers have few continuation points, so the client releases each of them."""
    server = Remembering(5, endless=True)
    [answer] = await references(cast("Session", server), nodes(1), most=10)
    assert len(answer.found) == 10
    assert not answer.whole
    assert server.open == {}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (ua.ExpandedNodeId(ua.Int32(5), ua.Int16(2)), ua.NodeId(ua.Int32(5), ua.Int16(2))),
        (ua.ExpandedNodeId(ua.Int32(5), ua.Int16(0), NamespaceUri="urn:b"), ua.NodeId(ua.Int32(5), ua.Int16(2))),
        (ua.ExpandedNodeId(ua.Int32(5), ua.Int16(0), NamespaceUri="urn:elsewhere"), None),
        (ua.ExpandedNodeId(ua.Int32(5), ua.Int16(1), ServerIndex=1), None),
    ],
)
def test_a_node_of_another_server_has_no_local_node_id(node: ua.ExpandedNodeId, expected: ua.NodeId | None) -> None:
    """Its number can be the number of another node here."""
    assert local(cast("Session", Remembering(1)), node) == expected
