"""Reads raw history values (HistoryRead, Part 4, 5.10.3), one node and time range at a time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.codec.values import EPOCH, microseconds
from drivers.opcua.errors import NO_HISTORY, DecodeError

if TYPE_CHECKING:
    from drivers.opcua.connection.session import Session

VALUES_AT_ONCE = 1000
"""Maximum number of values of one node in one turn."""

ANSWERS_AT_ONCE = 100
"""Maximum number of responses of one node in one turn: each may contain a single value, or no value."""


class Answer(NamedTuple):
    """The values of a time range in the order of source times, whether there are more, and a status code."""

    values: list[tuple[int, ua.DataValue]]
    more: bool
    status: int


async def read_past(session: Session, node: ua.NodeId, start: int, end: int) -> Answer:
    """Read the first values of a time range, and release the continuation point (Part 4, 7.9).

    A server has few continuation points, and the time of the last value is enough to read the next values. `start`
    and `end` are in microseconds since the epoch. Raises `REQUEST_ERRORS` if the connection is lost.
    """
    values: list[tuple[int, ua.DataValue]] = []
    more, status, point = False, 0, b""
    for _ in range(ANSWERS_AT_ONCE):
        result = await _ask(session, node, start, end, point)
        if not result.StatusCode.is_good():
            status = 0 if result.StatusCode.value in NO_HISTORY else result.StatusCode.value
            point = result.ContinuationPoint or point
            break
        found = _values(result)
        values += found
        point = result.ContinuationPoint or b""
        more = bool(point) or len(found) >= VALUES_AT_ONCE
        if not point or len(values) >= VALUES_AT_ONCE:
            break
    if point:
        with suppress(ua.UaStatusCodeError):  # it may no longer exist
            await session.client.uaclient.history_read(_request(node, start, end, point, release=True))
    return Answer(sorted(values, key=lambda one: one[0]), more, status)


async def _ask(session: Session, node: ua.NodeId, start: int, end: int, point: bytes) -> ua.HistoryReadResult:
    """Request values from the start or from a continuation point on; return a refusal as a result, too.

    All nodes of a request have the same time range, so each gap is a separate request.
    """
    try:
        results = await session.client.uaclient.history_read(_request(node, start, end, point))
    except ua.UaStatusCodeError as error:
        if isinstance(session.translated(error), NotConnected):
            raise
        return ua.HistoryReadResult(ua.StatusCode(ua.UInt32(error.code)))
    if len(results) != 1:
        raise DecodeError(f"{len(results)} results came for 1 node")
    return results[0]


def _request(
    node: ua.NodeId, start: int, end: int, point: bytes, *, release: bool = False
) -> ua.HistoryReadParameters:
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False,
        StartTime=_moment(start),
        EndTime=_moment(end),
        NumValuesPerNode=ua.Counter(VALUES_AT_ONCE),
        ReturnBounds=False,
    )
    return ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=release,
        NodesToRead=[
            ua.HistoryReadValueId(NodeId=node, ContinuationPoint=ua.ContinuationPoint(point) if point else None)
        ],
    )


def _moment(time: int) -> ua.DateTime:
    return cast("ua.DateTime", (EPOCH + timedelta(microseconds=time)).astimezone(UTC).replace(tzinfo=None))


def _values(result: ua.HistoryReadResult) -> list[tuple[int, ua.DataValue]]:
    """Return the values of a response with their source times."""
    if not isinstance(result.HistoryData, ua.HistoryData):
        return []
    return [
        (microseconds(time), value)
        for value in result.HistoryData.DataValues
        if isinstance(time := value.SourceTimestamp, datetime)
    ]
