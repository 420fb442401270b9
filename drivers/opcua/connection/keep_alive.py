"""Whether a server still lives: asked where nothing else is heard of it, which also keeps a quiet session alive.

Silence beyond three keep-alives is death, whatever TCP says. A server that is slow is heard, late; it is left alone.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from asyncua import ua

from drivers.opcua.codec.binary import DecodeError
from drivers.opcua.codec.publish_response import ServiceFault, read_response
from drivers.opcua.codec.requests import read_request
from drivers.opcua.codec.values import microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from asyncua.common.utils import Buffer

    from drivers.opcua.connection.client import Client

SILENCE = 3
"""Keep-alives without a sign of life that mean death."""

CLOCK_EVERY = 60.0
"""Seconds between two looks at the server's clock, where it is heard of all the time."""

_CLOCK = [ua.NodeId(ua.Int32(ua.ObjectIds.Server_ServerStatus_CurrentTime))]


class KeepAlive:
    """Asks a server for its time. `ahead` are the seconds by which it is ahead of ours, None before it was told."""

    def __init__(self, client: Client, keep_alive: float) -> None:
        """Prepare; `keep_alive` are the seconds of silence after which the server is asked."""
        self.ahead: float | None = None
        self._client = client
        self._keep_alive = keep_alive
        self._alarm: asyncio.TimerHandle | None = None
        self._asked = 0.0
        self._open: asyncio.Future[Buffer] | None = None

    def begin(self) -> None:
        """Begin to listen, on a client that is connected."""
        self._asked = asyncio.get_running_loop().time()
        self._again()

    def end(self) -> None:
        """Listen no more."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._open is not None:
            self._open.cancel()

    def learn(self, told: datetime, asked: float, took: float) -> None:
        """Note the server's time, in an answer to what was `asked` then and `took` so many seconds."""
        self.ahead = microseconds(told) / 1e6 - (asked + took / 2)

    def _again(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self._keep_alive / 2, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        silence = now - self._client.heard
        if silence > SILENCE * self._keep_alive:
            self._client.lose(f"no sign of life for {silence:.0f} s")
            return
        if self._open is None and (silence >= self._keep_alive or now - self._asked >= CLOCK_EVERY):
            self._asked = now
            try:
                self._open = self._client.begin(*read_request(_CLOCK, ua.AttributeIds.Value))
            except ConnectionError:
                return  # who waits for an answer is told of that
            asked, began = time.time(), time.monotonic()
            self._open.add_done_callback(lambda answer: self._answered(answer, asked, began))
        self._again()

    def _answered(self, answer: asyncio.Future[Buffer], asked: float, began: float) -> None:
        self._open = None
        if answer.cancelled() or answer.exception() is not None:
            return
        try:
            [told] = read_response(bytes(answer.result()), 1).values
        except (DecodeError, ServiceFault):
            return  # it has answered: what it says of its clock is another matter
        if hasattr(told, "year"):
            self.learn(told, asked, time.monotonic() - began)
