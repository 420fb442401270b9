"""What a server pushes over one session: subscriptions, their items and events, and reads where it has no room."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.base import Fault, Scan
from drivers.opcua.codec.binary import DecodeError
from drivers.opcua.codec.values import fault_of
from drivers.opcua.security.setup import LOST
from drivers.opcua.subscription.monitored_items import MonitoredItems
from drivers.opcua.subscription.polling import NO_ROOM, PollingFallback
from drivers.opcua.subscription.subscription import Publishing

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from drivers.base import Value
    from drivers.opcua.connection.session import Session
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.events.alarms import Alarms
    from drivers.opcua.settings import OpcUaConnection, OpcUaGroup
    from drivers.opcua.subscription.revisions import Revisions
    from drivers.opcua.subscription.scan_builder import ScanBuilder


class SessionReader:
    """The pushed points of a session, from being monitored to scans. `points` tells which change is whose."""

    def __init__(
        self,
        session: Session,
        settings: OpcUaConnection,
        counts: Counter[str],
        remarks: Revisions,
        points: ScanBuilder,
        alarms: Alarms,
        clock: Callable[[], int],
    ) -> None:
        """Prepare; `counts` and `remarks` get what each of the parts counts, and finds out."""
        self.points = points
        self._session = session
        self._alarms = alarms
        self._clock = clock
        self._publishing = Publishing(session, settings.keep_alive, settings.publishing, counts)
        self._items = MonitoredItems(points, counts, remarks)
        self._stopgap = PollingFallback(counts, remarks)
        self._subscriptions: dict[float, int | None] = {}  # by interval; None where the server has none

    def begin(self) -> None:
        """Begin to publish, once all is monitored."""
        self._publishing.begin()

    def resume(self) -> None:
        """Publish also what has been monitored since, and tell what was found out meanwhile."""
        self._publishing.begin()
        self._publishing.wake()

    def end(self) -> None:
        """Ask for nothing more."""
        self._publishing.end()

    def leave(self, leftover: SessionTakeover) -> None:
        """Hand over what is known of the subscriptions, and what nobody has received."""
        self._publishing.leave(leftover)

    async def monitor(
        self, group: OpcUaGroup, positions: Iterable[int], nodes: list[ua.NodeId | Fault]
    ) -> list[Scan]:
        """Monitor what is there, poll what there is no room for, and tell the faults of the rest, in `nodes` too.

        Raises what a session's requests raise.
        """
        if group.every not in self._subscriptions:
            self._subscriptions[group.every] = await self._subscribe(group.every)
        subscription = self._subscriptions[group.every]
        read = self._stopgap.resolve(group, nodes)
        positions = [position for position in positions if position not in read]
        faults = {position: node for position in positions if isinstance(node := nodes[position], Fault)}
        there = [(position, node) for position in positions if isinstance(node := nodes[position], ua.NodeId)]
        if subscription is None:
            refused = dict.fromkeys((position for position, _ in there), int(ua.StatusCodes.BadTooManySubscriptions))
        else:
            items = self._alarms if group.events else self._items
            refused = await items.monitor(self._session, subscription, group, there)
        polled = [] if group.events else [position for position, status in refused.items() if status in NO_ROOM]
        self._stopgap.add(group, polled, nodes)
        for position in refused.keys() - polled:
            if (fault := fault_of(refused[position])) is not None:
                faults[position] = nodes[position] = fault
        return self._told(group, faults)

    async def _subscribe(self, interval: float) -> int | None:
        """Make a subscription; None where the server has none, or none any more."""
        try:
            return await self._publishing.subscribe(interval)
        except ua.UaStatusCodeError as error:
            if error.code not in NO_ROOM:
                raise
            return None

    def _told(self, group: OpcUaGroup, faults: Mapping[int, Fault]) -> list[Scan]:
        if not faults:
            return []
        values: list[Value | None] = [None] * len(faults)
        return [Scan(group, self._clock(), values, dict(enumerate(faults.values())), list(faults))]

    async def drop(self, groups: AbstractSet[OpcUaGroup], remaining: Iterable[OpcUaGroup]) -> None:
        """Monitor groups no more, and end subscriptions that none of the remaining ones needs.

        Raises what a session's requests raise.
        """
        self._stopgap.drop(groups)
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
        """Return the points that are read here and whose nodes are not on the server, once."""
        return self._stopgap.take_gone()

    async def forget(self, handles: Iterable[int]) -> None:
        """Monitor nodes no more. Raises what a session's requests raise."""
        await self._items.forget(self._session, handles)

    async def receive(self, until: float, ready: deque[Scan]) -> None:
        """Wait for what comes next and add it to `ready`, at the longest `until` then by the event loop's clock.

        Raises `NotConnected` where the connection, or a subscription, is lost, or silent for too long.
        """
        messages = await self._publishing.receive(min(until, self._stopgap.due, self._alarms.due))
        with self._talking():
            for message in messages:
                if message.changes.handles:
                    ready += self.points.scans(message.changes, self._clock())
                if message.events:
                    ready += await self._alarms.scans(self._session, message.events, self._clock())
            ready += self._alarms.gone(self._clock())
            ready += await self._stopgap.take(self._session, self.points.structures, self._clock)
            for subscription in self._publishing.take_losses():
                ready += await self._make_good(subscription)

    async def _make_good(self, subscription: int) -> list[Scan]:
        """Read what a lost message may have been about: a value that stands may be an old one."""
        handles = self._items.monitored(subscription)
        changes = await self._session.read([self.points.node(handle) for handle in handles])
        changes.handles = handles
        newer = self.points.newer(changes)
        return self.points.scans(newer, self._clock()) if newer.handles else []

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn what is raised where the session is of no use any more into `NotConnected`."""
        try:
            yield
        except (*LOST, DecodeError) as error:
            raise self._session.lost(error) from error
