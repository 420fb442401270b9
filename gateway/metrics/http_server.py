"""A small HTTP/1.1 server (RFC 9112) for GET requests, bounded in everything that a client can do.

It runs in a thread with an event loop of its own, so slow clients, floods and half-open connections cost the service
nothing but the processor time of its answers. Connections, the size of a request, the time of a request and of a
response, and the responses that are sent at a time are limited. When there are too many connections, the oldest that
has no response under way is closed, so a client that means it gets through.

With TLS the handshakes are limited as well: their number, their time, and how many begin in a second, since each
costs processor time before anything is known about the client.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

MAX_CONNECTIONS = 32
"""Connections that are open at a time."""

MAX_HANDSHAKES = 32
"""Handshakes of TLS that are under way at a time; then the oldest is ended."""

MAX_SENDING = 4
"""Responses that are sent at a time: a client that reads slowly makes others wait, and costs no memory."""

MAX_HEAD = 8 * 2**10
"""Bytes of a request's head."""

REQUEST_SECONDS = 5.0
"""Seconds that a client has to send a request, once it has begun."""

IDLE_SECONDS = 90.0
"""Seconds for which a connection may wait for a request; Prometheus keeps it open from scrape to scrape."""

SEND_SECONDS = 10.0
"""Seconds until a client has read a response, with the time that it waits for others."""

HANDSHAKE_SECONDS = 5.0
"""Seconds that a client has for the handshake of TLS."""

HANDSHAKES_PER_SECOND = 20
"""Handshakes that begin in a second: some 2 ms of a processor each. Others wait in the queue of the kernel."""

ACCEPT_AGAIN = 0.5
"""Seconds until the next attempt to accept a connection, after one that failed: there is no file descriptor left."""

SHUTDOWN_SECONDS = 5.0
"""Seconds that a client has to read the rest of a response, and to end a connection with TLS."""

PIECE = 2**16
"""Bytes that are encrypted at once: asyncio has no limit for the encrypted bytes of one write."""

STOP_SECONDS = 2.0
"""Seconds that the thread has to end."""


class Request(NamedTuple):
    """A GET or HEAD request: its path without the query, and its headers `Accept` and `Authorization`."""

    path: str
    accept: str
    authorization: str = ""


class Response(NamedTuple):
    """A response."""

    status: HTTPStatus
    content_type: str
    body: bytes


_OF_STATUS = {
    HTTPStatus.METHOD_NOT_ALLOWED: "Allow: GET, HEAD\r\n",
    HTTPStatus.UNAUTHORIZED: 'WWW-Authenticate: Bearer realm="lineside"\r\n',
}
"""The fields that a status needs (RFC 9110, clauses 15.5.2 and 15.5.6)."""


