"""Monitored items of simulated variables (OPC 10000-4, clause 5.13), and the publishing of their changes.

asyncua reports each write, copies its value for each item, and compares a deadband with the value before, so that a
quantity which moves in small steps is never reported again. A machine samples: each item at its own interval, against
the value reported last. Changes are encoded once, when they are sampled.
"""

from __future__ import annotations

import math
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from asyncua import ua
from asyncua.server import internal_subscription, subscription_service
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.ua.ua_binary import struct_to_binary

from simulators.opcua.node_store import NodeStore
from simulators.opcua.variable_values import GOOD_ENCODING_MASK, ILLEGAL, SAMPLING_INTERVAL

if TYPE_CHECKING:
    from simulators.opcua.variable_values import VariableValues

    # encoded, or an object for a subscription inside the server, such as history
    Change = bytes | ua.MonitoredItemNotification

_DATA_CHANGES = ua.NodeId(ua.Int32(ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary))


class ItemRejected(Exception):
    """An item can't be created as requested; `args[0]` is the status code."""


class SimulatedItem:
    """One monitored item. Attributes that asyncua reads have its names."""

    __slots__ = (
        "client_handle", "deadband", "discards_oldest", "last_reported", "mode", "monitored_item_id", "number",
        "queue_size", "sampled", "sampler", "status_only", "unfiltered",
    )  # fmt: skip

    def __init__(self, number: int, id_: int, sampler: SamplingGroup) -> None:
        self.number, self.monitored_item_id, self.sampler = number, id_, sampler
        self.mode = ua.MonitoringMode.Reporting
        self.sampled: Any = self  # the last content; equal to no content at first
        self.last_reported: float | None = None  # the number that a deadband is compared with
        self.queue_size = 1

    def configure(self, requested: ua.MonitoringParameters, queue_size: int) -> None:
        """Apply the requested parameters. Raises `ItemRejected`."""
        self.client_handle, self.queue_size = requested.ClientHandle, queue_size
        self.discards_oldest = requested.DiscardOldest
        wanted: Any = requested.Filter
        # not by its class: asyncua replaces classes of standard types when it loads a server's types
        if not hasattr(wanted, "DeadbandType"):
            wanted = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValue)
        self.status_only = wanted.Trigger == ua.DataChangeTrigger.Status
        self.deadband = 0.0
        if wanted.DeadbandType == ua.DeadbandType.Absolute:
            self.deadband = float(wanted.DeadbandValue)
        elif wanted.DeadbandType == ua.DeadbandType.Percent:
            limits = self.sampler.values.limits(self.number)
            if limits is None:
                raise ItemRejected(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
            self.deadband = (limits.High - limits.Low) * wanted.DeadbandValue / 100
        self.set_mode(self.mode)

    def set_mode(self, mode: ua.MonitoringMode) -> None:
        """Apply the monitoring mode."""
        self.mode = mode
        disabled = mode == ua.MonitoringMode.Disabled
        # every change is reported to a client, as it is
        self.unfiltered = not (self.deadband or self.status_only or disabled or self.sampler.internal)


class SamplingGroup:
    """Items of one subscription and one machine that are sampled together, at every n-th sample of the server."""

    def __init__(self, service: SimulatedItemService, values: VariableValues, every: int) -> None:
        self.values, self.every, self.internal = values, every, service.internal
        self.dirty: set[int] = set()
        self._next = 0
        self._service = service
        self._items: dict[int, list[SimulatedItem]] = {}

    def add(self, item: SimulatedItem) -> None:
        """Add an item."""
        if not self._items:
            self.values.samplers.append(self)
        self._items.setdefault(item.number, []).append(item)

    def remove(self, item: SimulatedItem) -> None:
        """Remove an item."""
        items = self._items[item.number]
        items.remove(item)
        if not items:
            del self._items[item.number]
        if not self._items:
            self.values.samplers.remove(self)
            self._service.forget(self)

    def due(self, sample: int) -> bool:
        """Return True if the server's sample of that number is one to report at."""
        return sample >= self._next

    async def sample(self, sample: int) -> None:
        """Report what has changed since the last sample."""
        self._next = sample + self.every
        if self.dirty:
            dirty, self.dirty = self.dirty, set()
            self._sample(dirty)
            await self._service.publish_at_once()

    def _sample(self, dirty: set[int]) -> None:
        """Report variables that have changed. Most are good numbers without a filter, which take the short way."""
        values, service, items = self.values, self._service, self._items
        queues, current = service.queues, values.current
        source_time, server_time = values.source_time, values.server_time
        for number in dirty:
            encoding = values.layout.numbers[number]
            for item in items.get(number, ()):
                now = None if encoding is None or not item.unfiltered else current[encoding[0]]
                if now is None or now is ILLEGAL or item.monitored_item_id in queues:
                    service.sample(item)
                elif now != item.sampled:
                    item.sampled = now
                    _, pack, code, raw = encoding  # type: ignore[misc] # not None, since `now` is a number
                    times = source_time[number], server_time[number]
                    change = pack(item.client_handle, GOOD_ENCODING_MASK, code, raw(now), *times)
                    queues[item.monitored_item_id] = [change]


class SimulatedItemService(MonitoredItemService):
    """The items of one subscription: ours for simulated variables, asyncua's for all other nodes."""

    def __init__(self, isub: InternalSubscription, aspace: Any) -> None:  # noqa: ANN401 - asyncua's
        super().__init__(isub, aspace)
        self.internal = isub.pub_request_callback is None  # history, for example
        self._groups: dict[tuple[int, int], SamplingGroup] = {}

    @property
    def queues(self) -> dict[int, list[Change]]:
        """Changes that wait to be published, by monitored item id."""
        return cast("dict[int, list[Change]]", self.isub._triggered_datachanges)  # noqa: SLF001 - see `EncodedSubscription`

    async def _create_data_change_monitored_item(
        self, params: ua.MonitoredItemCreateRequest
    ) -> ua.MonitoredItemCreateResult:
        target, nodes = params.ItemToMonitor, self.aspace._nodes  # noqa: SLF001 - asyncua has no public access
        found = nodes.variable(target.NodeId) if isinstance(nodes, NodeStore) else None
        if found is None or target.AttributeId != ua.AttributeIds.Value:
            if isinstance(nodes, NodeStore):
                nodes.keep(target.NodeId)  # asyncua registers its callback in the node
            return await super()._create_data_change_monitored_item(params)
        values, number = found
        requested = params.RequestedParameters
        interval = requested.SamplingInterval
        if interval < 0:
            interval = self.isub.data.RevisedPublishingInterval
        every = max(1, math.ceil(interval / (SAMPLING_INTERVAL * 1000) - 0.01))
        self._monitored_item_counter += 1
        id_ = self._monitored_item_counter
        item = SimulatedItem(number, id_, self._group(values, every))
        result = ua.MonitoredItemCreateResult(MonitoredItemId=ua.IntegerId(id_))
        if not self._revise(item, requested, result):
            return result
        item.set_mode(params.MonitoringMode)
        item.sampler.add(item)
        self._monitored_items[id_] = cast("Any", item)
        values.refresh()
        self.sample(item)
        await self.publish_at_once()
        return result

    def _revise(
        self,
        item: SimulatedItem,
        requested: ua.MonitoringParameters,
        result: ua.MonitoredItemCreateResult | ua.MonitoredItemModifyResult,
    ) -> bool:
        """Configure an item and fill in the revised parameters; return False if the filter is rejected."""
        result.RevisedSamplingInterval = ua.Duration(item.sampler.every * SAMPLING_INTERVAL * 1000)
        result.RevisedQueueSize = ua.Counter(self._revise_queue_size(requested.QueueSize))
        try:
            item.configure(requested, result.RevisedQueueSize)
        except ItemRejected as rejected:
            result.StatusCode = ua.StatusCode(ua.UInt32(rejected.args[0]))
            return False
        return True

    def _group(self, values: VariableValues, every: int) -> SamplingGroup:
        group = self._groups.get((id(values), every))
        if group is None:
            group = self._groups[id(values), every] = SamplingGroup(self, values, every)
        return group

    def forget(self, group: SamplingGroup) -> None:
        """Remove a group that has no items any more."""
        self._groups.pop((id(group.values), group.every), None)

    def sample(self, item: SimulatedItem) -> None:
        """Queue the content of an item's variable if it has changed and the filter lets it pass."""
        if item.mode == ua.MonitoringMode.Disabled:
            return
        values, number = item.sampler.values, item.number
        now, before = values.content(number), item.sampled
        if now is before or now == before:
            return
        item.sampled = now
        if item.status_only and before is not item and _good(now) == _good(before):
            return
        if item.deadband:
            value, last = values.device_number(number), item.last_reported
            if value is not None and last is not None and abs(value - last) <= item.deadband:
                return
            item.last_reported = value
        change: Change
        if self.internal:
            change = ua.MonitoredItemNotification(item.client_handle, values.data_value(number))
        else:
            change = values.encoded_change(number, item.client_handle)
        queue = self.queues.setdefault(item.monitored_item_id, [])
        if item.queue_size and len(queue) >= item.queue_size:
            queue.pop(0 if item.discards_oldest else -1)
        queue.append(change)

    async def publish_at_once(self) -> None:
        """Publish the queued changes if the publishing interval is 0."""
        if self.isub.data.RevisedPublishingInterval <= 0:
            await self.isub.publish_results()

    def _modify_monitored_item(self, params: ua.MonitoredItemModifyRequest) -> ua.MonitoredItemModifyResult:
        item: Any = self._monitored_items.get(params.MonitoredItemId)
        if not isinstance(item, SimulatedItem):
            return super()._modify_monitored_item(params)
        result = ua.MonitoredItemModifyResult()
        self._revise(item, params.RequestedParameters, result)
        return result

    async def _set_monitoring_mode(self, mode: ua.MonitoringMode, mid: int) -> ua.StatusCode:
        item: Any = self._monitored_items.get(mid)
        if not isinstance(item, SimulatedItem):
            return await super()._set_monitoring_mode(mode, mid)
        if item.mode == ua.MonitoringMode.Disabled:
            item.sampled, item.last_reported = item, None
        item.set_mode(mode)
        item.sampler.values.refresh()
        self.sample(item)
        await self.publish_at_once()
        return ua.StatusCode()

    def _delete_monitored_items(self, mid: int) -> ua.StatusCode:
        item: Any = self._monitored_items.get(mid)
        if not isinstance(item, SimulatedItem):
            return super()._delete_monitored_items(mid)
        del self._monitored_items[mid]
        item.sampler.remove(item)
        return ua.StatusCode()


class EncodedSubscription(InternalSubscription):
    """A subscription whose changes are mostly encoded before they are published."""

    def _pop_triggered_datachanges(self, result: ua.PublishResult) -> None:
        queues = cast("dict[int, list[Change]]", self._triggered_datachanges)
        if self.pub_request_callback is None or not queues:
            super()._pop_triggered_datachanges(result)
            return
        changes = [
            change if isinstance(change, bytes) else struct_to_binary(change)
            for change in chain.from_iterable(queues.values())
        ]
        self._triggered_datachanges = {}
        # DataChangeNotification (OPC 10000-4, clause 7.25.2): the changes, and a null array of diagnostics
        body = b"".join((struct.pack("<i", len(changes)), *changes, struct.pack("<i", -1)))
        notification = ua.ExtensionObject(_DATA_CHANGES, cast("ua.ByteString", body))
        result.NotificationMessage.NotificationData.append(notification)


def _good(content: Any) -> bool:  # noqa: ANN401 - what `VariableValues.content` returns
    contents = content if isinstance(content, tuple) else (content,)
    return not any(value is None or value is ILLEGAL for value in contents)


def install_sampling() -> None:
    """Replace asyncua's monitored items and subscriptions in this process by these."""
    internal_subscription.MonitoredItemService = SimulatedItemService  # type: ignore[misc]
    subscription_service.InternalSubscription = EncodedSubscription  # type: ignore[misc]
