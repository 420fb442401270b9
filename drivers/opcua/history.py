"""What was missed in an outage, read afterwards from the server's own history (Part 11), a little at a time."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

from asyncua import ua

from drivers.base import Scan
from drivers.opcua.session import HISTORY
from drivers.opcua.values import EPOCH, microseconds, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Group
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaSource

VALUES_AT_ONCE = 1000
"""Values of one node in one answer."""

NODES_AT_ONCE = 20
"""Nodes in one request."""

RATE = 5000.0
"""Values a second that are asked for at the most: what is fresh goes first, and the server has other work."""

_HISTORIZED = 0x04
"""In an access level: the history can be read (Part 3, 8.57)."""


class Gap(NamedTuple):
    """A time (microseconds since the epoch, neither end included) in which changes of a point were missed.

    Those of the times in `told` were not.
    """

    group: Group
    position: int
    node: ua.NodeId
    start: int
    end: int
    told: frozenset[int] = frozenset()


class Backfill:
    """The gaps of a driver's points. They outlive a session: what was not read in one is read in the next.

    `due` is when to read next, by the event loop's clock; infinite while nothing is missing.
    """

    def __init__(self, counts: Counter[str]) -> None:
        """Prepare; `counts` gets `backfilled`."""
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

    async def step(self, session: Session, now: int) -> list[Scan]:
        """Read a part of what is missing. Raises what a session's requests raise."""
        gaps = [self._gaps.popleft() for _ in range(min(NODES_AT_ONCE, len(self._gaps)))]
        try:
            await self._learn(session, gaps)
            asked = [gap for gap in gaps if self._historized[gap.node]]
            results = await session.in_parts(HISTORY, asked, lambda part: _read(session, part))
        except BaseException:
            self._gaps.extendleft(reversed(gaps))
            raise
        scans: dict[tuple[Group, int], Scan] = {}
        count = 0
        for gap, result in zip(asked, results, strict=True):
            values = _values(result)
            for time, value in values:
                if gap.start < time < gap.end and time not in gap.told:
                    count += 1
                    _put(scans, gap, time, value, now)
            if len(values) >= VALUES_AT_ONCE and gap.start < values[-1][0] < gap.end:
                self._gaps.append(gap._replace(start=values[-1][0]))  # there is more
        self._counts["backfilled"] += count
        loop = asyncio.get_running_loop()
        self.due = loop.time() + max(0.05, count / RATE) if self._gaps else math.inf
        return [scans[key] for key in sorted(scans, key=lambda key: key[1])]

    async def _learn(self, session: Session, gaps: Sequence[Gap]) -> None:
        """Ask which nodes have a history that may be read."""
        unknown = list({gap.node for gap in gaps} - self._historized.keys())
        levels = await session.read(unknown, ua.AttributeIds.UserAccessLevel)
        for node, level in zip(unknown, levels.values, strict=True):
            self._historized[node] = isinstance(level, int) and bool(level & _HISTORIZED)


async def _read(session: Session, gaps: Sequence[Gap]) -> Sequence[ua.HistoryReadResult]:
    """Read the first values of each gap; all of a request have one time, so each is a request of its own."""
    results = []
    for gap in gaps:
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=_moment(gap.start),
            EndTime=_moment(gap.end),
            NumValuesPerNode=ua.Counter(VALUES_AT_ONCE),
            ReturnBounds=False,
        )
        parameters = ua.HistoryReadParameters(
            HistoryReadDetails=details,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ReleaseContinuationPoints=False,
            NodesToRead=[ua.HistoryReadValueId(NodeId=gap.node)],
        )
        results += await session.client.uaclient.history_read(parameters)
    return results


def _moment(time: int) -> ua.DateTime:
    return cast("ua.DateTime", (EPOCH + timedelta(microseconds=time)).astimezone(UTC).replace(tzinfo=None))


def _values(result: ua.HistoryReadResult) -> list[tuple[int, ua.DataValue]]:
    """Return values in the order of their source times; a refusal is none."""
    if not result.StatusCode.is_good() or not isinstance(result.HistoryData, ua.HistoryData):
        return []
    told = [
        (microseconds(time), value)
        for value in result.HistoryData.DataValues
        if isinstance(time := value.SourceTimestamp, datetime)
    ]
    return sorted(told, key=lambda one: one[0])


def _put(scans: dict[tuple[Group, int], Scan], gap: Gap, time: int, value: ua.DataValue, now: int) -> None:
    """Put a value into the scan of its group and time."""
    source = cast("OpcUaSource", gap.group.sources[gap.position])
    status = value.StatusCode.value if value.StatusCode is not None else 0
    found, fault = reading(
        value.Value.Value if value.Value is not None else None, status, value.Value, source.field, source.element
    )
    scan = scans.setdefault((gap.group, time), Scan(gap.group, now, [], {}, [], [], late=True))
    if fault is not None:
        scan.faults[len(scan.values)] = fault
    scan.values.append(found)
    cast("list[int]", scan.points).append(gap.position)
    cast("list[int]", scan.times).append(time)
