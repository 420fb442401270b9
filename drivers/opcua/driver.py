"""The OPC UA driver: one session, a subscription per publishing interval, reads for what is polled."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from asyncua import ua

from drivers.base import Driver, Fault, NotConnected, Reason, Scan, bad
from drivers.opcua.channel import Client
from drivers.opcua.refusals import refused
from drivers.opcua.security import LOST, secured
from drivers.opcua.values import fault_of, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Connection, Group, Value
    from drivers.opcua.settings import Node, OpcUaConnection, OpcUaSource

QUEUE_SCANS = 1000
"""Scans that may wait for the gateway. When it can't keep up, publishing stops, and the server queues."""

ITEM_QUEUE = 10
"""Changes that the server keeps of one node between two publishings."""

_LOST = (ConnectionError, OSError, TimeoutError, ua.UaError)
"""All that asyncua raises where a connection is not there, is lost, or is answered with a service fault."""


class OpcUaDriver(Driver):
    """One session with one server."""

    def __init__(self, connection: Connection, groups: Sequence[Group], clock: Callable[[], int]) -> None:
        super().__init__(connection, groups, clock)
        self._settings = cast("OpcUaConnection", connection)
        self._client: Client | None = None
        self._nodes: dict[Group, list[ua.NodeId | None]] = {}
        self._items: list[tuple[Group, int]] = []  # client handle -> whose point
        self._scans: asyncio.Queue[Scan] = asyncio.Queue(QUEUE_SCANS)
        self._missing: list[Scan] = []  # what the server did not have when it was asked
        self._lost = asyncio.Event()
        self._heard = 0.0

    async def connect(self) -> None:
        await self.close()
        # always a new one: asyncua's clients do not survive every loss of a connection
        client = Client(self._settings.url, self._settings.timeout, watchdog_intervall=self._settings.keep_alive)
        client.name = "Lineside"
        client.application_uri = "urn:lineside:gateway"
        client.session_timeout = int(self._settings.keep_alive * 12 * 1000)
        client.connection_lost_callback = self._connection_lost
        self._lost = asyncio.Event()
        self._scans = asyncio.Queue(QUEUE_SCANS)
        self._items = []
        self._missing = []
        try:
            await secured(client, self._settings)
            await client.connect()
            self._client = client
            await self._resolve(client)
            await self._subscribe(client)
        except LOST as error:
            await self.close()
            raise refused(error, self._settings.url, self._settings) from error

    async def _connection_lost(self, _: Exception) -> None:
        self._lost.set()

    async def _resolve(self, client: Client) -> None:
        """Find the index of every namespace anew: a restarted server may number them otherwise."""
        uris = await client.get_namespace_array()
        for group in self.groups:
            own = cast("OpcUaConnection", group.connection).namespace
            sources = cast("Sequence[OpcUaSource]", group.sources)
            self._nodes[group] = [_node_id(source.node, own, uris) for source in sources]

    async def _subscribe(self, client: Client) -> None:
        by_interval: dict[float, list[Group]] = defaultdict(list)
        for group in self.groups:
            if group.pushed:
                by_interval[group.every].append(group)
        self._heard = asyncio.get_running_loop().time()
        for interval, groups in by_interval.items():
            keep_alives = max(1, round(self._settings.keep_alive / interval))
            parameters = ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=interval * 1000,
                RequestedMaxKeepAliveCount=keep_alives,
                RequestedLifetimeCount=keep_alives * 6,
                PublishingEnabled=True,
            )
            created = await client.uaclient.create_subscription(parameters, self._published)
            for group in groups:
                await self._monitor(client, created.SubscriptionId, group)

    async def _monitor(self, client: Client, subscription: int, group: Group) -> None:
        """Create the group's monitored items; what the server does not have is bad at once."""
        positions, wanted = [], []
        faults: dict[int, Fault] = {}
        for position, node in enumerate(self._nodes[group]):
            if node is None:
                faults[position] = _no_namespace(group, position)
                continue
            positions.append(position)
            wanted.append(
                ua.MonitoredItemCreateRequest(
                    ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value),
                    MonitoringMode=ua.MonitoringMode.Reporting,
                    RequestedParameters=ua.MonitoringParameters(
                        ClientHandle=len(self._items),
                        SamplingInterval=group.every * 1000,
                        QueueSize=ITEM_QUEUE,
                        DiscardOldest=True,
                    ),
                )
            )
            self._items.append((group, position))
        if wanted:
            request = ua.CreateMonitoredItemsParameters(
                SubscriptionId=subscription,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ItemsToCreate=wanted,
            )
            results = await client.uaclient.create_monitored_items(request)
            for position, result in zip(positions, results, strict=True):
                fault = fault_of(result.StatusCode.value)
                if fault is not None:
                    faults[position] = fault
        if faults:
            self._missing.append(_bad_points(group, self.clock(), faults))

    async def _published(self, result: ua.PublishResult) -> None:
        """Take a publish response apart into one scan per group; asyncua awaits this before the next."""
        self._heard = asyncio.get_running_loop().time()
        now = self.clock()
        scans: dict[tuple[Group, int], Scan] = {}
        times_seen: Counter[int] = Counter()
        for notification in result.NotificationMessage.NotificationData or ():
            if not isinstance(notification, ua.DataChangeNotification):
                continue
            for item in notification.MonitoredItems:
                # a scan holds a point once: the second change of a node goes into the group's second scan
                turn = times_seen[item.ClientHandle]
                times_seen[item.ClientHandle] += 1
                group, position = self._items[item.ClientHandle]
                scan = scans.get((group, turn))
                if scan is None:
                    scan = scans[group, turn] = Scan(group, now, [], {}, [], [])
                value, time, fault = reading(item.Value, now)
                if fault is not None:
                    scan.faults[len(scan.values)] = fault
                scan.values.append(value)
                cast("list[int]", scan.points).append(position)
                cast("list[int]", scan.times).append(time)
        for scan in scans.values():
            await self._scans.put(scan)

    async def receive(self) -> Scan:
        """Return the next scan of what is subscribed; silence beyond three keep-alives is death."""
        if self._missing:
            return self._missing.pop()
        loop = asyncio.get_running_loop()
        while self._scans.empty():
            if self._client is None or self._lost.is_set():
                raise NotConnected(f"{self._settings.url}: connection lost")
            silence = loop.time() - self._heard
            if silence > 3 * self._settings.keep_alive:
                raise NotConnected(f"{self._settings.url}: no sign of life for {silence:.0f} s")
            get, lost = asyncio.create_task(self._scans.get()), asyncio.create_task(self._lost.wait())
            try:
                await asyncio.wait(
                    (get, lost), timeout=self._settings.keep_alive, return_when=asyncio.FIRST_COMPLETED
                )
                if get.done():
                    return get.result()
            finally:
                get.cancel()
                lost.cancel()
        return self._scans.get_nowait()

    async def read(self, group: Group) -> Scan:
        """Read all nodes of a polled group in one request."""
        if self._client is None or self._lost.is_set():
            raise NotConnected(f"{self._settings.url}: connection lost")
        nodes = self._nodes[group]
        present = [node for node in nodes if node is not None]
        try:
            answers = iter(await self._client.uaclient.read_attributes(present, ua.AttributeIds.Value))
        except _LOST as error:
            raise NotConnected(f"{self._settings.url}: {_told(error)}") from error
        now = self.clock()
        values: list[Value | None] = []
        faults: dict[int, Fault] = {}
        for position, node in enumerate(nodes):
            # what is polled was read now; its source time only says when it last changed
            value, _, fault = (
                (None, now, _no_namespace(group, position)) if node is None else reading(next(answers), now)
            )
            values.append(value)
            if fault is not None:
                faults[position] = fault
        return Scan(group, now, values, faults)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(*_LOST):
                await client.disconnect()


def _node_id(node: Node, own: str | None, uris: Sequence[str]) -> ua.NodeId | None:
    """Return the node id on this server, None where its namespace is not there."""
    namespace = node.namespace if node.namespace is not None else own
    if namespace is None:
        namespace = 0
    if isinstance(namespace, str):
        if namespace not in uris:
            return None
        namespace = uris.index(namespace)
    return ua.NodeId.from_string(f"ns={namespace};{node.identifier}")


def _no_namespace(group: Group, position: int) -> Fault:
    source = cast("OpcUaSource", group.sources[position])
    own = cast("OpcUaConnection", group.connection).namespace
    return bad(Reason.NOT_FOUND, f"namespace {source.node.namespace or own} is not on the server")


def _bad_points(group: Group, now: int, faults: dict[int, Fault]) -> Scan:
    return Scan(group, now, [None] * len(faults), dict(enumerate(faults.values())), list(faults))


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
