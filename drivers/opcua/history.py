"""What was missed in an outage, read afterwards from the server's own history (Part 11), a little at a time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

from asyncua import ua

from drivers.base import NotConnected, Scan
from drivers.opcua.settings import Time
from drivers.opcua.values import EPOCH, microseconds, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Group
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from drivers.opcua.structures import Structures

VALUES_AT_ONCE = 1000
"""Values of one node in one answer. From so many on, the next are asked for when others have had their turn."""

ANSWERS_AT_ONCE = 100
"""Answers of one node in its turn: a server may well send a value, or none, in each."""

NODES_AT_ONCE = 20
"""Nodes that are asked for in one step."""

TRIES, PAUSE = 5, 5.0
"""How often a gap is asked for that the server does not tell now, and the seconds between."""

RATE = 5000.0
"""Values a second that are asked for at the most: what is fresh goes first, and the server has other work."""

_LATER = {
    ua.StatusCodes.BadNoContinuationPoints,
    ua.StatusCodes.BadContinuationPointInvalid,
    ua.StatusCodes.BadTooManyOperations,
    ua.StatusCodes.BadServerTooBusy,
    ua.StatusCodes.BadTcpServerTooBusy,
    ua.StatusCodes.BadTcpNotEnoughResources,
    ua.StatusCodes.BadResourceUnavailable,
    ua.StatusCodes.BadOutOfMemory,
    ua.StatusCodes.BadTimeout,
    ua.StatusCodes.BadRequestTimeout,
    ua.StatusCodes.BadWaitingForInitialData,
}
"""What a server says that may tell it another time."""

_NOTHING = {ua.StatusCodes.BadNoData, ua.StatusCodes.BadNoDataAvailable, ua.StatusCodes.BadBoundNotFound}
"""What some say instead of `GoodNoData`."""

_HISTORIZED = 0x04
"""In an access level: the history can be read (Part 3, 8.57)."""


class Gap(NamedTuple):
    """A time (microseconds since the epoch, neither end included) in which changes of a point were missed.

    Those of the times in `told` were not. `tries` are those in vain since the last value.
    """

    group: Group
    position: int
    node: ua.NodeId
    start: int
    end: int
    told: frozenset[int] = frozenset()
    tries: int = 0


class _Answer(NamedTuple):
    """What a server told of a gap: values in the order of their source times, whether it has more, and a status."""

    values: list[tuple[int, ua.DataValue]]
    more: bool
    status: int


class Backfill:
    """The gaps of a driver's points. They outlive a session: what was not read in one is read in the next.

    `due` is when to read next, by the event loop's clock; infinite while nothing is missing.
    """

    def __init__(self, counts: Counter[str]) -> None:
        """Prepare; `counts` gets `backfilled`, and `history_refused`, the gaps that are given up."""
        self.due = math.inf
        self._counts = counts
        self._gaps: deque[Gap] = deque()
        self._historized: dict[ua.NodeId, bool] = {}

    def forget_session(self) -> None:
        """Begin anew, with another session, on which nodes may have other ids."""
        self._historized.clear()

    def add(self, gaps: Sequence[Gap]) -> None:
        """Take gaps in."""
        self._gaps += gaps
        if self._gaps:
            self.due = min(self.due, asyncio.get_running_loop().time())

    async def step(self, session: Session, structures: Structures | None, ahead: int, now: int) -> list[Scan]:
        """Read a part of what is missing; `structures` are the server's own, and its clock is `ahead` microseconds.

        Raises what a session's requests raise.
        """
        gaps = [self._gaps.popleft() for _ in range(min(NODES_AT_ONCE, len(self._gaps)))]
        try:
            await self._learn(session, gaps)
            asked = [gap for gap in gaps if self._historized[gap.node]]
            answers = [await _read(session, gap) for gap in asked]
        except BaseException:
            self._gaps.extendleft(reversed(gaps))
            raise
        scans: dict[tuple[Group, int, int], Scan] = {}
        count, refused = 0, False
        for gap, answer in zip(asked, answers, strict=True):
            for time, value in answer.values:
                if gap.start < time < gap.end and time not in gap.told:
                    count += 1
                    _put(scans, gap, _as_of(gap, time, value, ahead), value, structures, now)
            refused |= self._go_on(gap, answer)
        self._counts["backfilled"] += count
        pause = PAUSE if refused else max(0.05, count / RATE)
        self.due = asyncio.get_running_loop().time() + pause if self._gaps else math.inf
        return [scans[key] for key in sorted(scans, key=itemgetter(1, 2))]

    def _go_on(self, gap: Gap, answer: _Answer) -> bool:
        """Put back what is left of a gap, or count that it is given up; return whether the server needs a pause."""
        last = max(gap.start, answer.values[-1][0]) if answer.values else gap.start
        refused = answer.status != 0
        if last >= gap.end or not (answer.more or refused):
            return False
        tries = 0 if last > gap.start else gap.tries + 1  # what does not get on must end, too
        if tries >= TRIES or (refused and answer.status not in _LATER):
            self._counts["history_refused"] += 1
            return False
        self._gaps.append(gap._replace(start=last, tries=tries))
        return refused

    async def _learn(self, session: Session, gaps: Sequence[Gap]) -> None:
        """Ask which nodes have a history that may be read."""
        unknown = list({gap.node for gap in gaps} - self._historized.keys())
        levels = await session.read(unknown, ua.AttributeIds.UserAccessLevel)
        for node, level in zip(unknown, levels.values, strict=True):
            self._historized[node] = isinstance(level, int) and bool(level & _HISTORIZED)


async def _read(session: Session, gap: Gap) -> _Answer:
    """Read the first values of a gap, of as many answers as that takes; no continuation point is kept (Part 4, 7.9).

    A server has few of them, and the next values are found by the time of the last one.
    """
    values: list[tuple[int, ua.DataValue]] = []
    more, status, point = False, 0, b""
    for _ in range(ANSWERS_AT_ONCE):
        result = await _ask(session, gap, point)
        if not result.StatusCode.is_good():
            status = 0 if result.StatusCode.value in _NOTHING else result.StatusCode.value
            point = result.ContinuationPoint or point
            break
        found = _values(result)
        values += found
        point = result.ContinuationPoint or b""
        more = bool(point) or len(found) >= VALUES_AT_ONCE
        if not point or len(values) >= VALUES_AT_ONCE:
            break
    if point:
        with suppress(ua.UaStatusCodeError):  # it may be none any more
            await session.client.uaclient.history_read(_request(gap, point, release=True))
    return _Answer(sorted(values, key=lambda one: one[0]), more, status)


async def _ask(session: Session, gap: Gap, point: bytes) -> ua.HistoryReadResult:
    """Ask for values of a gap from its start, or from a continuation point on; a refusal is a result, too.

    All nodes of a request have one time, so each gap is a request of its own.
    """
    try:
        [result] = await session.client.uaclient.history_read(_request(gap, point))
    except ua.UaStatusCodeError as error:
        if isinstance(session.failed(error), NotConnected):
            raise
        return ua.HistoryReadResult(ua.StatusCode(ua.UInt32(error.code)))
    return result


def _request(gap: Gap, point: bytes, *, release: bool = False) -> ua.HistoryReadParameters:
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False,
        StartTime=_moment(gap.start),
        EndTime=_moment(gap.end),
        NumValuesPerNode=ua.Counter(VALUES_AT_ONCE),
        ReturnBounds=False,
    )
    return ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=release,
        NodesToRead=[
            ua.HistoryReadValueId(NodeId=gap.node, ContinuationPoint=ua.ContinuationPoint(point) if point else None)
        ],
    )


def _moment(time: int) -> ua.DateTime:
    return cast("ua.DateTime", (EPOCH + timedelta(microseconds=time)).astimezone(UTC).replace(tzinfo=None))


def _values(result: ua.HistoryReadResult) -> list[tuple[int, ua.DataValue]]:
    """Return the values of an answer with their source times."""
    if not isinstance(result.HistoryData, ua.HistoryData):
        return []
    return [
        (microseconds(time), value)
        for value in result.HistoryData.DataValues
        if isinstance(time := value.SourceTimestamp, datetime)
    ]


def _as_of(gap: Gap, source: int, value: ua.DataValue, ahead: int) -> int:
    """Return when a value was by the clock of its point; by the gateway's, when it would have arrived."""
    own = cast("OpcUaSource", gap.group.sources[gap.position])
    told = value.ServerTimestamp
    server = microseconds(told) if isinstance(told, datetime) else source
    match own.time or cast("OpcUaConnection", gap.group.connection).time:
        case Time.SOURCE:
            return source
        case Time.SERVER:
            return server
        case Time.GATEWAY:
            return server - ahead


def _put(
    scans: dict[tuple[Group, int, int], Scan],
    gap: Gap,
    time: int,
    value: ua.DataValue,
    structures: Structures | None,
    now: int,
) -> None:
    """Put a value into a scan of its group and time; a scan holds a point once."""
    source = cast("OpcUaSource", gap.group.sources[gap.position])
    status = value.StatusCode.value if value.StatusCode is not None else 0
    found, fault = reading(
        value.Value.Value if value.Value is not None else None,
        status,
        value.Value,
        source.field,
        source.element,
        structures,
    )
    turn = 0
    while (held := scans.get((gap.group, time, turn))) is not None and gap.position in cast("list[int]", held.points):
        turn += 1
    scan = scans.setdefault((gap.group, time, turn), Scan(gap.group, now, [], {}, [], [], late=True))
    if fault is not None:
        scan.faults[len(scan.values)] = fault
    scan.values.append(found)
    cast("list[int]", scan.points).append(gap.position)
    cast("list[int]", scan.times).append(time)
