"""The sizes of headers and bodies that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

MOST_HEADERS = 16 * 2**10
"""Bytes of all headers of a request."""

MOST_BODY = 2**20
"""Bytes of the body of a request."""

MOST_TARGET = 8 * 2**10
"""Bytes of the path and query of a request."""


def check_sizes(scope: Scope) -> None:
    """Check the headers of a request. Raises `HTTPException` with 400, 413, 414 or 431."""
    if not scope["path"].startswith("/"):
        raise HTTPException(400, "an address begins with /")
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_TARGET:
        raise HTTPException(414, f"an address has at most {MOST_TARGET:,} bytes")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
        raise HTTPException(431, f"the headers have at most {MOST_HEADERS:,} bytes")
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value[:20]) > MOST_BODY):
            raise HTTPException(413, f"a body has at most {MOST_BODY:,} bytes")


def bounded(receive: Receive) -> Receive:
    """Return a `receive` that raises `HTTPException` for a body that is larger than its header said."""
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BODY:
            raise HTTPException(413, f"a body has at most {MOST_BODY:,} bytes")
        return message

    return receive_bounded
