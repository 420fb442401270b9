"""Opens, uses and closes one session with one server; its requests are within the server's limits.

A lost session is never repaired: the driver opens a new session and creates its subscriptions again. asyncua's
watchdog and reconnection stay off, because a slow server is not dead.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from asyncua import ua

from drivers.base import NotConnected
from drivers.opcua.codec.data_changes import DataChanges
from drivers.opcua.codec.publish_response import read_response
from drivers.opcua.codec.requests import read_request
from drivers.opcua.connection.client import Client, short
from drivers.opcua.connection.keep_alive import KeepAlive
from drivers.opcua.connection.reverse import ExpectedServer, lease_of
from drivers.opcua.connection.session_takeover import AbandonedSessions, SessionTakeover
from drivers.opcua.errors import (
    HANDSHAKE_ERRORS,
    TOO_LARGE,
    DecodeError,
    ServiceFault,
    not_connected,
    translated,
)
from drivers.opcua.security.setup import secured
from drivers.opcua.settings import PORT
from drivers.peer import peer_network

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.base import ReadFailed
    from drivers.opcua.settings import OpcUaConnection

T = TypeVar("T")
R = TypeVar("R")

SESSION_TIMEOUT, SESSION_KEEP_ALIVES = 30.0, 6
"""Seconds and keep-alive periods of the session time-out; the longer time applies. A lost session ends soon."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing may take; the server may be gone."""

AT_ONCE = 1000
"""Nodes in one request if the server states no limit."""

READ, BROWSE, TRANSLATE, MONITOR, WRITE = "read", "browse", "translate", "monitor", "write"
"""The services whose requests are split."""

_LIMITS = {
    READ: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    BROWSE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    TRANSLATE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    MONITOR: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    WRITE: ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
}
"""The nodes of a server's operation limits (Part 5, 6.3.11)."""


class Session:
    """An open session. `uris` is the server's namespace array."""

    def __init__(self, client: Client, settings: OpcUaConnection) -> None:
        """Wrap a client, which `opened` connects."""
        self.client = client
        self.url = client.server_url.geturl()
        self.uris: list[str] = []
        self.limits = dict.fromkeys(_LIMITS, AT_ONCE)
        self.keep_alive = KeepAlive(client, settings.keep_alive)
        self._settings = settings

    @property
    def policy(self) -> str:
        """Name of the security policy of the channel."""
        return short(self.client.security_policy.URI)

    @property
    def ahead(self) -> float | None:
        """Seconds by which the server's clock is ahead of ours, None if the server does not state its time."""
        return self.keep_alive.ahead

    def translated(self, error: BaseException) -> NotConnected | ReadFailed:
        """Translate an error of a request: the session is lost, or only this request failed."""
        return translated(error, self.url, self._settings)

    def not_connected(self, error: BaseException) -> NotConnected:
        """Translate an error that makes the session useless."""
        return not_connected(error, self.url, self._settings)

    async def read_server(self) -> None:
        """Read the namespace array, operation limits and clock of the server."""
        array = ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray))
        clock = ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))
        limits = [ua.NodeId(ua.Int32(node)) for node in _LIMITS.values()]
        asked, began = time.time(), time.monotonic()
        uris, now = (await self.read([array, clock])).values
        took = time.monotonic() - began
        self.uris = self._namespaces(uris)
        if hasattr(now, "year"):
            self.keep_alive.learn(now, asked, took)
        stated = (await self.read(limits)).values
        for service, limit in zip(_LIMITS, stated, strict=True):
            if type(limit) is int and limit > 0:  # 0 and a missing value both mean no limit
                self.limits[service] = min(limit, AT_ONCE)

    def _namespaces(self, uris: object) -> list[str]:
        if not isinstance(uris, list):
            raise NotConnected(f"{self.url}: it has no list of namespaces")
        return [str(uri) for uri in uris]

    async def read_namespaces(self) -> None:
        """Read the namespace array again, since a server may have loaded more namespaces.

        Raises `NotConnected` if the indexes of namespaces changed, since the node ids in use are then wrong.
        """
        array = ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray))
        uris = self._namespaces((await self.read([array])).values[0])
        if uris[: len(self.uris)] != self.uris:
            raise NotConnected(f"{self.url}: its namespaces have other indexes than before")
        self.uris = uris

    async def read(
        self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds = ua.AttributeIds.Value
    ) -> DataChanges:
        """Read one attribute of nodes; return columns in their order, without handles.

        Raises `REQUEST_ERRORS`.
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

    async def read_variant(self, node: ua.NodeId) -> ua.DataValue:
        """Read the value of one node, with its type. Raises `REQUEST_ERRORS`."""
        value = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
        request = ua.ReadRequest(Parameters=ua.ReadParameters(NodesToRead=[value]))
        results = (await self.client.uaclient.request(request, ua.ReadResponse)).Results
        if len(results) != 1:
            raise DecodeError(f"{len(results)} results came for 1 operation")
        found: ua.DataValue = results[0]
        return found

    async def in_parts(
        self, service: str, items: Sequence[T], send: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
    ) -> list[R]:
        """Send a request in parts within the server's limits; a part that is still too large is halved.

        Raises `DecodeError` if the number of results is not that of the operations.
        """
        results: list[R] = []
        while len(results) < len(items):
            part = items[len(results) : len(results) + self.limits[service]]
            try:
                answer = await send(part)
                if len(answer) != len(part):
                    raise DecodeError(f"{len(answer)} results came for {len(part)} operations")
                results += answer
            except ua.UaStatusCodeError as error:
                if error.code not in TOO_LARGE or len(part) == 1:
                    raise
                self.limits[service] = len(part) // 2
        return results

    async def create_subscription(self, request: ua.CreateSubscriptionRequest) -> ua.CreateSubscriptionResult:
        """Create a subscription, without asyncua's own publish loop."""
        response = await self.client.uaclient.request(request, ua.CreateSubscriptionResponse)
        created: ua.CreateSubscriptionResult = response.Parameters
        return created

    async def delete_subscription(self, subscription: int) -> None:
        """Delete a subscription with its monitored items."""
        request = ua.DeleteSubscriptionsRequest()
        request.Parameters = ua.DeleteSubscriptionsParameters([ua.IntegerId(subscription)])
        await self.client.uaclient.request(request, ua.DeleteSubscriptionsResponse)

    async def close(self) -> SessionTakeover | None:
        """Close the session; return it for a later takeover if the server could not be reached. Never raises."""
        self.keep_alive.end()
        if self.client.reverse is not None:
            self.client.reverse.close()
        state = self.client.session_state()
        until = asyncio.get_running_loop().time() + self.client.session_timeout / 1000
        with suppress(*HANDSHAKE_ERRORS):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if await self.client.close():
                    return None
        return None if state is None else SessionTakeover(state, until)


