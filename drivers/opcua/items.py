"""Monitored items: which change belongs to which point, and scans made of changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua

from drivers.base import Fault, Scan
from drivers.opcua.session import MONITOR
from drivers.opcua.settings import Discard, Time
from drivers.opcua.values import OVERFLOW, fault_of, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Group, Value
    from drivers.opcua.changes import Changes
    from drivers.opcua.session import Session
    from drivers.opcua.settings import OpcUaSource
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
        self._sources: list[OpcUaSource] = []
        self._modes: list[Time] = []
        self._simple: list[bool] = []
        self._ordinary = True
        self._fresh: set[int] = set()  # handles whose first value has not come yet
        self._ids: dict[int, tuple[int, int]] = {}  # handle -> subscription and id on the server
        self._gone: set[int] = set()  # handles of nodes that were there, and are no more

    async def monitor(
        self, session: Session, subscription: int, group: Group, nodes: Sequence[tuple[int, ua.NodeId]]
    ) -> dict[int, Fault]:
        """Monitor nodes, given with their positions in the group; return the faults of those that can't be.

        Raises what a session's requests raise.
        """
        wanted = [(position, self.request(group, position, node)) for position, node in nodes]
        faults = await self._create(session, subscription, wanted)
        plain = []
        for position, status in list(faults.items()):
            if status in _NO_FILTER:
                # the deadband is the gateway's own filter's work, as it is in any case
                self._counts["deadbands_refused"] += 1
                [request] = [request for place, request in wanted if place == position]
                request.RequestedParameters.Filter = ua.ExtensionObject()
                plain.append((position, request))
                del faults[position]
        faults |= await self._create(session, subscription, plain)
        return {position: fault for position, status in faults.items() if (fault := fault_of(status)) is not None}

    async def _create(
        self, session: Session, subscription: int, wanted: Sequence[tuple[int, ua.MonitoredItemCreateRequest]]
    ) -> dict[int, int]:
        """Create items; return the statuses of those that were not."""

        async def send(
            part: Sequence[tuple[int, ua.MonitoredItemCreateRequest]],
        ) -> Sequence[ua.MonitoredItemCreateResult]:
            return await session.client.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=ua.IntegerId(subscription),
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=[request for _, request in part],
                )
            )

        results = await session.in_parts(MONITOR, wanted, send)
        for (_, request), result in zip(wanted, results, strict=True):
            self._ids[request.RequestedParameters.ClientHandle] = subscription, result.MonitoredItemId
        return {
            position: result.StatusCode.value
            for (position, _), result in zip(wanted, results, strict=True)
            if not result.StatusCode.is_good()
        }

    def request(self, group: Group, position: int, node: ua.NodeId) -> ua.MonitoredItemCreateRequest:
        """Return the request to monitor a node, whose changes are then known by their handle."""
        source = cast("OpcUaSource", group.sources[position])
        handle = len(self._whose)
        self._whose.append((group, position))
        self._sources.append(source)
        self._modes.append(source.time)
        self._simple.append(not source.field and source.element is None)
        self._fresh.add(handle)
        # one machine alone behind the server, whole values, and the times of the source
        self._ordinary &= self._simple[handle] and source.time is Time.SOURCE and group is self._whose[0][0]
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

    async def forget_gone(self, session: Session) -> list[tuple[Group, int]]:
        """Monitor those nodes no more that were removed from the server; return whose they were.

        A server does not take an item up again when a node of that id comes back.
        """
        gone, self._gone = self._gone, set()
        by_subscription: dict[int, list[int]] = defaultdict(list)
        for handle in gone:
            subscription, item = self._ids.pop(handle)
            by_subscription[subscription].append(item)
        for subscription, items in by_subscription.items():
            parameters = ua.DeleteMonitoredItemsParameters(ua.IntegerId(subscription), items)
            await session.client.uaclient.delete_monitored_items(parameters)
        return [self._whose[handle] for handle in gone]

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
            group, position = self._whose[handle]
            turn = 0
            if not once:
                # a scan holds a point once: the second change of a node goes into the group's second scan
                turn = turns[handle]
                turns[handle] += 1
            scan = scans.get((group, turn))
            if scan is None:
                scan = scans[group, turn] = Scan(group, now, [], {}, [], [])
            found: Value | None = value
            if status or type(value) not in _PLAIN or not self._simple[handle]:
                found, fault = self._reading(changes, place, handle, value, status)
                if fault is not None:
                    scan.faults[len(scan.values)] = fault
            time = self._time(handle, source, server, now, latest[group])
            scan.values.append(found)
            cast("list[int]", scan.points).append(position)
            cast("list[int]", scan.times).append(time)
        return list(scans.values())

    def _time(self, handle: int, source: int | None, server: int | None, now: int, newest: list[int | None]) -> int:
        """Return when a value was, by the clock that counts; what was delivered before is as of now."""
        _, position = self._whose[handle]
        mode = self._modes[handle]
        time = source if mode is Time.SOURCE else server if mode is Time.SERVER else now
        if time is None:
            time = server if server is not None else now
        if handle in self._fresh:
            self._fresh.discard(handle)
            before = newest[position]
            if before is not None and (source is None or source <= before):
                time = now
        if source is not None:
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

    def _reading(
        self,
        changes: Changes,
        place: int,
        handle: int,
        value: Any,  # noqa: ANN401 - whatever a server sends
        status: int,
    ) -> tuple[Value | None, Fault | None]:
        if status & OVERFLOW == OVERFLOW:
            self._counts["overflows"] += 1
        if status in _GONE:
            self._gone.add(handle)
        source = self._sources[handle]
        variant = changes.variants.get(place)
        return reading(value, status, variant, source.field, source.element, self.structures)
