"""A TCP proxy that breaks connections, for any protocol.

async with Proxy(server.port) as proxy:
    client = connect(proxy.port)
    await proxy.cut()   # all connections are reset, and new connections refused: the server, or its switch, is off
    proxy.drop()        # all bytes vanish without an error: a pulled cable, a firewall that forgot
    proxy.hold()        # all bytes wait until `heal`: an outage so short that TCP gets over it
    proxy.delay(0.5)    # seconds, each way
    proxy.corrupt()     # one byte on its way to a client is changed
    await proxy.answer(b"HTTP/1.1 202 Accepted...")   # each HTTP request gets this; the server is not asked
    await proxy.heal()  # all is well again
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Self

from processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from types import TracebackType

PIECE = 64 * 1024
"""Bytes that are passed on at once."""

PIECES = 16
"""Pieces that may be under way in one direction; then the sender has to wait."""


class Proxy:
    """A port of the loopback, behind which is another.

    `accepted`  connections that clients have opened so far
    `passed`    bytes that came through so far, both ways
    `dropped`   bytes that vanished so far, both ways
    """

    def __init__(self, target: int, *, port: int | None = None) -> None:
        """Prepare; nothing listens. `target` is the port that connections go to."""
        self.port = port or free_port()
        self.target = target
        self.accepted = 0
        self.passed = 0
        self.dropped = 0
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._broken: list[BaseException] = []
        self._dropping = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._corrupt = 0
        self.answered = 0
        """HTTP requests that the proxy answered itself."""
        self._answer: bytes | None = None

    @property
    def open(self) -> int:
        """How many connections of clients are open now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        assert not self._broken, f"the proxy itself failed: {self._broken}"

    async def cut(self) -> None:
        """Reset all connections, and refuse new connections."""
        if self._server is not None:
            self._server.close()
        await self._end(list(self._links))
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        """Drop all bytes and all closings, both ways; accept new connections, and never respond.

        A connection that lost bytes can't go on, so `heal` resets it.
        """
        self._dropping = True

    def hold(self) -> None:
        """Keep all bytes until `heal`."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Delay all later bytes by so many seconds, each way."""
        self._delay = seconds

    def corrupt(self, pieces: int = 1) -> None:
        """Change a byte in so many of the next pieces on their way to clients."""
        self._corrupt = pieces

    async def answer(self, response: bytes) -> None:
        """Answer each HTTP request with this, as a proxy or a login page in front of the server does."""
        self._answer = response
        await self._end(list(self._links))

    async def heal(self) -> None:
        """Let all pass at once again, on the same port."""
        self._dropping = False
        self._delay = 0.0
        self._corrupt = 0
        self._flowing.set()
        self._answer = None
        await self._end([link for link in self._links if link.damaged])
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links[link] = asyncio.create_task(link.run(), name=f"proxy {self.port}")
        self._links[link].add_done_callback(lambda task: self._ended(link, task))

    def _ended(self, link: _Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled() and (error := task.exception()):
            self._broken.append(error)

    async def _end(self, links: list[_Link]) -> None:
        """Reset connections, and wait until they are gone."""
        tasks = [self._links[link] for link in links]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def pass_on(self, piece: bytes, link: _Link, sink: asyncio.StreamWriter) -> None:
        """Forward, drop or corrupt a piece; an empty piece says that its sender has closed."""
        await self._flowing.wait()
        if self._dropping:
            self.dropped += len(piece)
            link.damaged = True
            return
        if not piece:
            if sink.can_write_eof():
                sink.write_eof()
            return
        if self._corrupt and sink is link.client:
            self._corrupt -= 1
            piece = bytes((piece[0] ^ 0xFF,)) + piece[1:]
        self.passed += len(piece)
        sink.write(piece)
        await sink.drain()

    async def answer_requests(self, link: _Link, reader: asyncio.StreamReader) -> bool:
        """Answer the requests of a connection, where that is to be done; return whether it was."""
        while self._answer is not None:
            link.damaged = True
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return True
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            if self._answer is not None:
                self.answered += 1
                link.client.write(self._answer)
                await link.client.drain()
        return link.damaged

    async def reach(self, link: _Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the target; while bytes are dropped, wait without limit."""
        await self._flowing.wait()
        if self._dropping:
            link.damaged = True
            await asyncio.Future()
        return await asyncio.open_connection(LOOPBACK, self.target)

    def due(self) -> float:
        """Return when a piece that came now may go on, by the loop's clock."""
        return asyncio.get_running_loop().time() + self._delay


class _Link:
    """One connection of a client, and its connection to the target."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.damaged = False
        self._reader = reader
        self._proxy = proxy

    async def run(self) -> None:
        """Pass bytes on until both ends have closed, or one is lost; then neither is left open."""
        target = None
        try:
            if await self._proxy.answer_requests(self, self._reader):
                return
            reader, target = await self._proxy.reach(self)
            async with asyncio.TaskGroup() as both:
                self._pump(both, self._reader, target)
                self._pump(both, reader, self.client)
        except* (OSError, EOFError):
            pass  # the target is not there, or one end is gone
        finally:
            for writer in (self.client, target):
                if writer is not None:
                    writer.transport.abort()

    def _pump(self, group: asyncio.TaskGroup, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES)
        group.create_task(self._take(source, pieces))
        group.create_task(self._give(pieces, sink))

    async def _take(self, source: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        while piece := await source.read(PIECE):
            await pieces.put((self._proxy.due(), piece))
        await pieces.put((self._proxy.due(), b""))

    async def _give(self, pieces: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        piece = b"first"
        while piece:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._proxy.pass_on(piece, self, sink)
