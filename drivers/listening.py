"""The end of a listening server, at which no client may be left without an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Server

TURNS = 2
"""Turns of the event loop until a connection that was accepted has its transport, and its protocol knows of it."""


def close_soon(server: Server) -> asyncio.Future[None]:
    """Stop listening; the future is done when the port is free, and all accepted connections have their transports.

    If a server is closed in between, asyncio drops the connection with its socket open, and the client waits in vain.
    """
    loop = asyncio.get_running_loop()
    closed: asyncio.Future[None] = loop.create_future()
    for listening in server.sockets:
        loop.remove_reader(listening)

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
            return
        server.close()
        if not closed.done():
            closed.set_result(None)

    turn(TURNS)
    return closed


async def close(server: Server) -> None:
    """Stop listening; when this returns, the protocol of each accepted connection knows its transport."""
    await close_soon(server)
