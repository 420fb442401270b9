"""The sizes of headers and bodies that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dashboard.security.access import RequestRefused
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

MOST_HEADERS = 16 * 2**10
"""Bytes of all headers of a request."""

MOST_BODY = 2**20
"""Bytes of the body of a request."""

MOST_TARGET = 8 * 2**10
"""Bytes of the path and query of a request."""


def check_sizes(scope: Scope) -> None:
    """Check the headers of a request. Raises `RequestRefused` with 400, 413, 414 or 431."""
    if not scope["path"].startswith("/"):
        raise RequestRefused(400, _("an address begins with /"))
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MOST_TARGET:
        raise RequestRefused(414, _("an address has at most {most} bytes", most=MOST_TARGET))
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
        raise RequestRefused(431, _("the headers have at most {most} bytes", most=MOST_HEADERS))
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value[:20]) > MOST_BODY):
            raise RequestRefused(413, _("a body has at most {most} bytes", most=MOST_BODY))


def bounded(receive: Receive) -> Receive:
    """Return a `receive` that raises `RequestRefused` for a body that is larger than its header said."""
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BODY:
            raise RequestRefused(413, _("a body has at most {most} bytes", most=MOST_BODY))
        return message

    return receive_bounded
