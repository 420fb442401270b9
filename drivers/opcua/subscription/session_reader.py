"""Reads the pushed points of one session: subscriptions, monitored items, events, and polling as a fallback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import Fault
from drivers.opcua.codec.values import fault_of
from drivers.opcua.errors import NO_ROOM, REQUEST_ERRORS
from drivers.opcua.subscription.monitored_items import MonitoredItems
from drivers.opcua.subscription.polling import PollingFallback
from drivers.opcua.subscription.subscription import Publishing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from drivers.base import Scan
    from drivers.opcua.connection.session import Session
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.counters import Counters
    from drivers.opcua.events.alarms import Alarms
    from drivers.opcua.settings import OpcUaConnection, OpcUaGroup
    from drivers.opcua.subscription.revisions import Revisions
    from drivers.opcua.subscription.scan_builder import ScanBuilder


class SessionReader:
    """The pushed points of a session. `points` assigns changes to points and makes scans of them."""

    def __init__(
        self,
        session: Session,
        settings: OpcUaConnection,
        counters: Counters,
        revisions: Revisions,
        points: ScanBuilder,
        alarms: Alarms,
        clock: Callable[[], int],
    ) -> None:
        """Prepare; `counters` and `revisions` receive the counts and revisions of all parts."""
        self.points = points
        self._session = session
        self._alarms = alarms
        self._clock = clock
        self._publishing = Publishing(session, settings.keep_alive, settings.publishing, counters)
        self._items = MonitoredItems(points, counters, revisions)
        self._fallback = PollingFallback(counters, revisions)
        self._subscriptions: dict[float, int | None] = {}  # by interval; None if the server supports no more

    def begin(self) -> None:
        """Start to publish, after all items are monitored."""
        self._publishing.begin()

    def resume(self) -> None:
        """Publish added subscriptions, and make `receive` return."""
        self._publishing.begin()
        self._publishing.wake()

    def end(self) -> None:
        """Stop publishing."""
        self._publishing.end()

    def hand_over(self, abandoned: SessionTakeover) -> None:
        """Record the subscriptions, and the messages that were not received, for a later takeover."""
        self._publishing.hand_over(abandoned)

    async def monitor(
        self, group: OpcUaGroup, positions: Iterable[int], nodes: Sequence[ua.NodeId | Fault]
    ) -> dict[int, Fault]:
        """Monitor points, or poll them if the server has no more monitored items; return the faults of the others.

        Raises `REQUEST_ERRORS`.
        """
        if group.every not in self._subscriptions:
            self._subscriptions[group.every] = await self._subscribe(group.every)
        subscription = self._subscriptions[group.every]
        read = self._fallback.resolve(group, nodes)
        positions = [position for position in positions if position not in read]
        faults = {position: node for position in positions if isinstance(node := nodes[position], Fault)}
        there = [(position, node) for position in positions if isinstance(node := nodes[position], ua.NodeId)]
        if subscription is None:
            refused = dict.fromkeys((position for position, _ in there), int(ua.StatusCodes.BadTooManySubscriptions))
        else:
            items = self._alarms if group.events else self._items
            refused = await items.monitor(self._session, subscription, group, there)
        polled = [] if group.events else [position for position, status in refused.items() if status in NO_ROOM]
        self._fallback.add(group, polled, nodes)
        for position in refused.keys() - polled:
            if (fault := fault_of(refused[position])) is not None:
                faults[position] = fault
        return faults

    async def _subscribe(self, interval: float) -> int | None:
        """Create a subscription; return its id, or None if the server supports no more."""
        try:
            return await self._publishing.subscribe(interval)
        except ua.UaStatusCodeError as error:
            if error.code not in NO_ROOM:
                raise
            return None

    async def drop(self, groups: AbstractSet[OpcUaGroup], remaining: Iterable[OpcUaGroup]) -> None:
        """Stop monitoring groups, and delete subscriptions that no remaining group needs. Raises `REQUEST_ERRORS`."""
        self._fallback.drop(groups)
        handles = self.points.handles(groups)
        self.points.forget(handles)
        await self._items.forget(self._session, handles)
        await self._alarms.drop(self._session, groups)
        wanted = {group.every for group in remaining if group.pushed}
        for interval in self._subscriptions.keys() - wanted:
            subscription = self._subscriptions.pop(interval)
            if subscription is not None:
                await self._publishing.unsubscribe(subscription)

    def take_gone(self) -> list[tuple[OpcUaGroup, int]]:
        """Return the polled points whose nodes are missing on the server, once."""
        return self._fallback.take_gone()

    async def forget(self, handles: Iterable[int]) -> None:
        """Delete monitored items. Raises `REQUEST_ERRORS`."""
        await self._items.forget(self._session, handles)

    async def receive(self, until: float) -> AsyncIterator[list[Scan]]:
        """Wait for the next message or poll, at most until an event loop time; yield complete scans.

        Raises `NotConnected` if the connection or a subscription is lost or silent for too long. Scans that were
        yielded before stay valid.
        """
        messages = await self._publishing.receive(min(until, self._fallback.due, self._alarms.due))
        with self._translating():
            for message in messages:
                if message.changes.handles:
                    yield self.points.scans(message.changes, self._clock())
                if message.events:
                    yield await self._alarms.scans(self._session, message.events, self._clock())
            yield self._alarms.gone(self._clock())
            yield await self._fallback.read_due(self._session, self.points.structures, self._clock)
            for subscription in self._publishing.take_losses():
                yield await self._reread(subscription)

    async def _reread(self, subscription: int) -> list[Scan]:
        """Read the points of a subscription that lost a message, since their last values may be outdated."""
        handles = self._items.monitored(subscription)
        changes = await self._session.read([self.points.node(handle) for handle in handles])
        changes.handles = handles
        newer = self.points.newer(changes)
        return self.points.scans(newer, self._clock()) if newer.handles else []

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Translate the errors of requests into `NotConnected`."""
        try:
            yield
        except REQUEST_ERRORS as error:
            raise self._session.not_connected(error) from error
