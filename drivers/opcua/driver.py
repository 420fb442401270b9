"""The OPC UA driver: one session, a subscription per publishing interval, reads for polled groups."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import replace
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
from drivers.opcua.browse.point_types import needs_types, structures_of
from drivers.opcua.browse.resolve import GONE, resolved
from drivers.opcua.browse.search import search
from drivers.opcua.connection.redundancy import Redundancy
from drivers.opcua.connection.session import opened_first
from drivers.opcua.connection.session_takeover import AbandonedSessions
from drivers.opcua.connection.wire_trace import tracing
from drivers.opcua.counters import Counters
from drivers.opcua.errors import REQUEST_ERRORS
from drivers.opcua.events.alarms import Alarms
from drivers.opcua.history.backfill import Backfill
from drivers.opcua.settings import OpcUaConnection, OpcUaSource, Time
from drivers.opcua.subscription.client_handles import carried_over
from drivers.opcua.subscription.polling import Poll
from drivers.opcua.subscription.revisions import Revisions
from drivers.opcua.subscription.scan_builder import ScanBuilder
from drivers.opcua.subscription.session_reader import SessionReader
from drivers.opcua.writer import write_point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from asyncua import ua

    from drivers.base import DeviceWarning, DiscoveredPoint, Value
    from drivers.opcua.connection.redundancy import Better
    from drivers.opcua.connection.session import Session
    from drivers.opcua.settings import OpcUaGroup
    from drivers.opcua.subscription.scan_builder import Latest
    from drivers.trace import Tracer


class OpcUaDriver(Driver[OpcUaConnection, OpcUaSource]):
    """One session with one server, or with the next of its addresses."""

    def __init__(self, connection: OpcUaConnection, groups: Sequence[OpcUaGroup], clock: Callable[[], int]) -> None:
        groups = [group for group in groups if not group.search]  # `search` finds their points
        super().__init__(connection, groups, clock)
        self._settings = connection
        self._counters = Counters()
        self._revisions = Revisions()
        self._latest: Latest = {group: {} for group in groups}  # also of removed groups
        self._turn = 0  # index of the address to try first
        self._redundancy = Redundancy(connection)
        self._watch: asyncio.Task[Better | None] | None = None
        self._session: Session | None = None
        self._reader: SessionReader | None = None
        self._points = ScanBuilder(self._counters, self._latest)
        self._nodes: dict[OpcUaGroup, list[ua.NodeId | Fault]] = {}
        self._polls = {group: Poll(group) for group in groups if not group.pushed}
        self._alarms = Alarms(self._counters, self._revisions)
        self._backfill = Backfill(self._counters)
        self._ready: deque[Scan] = deque()
        self._retry_at = 0.0
        self._ahead = 0
        self._abandoned = AbandonedSessions()
        self._tracer: Tracer | None = None
        self._interrupted = False  # True if points were bad since the start

    @property
    def clock_offset(self) -> float | None:
        return self._session.ahead if self._session is not None else None

    def now(self, group: OpcUaGroup) -> int:
        stamped = group.connection.time_of(pushed=group.pushed) is not Time.GATEWAY
        return self.clock() + (self._learn_clock() if stamped else 0)

    def _learn_clock(self) -> int:
        """Return the microseconds by which the server's clock is ahead of ours; 0 if that is implausible."""
        if self.clock_offset is not None:
            ahead = round(self.clock_offset * 1_000_000)
            self._ahead = ahead if ahead < FUTURE else 0
        self._points.ahead = self._ahead
        if self._session is not None:
            self._points.clock_error = round(self._session.keep_alive.error * 1_000_000)
        for poll in self._polls.values():
            poll.ahead = self._ahead
        return self._ahead

    def counts(self) -> dict[str, int]:
        return self._counters.as_dict()

    def trace(self, tracer: Tracer) -> bool:
        machines = {group.machine for group in self.groups}
        [machine] = machines if len(machines) == 1 else [""]
        self._tracer = lambda event: tracer(event._replace(machine=machine))
        return True

    def warnings(self) -> list[DeviceWarning]:
        return self._revisions.take()

    async def connect(self) -> None:
        await self.close()
        interrupted, self._interrupted = self._interrupted, True
        with tracing(self._tracer):
            session, turn = await opened_first(self._settings, self._turn, self._abandoned)
        self._session = session
        if turn != self._turn:
            self._turn = turn
            self._counters.failovers += 1
        if self._settings.allow_insecure_legacy:
            self._revisions.note_legacy(self.groups, session.policy)
        self._ready = deque(await self._missed(session))
        # new for each session: nothing of a lost session is used further
        self._points = ScanBuilder(self._counters, self._latest, interrupted=interrupted, connected=self.clock())
        self._reader = SessionReader(
            session, self._settings, self._counters, self._revisions, self._points, self._alarms, self.clock
        )
        self._alarms.forget_session()
        self._revisions.forget_session()
        self._backfill.forget_session()
        self._learn_clock()
        if interrupted:
            for group, poll in self._polls.items():
                poll.lost(self.now(group))
        try:
            await self._start(session, self._reader)
        except REQUEST_ERRORS as error:
            await self.close()
            raise session.not_connected(error) from error
        if self._settings.backup:
            watch = self._redundancy.find_better(session, self._turn)
            self._watch = asyncio.create_task(watch, name=f"service level of {session.url}")
            self._watch.add_done_callback(self._wake)

    def _wake(self, _: object) -> None:
        if self._reader is not None:
            self._reader.wake()

    def _leave_worse(self, session: Session) -> None:
        """Raise `NotConnected` if another server is better; the next `connect` begins with that."""
        if self._watch is None or not self._watch.done() or self._watch.cancelled():
            return
        better, self._watch = self._watch.result(), None
        if better is not None:
            self._turn = better.turn
            self._counters.failovers += 1
            raise NotConnected(f"{session.url}: {better.reason}", "ServiceLevel")

    async def _missed(self, session: Session) -> list[Scan]:
        """Return the scans of the previous session that were not delivered, or were still queued on its server."""
        missed = [scan for scan in self._ready if scan.times is not None]
        for scan in missed:
            scan.late = True
        messages = self._abandoned.take_messages()
        missed += self._points.missed([message.changes for message in messages], self.clock())
        self._backfill.add(self._points.take_gaps())
        for message in messages:
            if message.events:
                with suppress(*REQUEST_ERRORS):
                    missed += await self._alarms.scans(session, message.events, self.clock())
        return missed

    async def _start(self, session: Session, reader: SessionReader) -> None:
        """Look up all nodes, and subscribe to the nodes of pushed points."""
        await self._find(session, reader, self.groups)
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        reader.begin()

    async def _find(self, session: Session, reader: SessionReader, groups: Sequence[OpcUaGroup]) -> None:
        for group in groups:
            self._nodes[group] = list(await resolved(session, group, range(len(group.names))))
            if group in self._polls:
                self._polls[group].resolve(self._nodes[group])
        self._points.structures = await structures_of(session, self._nodes)
        for group in groups:
            if group.pushed:
                await self._monitor(reader, group, range(len(group.names)))

    async def _monitor(self, reader: SessionReader, group: OpcUaGroup, positions: Iterable[int]) -> None:
        """Monitor points of a group; points that can't be monitored are bad, and looked up again later."""
        nodes = self._nodes[group]
        faults = await reader.monitor(group, positions, nodes)
        for position, fault in faults.items():
            nodes[position] = fault
        if faults:
            self._ready.append(_bad_scan(group, self.now(group), faults))

    async def regroup(self, groups: Sequence[OpcUaGroup]) -> bool:
        session, reader = self._session, self._reader
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
        if session is None or reader is None:
            return False
        try:
            await reader.drop(removed, self.groups)
            await self._find(session, reader, added)
        except REQUEST_ERRORS as error:
            raise session.not_connected(error) from error
        reader.resume()
        return True

    async def receive(self) -> Scan:
        """Return the next scan of subscribed points."""
        while True:
            while self._ready:
                scan = self._ready.popleft()
                if scan.group in self._nodes:  # otherwise the group was removed meanwhile
                    return scan
            session, reader = self._session, self._reader
            if session is None or reader is None:
                raise NotConnected(f"{self._settings.url}: not connected")
            await self._process(session, reader)

    async def _process(self, session: Session, reader: SessionReader) -> None:
        """Wait for messages of the server, or for the next lookup or backfill, and process them."""
        self._learn_clock()
        self._leave_worse(session)
        async for scans in reader.receive(min(self._retry_at, self._backfill.due)):
            self._ready += scans
        self._backfill.add(self._points.take_gaps())
        now = asyncio.get_running_loop().time()
        if now >= self._retry_at:
            await self._retry_missing(session)
        if now >= self._backfill.due and not self._ready:  # new values go first
            try:
                points = self._points
                self._ready += await self._backfill.step(
                    session, self._nodes, points.structures, points.ahead, self.clock()
                )
            except REQUEST_ERRORS as error:
                raise session.not_connected(error) from error

    @contextmanager
    def _requesting(self) -> Iterator[Session]:
        """Yield the session, and translate the errors of its requests."""
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            yield session
        except REQUEST_ERRORS as error:
            raise session.translated(error) from error

    async def _retry_missing(self, session: Session) -> None:
        """Look up missing nodes again; the first value of a node that was found makes its point good."""
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        gone = self._points.take_gone()
        read = self._reader.take_gone() if self._reader is not None else []
        read += chain.from_iterable(poll.take_gone() for poll in self._polls.values())
        for group, place in chain(read, *gone.values()):
            if group in self._nodes:
                self._nodes[group][place] = GONE
        try:
            if self._reader is not None:
                await self._reader.forget(gone)
            if any(isinstance(node, Fault) for nodes in self._nodes.values() for node in nodes):
                await session.read_namespaces()
            for group in self.groups:
                await self._find_missing(session, group)
            self._backfill.look_again()
        except REQUEST_ERRORS as error:
            failure = session.translated(error)
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
            if any(needs_types(group, place) for place in missing if not isinstance(nodes[place], Fault)):
                self._points.structures = await structures_of(session, self._nodes)
            if group in self._polls or self._reader is None:
                self._polls[group].resolve(nodes)
            else:
                await self._monitor(self._reader, group, missing)
        except REQUEST_ERRORS:
            nodes[:] = [missing.get(place, node) for place, node in enumerate(nodes)]  # once more, next time
            raise

    async def read(self, group: OpcUaGroup) -> Scan:
        """Read all nodes of a polled group, in as few requests as the server allows."""
        with self._requesting() as session:
            self._leave_worse(session)
            if asyncio.get_running_loop().time() >= self._retry_at:
                await self._retry_missing(session)
            return await self._polls[group].read(session, self._points.structures, self.clock)

    async def describe(self, group: OpcUaGroup) -> list[PointMetadata]:
        with self._requesting() as session:
            found = await about_points(session, group, self._nodes[group])
        return [
            replace(one, revised=revised) if (revised := self._revisions.of(group, position)) else one
            for position, one in enumerate(found)
        ]

    async def search(self, group: OpcUaGroup, position: int) -> list[DiscoveredPoint]:
        with self._requesting() as session:
            return await search(session, group, position)

    async def write(self, group: OpcUaGroup, position: int, value: Value) -> None:
        if not group.connection.writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            await write_point(session, group, position, self._nodes[group][position], value)
        except REQUEST_ERRORS as error:
            raise session.not_connected(error) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        reader, self._reader = self._reader, None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        if reader is not None:
            reader.end()
        if session is not None:
            abandoned = await session.close()
            if abandoned is not None and reader is not None:
                reader.hand_over(abandoned)
            self._abandoned.add(abandoned)


def _bad_scan(group: OpcUaGroup, now: int, faults: Mapping[int, Fault]) -> Scan:
    """Return a scan of points, given by their positions, without values."""
    return Scan(group, now, [None] * len(faults), dict(enumerate(faults.values())), list(faults))
