"""Monitored items: which change belongs to which point, and scans made of changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, cast

from asyncua import ua

from drivers.base import Scan
from drivers.opcua.history import Gap
from drivers.opcua.polling import NO_ROOM
from drivers.opcua.session import MONITOR
from drivers.opcua.settings import Discard, Time
from drivers.opcua.values import OVERFLOW, reading

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from drivers.base import Group, Value
    from drivers.opcua.changes import Changes
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaConnection, OpcUaSource
    from drivers.opcua.structures import Structures

_PLAIN = {bool, int, float}
"""Types of values that are readings as they come."""

_GONE = {ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid}

_NO_FILTER = {
    ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadDeadbandFilterInvalid,
}


class Items:
    """The monitored items of a session, by their client handle; `structures` are the server's own."""

    def __init__(self, counts: Counter[str]) -> None:
        """Prepare; `counts` gets `overflows` and `deadbands_refused`."""
        self.structures: Structures | None = None
        self._counts = counts
        self._whose: list[tuple[Group, int]] = []
        self._others: dict[int, list[int]] = {}  # handle -> further points of the same structure or array
        self._nodes: list[ua.NodeId] = []
        self._modes: list[Time] = []
        self._simple: list[bool] = []
        self._ordinary = True
        self._fresh: set[int] = set()  # handles whose first value has not come yet
        self._ids: dict[int, tuple[int, int]] = {}  # handle -> subscription and id on the server
        self.gaps: list[Gap] = []
        self._gone: set[int] = set()  # handles of nodes that were there, and are no more

    async def monitor(
        self, session: Session, subscription: int, group: Group, nodes: Sequence[tuple[int, ua.NodeId]]
    ) -> dict[int, int]:
        """Monitor nodes, given with their positions in the group; return the statuses of those that can't be.

        Parts of one structure, or of one array, share an item. Raises what a session's requests raise.
        """
        shared: dict[Hashable, int] = {}
        wanted: dict[int, ua.MonitoredItemCreateRequest] = {}
        for position, node in nodes:
            source = cast("OpcUaSource", group.sources[position])
            handle = new = len(self._whose)
            if not source.whole:
                alike = (node, source.sampling, source.queue, source.discard, source.time, group.deadband(position))
                handle = shared.setdefault(alike, new)
            if handle == new:
                wanted[handle] = self.request(group, position, node)
            else:
                self._others[handle].append(position)
        refused = await self._create(session, subscription, wanted)
        plain = {handle: wanted[handle] for handle, status in refused.items() if status in _NO_FILTER}
        for handle, request in plain.items():
            # the deadband is the gateway's own filter's work, as it is in any case
            self._counts["deadbands_refused"] += 1
            request.RequestedParameters.Filter = ua.ExtensionObject()
            del refused[handle]
        refused |= await self._create(session, subscription, plain)
        self._fresh.difference_update(refused)
        return {position: status for handle, status in refused.items() for position in self._positions(handle)}

    async def _create(
        self, session: Session, subscription: int, wanted: Mapping[int, ua.MonitoredItemCreateRequest]
    ) -> dict[int, int]:
        """Create items, by their handles; return the statuses of those that were not."""

        async def send(part: Sequence[int]) -> Sequence[ua.MonitoredItemCreateResult]:
            request = ua.CreateMonitoredItemsParameters(
                SubscriptionId=ua.IntegerId(subscription),
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ItemsToCreate=[wanted[handle] for handle in part],
            )
            try:
                return await session.client.uaclient.create_monitored_items(request)
            except ua.UaStatusCodeError as error:
                if error.code not in NO_ROOM:
                    raise
                return [ua.MonitoredItemCreateResult(ua.StatusCode(error.code)) for _ in part]

        handles = list(wanted)
        results = await session.in_parts(MONITOR, handles, send)
        refused = {}
        for handle, result in zip(handles, results, strict=True):
            if result.StatusCode.is_good():
                self._ids[handle] = subscription, result.MonitoredItemId
            else:
                refused[handle] = result.StatusCode.value
        return refused

    def _positions(self, handle: int) -> Sequence[int]:
        """Return the points that an item is for."""
        first = self._whose[handle][1]
        return (first, *self._others[handle]) if handle in self._others else (first,)

    def request(self, group: Group, position: int, node: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        """Return the request to monitor a node, whose changes are then known by their handle."""
        source = cast("OpcUaSource", group.sources[position])
        handle = len(self._whose)
        self._whose.append((group, position))
        time = source.time or cast("OpcUaConnection", group.connection).time
        self._nodes.append(node)
        self._modes.append(time)
        self._simple.append(source.whole)
        if not source.whole:
            self._others[handle] = []
        self._fresh.add(handle)
        # one machine alone behind the server, whole values, and the times of the source
        self._ordinary &= source.whole and time is Time.SOURCE and group is self._whose[0][0]
        sampling = group.every if source.sampling is None else source.sampling
        parameters = ua.MonitoringParameters(
            ClientHandle=ua.IntegerId(handle),
            SamplingInterval=ua.Duration(sampling * 1000),
            QueueSize=ua.Counter(source.queue),
            DiscardOldest=source.discard is Discard.OLDEST,
        )
        if dead := group.deadband(position):
            parameters.Filter = ua.DataChangeFilter(
                Trigger=ua.DataChangeTrigger.StatusValue,
                DeadbandType=ua.UInt32(ua.DeadbandType.Absolute),
                DeadbandValue=ua.Double(dead),
            )
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=parameters,
        )

    def take_gone(self) -> dict[int, list[tuple[Group, int]]]:
        """Return the points whose nodes were removed from the server, by the handles of their items, once."""
        gone, self._gone = self._gone, set()
        return {handle: [(self._whose[handle][0], place) for place in self._positions(handle)] for handle in gone}

    async def forget(self, session: Session, handles: Iterable[int]) -> None:
        """Monitor nodes no more. A server does not take an item up again when a node of that id comes back."""
        by_subscription: dict[int, list[int]] = defaultdict(list)
        for handle in handles:
            subscription, item = self._ids.pop(handle)
            by_subscription[subscription].append(item)
        for subscription, items in by_subscription.items():
            parameters = ua.DeleteMonitoredItemsParameters(ua.IntegerId(subscription), items)
            await session.client.uaclient.delete_monitored_items(parameters)

    def node(self, handle: int) -> ua.NodeId:
        """Return the node of an item."""
        return self._nodes[handle]

    def newer(self, changes: Changes, latest: dict[Group, list[int | None]]) -> Changes:
        """Return those of some values, as read, that are newer than what was delivered of their items."""
        kept = []
        for place, (handle, source) in enumerate(zip(changes.handles, changes.source_times, strict=True)):
            group, position = self._whose[handle]
            before = latest[group][position]
            if source is not None and (before is None or source > before):
                kept.append(place)
        return changes.chosen(kept)

    def monitored(self, subscription: int) -> list[int]:
        """Return the handles of a subscription's items, and so those that its lost messages may be about."""
        return [handle for handle, (whose, _) in self._ids.items() if whose == subscription]

    def scans(self, changes: Changes, now: int, latest: dict[Group, list[int | None]]) -> list[Scan]:
        """Return the changes as scans, one a group, or several where a point has changed several times.

        `latest` are the newest source times that were delivered, by group and position, over all connections. The
        first value of an item after another connection is what the server holds now: if it was delivered before, it
        is told again as of now, since its point was bad meanwhile, and not again as of then.
        """
        scan = self._whole_scan(changes, now, latest)
        if scan is not None:
            return [scan]
        scans: dict[tuple[Group, int], Scan] = {}
        turns: Counter[int] = Counter()
        once = len(set(changes.handles)) == len(changes.handles)
        columns = zip(
            changes.handles, changes.values, changes.statuses, changes.source_times, changes.server_times, strict=True
        )
        for place, (handle, value, status, source, server) in enumerate(columns):
            group, _ = self._whose[handle]
            turn = 0
            if not once:
                # a scan holds a point once: the second change of a node goes into the group's second scan
                turn = turns[handle]
                turns[handle] += 1
            scan = scans.get((group, turn))
            if scan is None:
                scan = scans[group, turn] = Scan(group, now, [], {}, [], [])
            time, since = self._when(handle, source, server, now, latest[group])
            self._note(handle, status)
            for position in self._positions(handle):
                found: Value | None = value
                if status or type(value) not in _PLAIN or not self._simple[handle]:
                    own = cast("OpcUaSource", group.sources[position])
                    variant = changes.variants.get(place)
                    found, fault = reading(value, status, variant, own.field, own.element, self.structures)
                    if fault is not None:
                        scan.faults[len(scan.values)] = fault
                if since is not None:
                    scans[group, -1 - len(scans)] = _late(scan, found, position, since)
                scan.values.append(found)
                cast("list[int]", scan.points).append(position)
                cast("list[int]", scan.times).append(time)
        return list(scans.values())

    def _note(self, handle: int, status: int) -> None:
        if status & OVERFLOW == OVERFLOW:
            self._counts["overflows"] += 1
        if status in _GONE and handle in self._ids:
            self._gone.add(handle)

    def _when(
        self, handle: int, source: int | None, server: int | None, now: int, newest: list[int | None]
    ) -> tuple[int, int | None]:
        """Return when a value was; and, of one that came about in an outage, since when it is.

        What the server holds after an outage is so as of now.
        """
        fresh = handle in self._fresh
        self._fresh.discard(handle)
        before = newest[self._whose[handle][1]]
        time = self._time(handle, source, server, now, newest)
        if not fresh or before is None:
            return time, None
        if source is None or source <= before:
            return now, None
        self.gaps += self._gaps(handle, before, source)
        return now, source

    def _gaps(self, handle: int, start: int, end: int) -> list[Gap]:
        group, _ = self._whose[handle]
        return [Gap(group, position, self._nodes[handle], start, end) for position in self._positions(handle)]

    def take_gaps(self) -> list[Gap]:
        """Return the times in which changes were missed, once."""
        gaps, self.gaps = self.gaps, []
        return gaps

    def _time(self, handle: int, source: int | None, server: int | None, now: int, newest: list[int | None]) -> int:
        """Return when a value was, by the clock that counts; what was delivered before is as of now."""
        mode = self._modes[handle]
        time = source if mode is Time.SOURCE else server if mode is Time.SERVER else now
        if time is None:
            time = server if server is not None else now
        if source is not None:
            for position in self._positions(handle):
                newest[position] = source
        return time

    def _whole_scan(self, changes: Changes, now: int, latest: dict[Group, list[int | None]]) -> Scan | None:
        """Return the changes as one scan, column by column, where nothing about them is out of the ordinary."""
        handles, sources = changes.handles, changes.source_times
        if (
            self._fresh
            or not self._ordinary
            or any(changes.statuses)
            or None in sources
            or not _PLAIN.issuperset(map(type, changes.values))
            or len(set(handles)) != len(handles)
        ):
            return None
        group, _ = self._whose[0]
        positions = [self._whose[handle][1] for handle in handles]
        times = cast("list[int]", sources)
        newest = latest[group]
        for position, time in zip(positions, times, strict=True):
            newest[position] = time
        return Scan(group, now, changes.values, {}, positions, times)


def _late(scan: Scan, value: Value | None, position: int, time: int) -> Scan:
    """Return the reading that is about to be put into a scan as one of its own, as of when it was."""
    fault = scan.faults.get(len(scan.values))
    return Scan(scan.group, scan.time, [value], {} if fault is None else {0: fault}, [position], [time], late=True)
