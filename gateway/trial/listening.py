"""Wait until simulated machines accept connections."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings.factory import Factory

LOOK_AGAIN = 0.05
"""Seconds between two attempts to connect to a port."""


async def wait_for_servers(factories: Iterable[Factory], seconds: float) -> None:
    """Wait until every machine's server listens. Raises `TimeoutError`, which names a port."""
    ports = {machine.connection.tcp_port for factory in factories for machine in factory.machines}
    deadline = time.monotonic() + seconds
    for port in ports - {None}:
        await listening(port, deadline)


async def listening(port: int | None, deadline: float) -> None:
    """Wait until a port accepts connections; `deadline` is a monotonic time. Raises `TimeoutError`."""
    while not await _listens(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        await asyncio.sleep(LOOK_AGAIN)


async def _listens(port: int | None) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
        await writer.wait_closed()
    except OSError:
        return False
    return True
