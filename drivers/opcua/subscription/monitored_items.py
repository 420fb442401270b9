"""Creates and deletes monitored items (Part 4, 5.13), and reports refused items."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.connection.session import MONITOR
from drivers.opcua.errors import NO_FILTER, NO_ROOM
from drivers.opcua.settings import Discard, Trigger
from drivers.opcua.subscription.revisions import NO_DEADBAND, NO_PERCENT, NO_TRIGGER, SHORTER, SINGLE, SLACK, SLOWER

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from drivers.opcua.connection.session import Session
    from drivers.opcua.counters import Counters
    from drivers.opcua.settings import OpcUaGroup
    from drivers.opcua.subscription.revisions import Revisions
    from drivers.opcua.subscription.scan_builder import ScanBuilder


class MonitoredItems:
    """The monitored items of a session, by client handles of `points`."""

    def __init__(self, points: ScanBuilder, counters: Counters, revisions: Revisions) -> None:
        """Prepare; `counters` counts refused filters and single queues, and `revisions` names the points."""
        self._points = points
        self._counters = counters
        self._revisions = revisions
        self._ids: dict[int, tuple[int, int]] = {}  # handle -> subscription and id on the server

    async def monitor(
        self, session: Session, subscription: int, group: OpcUaGroup, nodes: Sequence[tuple[int, ua.NodeId]]
    ) -> dict[int, int]:
        """Create items for nodes, given with their positions in the group; return the status codes of refused items.

        Parts of one structure, or of one array, share an item. Raises `REQUEST_ERRORS`.
        """
        shared: dict[Hashable, int] = {}
        wanted: dict[int, ua.MonitoredItemCreateRequest] = {}
        for position, node in nodes:
            source = group.sources[position]
            alike = (
                node,
                source.sampling,
                source.queue,
                source.discard,
                source.trigger,
                source.time,
                group.deadband(position),
                group.percent(position),
            )
            if not source.whole and alike in shared:
                self._points.share(shared[alike], position)
                continue
            handle = self._points.add(group, position, node)
            if not source.whole:
                shared[alike] = handle
            wanted[handle] = _request(group, position, node, handle)
        refused = await self._create(session, subscription, wanted)
        plain = {handle: wanted[handle] for handle, status in refused.items() if status in NO_FILTER}
        for handle, request in plain.items():
            request.RequestedParameters.Filter = ua.ExtensionObject()
            del refused[handle]
        refused |= await self._create(session, subscription, plain)
        for handle in plain:
            self._note_refused(group, self._points.positions(handle))
        self._points.forget(refused)
        return {position: status for handle, status in refused.items() for position in self._points.positions(handle)}

    def _note_refused(self, group: OpcUaGroup, positions: Sequence[int]) -> None:
        """Count a refused filter, and warn of it. The gateway filters by deadband in any case."""
        if group.sources[positions[0]].trigger is Trigger.TIMESTAMP:
            self._counters.triggers_refused += 1
            self._revisions.note(group, positions, NO_TRIGGER)
        else:
            self._counters.deadbands_refused += 1
            self._revisions.note(group, positions, NO_PERCENT if group.percent(positions[0]) else NO_DEADBAND)

    async def _create(
        self, session: Session, subscription: int, wanted: Mapping[int, ua.MonitoredItemCreateRequest]
    ) -> dict[int, int]:
        """Create items by handle; return the status codes of refused items."""
        results = await create_items(session, subscription, list(wanted.values()))
        refused = {}
        for handle, result in zip(wanted, results, strict=True):
            if result.StatusCode.is_good():
                self._ids[handle] = subscription, result.MonitoredItemId
                self._note_revisions(handle, wanted[handle].RequestedParameters, result)
            else:
                refused[handle] = result.StatusCode.value
        return refused

    def _note_revisions(
        self, handle: int, asked: ua.MonitoringParameters, result: ua.MonitoredItemCreateResult
    ) -> None:
        """Warn of a longer sampling interval, or a shorter queue, than was requested (Part 4, 7.21).

        A queue of one never sets the overflow bit (Part 4, 5.13.1.5): its losses can't be counted, but the queue can.
        """
        [(group, _), *_] = self._points.of(handle)
        positions = self._points.positions(handle)
        sampling, size = result.RevisedSamplingInterval, result.RevisedQueueSize
        if asked.SamplingInterval > 0 and sampling > asked.SamplingInterval * SLACK:
            self._revisions.note(group, positions, SLOWER.format(sampling, asked.SamplingInterval))
            self._revisions.revise(group, positions, "sampling", sampling / 1000)
        if size == 1 and 0 <= sampling < group.every * 1000:
            self._counters.single_queues += 1
        if 0 < size < asked.QueueSize:
            self._revisions.note(group, positions, (SINGLE if size == 1 else SHORTER).format(size, asked.QueueSize))
            self._revisions.revise(group, positions, "queue", size)

    async def forget(self, session: Session, handles: Iterable[int]) -> None:
        """Delete items. A server does not resume an item when a node with that id comes back."""
        by_subscription: dict[int, list[int]] = defaultdict(list)
        for handle in handles:
            if handle in self._ids:
                subscription, item = self._ids.pop(handle)
                by_subscription[subscription].append(item)
        await delete_items(session, by_subscription)

    def monitored(self, subscription: int) -> list[int]:
        """Return the handles of a subscription's items."""
        return [handle for handle, (whose, _) in self._ids.items() if whose == subscription]


