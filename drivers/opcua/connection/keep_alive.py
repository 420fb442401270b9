"""Keep-alive of a session: reads the server's time after a silence, which also keeps an idle session open.

Silence of three keep-alive periods ends the connection, even if TCP reports no error. A slow server still sends, and
stays connected.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.codec.publish_response import read_response
from drivers.opcua.codec.requests import read_request
from drivers.opcua.codec.values import microseconds
from drivers.opcua.errors import DecodeError, ServiceFault

if TYPE_CHECKING:
    from datetime import datetime

    from asyncua.common.utils import Buffer

    from drivers.opcua.connection.client import Client

SILENCE = 3
"""Keep-alive periods without bytes after which a connection ends."""

CLOCK_EVERY = 60.0
"""Seconds between two reads of the server's clock while other messages arrive."""

_CLOCK = [ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))]


class KeepAlive:
    """Reads a server's clock.

    `ahead` is its lead in seconds over our clock, None before the first response; `error` is the largest possible
    error of it, half of the round trip.
    """

    def __init__(self, client: Client, keep_alive: float) -> None:
        """Store the client; `keep_alive` is the silence in seconds after which the server's time is read."""
        self.ahead: float | None = None
        self.error = 0.0
        self._client = client
        self._keep_alive = keep_alive
        self._alarm: asyncio.TimerHandle | None = None
        self._asked = 0.0
        self._open: asyncio.Future[Buffer] | None = None

    def begin(self) -> None:
        """Start on a connected client."""
        self._asked = asyncio.get_running_loop().time()
        self._again()

    def end(self) -> None:
        """Stop."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._open is not None:
            self._open.cancel()

    def learn(self, server_time: datetime, asked: float, took: float) -> None:
        """Compare the server's time with ours; the request was sent at `asked` and took `took` seconds."""
        self.error = took / 2
        self.ahead = microseconds(server_time) / 1e6 - (asked + self.error)

    def _again(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self._keep_alive / 2, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        silence = now - self._client.last_received
        if silence > SILENCE * self._keep_alive:
            self._client.abort(f"no sign of life for {silence:.0f} s")
            return
        if self._open is None and (silence >= self._keep_alive or now - self._asked >= CLOCK_EVERY):
            self._asked = now
            try:
                self._open = self._client.begin(*read_request(_CLOCK, ua.AttributeIds.Value))
            except ConnectionError:
                return  # the loss fails pending requests
            asked, began = time.time(), time.monotonic()
            self._open.add_done_callback(lambda answer: self._answered(answer, asked, began))
        self._again()

    def _answered(self, answer: asyncio.Future[Buffer], asked: float, began: float) -> None:
        self._open = None
        if answer.cancelled() or answer.exception() is not None:
            return
        try:
            [server_time] = read_response(bytes(answer.result()), 1).values
        except (DecodeError, ServiceFault):
            return  # any response is a sign of life
        if hasattr(server_time, "year"):
            self.learn(server_time, asked, time.monotonic() - began)
