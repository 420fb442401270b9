"""The OPC UA driver: one session, a subscription per publishing interval, reads for what is polled."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, cast

from asyncua import ua

from drivers.base import About, Driver, Fault, NotConnected, Scan
from drivers.opcua.about import about
from drivers.opcua.decode import DecodeError
from drivers.opcua.items import Items
from drivers.opcua.refusals import refused
from drivers.opcua.resolve import resolved
from drivers.opcua.security import LOST
from drivers.opcua.session import opened
from drivers.opcua.subscription import Publishing
from drivers.opcua.types import Types
from drivers.opcua.values import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drivers.base import Connection, Group, Value
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from drivers.opcua.structures import Structures

_FAILED = (*LOST, DecodeError)
"""What a request raises where the connection is lost, or is not one that can be talked over."""


class OpcUaDriver(Driver):
    """One session with one server, or with the next of its addresses."""

    def __init__(self, connection: Connection, groups: Sequence[Group], clock: Callable[[], int]) -> None:
        super().__init__(connection, groups, clock)
        self._settings = cast("OpcUaConnection", connection)
        self._counts = Counter(
            dict.fromkeys(("republished", "lost_messages", "overflows", "deadbands_refused", "failovers"), 0)
        )
        self._latest: dict[Group, list[int | None]] = {group: [None] * len(group.names) for group in groups}
        self._turn = 0  # which of the addresses is tried first
        self._session: Session | None = None
        self._publishing: Publishing | None = None
        self._items = Items(self._counts)
        self._subscriptions: dict[float, int] = {}
        self._nodes: dict[Group, list[ua.NodeId | Fault]] = {}
        self._ready: deque[Scan] = deque()
        self._retry_at = 0.0

    @property
    def ahead(self) -> float | None:
        return self._session.ahead if self._session is not None else None

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    async def connect(self) -> None:
        await self.close()
        urls = self._settings.urls()
        for place in range(len(urls)):
            turn = (self._turn + place) % len(urls)
            try:
                session = await opened(self._settings, urls[turn])
            except NotConnected:
                if place + 1 == len(urls):
                    raise
                continue
            if turn != self._turn:
                self._turn = turn
                self._counts["failovers"] += 1
            break
        # always new ones: what a lost connection has left behind is of no use
        self._session = session
        self._publishing = Publishing(session, self._settings.keep_alive, self._settings.publishing, self._counts)
        self._items = Items(self._counts)
        self._subscriptions = {}
        self._ready.clear()
        try:
            await self._take_up(session, self._publishing)
        except _FAILED as error:
            await self.close()
            raise refused(error, session.url, self._settings) from error

    async def _take_up(self, session: Session, publishing: Publishing) -> None:
        """Find all nodes, and subscribe to those that are pushed."""
        by_interval: dict[float, list[Group]] = defaultdict(list)
        for group in self.groups:
            self._nodes[group] = list(await resolved(session, group, range(len(group.names))))
            if group.pushed:
                by_interval[group.every].append(group)
        self._items.structures = await self._learn_structures(session)
        for interval, groups in by_interval.items():
            self._subscriptions[interval] = await publishing.subscribe(interval)
            for group in groups:
                self._tell(group, await self._monitor(session, group, range(len(group.names))))
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        publishing.begin()

    async def _learn_structures(self, session: Session) -> Structures:
        """Ask for the types of the nodes of which a field is read."""
        nodes = [
            node
            for group in self.groups
            for node, source in zip(self._nodes[group], group.sources, strict=True)
            if isinstance(node, ua.NodeId) and cast("OpcUaSource", source).field
        ]
        types = Types()
        data_types = (await session.read(nodes, ua.AttributeIds.DataType)).values
        await types.learn(session, [one for one in data_types if isinstance(one, ua.NodeId)])
        return types.structures()

    async def _monitor(self, session: Session, group: Group, positions: Iterable[int]) -> dict[int, Fault]:
        """Monitor what is there, and return the faults of the rest."""
        nodes = self._nodes[group]
        faults = {position: node for position in positions if isinstance(node := nodes[position], Fault)}
        there = [(position, node) for position in positions if isinstance(node := nodes[position], ua.NodeId)]
        refusals = await self._items.monitor(session, self._subscriptions[group.every], group, there)
        for position, fault in refusals.items():
            nodes[position] = fault
        return faults | refusals

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
            messages = await publishing.receive(self._retry_at)
            if asyncio.get_running_loop().time() >= self._retry_at:
                await self._look_again(session)
            for message in messages:
                self._ready += self._items.scans(message.changes, self.clock(), self._latest)
        return self._ready.popleft()

    async def _look_again(self, session: Session) -> None:
        """Look for what was not there; what is there now is told by its first value."""
        self._retry_at = asyncio.get_running_loop().time() + self._settings.retry_missing
        try:
            gone = await self._items.forget_gone(session)
            for group in self.groups:
                nodes = self._nodes[group]
                missing = [place for place, node in enumerate(nodes) if isinstance(node, Fault)]
                missing += [place for whose, place in gone if whose is group]
                if not missing:
                    continue
                for place, node in zip(missing, await resolved(session, group, missing), strict=True):
                    nodes[place] = node
                if group.pushed:
                    # the points are told already to be bad
                    await self._monitor(session, group, missing)
        except _FAILED as error:
            raise refused(error, session.url, self._settings) from error

    async def read(self, group: Group) -> Scan:
        """Read all nodes of a polled group, in as few requests as the server takes."""
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        if asyncio.get_running_loop().time() >= self._retry_at:
            await self._look_again(session)
        nodes = self._nodes[group]
        try:
            answer = await session.read([node for node in nodes if isinstance(node, ua.NodeId)])
        except _FAILED as error:
            raise refused(error, session.url, self._settings) from error
        # what is polled was read now; its source time only says when it last changed
        scan = Scan(group, self.clock(), [], {})
        place = 0
        for position, node in enumerate(nodes):
            source = cast("OpcUaSource", group.sources[position])
            value: Value | None = None
            fault: Fault | None
            if isinstance(node, Fault):
                fault = node
            else:
                value, fault = reading(
                    answer.values[place],
                    answer.statuses[place],
                    answer.variants.get(place),
                    source.field,
                    source.element,
                    self._items.structures,
                )
                place += 1
            scan.values.append(value)
            if fault is not None:
                scan.faults[position] = fault
        return scan

    async def describe(self, group: Group) -> list[About]:
        session = self._session
        if session is None:
            raise NotConnected(f"{self._settings.url}: not connected")
        sources = cast("Sequence[OpcUaSource]", group.sources)
        found = [About() for _ in group.names]
        # what is said of a structure holds for none of its fields
        there = {
            place: node
            for place, node in enumerate(self._nodes[group])
            if isinstance(node, ua.NodeId) and not sources[place].field
        }
        try:
            told = await about(session, list(there.values()))
        except _FAILED as error:
            raise refused(error, session.url, self._settings) from error
        for place, one in zip(there, told, strict=True):
            found[place] = one
        return found

    async def close(self) -> None:
        session, self._session = self._session, None
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.end()
        if session is not None:
            await session.close()
