"""What stands between a simulated OPC UA server and the network: it is refused, and its answers are late, or noise.

The server itself listens on another port of the loopback; what it says of its address is where the relay listens.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.machines.outputs import Link

CHUNK = 65_536
"""Bytes that are passed on at once."""


class Relay:
    """Passes connections on to a server at `inner`, a port of the loopback, as its machines' links say."""

    def __init__(self, host: str, port: int, links: Sequence[Link]) -> None:
        self.inner = free_port()
        self._host, self._port, self._links = host, port, links
        self._noise = Random(0)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def attend(self) -> None:
        """Be there, or be gone with every connection, as faults say. Raises `OSError` where a port is taken."""
        refused = any(link.refused for link in self._links)
        if refused and self._server is not None:
            await self.close()
        elif not refused and self._server is None:
            self._server = await asyncio.start_server(self._meet, self._host, self._port)

    async def close(self) -> None:
        """End every connection, and listen no more."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        ending = tuple(self._open)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _meet(self, asks: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - that is who runs this
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        server: asyncio.StreamWriter | None = None
        try:
            says, server = await asyncio.open_connection(LOOPBACK, self.inner)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(asks, server), name="asking")
                both.create_task(self._answer(says, answers), name="answering")
        except (OSError, ExceptionGroup):
            pass  # one of both is gone; the other is told below
        finally:
            for end in (answers, server):
                if end is not None:
                    end.transport.abort()

    async def _ask(self, asks: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while data := await asks.read(CHUNK):
            server.write(data)
        server.close()

    async def _answer(self, says: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await says.read(CHUNK):
            if any(link.garbage for link in self._links):
                data = self._noise.randbytes(len(data))
            if late := max((link.slow for link in self._links), default=0.0):
                loop.call_later(late, self._write, answers, data)
            else:
                self._write(answers, data)
        raise ConnectionResetError("the server has hung up")

    @staticmethod
    def _write(answers: asyncio.StreamWriter, data: bytes) -> None:
        with suppress(OSError):
            if not answers.is_closing():
                answers.write(data)
