"""Polls nodes, by configuration or because the server has no more monitored items."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, cast

from drivers.base import Fault, NotConnected, Scan
from drivers.opcua.codec.values import point_reading
from drivers.opcua.errors import NO_NODE, REQUEST_ERRORS
from drivers.opcua.settings import Time
from drivers.opcua.subscription.revisions import NO_ITEM

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from asyncua import ua

    from drivers.base import Value
    from drivers.opcua.codec.data_changes import DataChanges
    from drivers.opcua.codec.structures import Structures
    from drivers.opcua.connection.session import Session
    from drivers.opcua.counters import Counters
    from drivers.opcua.settings import OpcUaGroup
    from drivers.opcua.subscription.revisions import Revisions

_PLAIN = {bool, int, float}


class Poll:
    """Reads all or some points of one group.

    A polled value is valid at the time of the read. Its source time is the time of its last change, and is used if
    configured; a value with the same source time as before is then not a new reading, but is delivered again within
    the time that the point asks for.
    """

    def __init__(self, group: OpcUaGroup, positions: Sequence[int] | None = None) -> None:
        """Prepare; `positions` None is all points of the group."""
        self.ahead = 0  # microseconds by which the server's clock is ahead of ours
        self.group = group
        self._points = positions
        self.positions = range(len(group.names)) if positions is None else positions
        sources = [group.sources[position] for position in self.positions]
        self._plain = [source.plain for source in sources]
        usual = group.connection.time_of(pushed=False)
        self._modes = [source.time or usual for source in sources]
        self._timed = any(mode is not Time.GATEWAY for mode in self._modes)
        self._newest = [0] * len(self.positions)
        self._bad = [False] * len(self.positions)
        self._since = [0] * len(self.positions)  # times until which points were reported bad
        self._repeat = [round(group.repeat(position) * 1_000_000) for position in self.positions]
        self._delivered = [0] * len(self.positions)  # times of the reads of the newest readings
        self._stamped = [0] * len(self.positions)  # their times by their own clocks
        self._nodes: list[ua.NodeId] = []
        self._places: list[int | Fault] = []
        self._gone: set[int] = set()  # positions

    def take_gone(self) -> list[tuple[OpcUaGroup, int]]:
        """Return the points whose nodes are missing on the server, once."""
        gone, self._gone = self._gone, set()
        return [(self.group, position) for position in gone]

    def lost(self, now: int) -> None:
        """Record that all points were bad until now, because the connection was lost."""
        self._bad = [True] * len(self.positions)
        self._since = [now] * len(self.positions)

    def resolve(self, nodes: Sequence[ua.NodeId | Fault]) -> None:
        """Set the nodes of the points; a node of several points is read once."""
        distinct: dict[ua.NodeId, int] = {}
        self._places = [
            node if isinstance(node := nodes[position], Fault) else distinct.setdefault(node, len(distinct))
            for position in self.positions
        ]
        self._nodes = list(distinct)

    async def read(self, session: Session, structures: Structures | None, clock: Callable[[], int]) -> Scan:
        """Read the points. Raises `REQUEST_ERRORS`."""
        answer = await session.read(self._nodes)
        scan = Scan(self.group, clock(), [], {}, self._points)
        values, statuses, variants = answer.values, answer.statuses, answer.variants
        for i, (place, plain) in enumerate(zip(self._places, self._plain, strict=True)):
            if isinstance(place, Fault):
                scan.values.append(None)
                scan.faults[i] = place
                continue
            value: Value | None = values[place]
            if statuses[place] or type(value) not in _PLAIN or not plain:
                value, fault = point_reading(
                    self.group, self.positions[i], value, statuses[place], variants.get(place), structures
                )
                if fault is not None:
                    scan.faults[i] = fault
                if statuses[place] in NO_NODE:
                    self._gone.add(self.positions[i])
            scan.values.append(value)
        return self._dated(scan, answer) if self._timed else scan

    def failed(self, now: int, fault: Fault) -> Scan:
        """Return a scan in which all points have the same fault."""
        size = len(self.positions)
        return Scan(self.group, now, [None] * size, dict.fromkeys(range(size), fault), self._points)

    def _dated(self, scan: Scan, answer: DataChanges) -> Scan:
        """Give each reading its configured time, and leave out readings that are not new."""
        dated = Scan(scan.group, scan.time, [], {}, [], [])
        sources, servers, present = answer.source_times, answer.server_times, scan.time + self.ahead
        for i, (place, mode, position) in enumerate(zip(self._places, self._modes, self.positions, strict=True)):
            stamp = None
            if isinstance(place, int) and mode is not Time.GATEWAY:
                server = servers[place]
                source = sources[place] if mode is Time.SOURCE else server
                stamp = source if source is not None else server
            fault = scan.faults.get(i)
            new = stamp is None or stamp != self._newest[i]  # an earlier time, too: the clock was set back
            passed = present - self._delivered[i]
            again = self._repeat[i] and not 0 <= passed < self._repeat[i]
            same = not new and fault is None and not self._bad[i]
            if same and not again:
                continue
            # a value from before or during an outage is valid from now on
            time = stamp if stamp is not None and new and stamp > self._since[i] else present
            if same:
                time = self._stamped[i] + passed
            # a first value may have been written long ago, and was read now
            self._stamped[i] = time if self._delivered[i] else max(time, present)
            self._delivered[i] = present
            if stamp is not None:
                self._newest[i] = stamp
            self._bad[i] = fault is not None
            self._since[i] = 0
            if fault is not None:
                self._since[i] = time
                dated.faults[len(dated.values)] = fault
            dated.values.append(scan.values[i])
            cast("list[int]", dated.points).append(position)
            cast("list[int]", dated.times).append(time)
        return dated


class PollingFallback:
    """Polls subscribed points at the rate of their group, if the server has no more monitored items."""

    def __init__(self, counters: Counters, revisions: Revisions) -> None:
        """Prepare; `counters` counts `polled_instead`, and `revisions` names the points."""
        self._counters = counters
        self._revisions = revisions
        self._polls: list[tuple[float, Poll]] = []
        self._due: dict[Poll, float] = {}

    @property
    def due(self) -> float:
        """Event loop time of the next read; infinite if there is none."""
        return min(self._due.values(), default=math.inf)

    def add(self, group: OpcUaGroup, positions: Sequence[int], nodes: Sequence[ua.NodeId | Fault]) -> None:
        """Poll more points of a group."""
        if not positions:
            return
        self._counters.polled_instead += len(positions)
        self._revisions.note(group, positions, NO_ITEM)
        poll = Poll(group, positions)
        poll.resolve(nodes)
        self._polls.append((group.every, poll))
        self._due[poll] = asyncio.get_running_loop().time()

    def take_gone(self) -> list[tuple[OpcUaGroup, int]]:
        """Return the points whose nodes are missing on the server, once."""
        return [one for _, poll in self._polls for one in poll.take_gone()]

    def resolve(self, group: OpcUaGroup, nodes: Sequence[ua.NodeId | Fault]) -> set[int]:
        """Set the nodes of a group's points; return the positions of the polled points."""
        polls = [poll for _, poll in self._polls if poll.group == group]
        for poll in polls:
            poll.resolve(nodes)
        return {position for poll in polls for position in poll.positions}

    def drop(self, groups: Container[OpcUaGroup]) -> None:
        """Stop polling groups."""
        self._polls = [(every, poll) for every, poll in self._polls if poll.group not in groups]
        self._due = {poll: self._due[poll] for _, poll in self._polls}

    async def read_due(self, session: Session, structures: Structures | None, clock: Callable[[], int]) -> list[Scan]:
        """Read the points that are due; points that can't be read are bad. Raises `NotConnected`."""
        scans = []
        for poll in self._due_polls():
            try:
                scans.append(await poll.read(session, structures, clock))
            except REQUEST_ERRORS as error:
                failure = session.translated(error)
                if isinstance(failure, NotConnected):
                    raise failure from error
                scans.append(poll.failed(clock(), failure.fault))
        return scans

    def _due_polls(self) -> list[Poll]:
        """Return the polls that are due, and schedule their next period."""
        now = asyncio.get_running_loop().time()
        found = []
        for every, poll in self._polls:
            if self._due[poll] <= now:
                found.append(poll)
                self._due[poll] += every * (1 + (now - self._due[poll]) // every)  # missed periods are skipped
        return found
