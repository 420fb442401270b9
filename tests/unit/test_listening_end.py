"""A client that connects while a server stops is answered, or its connection is closed."""

from __future__ import annotations

import asyncio
import socket

import pytest
from processes import LOOPBACK, ends

from drivers import listening


class Connections(asyncio.Protocol):
    """Protocols of a server, each of which puts its transport into a list that the server closes, as asyncua does."""

    def __init__(self, known: list[asyncio.BaseTransport]) -> None:
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._known.append(transport)


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_of_the_last_moment_is_closed(turns: int) -> None:
    """Without the wait, the client of some turns would wait until its time-out: no transport has its socket."""
    loop, known = asyncio.get_running_loop(), list[asyncio.BaseTransport]()
    server = await loop.create_server(lambda: Connections(known), LOOPBACK, 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        for _ in range(turns):
            await asyncio.sleep(0)
        await listening.close(server)
        for transport in known:
            transport.close()
        await ends(client)
