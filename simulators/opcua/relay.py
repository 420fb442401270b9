"""A TCP relay in front of a simulated OPC UA server, which refuses connections, delays answers, or garbles them.

The server listens on another port of the loopback, and its endpoint URL is the address of the relay.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from drivers import listening
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.machines.outputs import NetworkFaults

CHUNK = 65_536
"""Bytes forwarded at once."""


class Relay:
    """Forwards connections to a server at the loopback port `inner`, with the faults of its machines."""

    def __init__(self, host: str, port: int, faults: Sequence[NetworkFaults]) -> None:
        self.inner = free_port()
        self._host, self._port, self._faults = host, port, faults
        self._noise = Random(0)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def apply_faults(self) -> None:
        """Listen, or close everything, as the faults require. Raises `OSError` if the port is in use."""
        refused = any(fault.refused for fault in self._faults)
        if refused and self._server is not None:
            await self.close()
        elif not refused and self._server is None:
            self._server = await asyncio.start_server(self._accepted, self._host, self._port)

    async def close(self) -> None:
        """Close every connection and stop listening."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await listening.close(server)
        ending = tuple(self._open)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _accepted(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was accepted before, and is ready only now
            to_client.transport.abort()
            return
        task = asyncio.create_task(self._forward(client, to_client), name="connection")

        def ended(_: asyncio.Task[None]) -> None:
            self._open.discard(task)
            to_client.transport.abort()  # also if the task was cancelled before its first step

        self._open.add(task)
        task.add_done_callback(ended)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        try:
            server, to_server = await asyncio.open_connection(LOOPBACK, self.inner)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward_requests(client, to_server), name="requests")
                both.create_task(self._forward_answers(server, to_client), name="answers")
        except (OSError, ExceptionGroup):
            pass  # one side has closed; the other is closed next
        finally:
            if to_server is not None:
                to_server.transport.abort()

    async def _forward_requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while data := await client.read(CHUNK):
            to_server.write(data)
        to_server.close()

    async def _forward_answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await server.read(CHUNK):
            if any(fault.garbage for fault in self._faults):
                data = self._noise.randbytes(len(data))
            if delay := max((fault.slow for fault in self._faults), default=0.0):
                loop.call_later(delay, self._write, to_client, data)
            else:
                self._write(to_client, data)
        raise ConnectionResetError("the server closed the connection")

    @staticmethod
    def _write(to_client: asyncio.StreamWriter, data: bytes) -> None:
        with suppress(OSError):
            if not to_client.is_closing():
                to_client.write(data)
