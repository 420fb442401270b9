"""A simulated device that stops serves nobody, also no client whose TLS handshake takes longer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from fakes.authority import Authority
from processes import LOOPBACK

from drivers.modbus.connection import Transport
from simulators.modbus.endpoints import ListeningPort

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 10.0
REQUEST = bytes.fromhex("0001 0000 0006 01 03 0000 0001")


def answer(context: ssl.SSLContext, client: socket.socket) -> bytes:
    """Return the answer of a device to a client that shakes hands now, empty if it hangs up."""
    client.settimeout(SECONDS)
    with suppress(ConnectionError, ssl.SSLError), context.wrap_socket(client, server_hostname=LOOPBACK) as secured:
        secured.sendall(REQUEST)
        return secured.recv(100)
    return b""


async def test_a_client_that_shakes_hands_while_a_device_stops_is_not_served(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*authority.pair("press", LOOPBACK))
    trusting = ssl.create_default_context(cafile=authority.file)
    port = ListeningPort(Transport.TLS, LOOPBACK, 0, {}, serving)
    await port.start()
    early, late = (socket.create_connection((LOOPBACK, port.port)) for _ in range(2))
    with early, late:
        assert await asyncio.to_thread(answer, trusting, early), "a device that is up answers"
        await port.stop()
        assert await asyncio.to_thread(answer, trusting, late) == b""
    await port.start()
    with socket.create_connection((LOOPBACK, port.port)) as again:
        assert await asyncio.to_thread(answer, trusting, again)
    await port.close()
