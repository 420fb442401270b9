"""Fills gaps of an outage from the server's history (Part 11), with a bounded rate."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections import deque
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

from asyncua import ua

from drivers.base import Fault, Scan
from drivers.opcua.codec.values import microseconds, point_reading
from drivers.opcua.errors import HISTORY_BUSY
from drivers.opcua.history.history_read import read_past
from drivers.opcua.settings import Time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.connection.session import Session
    from drivers.opcua.counters import Counters
    from drivers.opcua.history.history_read import Answer
    from drivers.opcua.settings import OpcUaGroup

    Nodes = Mapping[OpcUaGroup, Sequence[ua.NodeId | Fault]]
    """The nodes of each group's points on the server, or the faults of missing nodes."""

NODES_AT_ONCE = 20
"""Nodes in one step."""

TRIES, PAUSE = 5, 5.0
"""Attempts for a gap that the server can't read now, and the seconds between them."""

RATE = 5000.0
"""Maximum values per second: new values go first, and the server has other work."""

MOST = 100_000
"""Maximum number of gaps; beyond that the oldest are given up."""

SAME = 1000
"""Microseconds within which a row of a history and a delivered change have the same time: databases round to
milliseconds, or count in units of their own."""

_HISTORIZED = 0x04
"""Bit of an access level: the history can be read (Part 3, 8.57)."""


class Gap(NamedTuple):
    """A time range (microseconds since the epoch, neither end included) in which changes of a point were missed.

    `delivered` contains the times of changes that were not missed, among them both ends. `tries` counts failed
    attempts since the last value. The node is looked up at each read, since it may have another id after a restart of
    the server.
    """

    group: OpcUaGroup
    position: int
    start: int
    end: int
    delivered: frozenset[int] = frozenset()
    tries: int = 0


class Backfill:
    """The gaps of a driver's points. They outlive a session.

    `due` is the event loop time of the next read; infinite without gaps.
    """

    def __init__(self, counters: Counters) -> None:
        """Prepare; `counters` counts `backfilled` and `history_refused`."""
        self.due = math.inf
        self._counters = counters
        self._gaps: deque[Gap] = deque()
        self._homeless: deque[Gap] = deque()  # their nodes are missing now
        self._historized: dict[ua.NodeId, bool] = {}

    def __len__(self) -> int:
        return len(self._gaps) + len(self._homeless)

    def forget_session(self) -> None:
        """Prepare for another session, in which nodes may have other ids."""
        self._historized.clear()
        self.look_again()

    def look_again(self) -> None:
        """Retry the gaps of nodes that were missing."""
        homeless, self._homeless = self._homeless, deque()
        self.add(homeless)

    def add(self, gaps: Collection[Gap]) -> None:
        """Add gaps."""
        self._gaps += gaps
        for held in (self._homeless, self._gaps):
            while held and len(self) > MOST:
                held.popleft()
                self._counters.history_refused += 1
        if self._gaps:
            self.due = min(self.due, asyncio.get_running_loop().time())

    async def step(
        self, session: Session, nodes: Nodes, structures: Structures | None, ahead: int, now: int
    ) -> list[Scan]:
        """Read a part of the gaps.

        `structures` are the server's own. `ahead` is the lead of its clock in microseconds. Raises `REQUEST_ERRORS`.
        """
        gaps = [self._gaps.popleft() for _ in range(min(NODES_AT_ONCE, len(self._gaps)))]
        try:
            found = [(gap, _node(gap, nodes)) for gap in gaps]
            there = [(gap, node) for gap, node in found if isinstance(node, ua.NodeId)]
            await self._learn(session, [node for _, node in there])
            asked = [(gap, node) for gap, node in there if self._historized[node]]
            # the row of the end must be there, or an earlier row would count as its repetition
            answers = [await read_past(session, node, gap.start, gap.end + SAME) for gap, node in asked]
        except BaseException:
            self._gaps.extendleft(reversed(gaps))
            raise
        self._homeless += [gap for gap, node in found if isinstance(node, Fault)]
        scans: dict[tuple[OpcUaGroup, int, int], Scan] = {}
        count, refused = 0, False
        for (gap, _), answer in zip(asked, answers, strict=True):
            known, delivered = repeated([time for time, _ in answer.values], gap.delivered, more=answer.more)
            for place, (time, value) in enumerate(answer.values):
                if gap.start < time < gap.end and place not in known:
                    count += 1
                    _put(scans, gap, _as_of(gap, time, value, ahead), value, structures, now)
            refused |= self._go_on(gap._replace(delivered=delivered), answer)
        self._counters.backfilled += count
        pause = PAUSE if refused else max(0.05, count / RATE)
        self.due = asyncio.get_running_loop().time() + pause if self._gaps else math.inf
        return [scans[key] for key in sorted(scans, key=itemgetter(1, 2))]

    def _go_on(self, gap: Gap, answer: Answer) -> bool:
        """Put back the rest of a gap, or count it as given up; return True if the server needs a pause."""
        last = max(gap.start, answer.values[-1][0]) if answer.values else gap.start
        refused = answer.status != 0
        if last >= gap.end or not (answer.more or refused):
            return False
        tries = 0 if last > gap.start else gap.tries + 1  # a gap without progress must end
        if tries >= TRIES or (refused and answer.status not in HISTORY_BUSY):
            self._counters.history_refused += 1
            return False
        self._gaps.append(gap._replace(start=last, tries=tries))
        return refused

    async def _learn(self, session: Session, nodes: Iterable[ua.NodeId]) -> None:
        """Find out which nodes have a history that may be read."""
        unknown = list(set(nodes) - self._historized.keys())
        levels = await session.read(unknown, ua.AttributeIds.UserAccessLevel)
        for node, level in zip(unknown, levels.values, strict=True):
            self._historized[node] = isinstance(level, int) and bool(level & _HISTORIZED)


