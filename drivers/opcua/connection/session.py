"""One session with one server: what it is asked, in requests no larger than it takes.

A session is never repaired: when it is lost, another is opened. asyncua's own watching and reconnecting stay off,
since a server that answers slowly is no dead one, and what was subscribed before is subscribed anew.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from drivers.base import NotConnected
from drivers.opcua.codec.data_changes import DataChanges
from drivers.opcua.codec.publish_response import ServiceFault, read_response
from drivers.opcua.codec.requests import read_request
from drivers.opcua.connection.client import Client
from drivers.opcua.connection.keep_alive import KeepAlive
from drivers.opcua.errors import failed, refused
from drivers.opcua.security.setup import LOST, secured

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.base import ReadFailed
    from drivers.opcua.connection.session_takeover import SessionTakeover
    from drivers.opcua.settings import OpcUaConnection

T = TypeVar("T")
R = TypeVar("R")

SESSION_TIMEOUT, SESSION_KEEP_ALIVES = 30.0, 6
"""Seconds, and keep-alives, after which a server forgets a session that it hears nothing of: the later of the two.
What was cut off so leaves nothing, and soon."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing may take, towards a server that may be gone."""

AT_ONCE = 1000
"""Nodes in one request where the server states no limit."""

_TOO_MANY = {
    ua.StatusCodes.BadTooManyOperations,
    ua.StatusCodes.BadRequestTooLarge,
    ua.StatusCodes.BadResponseTooLarge,
    ua.StatusCodes.BadEncodingLimitsExceeded,
}

READ, BROWSE, TRANSLATE, MONITOR, WRITE = "read", "browse", "translate", "monitor", "write"
"""The services whose requests are split."""

_LIMITS = {
    READ: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    BROWSE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    TRANSLATE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    MONITOR: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    WRITE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
}
"""Where a server states its limits (Part 5, 6.3.11)."""


class Session:
    """An open session. `uris` are the server's namespaces, by their index."""

    def __init__(self, client: Client, settings: OpcUaConnection) -> None:
        """Take over a client that is connected; use `opened`."""
        self.client = client
        self.url = client.server_url.geturl()
        self.uris: list[str] = []
        self.limits = dict.fromkeys(_LIMITS, AT_ONCE)
        self.pulse = KeepAlive(client, settings.keep_alive)
        self._settings = settings

    @property
    def ahead(self) -> float | None:
        """The seconds by which the server's clock is ahead of ours, None where it does not tell its time."""
        return self.pulse.ahead

    def failed(self, error: BaseException) -> NotConnected | ReadFailed:
        """Return what a request's failure means: that the session is lost, or that this request was in vain."""
        return failed(error, self.url, self._settings)

    def lost(self, error: BaseException) -> NotConnected:
        """Return why the session is of no use any more, in words for who runs the gateway."""
        return refused(error, self.url, self._settings)

    async def look_around(self) -> None:
        """Learn the namespaces, limits and clock of the server."""
        array = ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray))
        clock = ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))
        limits = [ua.NodeId(ua.Int32(node)) for node in _LIMITS.values()]
        asked, began = time.time(), time.monotonic()
        uris, now = (await self.read([array, clock])).values
        took = time.monotonic() - began
        if not isinstance(uris, list):
            raise NotConnected(f"{self.url}: it has no list of namespaces")
        self.uris = [str(uri) for uri in uris]
        if hasattr(now, "year"):
            self.pulse.learn(now, asked, took)
        told = (await self.read(limits)).values
        for service, limit in zip(_LIMITS, told, strict=True):
            if type(limit) is int and limit > 0:  # 0 and nothing at all both mean that there is none
                self.limits[service] = min(limit, AT_ONCE)

    async def read(
        self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds = ua.AttributeIds.Value
    ) -> DataChanges:
        """Read one attribute of nodes; the answer has columns in their order, its handles mean nothing.

        Raises what `LOST` holds.
        """
        found = DataChanges()

        async def ask(part: Sequence[ua.NodeId]) -> Sequence[object]:
            try:
                answer = read_response(await self.client.ask(*read_request(part, attribute)), len(part))
            except ServiceFault as error:
                raise ua.UaStatusCodeError(error.status) from error
            found.extend(answer)
            return answer.values

        await self.in_parts(READ, nodes, ask)
        return found

    async def in_parts(
        self, service: str, items: Sequence[T], send: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
    ) -> list[R]:
        """Send a request in parts no larger than the server takes; what is too large all the same is halved."""
        results: list[R] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self.limits[service]]
            try:
                results += await send(part)
            except ua.UaStatusCodeError as error:
                if error.code not in _TOO_MANY or len(part) == 1:
                    raise
                self.limits[service] = len(part) // 2
        return results

    async def create_subscription(self, request: ua.CreateSubscriptionRequest) -> ua.CreateSubscriptionResult:
        """Make a subscription; asyncua would begin to publish by itself."""
        answer = await self.client.uaclient._send_request(request)  # noqa: SLF001 - see above
        response = struct_from_binary(ua.CreateSubscriptionResponse, answer)
        response.ResponseHeader.ServiceResult.check()
        created: ua.CreateSubscriptionResult = response.Parameters
        return created

    async def delete_subscription(self, subscription: int) -> None:
        """End a subscription with all its items."""
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters = ua.DeleteSubscriptionsParameters([ua.IntegerId(subscription)])
        await self.client.uaclient._send_request(request)  # noqa: SLF001 - see above

    async def close(self) -> SessionTakeover | None:
        """Close the session, so that the server keeps nothing of it; return what is left where that was in vain.

        Never raises.
        """
        self.pulse.end()
        left = self.client.left(asyncio.get_running_loop().time() + self.client.session_timeout / 1000)
        with suppress(*LOST):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if await self.client.close():
                    return None
        return left


async def opened(settings: OpcUaConnection, url: str, leftovers: list[SessionTakeover] | None = None) -> Session:
    """Open a session at one of the server's addresses, and take over what others have left there.

    Raises `NotConnected`, and adds to `leftovers` what is left of it.
    """
    leftovers = [] if leftovers is None else leftovers
    client = Client(url, settings.timeout)
    client.name = "Lineside"
    client.application_uri = "urn:lineside:gateway"
    client.session_timeout = int(max(SESSION_TIMEOUT, SESSION_KEEP_ALIVES * settings.keep_alive) * 1000)
    session = Session(client, settings)
    try:
        await secured(client, settings)
        await client.connect_alone([one for one in leftovers if one.url == url])
        session.pulse.begin()
        await session.look_around()
    except BaseException as error:
        if (left := await session.close()) is not None:
            leftovers.append(left)
        if isinstance(error, LOST):
            raise refused(error, url, settings) from error
        raise
    return session


async def opened_first(
    settings: OpcUaConnection, first: int, leftovers: list[SessionTakeover] | None = None
) -> tuple[Session, int]:
    """Open a session at the first address that answers, beginning with the one in that place; return its place, too.

    `leftovers` are what sessions before have left at them. Raises `NotConnected` of the last one where none does.
    """
    urls = settings.urls()
    for turn in range(first, first + len(urls) - 1):
        with suppress(NotConnected):
            return await opened(settings, urls[turn % len(urls)], leftovers), turn % len(urls)
    last = (first - 1) % len(urls)
    return await opened(settings, urls[last], leftovers), last
