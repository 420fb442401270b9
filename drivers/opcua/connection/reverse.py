"""Accepts the connections of servers that dial in (Part 6, 7.1.3), for plants whose firewalls let nobody in.

A server connects and sends a ReverseHello with its application URI. From then on the connection is like any other:
the client sends Hello, and opens the secure channel. A server dials in again when its connection is used or lost.

One port serves many servers. Each session has a lease that names its server; servers that no lease names are refused.
The ReverseHello proves nothing: with security the server's certificate must have the same application URI.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, cast

from asyncua import ua

from drivers import listening
from drivers.base import NotConnected
from drivers.opcua.codec.reverse_hello import error_message, reverse_hello
from drivers.opcua.errors import DecodeError
from drivers.peer import peer_address

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from drivers.opcua.codec.reverse_hello import ReverseHello

HELLO_TIMEOUT = 5.0
"""Seconds within which an accepted connection must send its ReverseHello."""

MAX_PENDING = 32
"""Accepted connections without a ReverseHello; a further connection closes the oldest."""

MAX_REFUSED = 100
"""Refused servers that are remembered for the error text."""

SHOWN = 3
"""Refused servers in an error text."""


class DialledIn(NamedTuple):
    """A connection that a server opened, and the URL of the endpoint to use on it."""

    transport: asyncio.Transport
    endpoint_url: str


class ExpectedServer(NamedTuple):
    """The server of a lease: its application URI; its endpoint and its network, None for any."""

    uri: str
    endpoint_url: str | None = None
    network: IPv4Network | IPv6Network | None = None


class Dialled(NamedTuple):
    """The first message of a server, and the address from which it dialled in; None if that is not known."""

    hello: ReverseHello
    address: IPv4Address | IPv6Address | None


class ReverseLease:
    """The right of one session to the connections of one server; `close` ends it."""

    def __init__(self, port: ReversePort, server: ExpectedServer, patience: float) -> None:
        """Use `lease_of`."""
        self.arrival = asyncio.Event()
        self._port = port
        self._server = server
        self._patience = patience

    async def next(self) -> DialledIn:
        """Return the next connection of the server. Raises `NotConnected` if it does not dial in in time."""
        try:
            async with asyncio.timeout(self._patience):
                while (found := self._port.take(self)) is None:
                    self.arrival.clear()
                    await self.arrival.wait()
        except TimeoutError:
            raise NotConnected(
                f"{self._port.url}: server {self._server.uri} has not dialled in within {self._patience:g} s"
                f"{self._port.refusals()}"
            ) from None
        return found

    def wants(self, dialled: Dialled) -> bool:
        """Return True if a connection is that of the server."""
        hello, server = dialled.hello, self._server
        if hello.server_uri != server.uri or server.endpoint_url not in {None, hello.endpoint_url}:
            return False
        return server.network is None or (dialled.address is not None and dialled.address in server.network)

    def close(self) -> None:
        """End the lease; the last lease closes the port."""
        self._port.release(self)


class ReversePort:
    """A port on which servers dial in."""

    def __init__(self, host: str, port: int) -> None:
        """Use `lease_of`."""
        self.url = f"opc.tcp+reverse://{f'[{host}]' if ':' in host else host}:{port}"
        self._host, self._number = host, port
        self._leases: list[ReverseLease] = []
        self._pending: dict[_Accepted, None] = {}
        self._spare: dict[Dialled, asyncio.Transport] = {}  # the newest unused connection of each server
        self._refused: Counter[str] = Counter()
        self._opening = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._closed: asyncio.Future[None] | None = None  # done when an earlier server has left the port

    async def open(self, lease: ReverseLease) -> None:
        """Add a lease, and listen. Raises `OSError`."""
        self._leases.append(lease)
        async with self._opening:
            if self._server is None:
                if self._closed is not None:
                    await asyncio.shield(self._closed)
                self._server = await asyncio.get_running_loop().create_server(
                    lambda: _Accepted(self), self._host, self._number
                )

    def release(self, lease: ReverseLease) -> None:
        """Forget a lease and the unused connections of its server; close the port after the last."""
        if lease in self._leases:
            self._leases.remove(lease)
        for dialled in [one for one in self._spare if not any(other.wants(one) for other in self._leases)]:
            self._spare.pop(dialled).abort()
        if self._leases:
            return
        for pending in list(self._pending):
            pending.drop()
        if self._server is None:
            self._forget()
            return
        self._closed, self._server = listening.close_soon(self._server), None
        self._closed.add_done_callback(self._forget)

    def _forget(self, _: object = None) -> None:
        """Leave the table of ports, unless a session has come back."""
        if not self._leases:
            for key in [key for key, port in _ports.items() if port is self]:
                del _ports[key]

    def accepted(self, connection: _Accepted) -> None:
        """Wait for the ReverseHello of a new connection, which is dropped if the port was closed in the meantime."""
        if not self._leases:
            connection.drop()
            return
        self._pending[connection] = None
        if len(self._pending) > MAX_PENDING:
            next(iter(self._pending)).drop()

    def ended(self, connection: _Accepted) -> None:
        """Forget a connection that has sent its ReverseHello, or has ended."""
        self._pending.pop(connection, None)

    def offer(self, dialled: Dialled, transport: asyncio.Transport) -> bool:
        """Keep a connection until a session needs it; return False if no lease is for its server.

        An older unused connection of the server is closed.
        """
        wanting = [lease for lease in self._leases if lease.wants(dialled)]
        if not wanting:
            return False
        if (older := self._spare.pop(dialled, None)) is not None:
            older.abort()
        self._spare[dialled] = transport
        for lease in wanting:
            lease.arrival.set()
        return True

    def take(self, lease: ReverseLease) -> DialledIn | None:
        """Return the unused connection of a lease's server, once; None if there is none."""
        for dialled in [one for one in self._spare if lease.wants(one)]:
            transport = self._spare.pop(dialled)
            if not transport.is_closing():
                return DialledIn(transport, dialled.hello.endpoint_url)
        return None

    def refuse(self, who: str) -> None:
        """Count a refused connection."""
        if who in self._refused or len(self._refused) < MAX_REFUSED:
            self._refused[who] += 1

    def refusals(self) -> str:
        """Return the part of an error text that names refused servers."""
        if not self._refused:
            return ""
        shown = ", ".join(f"{who} ({times} times)" for who, times in self._refused.most_common(SHOWN))
        return f"; refused: {shown}. If one of them is the right server, write its server_uri"