def repeated(
    times: Sequence[int], delivered: frozenset[int], *, more: bool = False
) -> tuple[set[int], frozenset[int]]:
    """Return the places of the rows that repeat a delivered change, and the changes without such a row.

    `times` are in order. A change is repeated by a single row: that of its time, or else the nearest within `SAME`.
    With `more` rows to come, a change near the last row waits for them.
    """
    exact = delivered.intersection(times)
    places = {place for place, time in enumerate(times) if time in exact}
    rest = set(delivered - exact)
    end = times[-1] - SAME if times and more else math.inf
    for change in sorted(change for change in rest if change <= end):
        first, last = bisect_right(times, change - SAME), bisect_left(times, change + SAME)
        near = [place for place in range(first, last) if place not in places]
        if near:
            places.add(min(near, key=lambda place: abs(times[place] - change)))
            rest.discard(change)
    return places, frozenset(rest)


def _node(gap: Gap, nodes: Nodes) -> ua.NodeId | Fault | None:
    """Return the present node of a gap's point, the fault of a missing node, or None for a removed point."""
    return nodes[gap.group][gap.position] if gap.group in nodes else None


def _as_of(gap: Gap, source: int, value: ua.DataValue, ahead: int) -> int:
    """Return the time of a value by the clock of its point; for the gateway's clock, the expected arrival time."""
    own = gap.group.sources[gap.position]
    server_time = value.ServerTimestamp
    server = microseconds(server_time) if isinstance(server_time, datetime) else source
    match own.time or gap.group.connection.time:
        case Time.SOURCE:
            return source
        case Time.SERVER:
            return server
        case Time.GATEWAY:
            return server - ahead


def _put(
    scans: dict[tuple[OpcUaGroup, int, int], Scan],
    gap: Gap,
    time: int,
    value: ua.DataValue,
    structures: Structures | None,
    now: int,
) -> None:
    """Add a value to a scan of its group and time; a scan contains a point once."""
    status = value.StatusCode.value if value.StatusCode is not None else 0
    sent = value.Value.Value if value.Value is not None else None
    found, fault = point_reading(gap.group, gap.position, sent, status, value.Value, structures)
    turn = 0
    while (held := scans.get((gap.group, time, turn))) is not None and gap.position in cast("list[int]", held.points):
        turn += 1
    scan = scans.setdefault((gap.group, time, turn), Scan(gap.group, now, [], {}, [], [], late=True))
    if fault is not None:
        scan.faults[len(scan.values)] = fault
    scan.values.append(found)
    cast("list[int]", scan.points).append(gap.position)
    cast("list[int]", scan.times).append(time)
