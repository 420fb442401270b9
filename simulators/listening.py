"""The end of a listening server, at which no client may be left without an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Server

TURNS = 2
"""Turns of the event loop until a connection that was accepted has its transport, and its protocol knows of it."""


async def close(server: Server) -> None:
    """Stop listening; when this returns, the protocol of each accepted connection knows its transport.

    If a server is closed in between, asyncio drops the connection with its socket open, and the client waits in vain.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    try:
        for _ in range(TURNS):
            await asyncio.sleep(0)
    finally:
        server.close()
