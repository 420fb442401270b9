"""The relay in front of a simulated OPC UA server: a client that connects gets an answer or an end."""

from __future__ import annotations

import asyncio
import socket

import pytest

from simulators.machines.outputs import NetworkFaults
from simulators.opcua.relay import Relay
from simulators.ports import LOOPBACK, free_port


@pytest.mark.parametrize("turns", range(6))
async def test_a_client_that_connects_while_the_relay_closes_is_not_left_waiting(turns: int) -> None:
    """It would wait for its time-out, connected to a server that is gone."""
    port = free_port()
    relay = Relay(LOOPBACK, port, [NetworkFaults()])
    await relay.apply_faults()
    with socket.create_connection((LOOPBACK, port)) as client:  # before the event loop has a turn
        for _ in range(turns):
            await asyncio.sleep(0)
        await relay.close()
        client.settimeout(0.0)
        try:
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        except ConnectionResetError:
            pass  # it was aborted
