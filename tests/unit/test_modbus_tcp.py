"""The TCP transport of Modbus: it loses no byte, and each connection ends once."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from drivers.modbus.tcp import RECEIVED, TcpTransport, open_tcp
from drivers.timer_grid import clock_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"


class Device:
    """The other end of a connection, and what the transport reports."""

    def __init__(self, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.got = bytearray()
        self.arrived = asyncio.Event()
        self.ends: list[Exception | None] = []
        self.ended = asyncio.Event()
        self.transport: TcpTransport
        self.peer: socket.socket
        self._listener = listener

    async def connect(self, host: str = HOST) -> None:
        connected = await open_tcp(host, self.port)
        self.transport = TcpTransport(connected, self)
        self.peer, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        self.peer.settimeout(0)

    def received(self, data: bytes) -> None:
        self.got += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)
        self.ended.set()

    async def wait_for(self, size: int) -> None:
        while len(self.got) < size:
            self.arrived.clear()
            await self.arrived.wait()


@asynccontextmanager
async def device() -> AsyncIterator[Device]:
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(0)
        made = Device(listener)
        try:
            yield made
        finally:
            if hasattr(made, "transport"):
                made.transport.abort()
                made.peer.close()


async def test_bytes_arrive_on_both_sides() -> None:
    """Also more of them than are read at once."""
    async with asyncio.timeout(10), device() as one:
        await one.connect()
        one.transport.write(b"request")
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(one.peer, 100) == b"request"
        await loop.sock_sendall(one.peer, bytes(3 * RECEIVED))
        await one.wait_for(3 * RECEIVED)
        assert one.ends == []


async def test_bytes_that_the_socket_does_not_take_follow_in_order() -> None:
    """A device may be slow to read."""
    size = 4_000_000
    async with asyncio.timeout(20), device() as one:
        await one.connect()
        sent = bytes(number & 0xFF for number in range(size))
        one.transport.write(sent)
        one.transport.write(b"the end")
        read = bytearray()
        while len(read) < size + 7:
            read += await asyncio.get_running_loop().sock_recv(one.peer, 1_000_000)
        assert read == sent + b"the end"


async def test_the_end_of_a_connection_is_reported_once() -> None:
    """After that, bytes to send are ignored."""
    async with asyncio.timeout(10), device() as one:
        await one.connect()
        one.peer.close()
        await one.ended.wait()
        one.transport.write(b"too late")
        one.transport.abort()
        await asyncio.sleep(0)
        assert one.ends == [None]


async def test_the_error_of_a_lost_connection_is_reported() -> None:
    """A reset says more than the end of the stream."""
    async with asyncio.timeout(10), device() as one:
        await one.connect()
        one.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.peer.close()
        await one.ended.wait()
        assert [type(error) for error in one.ends] == [ConnectionResetError]


async def test_a_name_is_looked_up() -> None:
    """An address needs no look-up."""
    async with asyncio.timeout(10), device() as one:
        await one.connect("localhost")
        one.transport.write(b"request")
        assert await asyncio.get_running_loop().sock_recv(one.peer, 100) == b"request"


async def test_small_requests_leave_at_once() -> None:
    """With Nagle's algorithm a request could wait for the acknowledgement of the last."""
    async with asyncio.timeout(10), device() as one:
        connected = await open_tcp(HOST, one.port)
        with connected:
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connected.gettimeout() == 0


async def test_an_address_without_a_listener_is_an_error() -> None:
    """The driver translates it."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="Connect call failed"):
        await open_tcp(HOST, port)


async def test_the_clock_of_a_loop_is_that_of_its_timers() -> None:
    """A loop of a test may have a clock of its own."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert before <= clock_of(loop)() <= loop.time()

    class Shifted(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return 7.0

    shifted = Shifted()
    try:
        assert clock_of(shifted)() == 7.0
    finally:
        shifted.close()
