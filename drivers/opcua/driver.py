"""The OPC UA driver: one session, a subscription per publishing interval, reads for what is polled."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING

from drivers.base import (
    FUTURE,
    Driver,
    Fault,
    Misconfigured,
    NotConnected,
    PointMetadata,
    Scan,
)
from drivers.opcua.browse.node_metadata import about_points
from drivers.opcua.browse.resolve import GONE, resolved
from drivers.opcua.browse.search import search
from drivers.opcua.codec.data_types import structures_of
from drivers.opcua.codec.publish_response import DecodeError
from drivers.opcua.connection.session import opened_first
from drivers.opcua.counters import COUNTS
from drivers.opcua.events.alarms import Alarms
from drivers.opcua.history.backfill import Backfill
from drivers.opcua.security.setup import LOST
from drivers.opcua.settings import OpcUaConnection, OpcUaSource, Time
from drivers.opcua.subscription.client_handles import carried_over
from drivers.opcua.subscription.polling import Poll
from drivers.opcua.subscription.revisions import Revisions
from drivers.opcua.subscription.scan_builder import ScanBuilder
from drivers.opcua.subscription.session_reader import SessionReader
from drivers.opcua.writer import write_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncua import ua

    from drivers.base import DeviceWarning, DiscoveredPoint, Value
    from drivers.opcua.connection.session import Session
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.settings import OpcUaGroup
    from drivers.opcua.subscription.scan_builder import Latest

_FAILED = (*LOST, DecodeError)
"""What a request raises where the connection is lost, or is not one that can be talked over."""


class OpcUaDriver(Driver[OpcUaConnection, OpcUaSource]):
    """One session with one server, or with the next of its addresses."""

    def __init__(self, connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]) -> None:
        groups = [group for group in groups if not group.search]  # these are only asked for
        super().__init__(connection, groups, clock)
        self._settings = connection
        self._counts = Counter(dict.fromkeys(COUNTS, 0))
        self._remarks = Revisions()
        self._latest: Latest = {group: {} for group in groups}  # also of those that were let go of
        self._turn = 0  # which of the addresses is tried first
        self._session: Session | None = None
        self._pushed: SessionReader | None = None
        self._points = ScanBuilder(self._counts, self._latest)
        self._nodes: dict[OpcUaGroup, list[ua.NodeId | Fault]] = {}
        self._polls = {group: Poll(group) for group in groups if not group.pushed}
        self._alarms = Alarms(self._counts)
        self._backfill = Backfill(self._counts)
        self._ready: deque[Scan] = deque()
        self._retry_at = 0.0
        self._ahead = 0
        self._leftovers: list[SessionTakeover] = []  # of sessions before
        self._interrupted = False  # whether points were bad since the start

    @property
    def clock_offset(self) -> float | None:
        return self._session.ahead if self._session is not None else None

    def now(self, group: OpcUaGroup) -> int:
        stamped = group.connection.time_of(pushed=group.pushed) is not Time.GATEWAY
        return self.clock() + (self._learn_clock() if stamped else 0)

    def _learn_clock(self) -> int:
        """Return the microseconds by which the server's clock is ahead of ours; 0 where it would not be believed."""
        if self.clock_offset is not None:
            ahead = round(self.clock_offset * 1_000_000)
            self._ahead = ahead if ahead < FUTURE else 0
        self._points.ahead = self._ahead
        for poll in self._polls.values():
            poll.ahead = self._ahead
        return self._ahead

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    def warnings(self) -> list[DeviceWarning]:
        return self._remarks.take()

    async def connect(self) -> None:
        await self.close()
        interrupted, self._interrupted = self._interrupted, True
        session, turn = await opened_first(self._settings, self._turn, self._leftovers)
        self._session = session
        if turn != self._turn:
            self._turn = turn
            self._counts["failovers"] += 1
        self._ready = deque(await self._missed(session))
        # always new ones: what a lost connection has left behind is of no use
        self._points = ScanBuilder(self._counts, self._latest, interrupted=interrupted)
        self._pushed = SessionReader(
            session, self._settings, self._counts, self._remarks, self._points, self._alarms, self.clock
        )
        self._alarms.forget_session()
        self._backfill.forget_session()
        self._learn_clock()
        if interrupted:
            for group, poll in self._polls.items():
                poll.lost(self.now(group))
        try:
            await self._take_up(session, self._pushed)
        except _FAILED as error:
            await self.close()
            raise session.lost(error) from error

    async def _missed(self, session: Session) -> list[Scan]:
        """Return what the session before had taken in, or has left on its server, and was not received."""
        missed = [scan for scan in self._ready if scan.times is not None]
        for scan in missed:
            scan.late = True
        messages = [message for left in self._leftovers for message in left.in_order()]
        missed += self._points.missed([message.changes for message in messages], self.clock())
        self._backfill.add(self._points.take_gaps())
        for message in messages:
            if message.events:
                with suppress(*_FAILED):
                    missed += await self._alarms.scans(session, message.events, self.clock())
        self._leftovers = []
        return missed

    async def _take_up(self, session: Session, pushed: SessionReader) -> None:
        """Find all nodes, and subscribe to those that are pushed."""
        await self._find(session, pushed, self.groups)
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        pushed.begin()

    async def _find(self, session: Session, pushed: SessionReader, groups: Sequence[OpcUaGroup]) -> None:
        for group in groups:
            self._nodes[group] = list(await resolved(session, group, range(len(group.names))))
            if group in self._polls:
                self._polls[group].resolve(self._nodes[group])
        self._points.structures = await structures_of(session, self._nodes)
        for group in groups:
            if group.pushed:
                self._ready += await pushed.monitor(group, range(len(group.names)), self._nodes[group])

    async def regroup(self, groups: Sequence[OpcUaGroup]) -> bool:
        session, pushed = self._session, self._pushed
        before = set(self.groups)
        self.groups = tuple(group for group in groups if not group.search)
        added = [group for group in self.groups if group not in before]
        removed = before.difference(self.groups)
        for group in removed:
            self._nodes.pop(group, None)
            self._polls.pop(group, None)
        for group in added:
            self._nodes[group] = []
            self._latest[group] = carried_over(self._latest, removed, group)
            if not group.pushed:
                self._polls[group] = Poll(group)
        if session is None or pushed is None:
            return False
        try:
            await pushed.drop(removed, self.groups)
            await self._find(session, pushed, added)
        except _FAILED as error:
            raise session.lost(error) from error
        pushed.resume()
        return True

    async def receive(self) -> Scan:
        """Return the next scan of what is subscribed; silence beyond three keep-alives is death."""
        while True:
            while self._ready:
                scan = self._ready.popleft()
                if scan.group in self._nodes:  # else it was let go of meanwhile
                    return scan
            session, pushed = self._session, self._pushed
            if session is None or pushed is None:
                raise NotConnected(f"{self._settings.url}: not connected")
            await self._take_in(session, pushed)

    async def _take_in(self, session: Session, pushed: SessionReader) -> None:
        """Wait for what the server sends, or for the time to do something else, and do it."""
        self._learn_clock()
        await pushed.receive(min(self._retry_at, self._backfill.due), self._ready)
        self._backfill.add(self._points.take_gaps())
        now = asyncio.get_running_loop().time()
        if now >= self._retry_at:
            await self._look_again(session)
        if now >= self._backfill.due and not self._ready:  # what is fresh goes first
            try:
                points = self._points
                self._ready += await self._backfill.step(
                    session, self._nodes, points.structures, points.ahead, self.clock()
                )
            except _FAILED as error:
                raise session.lost(error) from error

    @contextmanager
    def _asking(self) -> Iterator[Session]:
        """Give the session; what fails on it costs what was asked for, or the connection."""
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            yield session
        except _FAILED as error:
            raise session.failed(error) from error

    async def _look_again(self, session: Session) -> None:
        """Look for what was not there; what is there now is told by its first value."""
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        gone = self._points.take_gone()
        read = self._pushed.take_gone() if self._pushed is not None else []
        read += chain.from_iterable(poll.take_gone() for poll in self._polls.values())
        for group, place in chain(read, *gone.values()):
            if group in self._nodes:
                self._nodes[group][place] = GONE
        try:
            if self._pushed is not None:
                await self._pushed.forget(gone)
            for group in self.groups:
                await self._find_missing(session, group)
            self._backfill.look_again()
        except _FAILED as error:
            failure = session.failed(error)
            if isinstance(failure, NotConnected):
                raise failure from error

    async def _find_missing(self, session: Session, group: OpcUaGroup) -> None:
        nodes = self._nodes[group]
        missing = {place: node for place, node in enumerate(nodes) if isinstance(node, Fault)}
        if not missing:
            return
        for place, node in zip(missing, await resolved(session, group, list(missing)), strict=True):
            nodes[place] = node
        try:
            found = [group.sources[place] for place in missing if not isinstance(nodes[place], Fault)]
            if any(source.field for source in found):
                self._points.structures = await structures_of(session, self._nodes)
            if group in self._polls or self._pushed is None:
                self._polls[group].resolve(nodes)
            else:
                self._ready += await self._pushed.monitor(group, missing, nodes)
        except _FAILED:
            nodes[:] = [missing.get(place, node) for place, node in enumerate(nodes)]  # once more, next time
            raise

    async def read(self, group: OpcUaGroup) -> Scan:
        """Read all nodes of a polled group, in as few requests as the server takes."""
        with self._asking() as session:
            if asyncio.get_running_loop().time() >= self._retry_at:
                await self._look_again(session)
            return await self._polls[group].take(session, self._points.structures, self.clock)

    async def describe(self, group: OpcUaGroup) -> list[PointMetadata]:
        with self._asking() as session:
            return await about_points(session, group, self._nodes[group])

    async def search(self, group: OpcUaGroup, position: int) -> list[DiscoveredPoint]:
        with self._asking() as session:
            return await search(session, group, position)

    async def write(self, group: OpcUaGroup, position: int, value: Value) -> None:
        if not group.connection.writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            await write_point(session, group, position, self._nodes[group][position], value)
        except _FAILED as error:
            raise session.lost(error) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        pushed, self._pushed = self._pushed, None
        if pushed is not None:
            pushed.end()
        if session is not None:
            left = await session.close()
            if left is not None and pushed is not None:
                pushed.leave(left)
            self._leftovers += [left] if left is not None else []
