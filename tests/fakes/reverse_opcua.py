"""A server that dials in (Part 6, 7.1.3): connects to the gateway, sends a ReverseHello, and relays a real server."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

PAUSE = 0.05
"""Seconds between two attempts to dial in."""


def reverse_hello(server_uri: str, endpoint_url: str) -> bytes:
    """Return the message."""
    body = b"".join(struct.pack("<i", len(one)) + one.encode() for one in (server_uri, endpoint_url))
    return b"RHEF" + struct.pack("<I", 8 + len(body)) + body


class DialsIn:
    """Dials in to `gateway` until it ends, with one connection more than are in use, as servers do."""

    def __init__(self, gateway: int, server: int, server_uri: str, endpoint_url: str = "") -> None:
        """Prepare; `gateway` and `server` are ports."""
        self.gateway, self.server = gateway, server
        self.hello = reverse_hello(server_uri, endpoint_url or f"opc.tcp://127.0.0.1:{server}")
        self.refused: list[bytes] = []
        self.was_refused = asyncio.Event()
        self.used = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._start(self._dial())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut(again=False)

    async def cut(self, *, again: bool = True) -> None:
        """Cut all connections; dial in again."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if again:
            self._start(self._dial())

    def _start(self, work: object) -> None:
        task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type] # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway)
            except OSError:
                await asyncio.sleep(PAUSE)
                continue
            try:
                writer.write(self.hello)
                first = await reader.read(65536)
                if first and first[:3] != b"ERR":
                    break
                if first:
                    self.refused.append(first)
                    self.was_refused.set()
            except ConnectionError:
                pass
            except asyncio.CancelledError:
                writer.close()
                raise
            writer.close()
            await asyncio.sleep(PAUSE)
        self.used += 1
        self._start(self._dial())
        await self._relay(first, reader, writer)

    async def _relay(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self.server)
        outer.write(first)
        try:
            await asyncio.wait(
                [asyncio.ensure_future(_copy(reader, outer)), asyncio.ensure_future(_copy(inner, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            writer.transport.abort()
            outer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
