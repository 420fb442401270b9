"""A TCP connection to a device, without the layers of asyncio's own transport.

A gateway of a thousand devices reads a thousand small responses a second: each call between socket and client counts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

RECEIVED = 4096
"""Bytes that are read from the socket at once; a response has 260 at most."""


class Receiver(Protocol):
    """Takes the bytes that a connection receives, and its end."""

    received: Callable[[bytes], None]

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection; None if the device closed it."""


class TcpTransport(asyncio.Transport):
    """A connected socket in the event loop."""

    __slots__ = ("_loop", "_open", "_receiver", "_socket", "_unsent")

    def __init__(self, connected: socket.socket, receiver: Receiver) -> None:
        """Start to read. The socket must not block."""
        super().__init__()
        self._socket = connected
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._open = True
        self._loop.add_reader(connected, self._readable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(RECEIVED)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._receiver.received(data)
        else:
            self._end(None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes now, or when the socket takes them."""
        if not self._open:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._end(error)
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        self._loop.remove_writer(self._socket)
        self.write(unsent)

    def _end(self, error: OSError | None) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._loop.call_soon(self._receiver.connection_lost, error)

    def abort(self) -> None:
        """Close the connection at once."""
        self._end(None)


async def open_tcp(host: str, port: int) -> socket.socket:
    """Return a connected socket that does not block. Raises `OSError`, or `ValueError` for an invalid name."""
    errors: list[OSError] = []
    for family, address in await _addresses(host, port):
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.settimeout(0)
            await asyncio.get_running_loop().sock_connect(found, address)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            found.close()
            errors.append(error)
        except BaseException:
            found.close()
            raise
        else:
            return found
    if len(set(map(str, errors))) == 1:
        raise errors[0]
    raise OSError("; ".join(map(str, errors)))


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the families and addresses of a host; only a name needs a look-up, which has a thread."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in infos]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]  # noqa: PLR2004 - of IP
