"""Sockets to listen at."""

from __future__ import annotations

import asyncio
import socket


def bind(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket that does not block, at a host and a port. Raises `OSError`."""
    host, port = address
    [(family, kind, protocol, _, place), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(place)
        found.listen()
        found.settimeout(0.0)
    except BaseException:
        found.close()
        raise
    return found


async def bind_in_thread(address: tuple[str, int]) -> socket.socket:
    """Return a listening socket as `bind` does; look a name up in a thread.

    If its task is cancelled meanwhile, the socket is closed as soon as it is there. Raises `OSError`.
    """
    binding = asyncio.get_running_loop().run_in_executor(None, bind, address)
    try:
        return await asyncio.shield(binding)
    except asyncio.CancelledError:
        binding.add_done_callback(_close)
        raise


def _close(binding: asyncio.Future[socket.socket]) -> None:
    if not binding.cancelled() and binding.exception() is None:
        binding.result().close()
