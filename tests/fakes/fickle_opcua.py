"""An OPC UA server of asyncua's that refuses, loses and takes its time as a test wants it to."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.monitored_item_service import MonitoredItemService
from asyncua.server.subscription_service import SubscriptionService
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.uaprotocol_auto import DataChangeFilter  # asyncua decodes to this, and not to ua.DataChangeFilter
from processes import LOOPBACK, free_port

from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asyncua import Server

URI = "urn:test:fickle"

_NAMES = {
    number: name.removesuffix("Request_Encoding_DefaultBinary")
    for name, number in vars(ua.ObjectIds).items()
    if name.endswith("Request_Encoding_DefaultBinary")
}
"""Type id of a request -> the name of its service."""


class Fickle:
    """The behaviour of the server; all of it can be changed while it runs.

    `refuse`     service -> status of a fault instead of an answer, or what returns it or None by the request's bytes
    `items`      so many monitored items at most
    `items_each` so many in one subscription at most
    `filters`    whether monitored items may have a filter
    `revised`    granted in place of the requested values: `publishing` and `sampling` in ms, `queue`
    `lose`       so many of the next messages of data changes are lost on their way
    `forget`     whether a lost message can't be sent again
    `silent`     whether no message of any subscription is sent
    `publishes`  so many publish requests may wait at most
    `slow`       seconds before any answer but to a publish request
    `asked`      how often each service was asked for
    """

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.refuse: dict[str, int | Callable[[bytes], int | None]] = {}
        self.items = self.items_each = 10_000
        self.filters = True
        self.revised: dict[str, float] = {}
        self.lose = 0
        self.forget = False
        self.silent = False
        self.publishes = 100
        self.slow = 0.0
        self.asked: Counter[str] = Counter()
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()

    def node(self, name: str) -> ua.NodeId:
        return ua.NodeId(name, 2)

    async def add(self, name: str, value: Any) -> None:
        await self.server.nodes.objects.add_variable(self.node(name), ua.QualifiedName(name, 2), value)

    async def write(self, name: str, value: Any, **more: Any) -> None:
        """Write a value as it is: a `Variant`, or what makes one."""
        given = value if isinstance(value, ua.Variant) else ua.Variant(value)
        await self.server.write_attribute_value(self.node(name), ua.DataValue(given, **more))

    async def asked_for(self, service: str, times: int) -> None:
        """Wait until a service was asked for so often."""
        async with asyncio.timeout(30):
            while self.asked[service] < times:
                self.changed.clear()
                await self.changed.wait()

    def is_full(self, service: MonitoredItemService) -> bool:
        """Return whether a subscription, or all together, have no room for one more item."""
        every = self.server.iserver.subscription_service.subscriptions.values()
        sizes = [len(one.monitored_item_srv._monitored_items) for one in every]  # noqa: SLF001 - asyncua has no limit
        return sum(sizes) >= self.items or len(service._monitored_items) >= self.items_each  # noqa: SLF001 - as above

    def counts(self) -> tuple[int, int]:
        """Return how many sessions and subscriptions there are."""
        sessions = [client.processor.session for client in self.server.bserver.clients]
        return sum(one is not None for one in sessions), len(self.server.iserver.subscription_service.subscriptions)


def _processor(fickle: Fickle) -> type[UaProcessor]:
    """Return the class that answers the server's clients."""

    class Processor(UaProcessor):
        async def _process_message(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
            service = _NAMES.get(typeid.Identifier, "")
            fickle.asked[service] += 1
            fickle.changed.set()
            if fickle.slow and service != "Publish":
                await asyncio.sleep(fickle.slow)
            refusal = fickle.refuse.get(service)
            status = refusal(bytes(body)) if callable(refusal) else refusal
            if status is not None:
                raise ServiceError(status)
            return await super()._process_message(typeid, requesthdr, seqhdr, body)

        def publish_request_limit(self, _: Any) -> int:
            return fickle.publishes

        async def forward_publish_response(self, result: ua.PublishResult, requestdata: Any) -> None:
            if fickle.silent:
                self._publish_requests.appendleft(requestdata)
                return
            if fickle.lose and result.NotificationMessage.NotificationData:
                fickle.lose -= 1
                fickle.lost.set()
                if fickle.forget:
                    subscription = fickle.server.iserver.subscription_service.subscriptions[result.SubscriptionId]
                    subscription._not_acknowledged_results.clear()  # noqa: SLF001 - asyncua never forgets them
                self._publish_requests.appendleft(requestdata)
                return
            await super().forward_publish_response(result, requestdata)

    return Processor


@asynccontextmanager
async def fickle_server(**nodes: Any) -> AsyncIterator[Fickle]:
    """Serve nodes, with string identifiers in `URI`, by name and value."""
    server = new_server()
    await server.init()
    fickle = Fickle(server, free_port())
    server.set_endpoint(f"opc.tcp://{LOOPBACK}:{fickle.port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace(URI)
    for name, value in nodes.items():
        await fickle.add(name, value)
    with (
        patch("asyncua.server.binary_server_asyncio.UaProcessor", _processor(fickle)),
        patch.object(MonitoredItemService, "create_monitored_items", _creation(fickle)),
        patch.object(SubscriptionService, "create_subscription", _subscription(fickle)),
    ):
        async with server:
            yield fickle


def _subscription(fickle: Fickle) -> Callable[..., Any]:
    """Return the function that makes a subscription, with another publishing interval where the test wants that."""
    create = SubscriptionService.create_subscription

    async def create_revised(
        own: SubscriptionService, params: ua.CreateSubscriptionParameters, *arguments: Any, **options: Any
    ) -> ua.CreateSubscriptionResult:
        interval = fickle.revised.get("publishing", params.RequestedPublishingInterval)
        params.RequestedPublishingInterval = ua.Duration(interval)
        return await create(own, params, *arguments, **options)

    return create_revised


def _creation(fickle: Fickle) -> Callable[..., Any]:
    """Return the function that makes monitored items of a subscription, as far as there is room."""
    create = MonitoredItemService.create_monitored_items

    async def create_some(own: MonitoredItemService, params: ua.CreateMonitoredItemsParameters) -> list[Any]:
        results = []
        for one in params.ItemsToCreate:
            refused = ua.MonitoredItemCreateResult()
            if fickle.is_full(own):
                refused.StatusCode = ua.StatusCode(ua.StatusCodes.BadTooManyMonitoredItems)
            elif isinstance(one.RequestedParameters.Filter, DataChangeFilter) and not fickle.filters:
                refused.StatusCode = ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterUnsupported)
            else:
                part = dataclasses.replace(params, ItemsToCreate=[one])
                [made] = await create(own, part)
                made.RevisedSamplingInterval = fickle.revised.get("sampling", made.RevisedSamplingInterval)
                made.RevisedQueueSize = int(fickle.revised.get("queue", made.RevisedQueueSize))
                results.append(made)
                continue
            results.append(refused)
        return results

    return create_some
