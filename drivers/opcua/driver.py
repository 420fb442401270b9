"""The OPC UA driver: one session, a subscription per publishing interval, reads for what is polled."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from asyncua import ua

from drivers.base import About, Driver, Fault, Misconfigured, NotConnected, ReadFailed, Reason, Scan, WriteFailed, bad
from drivers.opcua.about import about_points
from drivers.opcua.alarms import Alarms
from drivers.opcua.decode import DecodeError
from drivers.opcua.history import Backfill
from drivers.opcua.items import Items
from drivers.opcua.points import Points
from drivers.opcua.polling import NO_ROOM, Poll, Stopgap
from drivers.opcua.refusals import failed, refused
from drivers.opcua.resolve import resolved
from drivers.opcua.searching import search
from drivers.opcua.security import LOST
from drivers.opcua.session import opened_first
from drivers.opcua.subscription import Publishing
from drivers.opcua.types import structures_of
from drivers.opcua.values import fault_of
from drivers.opcua.writing import write_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drivers.base import Connection, Group, Match, Value
    from drivers.opcua.points import Latest
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource

_FAILED = (*LOST, DecodeError)
"""What a request raises where the connection is lost, or is not one that can be talked over."""

GONE = bad(Reason.NOT_FOUND, "removed from the server")

_COUNTS = (
    "republished",
    "lost_messages",
    "undecodable",
    "overflows",
    "deadbands_refused",
    "polled_instead",
    "failovers",
    "backfilled",
)


class OpcUaDriver(Driver):
    """One session with one server, or with the next of its addresses."""

    def __init__(self, connection: Connection, groups: Sequence[Group], clock: Callable[[], int]) -> None:
        groups = [group for group in groups if not group.search]  # these are only asked for
        super().__init__(connection, groups, clock)
        self._settings = cast("OpcUaConnection", connection)
        self._counts = Counter(dict.fromkeys(_COUNTS, 0))
        self._latest: Latest = {group: {} for group in groups}
        self._turn = 0  # which of the addresses is tried first
        self._session: Session | None = None
        self._publishing: Publishing | None = None
        self._points = Points(self._counts, self._latest)
        self._items = Items(self._points, self._counts)
        self._subscriptions: dict[float, int | None] = {}  # by interval; None where the server has none
        self._nodes: dict[Group, list[ua.NodeId | Fault]] = {}
        self._polls = {group: Poll(group) for group in groups if not group.pushed}
        self._stopgap = Stopgap(self._counts)
        self._alarms = Alarms()
        self._backfill = Backfill(self._counts)
        self._ready: deque[Scan] = deque()
        self._retry_at = 0.0
        self._interrupted = False  # whether points were bad since the start

    @property
    def ahead(self) -> float | None:
        return self._session.ahead if self._session is not None else None

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    async def connect(self) -> None:
        await self.close()
        interrupted, self._interrupted = self._interrupted, True
        session, turn = await opened_first(self._settings, self._turn)
        if turn != self._turn:
            self._turn = turn
            self._counts["failovers"] += 1
        # always new ones: what a lost connection has left behind is of no use
        self._session = session
        self._publishing = Publishing(session, self._settings.keep_alive, self._settings.publishing, self._counts)
        self._points = Points(self._counts, self._latest, interrupted=interrupted)
        self._items = Items(self._points, self._counts)
        self._stopgap = Stopgap(self._counts)
        self._subscriptions = {}
        self._alarms.forget_session()
        self._backfill.forget_session()
        self._ready.clear()
        for poll in self._polls.values():
            poll.lost()
        try:
            await self._take_up(session, self._publishing)
        except _FAILED as error:
            await self.close()
            raise refused(error, session.url, self._settings) from error

    async def _take_up(self, session: Session, publishing: Publishing) -> None:
        """Find all nodes, and subscribe to those that are pushed."""
        for group in self.groups:
            self._nodes[group] = list(await resolved(session, group, range(len(group.names))))
            if group in self._polls:
                self._polls[group].resolve(self._nodes[group])
        self._points.structures = await structures_of(session, self._nodes)
        for group in self.groups:
            if group.pushed:
                if group.every not in self._subscriptions:
                    self._subscriptions[group.every] = await self._subscribe(publishing, group.every)
                self._tell(group, await self._monitor(session, group, range(len(group.names))))
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        publishing.begin()

    async def _subscribe(self, publishing: Publishing, interval: float) -> int | None:
        """Make a subscription; None where the server has none, or none any more."""
        try:
            return await publishing.subscribe(interval)
        except ua.UaStatusCodeError as error:
            if error.code not in NO_ROOM:
                raise
            return None

    async def _monitor(self, session: Session, group: Group, positions: Iterable[int]) -> dict[int, Fault]:
        """Monitor what is there, poll what there is no room for, and return the faults of the rest."""
        nodes = self._nodes[group]
        faults = {position: node for position in positions if isinstance(node := nodes[position], Fault)}
        there = [(position, node) for position in positions if isinstance(node := nodes[position], ua.NodeId)]
        subscription = self._subscriptions[group.every]
        if subscription is None:
            refused_ = dict.fromkeys((position for position, _ in there), int(ua.StatusCodes.BadTooManySubscriptions))
        else:
            items = self._alarms if group.events else self._items
            refused_ = await items.monitor(session, subscription, group, there)
        polled = [] if group.events else [position for position, status in refused_.items() if status in NO_ROOM]
        self._stopgap.add(group, polled, nodes)
        for position in refused_.keys() - polled:
            if (fault := fault_of(refused_[position])) is not None:
                faults[position] = nodes[position] = fault
        return faults

    def _tell(self, group: Group, faults: dict[int, Fault]) -> None:
        if faults:
            values: list[Value | None] = [None] * len(faults)
            self._ready.append(Scan(group, self.clock(), values, dict(enumerate(faults.values())), list(faults)))

    async def receive(self) -> Scan:
        """Return the next scan of what is subscribed; silence beyond three keep-alives is death."""
        while not self._ready:
            session, publishing = self._session, self._publishing
            if session is None or publishing is None:
                raise NotConnected(f"{self._settings.url}: not connected")
            await self._take_in(session, publishing)
        return self._ready.popleft()

    @contextmanager
    def _talking(self, session: Session) -> Iterator[None]:
        """Turn what is raised where the session is of no use any more into `NotConnected`."""
        try:
            yield
        except _FAILED as error:
            raise refused(error, session.url, self._settings) from error

    async def _take_in(self, session: Session, publishing: Publishing) -> None:
        """Wait for what the server sends, or for the time to do something else, and do it."""
        messages = await publishing.receive(min(self._retry_at, self._stopgap.due, self._backfill.due))
        for message in messages:
            if message.changes.handles:
                self._ready += self._points.scans(message.changes, self.clock())
            if message.events:
                with self._talking(session):
                    self._ready += await self._alarms.scans(session, message.events, self.clock())
        self._backfill.add(self._points.take_gaps())
        now = asyncio.get_running_loop().time()
        if now >= self._retry_at:
            await self._look_again(session)
        if now >= self._backfill.due and not messages:  # what is fresh goes first
            with self._talking(session):
                self._ready += await self._backfill.step(session, self.clock())
        if now >= self._stopgap.due:
            await self._fill_gaps(session)
        for subscription in publishing.take_losses():
            await self._make_good(session, subscription)

    async def _fill_gaps(self, session: Session) -> None:
        """Read what the server has no monitored items for."""
        for poll in self._stopgap.take_due():
            try:
                self._ready.append(await poll.take(session, self._points.structures, self.clock))
            except _FAILED as error:
                failure = failed(error, session.url, self._settings)
                if isinstance(failure, NotConnected):
                    raise failure from error
                self._ready.append(poll.failed(self.clock(), failure.fault))

    async def _make_good(self, session: Session, subscription: int) -> None:
        """Read what a lost message may have been about: a value that stands may be an old one."""
        handles = self._items.monitored(subscription)
        nodes = [self._points.node(handle) for handle in handles]
        with self._talking(session):
            changes = await session.read(nodes)
        changes.handles = handles
        if (newer := self._points.newer(changes)).handles:
            self._ready += self._points.scans(newer, self.clock())

    async def _look_again(self, session: Session) -> None:
        """Look for what was not there; what is there now is told by its first value."""
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        gone = self._points.take_gone()
        for whose in gone.values():
            for group, place in whose:
                self._nodes[group][place] = GONE
        try:
            await self._items.forget(session, gone)
            for group in self.groups:
                await self._find_missing(session, group)
        except _FAILED as error:
            failure = failed(error, session.url, self._settings)
            if isinstance(failure, NotConnected):
                raise failure from error

    async def _find_missing(self, session: Session, group: Group) -> None:
        nodes = self._nodes[group]
        missing = {place: node for place, node in enumerate(nodes) if isinstance(node, Fault)}
        if not missing:
            return
        for place, node in zip(missing, await resolved(session, group, list(missing)), strict=True):
            nodes[place] = node
        if group in self._polls:
            self._polls[group].resolve(nodes)
            return
        try:
            self._tell(group, await self._monitor(session, group, missing))
        except _FAILED:
            nodes[:] = [missing.get(place, node) for place, node in enumerate(nodes)]  # once more, next time
            raise

    async def read(self, group: Group) -> Scan:
        """Read all nodes of a polled group, in as few requests as the server takes."""
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        if asyncio.get_running_loop().time() >= self._retry_at:
            await self._look_again(session)
        try:
            return await self._polls[group].take(session, self._points.structures, self.clock)
        except _FAILED as error:
            raise failed(error, session.url, self._settings) from error

    async def describe(self, group: Group) -> list[About]:
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            return await about_points(session, group, self._nodes[group])
        except _FAILED as error:
            raise failed(error, session.url, self._settings) from error

    async def search(self, group: Group, position: int) -> list[Match]:
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        try:
            return await search(session, group, position)
        except LookupError as error:
            raise ReadFailed(f"{session.url}: {error}", bad(Reason.NOT_FOUND, str(error))) from error
        except _FAILED as error:
            raise failed(error, session.url, self._settings) from error

    async def write(self, group: Group, position: int, value: Value) -> None:
        if not cast("OpcUaConnection", group.connection).writable:
            raise Misconfigured(f"{group.machine}: its connection is not writable")
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        node, name = self._nodes[group][position], group.names[position]
        if not cast("OpcUaSource", group.sources[position]).whole:
            raise Misconfigured(f"{group.machine}/{name}: a part of a value can't be written")
        if isinstance(node, Fault):
            raise Misconfigured(f"{group.machine}/{name}: {node.code}")
        try:
            with self._talking(session):
                await write_node(session, node, value)
        except WriteFailed as error:
            raise WriteFailed(f"{group.machine}/{name}: {error}", error.fault) from error

    async def close(self) -> None:
        session, self._session = self._session, None
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.end()
        if session is not None:
            await session.close()
