"""Reads the pushed points of one session: subscriptions, monitored items, events, and polling as a fallback."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import Fault, NotConnected
from drivers.opcua.codec.values import fault_of
from drivers.opcua.errors import FULL, NO_ROOM, REQUEST_ERRORS
from drivers.opcua.subscription.monitored_items import MonitoredItems
from drivers.opcua.subscription.polling import PollingFallback
from drivers.opcua.subscription.repeats import MESSAGES, Repeats
from drivers.opcua.subscription.revisions import NO_EVENTS, PUBLISHES, SLACK
from drivers.opcua.subscription.subscription import Publishing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from drivers.base import Scan
    from drivers.opcua.codec.data_changes import DataChanges
    from drivers.opcua.connection.session import Session
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.counters import Counters
    from drivers.opcua.events.alarms import Alarms
    from drivers.opcua.settings import OpcUaConnection, OpcUaGroup
    from drivers.opcua.subscription.revisions import Revisions
    from drivers.opcua.subscription.scan_builder import ScanBuilder


SLOW = 2.0
"""Seconds: points with a longer interval are read at once, before the server publishes for the first time."""

MAX_SUBSCRIPTIONS = 100
"""Most subscriptions for the items of one interval."""


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
        self._counters = counters
        self._revisions = revisions
        self._keep_alive = settings.keep_alive
        self._publishing = Publishing(session, settings.keep_alive, settings.publishing, counters)
        self._items = MonitoredItems(points, counters, revisions)
        self._fallback = PollingFallback(counters, revisions)
        self._repeats = Repeats()
        self._first: list[DataChanges] = []  # values that were read before the first messages
        self._subscriptions: dict[tuple[float, float], list[int]] = {}  # see `_key`; none if the server has no more
        self._keys: dict[OpcUaGroup, tuple[float, float]] = {}

    def begin(self) -> None:
        """Start to publish, after all items are monitored."""
        self._publishing.begin()

    def resume(self) -> None:
        """Publish added subscriptions, and make `receive` return."""
        self._publishing.begin()
        self.wake()

    def wake(self) -> None:
        """Make `receive` return."""
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
        self._repeats.add(group)
        read = self._fallback.resolve(group, nodes)
        positions = [position for position in positions if position not in read]
        faults = {position: node for position in positions if isinstance(node := nodes[position], Fault)}
        there = [(position, node) for position in positions if isinstance(node := nodes[position], ua.NodeId)]
        first = await self._read_first(there) if _is_slow(group) else None
        before, asked = self.points.size, self._clock()
        refused = await self._create(group, there)
        self.points.note_created(before, asked)
        if first is not None:
            self._first.append(self.points.first_values(before, first, [node for _, node in there]))
        full = [position for position, status in refused.items() if status in NO_ROOM]
        polled = [] if group.events else full
        self._fallback.add(group, polled, nodes)
        if group.events and full:
            self._counters.events_refused += len(full)
            self._revisions.note(group, full, NO_EVENTS)
        for position in refused.keys() - polled:
            if (fault := fault_of(refused[position])) is not None:
                faults[position] = fault
        return faults

    async def _read_first(self, nodes: Sequence[tuple[int, ua.NodeId]]) -> DataChanges | None:
        """Read the first values of points before their items are created; None if the server can't read them now."""
        try:
            return await self._session.read([node for _, node in nodes])
        except REQUEST_ERRORS as error:
            failure = self._session.translated(error)
            if isinstance(failure, NotConnected):
                raise failure from error
            return None

    async def _create(self, group: OpcUaGroup, nodes: Sequence[tuple[int, ua.NodeId]]) -> dict[int, int]:
        """Create items in the last subscription of their interval, and in others while it is full.

        Returns the status codes of refused items.
        """
        items = self._alarms if group.events else self._items
        subscriptions = self._subscriptions.setdefault(self._key(group), [])
        refused = dict.fromkeys((position for position, _ in nodes), int(ua.StatusCodes.BadTooManySubscriptions))
        if subscriptions:
            refused = await items.monitor(self._session, subscriptions[-1], group, nodes)
        full = FULL if subscriptions else NO_ROOM
        while len(subscriptions) < MAX_SUBSCRIPTIONS:
            rest = [one for one in nodes if refused.get(one[0]) in full]
            subscription = await self._subscribe(group) if rest else None
            if subscription is None:
                break
            again = await items.monitor(self._session, subscription, group, rest)
            if subscriptions and all(again.get(position) in FULL for position, _ in rest):
                await self._publishing.unsubscribe(subscription)  # the session is full
                break
            subscriptions.append(subscription)
            refused = {position: status for position, status in refused.items() if status not in full} | again
            full = FULL
        if subscriptions:
            self._note_interval(group, subscriptions[-1], [one for one, _ in nodes if one not in refused])
        return refused

    def _key(self, group: OpcUaGroup) -> tuple[float, float]:
        """Return the publishing interval and the keep-alive of a group's subscriptions, in seconds."""
        key = self._keys.get(group)
        if key is None:
            repeats = [interval / MESSAGES for interval in set(group.repeats) if interval]
            key = self._keys[group] = group.every, min([self._keep_alive, *repeats])
        return key

    async def _subscribe(self, group: OpcUaGroup) -> int | None:
        """Create a subscription; return its id, or None if the server supports no more."""
        try:
            return await self._publishing.subscribe(*self._key(group))
        except ua.UaStatusCodeError as error:
            if error.code not in NO_ROOM:
                raise
            return None

    def _note_interval(self, group: OpcUaGroup, subscription: int, positions: Sequence[int]) -> None:
        """Warn of a longer publishing interval than was requested (Part 4, 5.14.2)."""
        revised = self._publishing.interval(subscription)
        if revised > group.every * SLACK:
            self._revisions.note(group, positions, PUBLISHES.format(revised * 1000, group.every * 1000))
            self._revisions.revise(group, positions, "publishing", revised)

    def _heard(self, group: OpcUaGroup) -> float:
        """Return the event loop time up to which all changes of a group are delivered."""
        subscriptions = self._subscriptions.get(self._key(group), ())
        return min(map(self._publishing.heard, subscriptions), default=0.0)

    async def drop(self, groups: AbstractSet[OpcUaGroup], remaining: Iterable[OpcUaGroup]) -> None:
        """Stop monitoring groups, and delete subscriptions that no remaining group needs. Raises `REQUEST_ERRORS`."""
        self._fallback.drop(groups)
        self._repeats.drop(groups)
        handles = self.points.handles(groups)
        self.points.forget(handles)
        await self._items.forget(self._session, handles)
        await self._alarms.drop(self._session, groups)
        for group in groups:
            self._keys.pop(group, None)
        wanted = {self._key(group) for group in remaining if group.pushed}
        for key in self._subscriptions.keys() - wanted:
            for subscription in self._subscriptions.pop(key):
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
        first, self._first = self._first, []
        for changes in first:
            yield self._scans(changes)
            self.points.expect_again(changes)
        messages = await self._publishing.receive(min(until, self._fallback.due, self._alarms.due, self._repeats.due))
        with self._translating():
            for message in messages:
                if message.changes.handles:
                    yield self._scans(message.changes)
                if message.events:
                    yield await self._alarms.scans(self._session, message.events, self._clock())
            yield self._alarms.gone(self._clock())
            yield await self._fallback.read_due(self._session, self.points.structures, self._clock)
            for subscription in self._publishing.take_losses():
                yield await self._reread(subscription)
            yield self._repeats.take(self._heard, self._clock)

    def _scans(self, changes: DataChanges) -> list[Scan]:
        scans = self.points.scans(changes, self._clock())
        self._repeats.note(scans, self.points.present)
        return scans

    async def _reread(self, subscription: int) -> list[Scan]:
        """Read the points of a subscription that lost a message, since their last values may be outdated."""
        handles = self._items.monitored(subscription)
        changes = await self._session.read([self.points.node(handle) for handle in handles])
        changes.handles = handles
        newer = self.points.newer(changes)
        if not newer.handles:
            return []
        scans = self.points.overtake(newer, self._clock())
        self._repeats.note(scans, self.points.present)
        return scans

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Translate the errors of requests into `NotConnected`."""
        try:
            yield
        except REQUEST_ERRORS as error:
            raise self._session.not_connected(error) from error


def _is_slow(group: OpcUaGroup) -> bool:
    return group.every >= SLOW and not group.events
