"""Free ports of the loopback."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 20_000, 32_000


def free_port() -> int:
    """Return a free port.

    It lies below the range of ephemeral ports. A client that connects before the server is up could otherwise get the
    same port as its own, and be connected to itself.
    """
    while True:
        port = random.SystemRandom().randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
