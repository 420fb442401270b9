"""Monitored items of simulated variables (OPC 10000-4, clause 5.13), and how their changes are published.

asyncua tells of each write, copies its value for each item, and compares a deadband with the value before, so that a
quantity which moves in small steps is never told again. A machine samples: each item at its own interval, against
what was told last. Changes are encoded once, when they are seen.
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
from simulators.opcua.server import REFRESH
from simulators.opcua.variable_values import GOOD, ILLEGAL

if TYPE_CHECKING:
    from simulators.opcua.variable_values import VariableValues

    # a change that is encoded, or one for who listens inside the server
    Change = bytes | ua.MonitoredItemNotification

_DATA_CHANGES = ua.NodeId(ua.Int32(ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary))


class Refused(Exception):
    """An item can't be as it is asked for; `args` has the status."""


class Item:
    """One monitored item; names that asyncua looks at are its own."""

    __slots__ = (
        "client_handle", "deadband", "discards_oldest", "mode", "monitored_item_id", "number", "plain", "queue_size",
        "sampled", "status_only", "told", "watch",
    )  # fmt: skip

    def __init__(self, number: int, id_: int, watch: Watching) -> None:
        self.number, self.monitored_item_id, self.watch = number, id_, watch
        self.mode = ua.MonitoringMode.Reporting
        self.sampled: Any = self  # what was seen last: nothing is like that
        self.told: float | None = None  # the number that was told last
        self.queue_size = 1

    def ask(self, asked: ua.MonitoringParameters, queue_size: int) -> None:
        """Take over what is asked for. Raises `Refused`."""
        self.client_handle, self.queue_size = asked.ClientHandle, queue_size
        self.discards_oldest = asked.DiscardOldest
        wanted: Any = asked.Filter
        # not by its class: asyncua makes classes of standard types anew when it learns a server's types
        if not hasattr(wanted, "DeadbandType"):
            wanted = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValue)
        self.status_only = wanted.Trigger == ua.DataChangeTrigger.Status
        self.deadband = 0.0
        if wanted.DeadbandType == ua.DeadbandType.Absolute:
            self.deadband = float(wanted.DeadbandValue)
        elif wanted.DeadbandType == ua.DeadbandType.Percent:
            limits = self.watch.held.limits(self.number)
            if limits is None:
                raise Refused(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
            self.deadband = (limits.High - limits.Low) * wanted.DeadbandValue / 100
        self.set_mode(self.mode)

    def set_mode(self, mode: ua.MonitoringMode) -> None:
        """Take over whether it samples at all."""
        self.mode = mode
        disabled = mode == ua.MonitoringMode.Disabled
        # every change of what it samples is told to somebody outside, as it is
        self.plain = not (self.deadband or self.status_only or disabled or self.watch.inside)


class Watching:
    """Items of one subscription, of one machine, that are sampled together: every so many looks."""

    def __init__(self, service: Service, held: VariableValues, every: int) -> None:
        self.held, self.every, self.inside = held, every, service.inside
        self.dirty: set[int] = set()
        self._next = 0
        self._service = service
        self._items: dict[int, list[Item]] = {}

    def add(self, item: Item) -> None:
        """Sample an item from now on."""
        if not self._items:
            self.held.watches.append(self)
        self._items.setdefault(item.number, []).append(item)

    def remove(self, item: Item) -> None:
        """Sample an item no more."""
        items = self._items[item.number]
        items.remove(item)
        if not items:
            del self._items[item.number]
        if not self._items:
            self.held.watches.remove(self)
            self._service.end(self)

    def due(self, look: int) -> bool:
        """Return whether the look of that number is one to sample at."""
        return look >= self._next

    async def sample(self, look: int) -> None:
        """Tell what has changed since the last sample."""
        self._next = look + self.every
        if self.dirty:
            dirty, self.dirty = self.dirty, set()
            self._sample(dirty)
            await self._service.told()

    def _sample(self, dirty: set[int]) -> None:
        """Sample what has changed: most of it good numbers, which are told as they are."""
        held, service, items = self.held, self._service, self._items
        queues, seen, source, server = service.queues, held.seen, held.source, held.server
        for number in dirty:
            plain = held.layout.plain[number]
            for item in items.get(number, ()):
                now = None if plain is None or not item.plain else seen[plain[0]]
                if now is None or now is ILLEGAL or item.monitored_item_id in queues:
                    service.sample(item)
                elif now != item.sampled:
                    item.sampled = now
                    _, pack, code, raw = plain  # type: ignore[misc] # there is a number, so there is this
                    change = pack(item.client_handle, GOOD, code, raw(now), source[number], server[number])
                    queues[item.monitored_item_id] = [change]


class Service(MonitoredItemService):
    """The items of one subscription: of simulated variables ours, of all else asyncua's."""

    def __init__(self, isub: InternalSubscription, aspace: Any) -> None:  # noqa: ANN401 - asyncua's
        super().__init__(isub, aspace)
        self.inside = isub.pub_request_callback is None  # as history does
        self._watching: dict[tuple[int, int], Watching] = {}

    @property
    def queues(self) -> dict[int, list[Change]]:
        """What waits to be published, by the ids of items."""
        return cast("dict[int, list[Change]]", self.isub._triggered_datachanges)  # noqa: SLF001 - see `Subscription`

    async def _create_data_change_monitored_item(
        self, params: ua.MonitoredItemCreateRequest
    ) -> ua.MonitoredItemCreateResult:
        what, nodes = params.ItemToMonitor, self.aspace._nodes  # noqa: SLF001 - asyncua has no other way to them
        found = nodes.variable(what.NodeId) if isinstance(nodes, NodeStore) else None
        if found is None or what.AttributeId != ua.AttributeIds.Value:
            if isinstance(nodes, NodeStore):
                nodes.keep(what.NodeId)  # asyncua notes in the node who is told of it
            return await super()._create_data_change_monitored_item(params)
        held, number = found
        asked = params.RequestedParameters
        wanted = asked.SamplingInterval if asked.SamplingInterval >= 0 else self.isub.data.RevisedPublishingInterval
        every = max(1, math.ceil(wanted / (REFRESH * 1000) - 0.01))
        self._monitored_item_counter += 1
        id_ = self._monitored_item_counter
        item = Item(number, id_, self._watch(held, every))
        result = ua.MonitoredItemCreateResult(MonitoredItemId=ua.IntegerId(id_))
        if not self._agree(item, asked, result):
            return result
        item.set_mode(params.MonitoringMode)
        item.watch.add(item)
        self._monitored_items[id_] = cast("Any", item)
        held.look()
        self.sample(item)
        await self.told()
        return result

    def _agree(
        self,
        item: Item,
        asked: ua.MonitoringParameters,
        result: ua.MonitoredItemCreateResult | ua.MonitoredItemModifyResult,
    ) -> bool:
        """Have an item be as it is asked for, as far as that goes; returns whether it can be."""
        result.RevisedSamplingInterval = ua.Duration(item.watch.every * REFRESH * 1000)
        result.RevisedQueueSize = ua.Counter(self._revise_queue_size(asked.QueueSize))
        try:
            item.ask(asked, result.RevisedQueueSize)
        except Refused as refused:
            result.StatusCode = ua.StatusCode(ua.UInt32(refused.args[0]))
            return False
        return True

    def _watch(self, held: VariableValues, every: int) -> Watching:
        watch = self._watching.get((id(held), every))
        if watch is None:
            watch = self._watching[id(held), every] = Watching(self, held, every)
        return watch

    def end(self, watch: Watching) -> None:
        """Forget items that are sampled no more."""
        self._watching.pop((id(watch.held), watch.every), None)

    def sample(self, item: Item) -> None:
        """Queue what an item's variable holds, if that is to be told."""
        if item.mode == ua.MonitoringMode.Disabled:
            return
        held, number = item.watch.held, item.number
        now, before = held.content(number), item.sampled
        if now is before or now == before:
            return
        item.sampled = now
        if item.status_only and before is not item and _good(now) == _good(before):
            return
        if item.deadband:
            size = held.size(number)
            if size is not None and item.told is not None and abs(size - item.told) <= item.deadband:
                return
            item.told = size
        change: Change
        if self.inside:
            change = ua.MonitoredItemNotification(item.client_handle, held.data(number))
        else:
            change = held.change(number, item.client_handle)
        queue = self.queues.setdefault(item.monitored_item_id, [])
        if item.queue_size and len(queue) >= item.queue_size:
            queue.pop(0 if item.discards_oldest else -1)
        queue.append(change)

    async def told(self) -> None:
        """Publish at once what is queued, where the subscription is like that."""
        if self.isub.data.RevisedPublishingInterval <= 0:
            await self.isub.publish_results()

    def _modify_monitored_item(self, params: ua.MonitoredItemModifyRequest) -> ua.MonitoredItemModifyResult:
        item: Any = self._monitored_items.get(params.MonitoredItemId)
        if not isinstance(item, Item):
            return super()._modify_monitored_item(params)
        result = ua.MonitoredItemModifyResult()
        self._agree(item, params.RequestedParameters, result)
        return result

    async def _set_monitoring_mode(self, mode: ua.MonitoringMode, mid: int) -> ua.StatusCode:
        item: Any = self._monitored_items.get(mid)
        if not isinstance(item, Item):
            return await super()._set_monitoring_mode(mode, mid)
        if item.mode == ua.MonitoringMode.Disabled:
            item.sampled, item.told = item, None
        item.set_mode(mode)
        item.watch.held.look()
        self.sample(item)
        await self.told()
        return ua.StatusCode()

    def _delete_monitored_items(self, mid: int) -> ua.StatusCode:
        item: Any = self._monitored_items.get(mid)
        if not isinstance(item, Item):
            return super()._delete_monitored_items(mid)
        del self._monitored_items[mid]
        item.watch.remove(item)
        return ua.StatusCode()


class Subscription(InternalSubscription):
    """A subscription most of whose changes are encoded already when they are published."""

    def _pop_triggered_datachanges(self, result: ua.PublishResult) -> None:
        waiting = cast("dict[int, list[Change]]", self._triggered_datachanges)
        if self.pub_request_callback is None or not waiting:
            super()._pop_triggered_datachanges(result)
            return
        changes = [
            one if isinstance(one, bytes) else struct_to_binary(one) for one in chain.from_iterable(waiting.values())
        ]
        self._triggered_datachanges = {}
        # DataChangeNotification (OPC 10000-4, clause 7.25.2): the changes, and no diagnostics
        body = b"".join((struct.pack("<i", len(changes)), *changes, struct.pack("<i", -1)))
        told = ua.ExtensionObject(_DATA_CHANGES, cast("ua.ByteString", body))
        result.NotificationMessage.NotificationData.append(told)


def _good(content: Any) -> bool:  # noqa: ANN401 - what `VariableValues.content` returns
    contents = content if isinstance(content, tuple) else (content,)
    return not any(one is None or one is ILLEGAL for one in contents)


def sample_variables() -> None:
    """Have the servers of this process sample what is simulated."""
    internal_subscription.MonitoredItemService = Service  # type: ignore[misc]
    subscription_service.InternalSubscription = Subscription  # type: ignore[misc]
