"""Decodes ReverseHello messages (Part 6, 7.1.2.6), and encodes the error that refuses one. Pure functions."""

from __future__ import annotations

import struct
from typing import NamedTuple
from urllib.parse import urlsplit

from drivers.opcua.codec.binary import text
from drivers.opcua.errors import MALFORMED, DecodeError

HEADER = 8
"""Bytes of message type, reserved byte and size (Part 6, 7.1.2.2)."""

MAX_TEXT = 4096
"""Bytes of the server's URI, and of the endpoint's URL."""

MAX_BYTES = HEADER + 2 * (4 + MAX_TEXT)
"""Bytes of a whole message."""

_TYPE = b"RHEF"


class ReverseHello(NamedTuple):
    """The application URI of a server, and the URL of the endpoint to use on its connection."""

    server_uri: str
    endpoint_url: str


def reverse_hello(received: bytes) -> ReverseHello | None:
    """Decode the first message of a server; return None if more bytes have to come. Raises `DecodeError`."""
    if not _TYPE.startswith(received[:4]):
        raise DecodeError("its first message is not a ReverseHello")
    if len(received) < HEADER:
        return None
    size = int.from_bytes(received[4:HEADER], "little")
    if not HEADER < size <= MAX_BYTES:
        raise DecodeError(f"a ReverseHello of {size} bytes")
    if len(received) > size:
        raise DecodeError("more follows its ReverseHello, before it was answered")
    if len(received) < size:
        return None
    try:
        return _decoded(received)
    except DecodeError:
        raise
    except MALFORMED as error:
        raise DecodeError(f"a ReverseHello that breaks the rules: {error}") from error


def _decoded(received: bytes) -> ReverseHello:
    server_uri, at = text(received, HEADER)
    endpoint_url, at = text(received, at)
    if at != len(received):
        raise DecodeError(f"a ReverseHello that ends at byte {at} of {len(received)}")
    for written in (server_uri, endpoint_url):
        if not written or len(written) > MAX_TEXT or not written.isprintable():
            raise DecodeError("a ReverseHello without a server URI and an endpoint URL")
    found = ReverseHello(server_uri or "", endpoint_url or "")
    parts = urlsplit(found.endpoint_url)
    if parts.scheme != "opc.tcp" or not parts.hostname or "@" in parts.netloc or parts.port == 0:
        raise DecodeError(f"a ReverseHello with the endpoint {found.endpoint_url!r:.100}")
    return found


def error_message(status: int, reason: str) -> bytes:
    """Return an Error message (Part 6, 7.1.2.5)."""
    written = reason.encode()
    body = struct.pack("<Ii", status, len(written)) + written
    return b"ERRF" + struct.pack("<I", HEADER + len(body)) + body