async def client_of(settings: OpcUaConnection, url: str) -> Client:
    """Return a client for one address of the server, or for the port at which it dials in.

    Raises `NotConnected` if that port can't be opened. A lease of the port is to be closed.
    """
    client = Client(url, settings.timeout)
    if settings.reverse:
        parts = urlsplit(url)
        network = peer_network(settings.peer) if settings.peer is not None else None
        server = ExpectedServer(settings.server_uri or "", settings.endpoint, network)
        client.reverse = await lease_of(parts.hostname or "", parts.port or PORT, server, settings.dial_in)
    return client


async def opened(settings: OpcUaConnection, url: str, abandoned: AbandonedSessions | None = None) -> Session:
    """Open a session at one address of the server, after the takeover of `abandoned` sessions there.

    Raises `NotConnected`; a session that was created before the error is added to `abandoned`.
    """
    abandoned = AbandonedSessions() if abandoned is None else abandoned
    client = await client_of(settings, url)
    client.name = "Lineside"
    client.application_uri = "urn:lineside:gateway"
    client.session_timeout = int(max(SESSION_TIMEOUT, SESSION_KEEP_ALIVES * settings.keep_alive) * 1000)
    session = Session(client, settings)
    try:
        await secured(client, settings)
        await client.open(abandoned.take_over)
        session.keep_alive.begin()
        await session.read_server()
    except BaseException as error:
        abandoned.add(await session.close())
        if isinstance(error, HANDSHAKE_ERRORS):
            raise not_connected(error, url, settings) from error
        raise
    return session


async def opened_first(
    settings: OpcUaConnection, first: int, abandoned: AbandonedSessions | None = None
) -> tuple[Session, int]:
    """Open a session at the first address that responds, beginning with number `first`; return it with its number.

    Raises `NotConnected` of the last address if no address responds.
    """
    urls = settings.urls()
    for turn in range(first, first + len(urls) - 1):
        with suppress(NotConnected):
            return await opened(settings, urls[turn % len(urls)], abandoned), turn % len(urls)
    last = (first - 1) % len(urls)
    return await opened(settings, urls[last], abandoned), last
