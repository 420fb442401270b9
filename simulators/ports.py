"""Free ports of the loopback."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextmanager
def reserved_port(wanted: int) -> Iterator[int]:
    """Reserve a port where it is free, else another; no other process that asks here gets it meanwhile.

    The claim is the name of a socket, which ends with the process (unix(7): abstract socket addresses).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim, socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            claim.bind(f"\0lineside-port-{wanted}")
            probe.bind((LOOPBACK, wanted))
        except OSError:
            port = free_port()
        else:
            port = wanted
        probe.close()
        yield port
