"""The connection between the supervisor and a worker: a socket pair, and frames with a length in front.

Neither end waits for the other. A frame that finds too much unsent data is dropped, since its receiver hangs.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import socket

LENGTH = 4
"""Bytes of the length of a frame, big-endian."""

MAX_FRAME = 512 * 2**20
"""Bytes of a frame: the configuration of a million points."""

MAX_UNSENT = 16 * 2**20
"""Bytes that may wait to be sent before further frames are dropped."""


class ChannelClosed(Exception):
    """The other end has closed the channel, or its process has ended."""


class Channel:
    """One end of the channel. Use it in the event loop only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `open`."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Return the channel of one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, frame: bytes) -> bool:
        """Send a frame; return False if it was dropped: the channel is closed, or the receiver hangs."""
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            return False
        self._writer.write(len(frame).to_bytes(LENGTH, "big"))
        self._writer.write(frame)
        return True

    async def flush(self) -> None:
        """Wait until all frames are sent, or the channel is closed."""
        self._writer.close()
        with suppress(OSError):  # the other end is gone
            await self._writer.wait_closed()

    async def receive(self) -> bytes:
        """Return the next frame. Raises `ChannelClosed`."""
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH), "big")
            if length > MAX_FRAME:
                raise ChannelClosed(f"a frame of {length} bytes")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise ChannelClosed(str(error)) from None

    def close(self) -> None:
        """Close this end; frames that are not sent are lost."""
        self._writer.transport.abort()
