"""Trace the messages of a connection: message type, size and service, never a body.

Bodies can contain passwords, keys and process data, and are encrypted on a secured channel. So a trace has the eight
bytes of a chunk's header (Part 6, 7.1.2.2) and the name of the service.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from asyncua import ua

from drivers.trace import Direction, WireEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivers.trace import Tracer

HEADER = 8
"""Bytes of a chunk that a trace has: message type, chunk type and size."""

_TYPES = {b"HEL": "Hello", b"ACK": "Acknowledge", b"ERR": "Error", b"RHE": "ReverseHello",
          b"OPN": "OpenSecureChannel", b"CLO": "CloseSecureChannel", b"MSG": "message"}  # fmt: skip
_SUFFIX = "_Encoding_DefaultBinary"
_FOUR_BYTES = 1  # the encoding of the node ids that are type ids (Part 6, 5.2.2.9)

_TRACER: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


@contextmanager
def tracing(tracer: Tracer | None) -> Iterator[None]:
    """Trace the connections that are opened in this context."""
    token = _TRACER.set(tracer)
    try:
        yield
    finally:
        _TRACER.reset(token)


def is_tracing() -> bool:
    """Return True if connections that are opened now are traced."""
    return _TRACER.get() is not None


def service_of(kind: int) -> str:
    """Return the name of the type id of an encoded request or response, such as `ReadRequest`."""
    return ua.ObjectIdNames.get(kind, f"type {kind}").removesuffix(_SUFFIX)


class TracedMessages:
    """Reports the messages of a protocol; a mixin before the class of the protocol."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of the protocol
        super().__init__(*arguments, **options)
        self._tracer = _TRACER.get()
        self._service = ""
        self._chunk = b""

    def _report(self, direction: Direction, data: bytes, text: str) -> None:
        if self._tracer is not None:
            self._tracer(WireEvent(time.time_ns() // 1000, "", direction, data[:HEADER], text))

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
        """Report the connection, and the chunks that are written to it from now on."""
        peer = transport.get_extra_info("peername") or ("",)
        self._report(Direction.OPENED, b"", ":".join(map(str, peer[:2])))
        super().connection_made(_TracedTransport(transport, self._sent))  # type: ignore[misc] # of the protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection."""
        self._report(Direction.CLOSED, b"", str(exc or "connection closed"))
        super().connection_lost(exc)  # type: ignore[misc] # of the protocol

    def begin(self, kind: int, parameters: bytes, timeout: float) -> Any:  # noqa: ANN401 - of the protocol
        """Note the service of a request."""
        self._service = service_of(kind)
        return super().begin(kind, parameters, timeout)  # type: ignore[misc] # of the protocol

    def _send_request(self, request: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - asyncua's
        self._service = type(request).__name__
        return super()._send_request(request, *arguments, **options)  # type: ignore[misc] # of the protocol

    def _sent(self, data: bytes) -> None:
        """Report each chunk that is sent."""
        service, self._service = self._service, ""
        at = 0
        while at + HEADER <= len(data):
            size = max(HEADER, int.from_bytes(data[at + 4 : at + HEADER], "little"))
            chunk = data[at : at + size]
            self._report(Direction.SENT, chunk, _text(chunk, size, service))
            at += size

    def _process_chunk(self, chunk: bytes) -> None:
        self._chunk = chunk
        try:
            super()._process_chunk(chunk)  # type: ignore[misc] # of the protocol
        finally:
            self._report_received("")

    def _answer(self, request: int, answer: Any) -> None:  # noqa: ANN401 - a buffer, or asyncua's Acknowledge
        body = b"" if isinstance(answer, ua.Acknowledge) else bytes(answer)[:4]
        known = len(body) == 4 and body[0] == _FOUR_BYTES  # noqa: PLR2004 - the bytes of such a node id
        self._report_received(service_of(int.from_bytes(body[2:], "little")) if known else "")
        super()._answer(request, answer)  # type: ignore[misc] # of the protocol

    def _report_received(self, service: str) -> None:
        """Report the chunk that is being processed, once."""
        chunk, self._chunk = self._chunk, b""
        if chunk:
            self._report(Direction.RECEIVED, chunk, _text(chunk, len(chunk), service))


class _TracedTransport:
    """A transport whose written bytes are reported."""

    def __init__(self, transport: Any, sent: Callable[[bytes], None]) -> None:  # noqa: ANN401 - asyncio's
        self._transport = transport
        self._report_sent = sent

    def write(self, data: bytes) -> None:
        """Report and write bytes."""
        self._report_sent(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is asyncio's
        return getattr(self._transport, name)


def _text(chunk: bytes, size: int, service: str) -> str:
    kind = _TYPES.get(chunk[:3], "unknown message")
    part = {b"C": ", more follows", b"A": ", aborted"}.get(chunk[3:4], "")
    name = service if service and kind == "message" else kind
    return f"{name}, {size} bytes{part}"
