"""A broker of MQTT 5 and 3.1.1 that answers as a test wants, and counts.

It serves one client at a time without checking its name or rights, and forwards no message.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

RECEIVE_MAXIMUM, SERVER_KEEP_ALIVE, MAXIMUM_PACKET_SIZE = 0x21, 0x13, 0x27
"""Identifiers of properties (MQTT 5, 2.2.2.2), and how many bytes their values have."""

_SIZES = {RECEIVE_MAXIMUM: 2, SERVER_KEEP_ALIVE: 2, MAXIMUM_PACKET_SIZE: 4}

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


class FakeBroker:
    """Answers each message with the result of `reason` for its topic, and each filter with that of `granted`.

        `reason`     reason code by topic, None for no answer
    `owed`       messages that are not acknowledged now; `most_owed` the most that ever were
    `published`  topics in the order in which they came
    `subscribed` filters in the order in which they came
    `connects`   connections so far; `pings` so far
    `hangs_up`   whether the next subscription is answered by the end of the connection, as by the death of the broker
    """

    def __init__(
        self,
        reason: Callable[[str], int | None] = lambda _: 0,
        properties: dict[int, int] | None = None,
        granted: Callable[[str], int] = lambda _: 1,
    ):
        self.port = free_port()
        self.url = f"mqtt://{LOOPBACK}:{self.port}"
        self.reason = reason
        self.granted = granted
        self.subscribed: list[str] = []
        self.properties = properties or {}
        self.published: list[str] = []
        self.connects = self.pings = self.owed = self.most_owed = 0
        self.largest = 0
        self._held: list[tuple[int, str]] = []
        self._writer: asyncio.StreamWriter | None = None
        self.holding = False
        self._five = True
        self.hangs_up = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        if self._writer is not None:
            self._writer.transport.abort()
        await self._server.wait_closed()

    def answer_held(self) -> None:
        """Acknowledge the messages that came while `holding`, and from now on at once."""
        self.holding = False
        held, self._held = self._held, []
        for identifier, topic in held:
            self._acknowledge(identifier, topic)

    def say_goodbye(self, reason: int) -> None:
        """Disconnect the client with a reason code (MQTT 5, 3.14)."""
        assert self._writer is not None
        self._writer.write(bytes([0xE0, 1, reason]))
        self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.owed = 0
        self._held = []
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, body = await _packet(reader)
                self._take(kind, body, writer)
                if kind >> 4 == DISCONNECT:
                    break
        writer.close()

    def _take(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        match kind >> 4:
            case 1:
                self.connects += 1
                properties = b"".join(
                    bytes([key]) + n.to_bytes(_SIZES[key], "big") for key, n in self.properties.items()
                )
                self._five = body[6] == 5  # the level of the protocol, after its name (MQTT 5, 3.1.2.2)
                _write(writer, 0x20, bytes([0, 0, len(properties)]) + properties if self._five else bytes([0, 0]))
            case 3:
                length = int.from_bytes(body[:2], "big")
                topic = body[2 : 2 + length].decode()
                self.published.append(topic)
                self.largest = max(self.largest, len(body) + 2)
                if kind & 0b110:
                    self.owed += 1
                    self.most_owed = max(self.most_owed, self.owed)
                    identifier = int.from_bytes(body[2 + length : 4 + length], "big")
                    if self.holding:
                        self._held.append((identifier, topic))
                    else:
                        self._acknowledge(identifier, topic)
            case 8 if self.hangs_up:
                self.hangs_up = False
                writer.transport.abort()
            case 8:
                filters = _filters(body[3 + body[2] :] if self._five else body[2:])
                self.subscribed += filters
                _write(writer, 0x90, body[:2] + b"\0" * self._five + bytes(map(self.granted, filters)))
            case 12:
                self.pings += 1
                _write(writer, 0xD0, b"")

    def _acknowledge(self, identifier: int, topic: str) -> None:
        reason = self.reason(topic)
        if reason is not None and self._writer is not None:
            self.owed -= 1
            _write(self._writer, 0x40, identifier.to_bytes(2, "big") + (bytes([reason, 0]) if self._five else b""))


def _filters(rest: bytes) -> list[str]:
    """Return the filters of a SUBSCRIBE, which are behind its identifier and properties."""
    at, found = 0, []
    while at < len(rest):
        length = int.from_bytes(rest[at : at + 2], "big")
        found.append(rest[at + 2 : at + 2 + length].decode())
        at += 2 + length + 1
    return found


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return kind, await reader.readexactly(length)


def _write(writer: asyncio.StreamWriter, kind: int, body: bytes) -> None:
    assert len(body) < 128, "a length of more than one byte is not needed here"
    writer.write(bytes([kind, len(body)]) + body)
