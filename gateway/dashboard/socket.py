"""The WebSocket of a page: its subscriptions, and one message for all that changed.

The page sends `{"open": ID, "feed": NAME, "arguments": {...}}`, the same with `set` in place of `open` and without
`feed` to change the arguments, and `{"close": ID}`. It receives `{"now": MICROSECONDS, "feeds": [[ID, CHANGES], …]}`
at most ten times a second, and `{"error": TEXT, "feed": ID}` for arguments that do not fit.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson
import structlog
from starlette.websockets import WebSocketDisconnect

from gateway.common.state_log import RepeatLog
from gateway.common.tasks import cancel_and_wait
from gateway.dashboard.feeds import FEEDS
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.texts.language import language_of
from gateway.dashboard.texts.text import ReaderError, _

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from gateway.dashboard.feeds.base import Feed
    from gateway.dashboard.plants import Plants

log = structlog.get_logger(__name__)

TICK = 0.1
"""Seconds between two looks for changes."""

ALIVE = 5.0
"""Seconds after which a message is sent though nothing changed: the page knows then that the server is there."""

MAX_FEEDS = 50
"""Subscriptions of one page."""

MAX_REQUEST = 64 * 2**10
"""Characters of a message of a page."""

OPTIONS = orjson.OPT_NON_STR_KEYS
"""Positions of points are keys."""

BAD_REQUEST = 1008
"""The code that closes the connection of a page that sends anything else (RFC 6455, 7.4.1: policy violation)."""


MAX_REASON = 123
"""Bytes of the reason of a close (RFC 6455, 5.5.1)."""


class BadRequest(ReaderError):
    """A message is not one that a page sends; the text has the reason."""


class _Subscription:
    """A feed of a page, and when it may send again."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.due = 0.0


class PageConnection:
    """One page."""

    def __init__(self, socket: WebSocket, plants: Plants) -> None:
        self._socket = socket
        self._plants = plants
        self._language = language_of(socket)
        self._subscriptions: dict[int, _Subscription] = {}
        self._failures = RepeatLog(log)

    async def run(self) -> None:
        """Serve the page until it goes, or sends anything else than a page does."""
        await self._socket.accept()
        both = [
            asyncio.create_task(self._send(), name="page feeds"),
            asyncio.create_task(self._receive_all(), name="page requests"),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WebSocketDisconnect:
            pass
        except BadRequest as error:
            await self._socket.close(BAD_REQUEST, _reason(error.text.into(self._language)))
        finally:
            await cancel_and_wait(*both)
            await asyncio.gather(*both, return_exceptions=True)  # both may have noticed that the page has gone

    async def _receive_all(self) -> None:
        while True:
            await self._receive()

    async def _receive(self) -> None:
        text = await self._socket.receive_text()
        try:
            request = orjson.loads(text) if len(text) <= MAX_REQUEST else None
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            raise BadRequest(_("a message is a JSON object"))
        if "close" in request:
            self._subscriptions.pop(request["close"], None)
            return
        number = request.get("open", request.get("set"))
        arguments = request.get("arguments", {})
        if type(number) is not int or not isinstance(arguments, dict):
            raise BadRequest(_("open or set is a number, and arguments an object"))
        if "open" in request:
            self._open(number, request.get("feed"))
        subscription = self._subscriptions.get(number)
        if subscription is None:
            return  # closed meanwhile, or of a name that is not known
        try:
            subscription.feed.choose(arguments)
            subscription.due = 0.0
        except BadArguments as error:
            del self._subscriptions[number]
            content = {"error": error.text.into(self._language), "feed": number}
            await self._socket.send_text(orjson.dumps(content).decode())

    def _open(self, number: int, name: object) -> None:
        kind = FEEDS.get(name) if isinstance(name, str) else None
        if kind is None:
            raise BadRequest(_("a feed is one of {feeds}", feeds=", ".join(FEEDS)))
        if len(self._subscriptions) >= MAX_FEEDS and number not in self._subscriptions:
            raise BadRequest(_("a page has at most {most} feeds", most=MAX_FEEDS))
        self._subscriptions[number] = _Subscription(kind(self._plants))

    async def _send(self) -> None:
        """Send the changes; the next look waits until the page has the message."""
        said = 0.0
        while True:
            now = time.monotonic()
            content: list[tuple[int, orjson.Fragment]] = []
            for number, subscription in list(self._subscriptions.items()):
                if now < subscription.due:
                    continue
                changes = self._changes_of(number, subscription.feed)
                if changes is not None:
                    subscription.due = now + subscription.feed.every
                    content.append((number, changes))
            if content or now - said > ALIVE:
                said = now
                message = {"now": time.time_ns() // 1000, "feeds": content}
                await self._socket.send_text(orjson.dumps(message).decode())
            await asyncio.sleep(TICK)

    def _changes_of(self, number: int, feed: Feed) -> orjson.Fragment | None:
        """Return the changes of a feed as JSON. A feed with a defect is closed and logged; the others go on."""
        try:
            changes = feed.changes()
            return None if changes is None else orjson.Fragment(orjson.dumps(changes, option=OPTIONS))
        except Exception as error:  # noqa: BLE001 - here only: a defect costs one view
            name = type(feed).__name__
            self._failures.error("dashboard.feed_failed", key=name, feed=name, exc_info=error)
            self._subscriptions.pop(number, None)
            return orjson.Fragment(b'{"failed":true}')


def _reason(text: str) -> str:
    """Return as much of a text as the frame of a close has room for."""
    return text.encode()[:MAX_REASON].decode(errors="ignore")
