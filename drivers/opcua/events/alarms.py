"""Subscribes to the events and alarms of objects in a session, and makes readings of them."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.base import Scan
from drivers.opcua.browse.resolve import event_selection
from drivers.opcua.errors import NO_FILTER
from drivers.opcua.events.active_alarms import ActiveAlarms
from drivers.opcua.events.events import EVERY_EVENT, QUEUE_OVERFLOW, event_filter, event_of, standard_type
from drivers.opcua.subscription.monitored_items import create_items, delete_items
from drivers.opcua.subscription.revisions import NO_FIELDS

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from drivers.opcua.connection.session import Session
    from drivers.opcua.counters import Counters
    from drivers.opcua.events.events import Event, EventSelection
    from drivers.opcua.settings import OpcUaGroup, OpcUaSource
    from drivers.opcua.subscription.revisions import Revisions

REFRESHED = 5.0
"""Seconds beyond a publishing interval within which a server reports all active alarms after a refresh request.

The refresh ends with an event (Part 9, 5.5.7), which not every server sends to a subscriber of a single object.
"""

REMEMBERED = 10_000
"""Event ids that are stored, because a refresh after a reconnection repeats events of active alarms."""

FIRST_HANDLE = 2**30
"""The first client handle of event items; points have handles from 0. Some servers send values for event items."""

_TYPE = 1
"""Index of the event type among the fields."""


class Alarms:
    """The event points of a driver. Monitored items end with a session; ids of delivered events stay."""

    def __init__(self, counters: Counters, revisions: Revisions) -> None:
        """Prepare; `counters` counts `overflows`, and `revisions` names points whose filter is refused."""
        self._counters = counters
        self._revisions = revisions
        self._standing = ActiveAlarms()
        self.due = math.inf
        """Event loop time at which `gone` has results; infinite if no alarm is uncertain."""
        self._refreshing: set[OpcUaGroup] = set()
        self._refreshed: set[OpcUaGroup] = set()  # whose active alarms were all delivered once
        self._whose: list[tuple[OpcUaGroup, int, EventSelection]] = []
        self._ids: dict[int, tuple[int, int]] = {}  # handle -> subscription and id on the server
        self._names: dict[ua.NodeId, str] = {}
        self._delivered: OrderedDict[tuple[OpcUaGroup, int, bytes], None] = OrderedDict()

    def forget_session(self) -> None:
        """Prepare for another session."""
        self._whose.clear()
        self._ids.clear()
        self._standing.doubt()
        self._refreshing.clear()
        self.due = math.inf
        self._names.clear()  # type ids may have another meaning after a restart

    async def monitor(
        self, session: Session, subscription: int, group: OpcUaGroup, nodes: Sequence[tuple[int, ua.NodeId]]
    ) -> dict[int, int]:
        """Subscribe to the events of objects, given with their points; return the statuses of refused items.

        Requests a refresh for alarms that are already active. Raises `REQUEST_ERRORS`.
        """
        wanted = {position: event_selection(session, group, position) for position, _ in nodes}
        selections = {position: one for position, one in wanted.items() if one is not None}
        missing = dict.fromkeys(wanted.keys() - selections, int(ua.StatusCodes.BadNodeIdUnknown))
        known = [one for one in nodes if one[0] in selections]
        refused = missing | await self._create(session, subscription, group, known, selections)
        plain = [one for one in known if refused.get(one[0]) in NO_FILTER and selections[one[0]] != EVERY_EVENT]
        if plain:
            again = await self._create(session, subscription, group, plain, selections, filtered=False)
            tried = {position for position, _ in plain}
            refused = {position: status for position, status in refused.items() if position not in tried} | again
            self._revisions.note(group, (position for position, _ in plain if position not in again), NO_FIELDS)
        with suppress(ua.UaStatusCodeError):  # a server without alarms has no such method
            if len(refused) < len(nodes) and await _refresh(session, subscription):
                self.due = asyncio.get_running_loop().time() + group.every + REFRESHED
                self._refreshing.add(group)
        return refused

    async def _create(
        self,
        session: Session,
        subscription: int,
        group: OpcUaGroup,
        nodes: Sequence[tuple[int, ua.NodeId]],
        selections: Mapping[int, EventSelection],
        *,
        filtered: bool = True,
    ) -> dict[int, int]:
        """Create items; return the status codes of refused items."""
        first = len(self._whose)
        requests = []
        for position, node in nodes:
            self._whose.append((group, position, selections[position]))
            chosen = selections[position] if filtered else EVERY_EVENT
            requests.append(self._request(group.sources[position], node, chosen))
        results = await create_items(session, subscription, requests)
        for handle, result in enumerate(results, first):
            if result.StatusCode.is_good():
                self._ids[handle] = subscription, result.MonitoredItemId
        return {
            position: result.StatusCode.value
            for (position, _), result in zip(nodes, results, strict=True)
            if not result.StatusCode.is_good()
        }

    async def drop(self, session: Session, groups: Container[OpcUaGroup]) -> None:
        """Stop monitoring the events of groups. Raises `REQUEST_ERRORS`."""
        by_subscription: dict[int, list[int]] = defaultdict(list)
        for handle, (group, _, _) in enumerate(self._whose):
            if group in groups and handle in self._ids:
                subscription, item = self._ids.pop(handle)
                by_subscription[subscription].append(item)
        await delete_items(session, by_subscription)
        self._standing.forget(groups)
        for known in (self._refreshing, self._refreshed):
            known -= {group for group in known if group in groups}

    def _request(
        self, source: OpcUaSource, node: ua.NodeId, selection: EventSelection
    ) -> ua.MonitoredItemCreateRequest:
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.EventNotifier),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(
                ClientHandle=ua.IntegerId(FIRST_HANDLE + len(self._whose) - 1),
                SamplingInterval=ua.Duration(0),
                Filter=event_filter(selection),
                QueueSize=ua.Counter(max(source.queue, 1000)),
                DiscardOldest=True,
            ),
        )

    async def scans(self, session: Session, events: Sequence[tuple[int, list[Any]]], now: int) -> list[Scan]:
        """Return a scan for each new event."""
        scans = []
        for handle, fields in events:
            place = handle - FIRST_HANDLE
            if not 0 <= place < len(self._whose):
                continue  # not a requested item
            group, position, selection = self._whose[place]
            self._counters.overflows += standard_type(fields) == QUEUE_OVERFLOW
            await self._learn_type(session, fields)
            event = event_of(fields, self._names, selection)
            if event is None or not self._is_severe(group, position, event, selection.severity):
                continue
            self._standing.note(group, position, event)
            key = group, position, event.id
            if event.id and key in self._delivered:
                continue
            self._delivered[key] = None
            while len(self._delivered) > REMEMBERED:
                self._delivered.popitem(last=False)
            time = now if event.time is None else event.time
            scans.append(Scan(group, now, [event.text], {}, [position], [time]))
        return scans

    def _is_severe(self, group: OpcUaGroup, position: int, event: Event, least: int) -> bool:
        """Return whether an event has the least severity, or belongs to an alarm that was delivered as active."""
        return event.severity is None or event.severity >= least or self._standing.has(group, position, event)

    def gone(self, now: int) -> list[Scan]:
        """Return the ends of alarms that were active before an outage and no longer are, after the refresh.

        After the first refresh of a group there is a scan without events.
        """
        if asyncio.get_running_loop().time() < self.due:
            return []
        self.due = math.inf
        ends = [
            Scan(group, now, [text], {}, [position], [now]) for group, position, text in self._standing.refreshed()
        ]
        first, self._refreshing = self._refreshing - self._refreshed, set()
        self._refreshed |= first
        return ends + [Scan(group, now, [], {}, [], []) for group in first]

    async def _learn_type(self, session: Session, fields: Sequence[Any]) -> None:
        type_ = fields[_TYPE] if len(fields) > _TYPE else None
        if not isinstance(type_, ua.NodeId) or type_ in self._names:
            return
        [name] = (await session.read([type_], ua.AttributeIds.BrowseName)).values
        self._names[type_] = (name.Name or "") if isinstance(name, ua.QualifiedName) else ""


async def _refresh(session: Session, subscription: int) -> bool:
    """Request a refresh of active alarms (Part 9, 5.5.7); return True if the server accepts it."""
    request = ua.CallMethodRequest(
        ObjectId=ua.NodeId(ua.Int32(ua.ObjectIds.ConditionType)),
        MethodId=ua.NodeId(ua.Int32(ua.ObjectIds.ConditionType_ConditionRefresh)),
        InputArguments=[ua.Variant(subscription, ua.VariantType.UInt32)],
    )
    results = await session.client.uaclient.call([request])
    return bool(results) and results[0].StatusCode.is_good()