class _Refused(Exception):
    """A request that is answered with an error, after which the connection is closed."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class _Head(NamedTuple):
    request: Request
    head_only: bool
    keep_alive: bool


class HttpServer:
    """Serves requests on a listening socket, from `start` until `stop`.

    `handle` is awaited for each request in the server's own event loop; it must not raise.
    """

    def __init__(
        self,
        listening: socket.socket,
        handle: Callable[[Request], Awaitable[Response]],
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; with a `context` it serves HTTPS."""
        self._listening = listening
        self._context = context
        self._handshakes: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._handle = handle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._started = threading.Event()
        self._idle: dict[asyncio.StreamWriter, None] = {}  # without a response under way, the oldest first
        self._open: set[asyncio.StreamWriter] = set()
        self._sending = asyncio.Semaphore(MAX_SENDING)

    @property
    def connections(self) -> int:
        """The number of open connections, with those whose handshake is under way."""
        return len(self._open) + len(self._handshakes)

    def start(self) -> None:
        """Start the thread; `wait` returns when it serves."""
        self._thread.start()

    def wait(self) -> None:
        """Wait until the thread serves, or has ended. Blocks for at most `STOP_SECONDS`."""
        self._started.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End all connections and the thread, also one that only starts. Blocks for at most twice `STOP_SECONDS`."""
        self.wait()
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        # a reset of a client while its connection is accepted must not print a trace
        self._loop.set_exception_handler(_ignore)
        accepting: asyncio.Task[None] | None = None
        if self._context is None:
            server = await asyncio.start_server(self._converse, sock=self._listening, limit=MAX_HEAD, backlog=64)
            close = server.close
        else:
            self._listening.listen(64)
            accepting = asyncio.create_task(self._accept(self._context), name="accept")
            close = self._listening.close
        self._started.set()
        try:
            await self._stopping.wait()
        finally:
            ending = [*self._handshakes, *([] if accepting is None else [accepting])]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            close()
            for writer in list(self._open):
                writer.transport.abort()

    async def _accept(self, context: ssl.SSLContext) -> None:
        """Accept connections for TLS, a limited number in a second."""
        loop = asyncio.get_running_loop()
        begin, count = loop.time(), 0
        while True:
            if loop.time() >= begin + 1.0:
                begin, count = loop.time(), 0
            elif count >= HANDSHAKES_PER_SECOND:
                await asyncio.sleep(begin + 1.0 - loop.time())
                continue
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            count += 1
            if len(self._handshakes) >= MAX_HANDSHAKES:
                oldest = next(iter(self._handshakes))
                self._forget(oldest)  # now: it takes some turns of the loop to end, and is not the next to end again
                oldest.cancel()
            task = asyncio.create_task(self._shake_hands(connection, context), name="handshake")
            self._handshakes[task] = None
            task.add_done_callback(self._forget)
            await asyncio.sleep(0)  # it begins now: a task that is cancelled before would leave its socket open

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._handshakes.pop(task, None)

    async def _shake_hands(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """Begin TLS on a connection; `_converse` goes on with it."""
        reader = asyncio.StreamReader(limit=MAX_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader, self._converse)
        with suppress(OSError):  # not TLS, no certificate, or too slow: asyncio has closed the connection
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, connection, ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )  # fmt: skip

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        if not self._make_room():
            writer.transport.abort()
            return
        self._open.add(writer)
        # `drain` waits until all is sent; with TLS, until the kernel and one piece have it
        writer.transport.set_write_buffer_limits(high=0 if self._context is None else 1, low=0)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it is gone, or too slow
        finally:
            self._idle.pop(writer, None)
            self._open.discard(writer)
            writer.transport.abort()

    def _make_room(self) -> bool:
        """Close the oldest idle connection if there are too many; return False if none is idle."""
        if len(self._open) >= MAX_CONNECTIONS and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            self._open.discard(oldest)
            oldest.transport.abort()
        return len(self._open) < MAX_CONNECTIONS

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer the next request; return False if the connection is to be closed."""
        self._idle[writer] = None
        try:
            head = _parse(await _read_head(reader))
            del self._idle[writer]
            response = await self._handle(head.request)
        except _Refused as refused:
            self._idle.pop(writer, None)
            body = f"{refused.status.phrase}\n".encode()
            head = _Head(Request("", ""), head_only=False, keep_alive=False)
            response = Response(refused.status, "text/plain; charset=utf-8", body)
        except KeyError:
            return False  # it was closed to make room
        async with asyncio.timeout(SEND_SECONDS), self._sending:
            content = _encode(response, head)
            size = len(content) if self._context is None else PIECE
            for begin in range(0, len(content), size):
                writer.write(content[begin : begin + size])
                await writer.drain()
        if not head.keep_alive:
            if self._context is not None:
                writer.close()
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(SHUTDOWN_SECONDS):
                        await writer.wait_closed()
                return False
            with suppress(OSError, RuntimeError):
                writer.write_eof()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # else a reset could destroy the response before it is read
                    while await reader.read(MAX_HEAD):
                        pass
        return head.keep_alive


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Return the head of the next request. Raises `_Refused` if it is too large, `TimeoutError` if it is too slow."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            first = await reader.readexactly(1)
        async with asyncio.timeout(REQUEST_SECONDS):
            return first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None


def _parse(head: bytes) -> _Head:
    """Return a request. Raises `_Refused` for anything but a GET or HEAD request without a body."""
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in {"HTTP/1.0", "HTTP/1.1"}:  # noqa: PLR2004 - method, target and version
        raise _Refused(HTTPStatus.BAD_REQUEST)
    method, target, version = words
    headers: dict[str, str] = {}
    for field in fields:
        name, colon, value = field.partition(":")
        if not colon or not name or name != name.strip():
            raise _Refused(HTTPStatus.BAD_REQUEST)
        headers[name.lower()] = value.strip()
    if method not in {"GET", "HEAD"}:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _Refused(HTTPStatus(413))  # its name depends on the version of Python
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if version == "HTTP/1.1" else "keep-alive" in connection
    request = Request(target.partition("?")[0], headers.get("accept", ""), headers.get("authorization", ""))
    return _Head(request, method == "HEAD", keep_alive)


def _encode(response: Response, head: _Head) -> bytes:
    more = _OF_STATUS.get(response.status, "")
    fields = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{more}"
        f"Connection: {'keep-alive' if head.keep_alive else 'close'}\r\n\r\n"
    ).encode("latin-1")
    return fields if head.head_only else fields + response.body


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    del loop, context
