"""A Modbus TCP device on the loopback that answers as a script says.

Its tables are easy to check: every register holds its own number, and every odd bit is set. A script gets the request
and returns the pieces of the answer; `CLOSE` among the pieces ends the connection there, and a number is a pause in
seconds, for which no other request is served.

    async with FakeModbusServer(in_turn(silent, right)) as server:
        ...  # connect to server.port
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
CLOSE = b""
"""A piece without data: the device closes the connection."""


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """Read one request; fields that a request shorter than a read lacks are 0."""
    head = await reader.readexactly(6)
    body = await reader.readexactly(int.from_bytes(head[4:], "big"))
    return Asked(*struct.unpack(">H4xBBHH", head + body.ljust(6, b"\0")[:6]))


class Asked(NamedTuple):
    """One read request."""

    transaction: int
    unit: int
    function: int
    first: int
    count: int

    @property
    def data(self) -> bytes:
        """The data of the right answer: the byte count, and the entries."""
        entries = range(self.first, self.first + self.count)
        if self.function in {1, 2}:
            bits = sum((entry & 1) << i for i, entry in enumerate(entries))
            data = bits.to_bytes((self.count + 7) // 8, "little")
        else:
            data = b"".join(entry.to_bytes(2, "big") for entry in entries)
        return bytes((len(data),)) + data

    def frame(
        self,
        data: bytes | None = None,
        *,
        transaction: int | None = None,
        protocol: int = 0,
        length: int | None = None,
        unit: int | None = None,
        function: int | None = None,
    ) -> bytes:
        """Return the answer, which is right except for the arguments."""
        pdu = bytes((self.function if function is None else function,)) + (self.data if data is None else data)
        header = struct.pack(
            ">HHHB",
            self.transaction if transaction is None else transaction,
            protocol,
            len(pdu) + 1 if length is None else length,
            self.unit if unit is None else unit,
        )
        return header + pdu


Script = Callable[[Asked], Sequence[bytes | float]]
"""Returns the pieces that the device sends in answer to a request."""


def right(asked: Asked) -> Sequence[bytes]:
    """Answer as a device should."""
    return [asked.frame()]


def silent(_: Asked) -> Sequence[bytes]:
    """Do not answer."""
    return []


def exception(code: int) -> Script:
    """Return a script that refuses with an exception code (clause 7)."""
    return lambda asked: [asked.frame(bytes((code,)), function=asked.function | 0x80)]


def in_turn(*scripts: Script) -> Script:
    """Return a script that follows each of `scripts` for one request, and the last for all others."""
    left = list(scripts)

    def script(asked: Asked) -> Sequence[bytes]:
        return (left.pop(0) if len(left) > 1 else left[0])(asked)

    return script


def by_address(scripts: dict[int, Script]) -> Script:
    """Return a script that chooses by the first entry asked for; others are answered right."""
    return lambda asked: scripts.get(asked.first, right)(asked)


def by_unit(scripts: dict[int, Script]) -> Script:
    """Return a script that chooses by the unit; others are answered right."""
    return lambda asked: scripts.get(asked.unit, right)(asked)


class FakeModbusServer:
    """The device. `asked` holds every request, `connections` how many were accepted.

    With `one_connection` it has one to give, which is free again so many seconds after its end; it closes others at
    once. `idle` is set while none is open.
    """

    def __init__(self, script: Script = right) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self.one_connection: float | None = None
        self.idle = asyncio.Event()
        self._busy = self._stopped = False
        self._server: asyncio.Server
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self.disconnect()

    def stop_listening(self) -> None:
        """Accept no more connections; those that are open stay."""
        self._server.close()
        self._stopped = True  # also for a connection that the kernel has accepted already

    async def disconnect(self) -> None:
        """Close every connection, and wait until all is closed."""
        open_ones = dict(self._open)
        for writer in open_ones.values():
            writer.close()
        await asyncio.gather(*(task for task in open_ones if task is not None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._busy or self._stopped:
            writer.transport.abort()
            return
        self.connections += 1
        self._busy = self.one_connection is not None
        self._open[asyncio.current_task()] = writer
        self.idle.clear()
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(await read_request(reader), writer):
                    pass
        finally:
            del self._open[asyncio.current_task()]
            if not self._open:
                self.idle.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            if self.one_connection is not None:
                await asyncio.sleep(self.one_connection)
                self._busy = False

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        """Send the pieces of the script; returns whether the connection is still open."""
        self.asked.append(asked)
        for piece in self.script(asked):
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            if piece == CLOSE:
                return False
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # so that the client reads this piece alone
        return True


@contextmanager
def served(script: Callable[[Asked], Sequence[bytes]]) -> Iterator[tuple[int, FakeModbusServer]]:
    """Serve from a thread of its own, for a command that runs its own event loop; yields port and server."""
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def serve() -> None:
        async with FakeModbusServer(script) as server:
            box.update(server=server, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            ready.set()
            await box["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    try:
        yield box["server"].port, box["server"]
    finally:
        box["loop"].call_soon_threadsafe(box["stop"].set)
        thread.join()
