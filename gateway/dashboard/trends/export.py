"""The answer of `/api/export.csv`: lines that are read from the store as fast as the browser takes them."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from gateway.dashboard.trends.csv_lines import bucket_lines, reading_lines
from gateway.dashboard.trends.errors import TrendError
from gateway.dashboard.trends.gone import Gone, until_gone
from gateway.dashboard.trends.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from gateway.dashboard.trends.csv_lines import CsvStyle
    from gateway.dashboard.trends.readers import OpenStore, Readers
    from gateway.dashboard.trends.selection import Selection

log = structlog.get_logger(__name__)

EXPORT_SECONDS = 3600.0
"""Seconds until a browser has received a file; a thread of the store serves it meanwhile."""

_LINES = 2_000
"""Lines that are read, and sent, at once."""


class Export:
    """One file: an ASGI response. With `every`, in microseconds, it has buckets of that width, else readings.

    `refused` makes the answer to an error before the first line; a later error cuts the file off.
    """

    def __init__(
        self, readers: Readers, selection: Selection, style: CsvStyle, every: int | None,
        refused: Callable[[TrendError], Response],
    ) -> None:  # fmt: skip
        self._readers = readers
        self._selection = selection
        self._style = style
        self._every = every
        self._refused = refused
        self._lines: Generator[str] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, until the browser has it, or has gone."""
        try:
            async with until_gone(receive):
                await self._send(scope, receive, send)
        except Gone:
            pass

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        stop, begun = Stop(EXPORT_SECONDS), False
        try:
            async with asyncio.timeout(EXPORT_SECONDS), self._readers.lease(stop) as reader:
                try:
                    chunk = await reader.call(self._begin, stop)
                    await send(_head(self._selection))
                    begun = True
                    while chunk:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                        chunk = await reader.call(self._next, stop)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                finally:
                    stop.cancel()
                    await asyncio.shield(reader.clean(self._end))
        except (TrendError, TimeoutError) as error:
            if isinstance(error, TrendError) and not begun:
                await self._refused(error)(scope, receive, send)
                return
            # without its last part the browser sees that the file is not whole
            log.warning("dashboard.export_failed", point=str(self._selection.points[0]), error=str(error))

    # -- in the thread --

    def _begin(self, store: OpenStore) -> bytes:
        selection = self._selection
        chosen = store.find(selection.points)
        span = selection.since, selection.until
        if self._every is None:
            self._lines = reading_lines(store.store.range(chosen, *span) if chosen else (), self._style)
        else:
            buckets = store.store.reduced(chosen, *span, self._every) if chosen else ()
            self._lines = bucket_lines(buckets, self._style)
        return self._next(store)

    def _next(self, store: OpenStore) -> bytes:
        del store
        return b"" if self._lines is None else "".join(islice(self._lines, _LINES)).encode()

    def _end(self) -> None:
        """Let the store end its query."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def _head(selection: Selection) -> Message:
    name = f"{selection.points[0].path.machine}-{selection.since // 1_000_000}.csv"
    safe = "".join(one if one.isascii() and (one.isalnum() or one in "-._") else "_" for one in name)
    headers = [
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{safe}"'.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}
