"""The proxy breaks connections as the tests rely on, in front of a server that echoes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from processes import LOOPBACK, free_port, until
from proxy import PIECE, Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORT = 0.2
"""Seconds in which on this machine something would have come that is expected not to come."""


class Echo:
    """A server that sends back every byte; `ended` is set when one of its connections has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def proxied(echo: Echo | None = None) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server((echo or Echo()).serve, LOOPBACK, 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


class Client:
    """A client that says something and waits for the echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def of(cls, proxy: Proxy) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def say(self, text: bytes, seconds: float = 20.0) -> bytes:
        self.writer.write(text)
        async with asyncio.timeout(seconds):
            return await self.reader.readexactly(len(text))

    async def lost(self) -> bool:
        async with asyncio.timeout(20):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


async def test_bytes_pass_both_ways_and_are_counted() -> None:
    """More than fits into any buffer, too."""
    much = bytes(range(256)) * 40_000
    async with proxied() as proxy, Client.of(proxy) as one, Client.of(proxy) as other:
        assert await asyncio.gather(one.say(much), other.say(b"other")) == [much, b"other"]
        assert (proxy.accepted, proxy.open, proxy.dropped) == (2, 2, 0)
        assert proxy.passed == 2 * (len(much) + 5)


async def test_a_connection_closed_at_one_end_is_closed_at_the_other() -> None:
    """A client that ends its side still gets the bytes that were under way."""
    async with proxied() as proxy, Client.of(proxy) as client:
        client.writer.write(b"last")
        client.writer.write_eof()
        assert await client.reader.read() == b"last"
        await until(lambda: proxy.open == 0, "the connection is gone")


async def test_a_cut_resets_and_refuses_connections_until_healed() -> None:
    async with proxied() as proxy, Client.of(proxy) as client:
        await client.say(b"a")
        await proxy.cut()
        assert await client.lost()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(LOOPBACK, proxy.port)
        await proxy.heal()
        async with Client.of(proxy) as again:
            assert await again.say(b"b") == b"b"


async def test_a_drop_is_silent_and_connections_that_lost_bytes_are_reset_when_healed() -> None:
    """New connections are accepted, and get no answer either; idle connections go on."""
    async with proxied() as proxy, Client.of(proxy) as old, Client.of(proxy) as idle:
        await asyncio.gather(old.say(b"a"), idle.say(b"a"))
        proxy.drop()
        async with Client.of(proxy) as new:
            for client in (old, new):
                with pytest.raises(TimeoutError):
                    await client.say(b"lost", SHORT)
            assert proxy.dropped == 4, "of the new connection nothing was read"
            assert not old.reader.at_eof()
            await proxy.heal()
            assert await old.lost()
            assert await new.lost()
        assert await idle.say(b"b") == b"b"


async def test_a_close_in_a_drop_is_not_noticed_at_the_other_end() -> None:
    """So a server is left with sessions of clients that are long gone."""
    echo = Echo()
    async with proxied(echo) as proxy:
        async with Client.of(proxy) as client:
            await client.say(b"a")
            proxy.drop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(echo.ended.wait(), SHORT)
        await proxy.heal()
        await asyncio.wait_for(echo.ended.wait(), 20)


async def test_delayed_bytes_arrive_when_healed() -> None:
    """As after an outage that TCP gets over."""
    async with proxied() as proxy, Client.of(proxy) as client:
        await client.say(b"a")
        proxy.hold()
        with pytest.raises(TimeoutError):
            await client.say(b"wait", SHORT)
        await proxy.heal()
        async with asyncio.timeout(20):
            assert await client.reader.readexactly(4) == b"wait"


async def test_a_delay_is_each_way_and_keeps_the_order() -> None:
    async with proxied() as proxy, Client.of(proxy) as client:
        proxy.delay(SHORT)
        start = asyncio.get_running_loop().time()
        assert await client.say(b"late") == b"late"
        assert asyncio.get_running_loop().time() - start >= 2 * SHORT
        client.writer.write(b"first")
        await until(lambda: proxy.passed >= 13, "it has reached the server")
        await proxy.heal()
        assert await client.say(b"second") == b"firsts"


async def test_corruption_changes_the_bytes_to_a_client_once() -> None:
    async with proxied() as proxy, Client.of(proxy) as client:
        proxy.corrupt()
        assert await client.say(b"abc") == bytes((ord("a") ^ 0xFF,)) + b"bc"
        assert await client.say(b"abc") == b"abc"


async def test_a_target_that_is_not_there_closes_accepted_connections() -> None:
    async with Proxy(free_port()) as proxy, Client.of(proxy) as client:
        assert await client.lost()
        await until(lambda: proxy.open == 0, "the connection is gone")