async def create_items(
    session: Session, subscription: int, requests: Sequence[ua.MonitoredItemCreateRequest]
) -> list[ua.MonitoredItemCreateResult]:
    """Create monitored items; return the result of each. Raises `REQUEST_ERRORS`.

    A server without room for more may refuse the whole request; each of its items is refused then.
    """

    async def send(part: Sequence[ua.MonitoredItemCreateRequest]) -> Sequence[ua.MonitoredItemCreateResult]:
        parameters = ua.CreateMonitoredItemsParameters(
            SubscriptionId=ua.IntegerId(subscription),
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ItemsToCreate=list(part),
        )
        try:
            return await session.client.uaclient.create_monitored_items(parameters)
        except ua.UaStatusCodeError as error:
            if error.code not in NO_ROOM:
                raise
            return [ua.MonitoredItemCreateResult(ua.StatusCode(error.code)) for _ in part]

    return await session.in_parts(MONITOR, requests, send)


async def delete_items(session: Session, items: Mapping[int, Sequence[int]]) -> None:
    """Delete monitored items, by their subscriptions. Raises `REQUEST_ERRORS`."""
    for subscription, ids in items.items():

        async def send(part: Sequence[int], subscription: int = subscription) -> Sequence[ua.StatusCode]:
            parameters = ua.DeleteMonitoredItemsParameters(ua.IntegerId(subscription), list(part))
            return await session.client.uaclient.delete_monitored_items(parameters)

        await session.in_parts(MONITOR, ids, send)


def _request(group: OpcUaGroup, position: int, node: ua.NodeId, handle: int) -> ua.MonitoredItemCreateRequest:
    """Return the request to monitor a node with a client handle."""
    source = group.sources[position]
    parameters = ua.MonitoringParameters(
        ClientHandle=ua.IntegerId(handle),
        SamplingInterval=ua.Duration(source.sampling_in(group.every) * 1000),
        QueueSize=ua.Counter(source.queue),
        DiscardOldest=source.discard is Discard.OLDEST,
    )
    dead, percent = group.deadband(position), group.percent(position)
    if source.trigger is Trigger.TIMESTAMP:  # with it a server ignores a deadband (Part 4, 7.22.2)
        parameters.Filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
    elif dead or percent:
        parameters.Filter = ua.DataChangeFilter(
            Trigger=ua.DataChangeTrigger.StatusValue,
            DeadbandType=ua.UInt32(ua.DeadbandType.Absolute if dead else ua.DeadbandType.Percent),
            DeadbandValue=ua.Double(dead or percent),
        )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=parameters,
    )
