"""asyncua's transport with bounded messages.

asyncua itself accepts chunks of 2 GiB and endless messages, and takes the server's limits for ours.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.ua.ua_binary import nodeid_to_binary, uatcp_to_binary

from drivers.opcua.limits import MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE, MIN_CHUNK

if TYPE_CHECKING:
    from asyncua.common.utils import Buffer

_TYPE = struct.Struct("<BBH")
"""A type id: a node id in four bytes (Part 6, 5.2.2.9)."""

_HEADER = struct.Struct("<qIIiIHB")
"""A request's header behind its token (Part 4, 7.32): time, handle, diagnostics, audit id, time-out, nothing more."""


class Limits(TransportLimits):
    """Our limits; the Acknowledge of a server only bounds what we send (Part 6, 7.1.2.4)."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(max(msg.ReceiveBufferSize, MIN_CHUNK), MAX_CHUNK)


class Protocol(UASocketProtocol):
    """One connection; `last_received` is the event loop's time of the last bytes."""

    last_received = 0.0

    def data_received(self, data: bytes) -> None:
        self.last_received = asyncio.get_running_loop().time()
        super().data_received(data)
        half = self.receive_buffer
        # the size is told in a header's bytes 4 to 7: what is too long is not waited for
        if half is not None and int.from_bytes(half[4:8], "little") > MAX_CHUNK:
            self._fail_all_pending(ua.UaStatusCodeError(ua.StatusCodes.BadTcpMessageTooLarge))
            self.disconnect_socket()

    def _process_received_message(self, msg: ua.Message | ua.Acknowledge | ua.ErrorMessage | None) -> None:
        # a server may refuse the channel with a fault, which asyncua takes for a broken answer
        if isinstance(msg, ua.Message) and isinstance(msg.SecurityHeader(), ua.AsymmetricAlgorithmHeader):
            self.check_answer(msg.body(), "in response to OpenSecureChannelRequest")
        super()._process_received_message(msg)

    async def send_hello(
        self, url: str, max_messagesize: int = MAX_MESSAGE, max_chunkcount: int = MAX_CHUNKS
    ) -> ua.Acknowledge:
        hello = ua.Hello(
            ReceiveBufferSize=ua.UInt32(MAX_CHUNK),
            SendBufferSize=ua.UInt32(MAX_CHUNK),
            MaxMessageSize=ua.UInt32(max_messagesize),
            MaxChunkCount=ua.UInt32(max_chunkcount),
            EndpointUrl=ua.String(url),
        )
        if self.transport is None:
            raise ConnectionError("connection lost")
        answer: asyncio.Future[ua.Acknowledge] = asyncio.get_running_loop().create_future()
        self._callbackmap[0] = answer
        message = uatcp_to_binary(ua.MessageType.Hello, hello)  # type: ignore[arg-type] # its members are bytes
        self.transport.write(message)
        async with asyncio.timeout(self.timeout):
            return await answer

    def abort(self, reason: str) -> None:
        """Drop the connection; all pending requests fail with `ConnectionError` and the reason."""
        self._fail_all_pending(ConnectionAbortedError(reason))
        if self.transport is not None:
            self.transport.abort()

    def begin(self, kind: int, parameters: bytes, timeout: float) -> asyncio.Future[Buffer]:
        """Send a request whose parameters are encoded already; the future is its answer's body.

        `kind` is the type id of its binary encoding, `timeout` the seconds that the server may take for it.
        """
        if self.transport is None:
            raise ConnectionError("connection lost")
        self.revolve_security_token()
        self._request_handle += 1
        self._request_id += 1
        header = _HEADER.pack(_now(), self._request_handle & 0xFFFFFFFF, 0, -1, int(timeout * 1000), 0, 0)
        body = _TYPE.pack(1, 0, kind) + nodeid_to_binary(self.authentication_token) + header + parameters
        message = self._connection.message_to_binary(body, request_id=self._request_id)
        answer: asyncio.Future[Buffer] = asyncio.get_running_loop().create_future()
        self._callbackmap[self._request_id] = answer
        self.transport.write(message)
        return answer


def _now() -> int:
    """Return the time in 100 ns since 1601, as in messages."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


class Transport(UaClient):
    """asyncua's service calls over this connection."""

    def _make_protocol(self) -> UASocketProtocol:
        limits = Limits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        self.protocol = Protocol(self._timeout, security_policy=self.security_policy, limits=limits)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol
