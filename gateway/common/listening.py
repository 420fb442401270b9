"""Sockets to listen at."""

from __future__ import annotations

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