_ports: dict[tuple[asyncio.AbstractEventLoop, str, int], ReversePort] = {}
"""The open ports."""


async def lease_of(host: str, port: int, server: ExpectedServer, patience: float) -> ReverseLease:
    """Return a lease for a server, at a port that is opened if it is not open yet.

    `patience` are the seconds to wait for the server. Raises `NotConnected` if the port can't be opened.
    """
    there = _ports.setdefault((asyncio.get_running_loop(), host, port), ReversePort(host, port))
    lease = ReverseLease(there, server, patience)
    try:
        await there.open(lease)
    except OSError as error:
        lease.close()
        raise NotConnected(f"{there.url}: can't listen there: {error.strerror or error}") from error
    except BaseException:
        lease.close()
        raise
    return lease


class _Accepted(asyncio.Protocol):
    """An accepted connection until it is used."""

    def __init__(self, port: ReversePort) -> None:
        self._port = port
        self._received = bytearray()
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._deadline = asyncio.get_running_loop().call_later(HELLO_TIMEOUT, self.drop)
        self._port.accepted(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            hello = reverse_hello(bytes(self._received))
        except DecodeError as error:
            self._refuse(f"{self._peer()}: {error}", ua.StatusCodes.BadTcpMessageTypeInvalid)
            return
        if hello is None:
            return
        self._settle()
        if not self._port.offer(Dialled(hello, peer_address(self._peer())), self._transport):
            who = f"{hello.server_uri:.100} at {hello.endpoint_url:.100} from {self._peer()}"
            self._refuse(who, ua.StatusCodes.BadServerUriInvalid)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._settle()

    def drop(self) -> None:
        """Close the connection without a message."""
        self._settle()
        self._transport.abort()

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._port.ended(self)

    def _refuse(self, who: str, status: int) -> None:
        self._settle()
        self._port.refuse(who)
        self._transport.write(error_message(status, "this gateway does not expect this server"))
        self._transport.close()

    def _peer(self) -> str:
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if name else "an unknown address"
