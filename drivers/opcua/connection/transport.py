"""asyncua's transport with bounded messages.

asyncua itself accepts chunks of 2 GiB and endless messages, and uses the server's limits as its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from asyncua import ua
from asyncua.client.ua_client import UaClient, UaClientState, UASocketProtocol
from asyncua.client.ua_session import SessionState, UaSession
from asyncua.common.connection import TransportLimits
from asyncua.ua.ua_binary import header_from_binary, nodeid_to_binary, uatcp_to_binary
from asyncua.ua.uaerrors import BadSessionClosed, BadUserAccessDenied
from cryptography.exceptions import InvalidSignature

from drivers.opcua.codec import response_header, services
from drivers.opcua.codec.binary import Received
from drivers.opcua.connection.wire_trace import TracedMessages, is_tracing
from drivers.opcua.errors import MALFORMED, DecodeError, SecurityViolation, ServiceFault
from drivers.opcua.limits import MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE, MAX_UNANSWERED, MIN_CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncua.common.utils import Buffer
    from asyncua.crypto.security_policies import SecurityPolicy

T = TypeVar("T")

_CHUNK_HEADER = 8
"""Bytes of message type, chunk type and size (Part 6, 7.1.2.2)."""

MAX_NONCES = 10_000
"""Nonces of the channel that are remembered: a year of hourly renewals has fewer."""

_TYPE = struct.Struct("<BBH")
"""A type id: a node id in four bytes (Part 6, 5.2.2.9)."""

_HEADER = struct.Struct("<qIIiIHB")
"""A request's header behind its token (Part 4, 7.32): time, handle, diagnostics, audit id, time-out, no extension."""


class Limits(TransportLimits):
    """Our limits; the Acknowledge of a server limits only the messages that we send (Part 6, 7.1.2.4)."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(max(msg.ReceiveBufferSize, MIN_CHUNK), MAX_CHUNK)


class Protocol(UASocketProtocol):
    """One connection; `last_received` is the event loop's time of the last bytes.

    All bytes of a server arrive here, in chunks that are bounded before they are stored. Bounded readers decode them:
    `Received` for headers, `drivers.opcua.codec` for everything else. Malformed bytes end the connection.
    """

    last_received = 0.0

    def __init__(self, timeout: float, policy: SecurityPolicy, limits: TransportLimits) -> None:
        super().__init__(timeout, security_policy=policy, limits=limits)
        self._received = bytearray()
        self._server_nonces: deque[bytes | None] = deque(maxlen=MAX_NONCES)

    def data_received(self, data: bytes) -> None:
        self.last_received = asyncio.get_running_loop().time()
        self._received += data
        try:
            while (chunk := self._next_chunk()) is not None:
                self._process_chunk(chunk)
        except (ua.UaStatusCodeError, SecurityViolation) as error:
            self._end(error)
        except (*MALFORMED, InvalidSignature) as error:
            self._end(ConnectionAbortedError(f"it sent a malformed message: {error or type(error).__name__}"))

    def _end(self, error: Exception) -> None:
        self._received.clear()
        self._fail_all_pending(error)
        if self.transport is not None:
            self.transport.abort()

    def _next_chunk(self) -> bytes | None:
        """Return the next complete chunk (Part 6, 7.1.2.2), None if more bytes have to come."""
        if len(self._received) < _CHUNK_HEADER:
            return None
        size = int.from_bytes(self._received[4:_CHUNK_HEADER], "little")
        if size > MAX_CHUNK:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadTcpMessageTooLarge)
        if size < _CHUNK_HEADER:
            raise DecodeError(f"a chunk of {size} bytes")
        if len(self._received) < size:
            return None
        chunk = bytes(self._received[:size])
        del self._received[:size]
        return chunk

    def _process_chunk(self, chunk: bytes) -> None:
        received = Received(chunk)
        message = self._connection.receive_from_header_and_body(header_from_binary(received), received)
        match message:
            case None:
                return  # a message of several chunks is incomplete, or the server aborted it
            case ua.Message() if isinstance(message.SecurityHeader(), ua.AsymmetricAlgorithmHeader):
                self._channel_opened(message)
            case ua.Message():
                self._answer(message.request_id(), message.body())
            case ua.Acknowledge():
                self._answer(0, message)
            case ua.ErrorMessage():
                message.Error.check()
                raise DecodeError("an error message without an error")
            case _:
                raise DecodeError(f"a message of type {type(message).__name__}")

    def _answer(self, request: int, answer: Buffer | ua.Acknowledge) -> None:
        future = self._callbackmap.pop(request, None)
        if future is None:
            raise DecodeError(f"an answer to request {request}, which was not sent")
        if not future.done():  # otherwise it is no longer awaited
            future.set_result(answer)

    def _channel_opened(self, message: ua.Message) -> None:
        """Use the security token of a channel that was opened or renewed, after the checks of Part 4, 5.5.2."""
        request = self._callbackmap.get(message.request_id())
        if request is not None and request.done():  # given up meanwhile
            del self._callbackmap[message.request_id()]
            return
        parameters = self._open_secure_channel_exchange
        if not isinstance(parameters, ua.OpenSecureChannelParameters):
            raise DecodeError("a secure channel was opened that was not requested")
        try:
            response = services.response(ua.OpenSecureChannelResponse, bytes(message.body()))
        except ServiceFault as error:
            self._open_secure_channel_exchange = None
            raise ua.UaStatusCodeError(error.status) from error
        self._check_channel(message.SecurityHeader(), response.Parameters.ServerNonce, parameters)
        self._connection.set_channel(response.Parameters, parameters.RequestType, parameters.ClientNonce)
        self._server_nonces.append(response.Parameters.ServerNonce)
        self._open_secure_channel_exchange = response
        self._answer(message.request_id(), message.body())

    def _check_channel(
        self, header: ua.AsymmetricAlgorithmHeader, nonce: bytes | None, asked: ua.OpenSecureChannelParameters
    ) -> None:
        """Check nonce and certificates of a secured channel (Part 4, 5.5.2; Part 6, 6.7.2.3).

        The nonce has the length of the policy, and is not one that was used on this connection.

        Raises `SecurityViolation`.
        """
        policy = self._connection.security_policy
        if policy.Mode == ua.MessageSecurityMode.None_:
            return
        length = policy.secure_channel_nonce_length
        if not nonce or len(nonce) != length:
            found = len(nonce or b"")
            raise SecurityViolation(
                f"the nonce of its channel has {found} bytes instead of {length}", "BadNonceInvalid"
            )
        if nonce == asked.ClientNonce:
            raise SecurityViolation("it sent the gateway's own nonce back for its channel", "BadNonceInvalid")
        if nonce in self._server_nonces:
            raise SecurityViolation("it used a nonce of its channel twice", "BadNonceInvalid")
        ours = hashlib.sha1(policy.host_certificate or b"").digest()  # noqa: S324 - a name (Part 6, 6.7.2.3)
        if header.ReceiverCertificateThumbPrint != ours:
            raise SecurityViolation(
                "its channel is for another certificate than that of this gateway", "BadCertificateInvalid"
            )
        if policy.peer_certificate and not (header.SenderCertificate or b"").startswith(policy.peer_certificate):
            raise SecurityViolation("its channel has another certificate than its endpoint", "BadCertificateInvalid")

    def forget_channel_request(self) -> None:
        """Give up a request to open or renew the channel."""
        self._open_secure_channel_exchange = None

    def check_answer(self, data: Buffer, context: str) -> bool:
        """Raise `UaStatusCodeError` if a response is a service fault."""
        del context
        try:
            response_header.check(bytes(data))
        except ServiceFault as error:
            raise ua.UaStatusCodeError(error.status) from error
        return True

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

    async def send_request(
        self,
        request: object,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncua's signature
        message_type: ua.MessageType = ua.MessageType.SecureMessage,  # type: ignore[assignment] # its members are bytes
    ) -> Buffer:
        """Send a request; return the body of the response.

        asyncua waits with an own `wait_for` on Python 3.11. If it is cancelled when the response arrives, it raises a
        subclass of `CancelledError`, and then `asyncio.timeout` lets its own cancellation pass: the whole task ends.

        Raises `UaStatusCodeError`, `TimeoutError`, or the error that ended the connection.
        """
        timeout = self.timeout if timeout is None else timeout
        if self.pre_request_hook is not None:
            await self.pre_request_hook()
        async with asyncio.timeout(timeout or None):
            answer: Buffer = await self._send_request(request, timeout, message_type)
        self.check_answer(answer, "")
        return answer

    async def open_secure_channel(self, params: ua.OpenSecureChannelParameters) -> ua.OpenSecureChannelResult:
        """Open or renew the channel; waits as `send_request` does."""
        if self._open_secure_channel_exchange is not None:
            raise ua.UaError("the channel is being opened or renewed already")
        self._open_secure_channel_exchange = params
        request = ua.OpenSecureChannelRequest(Parameters=params)
        async with asyncio.timeout(self.timeout):
            await self._send_request(request, message_type=ua.MessageType.SecureOpen)  # type: ignore[arg-type] # as above
        response: object = self._open_secure_channel_exchange  # `_channel_opened` has replaced the parameters
        self._open_secure_channel_exchange = None
        if not isinstance(response, ua.OpenSecureChannelResponse):
            raise ConnectionError("connection lost")
        result: ua.OpenSecureChannelResult = response.Parameters
        return result

    def _forget_unanswered(self) -> None:
        """Forget requests that are no longer awaited, if there are many; a late response to them is then an error."""
        if len(self._callbackmap) > MAX_UNANSWERED:
            self._callbackmap = {request: one for request, one in self._callbackmap.items() if not one.done()}

    def abort(self, reason: str) -> None:
        """Drop the connection; all pending requests fail with `ConnectionError` and the reason."""
        self._fail_all_pending(ConnectionAbortedError(reason))
        if self.transport is not None:
            self.transport.abort()

    def begin(self, kind: int, parameters: bytes, timeout: float) -> asyncio.Future[Buffer]:
        """Send a request with encoded parameters; the future is the body of the response.

        `kind` is the type id of its binary encoding, `timeout` the maximum time for the server in seconds.
        """
        if self.transport is None:
            raise ConnectionError("connection lost")
        self.revolve_security_token()
        self._request_handle += 1
        self._request_id += 1
        header = _HEADER.pack(_now(), self._request_handle & 0xFFFFFFFF, 0, -1, int(timeout * 1000), 0, 0)
        body = _TYPE.pack(1, 0, kind) + nodeid_to_binary(self.authentication_token) + header + parameters
        message = self._connection.message_to_binary(body, request_id=self._request_id)
        self._forget_unanswered()
        answer: asyncio.Future[Buffer] = asyncio.get_running_loop().create_future()
        self._callbackmap[self._request_id] = answer
        self.transport.write(message)
        return answer


def _now() -> int:
    """Return the time in 100 ns since 1601, as in messages."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


class TracedProtocol(TracedMessages, Protocol):
    """One connection whose messages are traced."""


class Transport(UaClient):
    """Service calls over a `Protocol`, encoded by asyncua and decoded by `drivers.opcua.codec`."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout)
        self.session = ServiceSession(self)

    def _make_protocol(self) -> UASocketProtocol:
        limits = Limits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        kind = TracedProtocol if is_tracing() else Protocol
        self.protocol = kind(self._timeout, self.security_policy, limits)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol

    async def connect_socket(self, host: str, port: int) -> None:
        """Connect to a server; waits as `Protocol.send_request` does."""
        self._set_state(UaClientState.CONNECTING)
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.get_running_loop().create_connection(self._make_protocol, host, port)
        except BaseException:
            self._set_state(UaClientState.DISCONNECTED)
            raise
        self._set_state(UaClientState.SOCKET_OPEN)

    def adopt(self, transport: asyncio.Transport) -> None:
        """Use a connection that the server opened. Raises `ConnectionError` if it is closed."""
        if transport.is_closing():
            raise ConnectionError("connection lost")
        self._set_state(UaClientState.CONNECTING)
        protocol = self._make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self._set_state(UaClientState.SOCKET_OPEN)

    def forget_channel_request(self) -> None:
        """Give up a request to open or renew the channel; a late response to it is ignored."""
        if isinstance(self.protocol, Protocol):
            self.protocol.forget_channel_request()

    async def request(self, request: object, kind: type[T]) -> T:
        """Send a request, and return its response, of the class `kind`.

        Raises `UaStatusCodeError` if the server refuses, `DecodeError`, `TimeoutError` or `ConnectionError`.
        """
        return await self._decoded(request, partial(services.response, kind))

    async def _decoded(self, request: object, decode: Callable[[bytes], T]) -> T:
        answer = await self._send_request(request)
        try:
            return decode(bytes(answer))
        except ServiceFault as error:
            raise ua.UaStatusCodeError(error.status) from error

    async def get_endpoints(self, params: ua.GetEndpointsParameters) -> list[ua.EndpointDescription]:
        return (await self.request(ua.GetEndpointsRequest(Parameters=params), ua.GetEndpointsResponse)).Endpoints

    async def find_servers(self, params: ua.FindServersParameters) -> list[ua.ApplicationDescription]:
        return (await self.request(ua.FindServersRequest(Parameters=params), ua.FindServersResponse)).Servers

    async def browse(self, parameters: ua.BrowseParameters) -> list[ua.BrowseResult]:
        return (await self.request(ua.BrowseRequest(Parameters=parameters), ua.BrowseResponse)).Results

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        response = await self.request(ua.BrowseNextRequest(Parameters=parameters), ua.BrowseNextResponse)
        result: ua.BrowseNextResult = response.Parameters
        return result.Results

    async def translate_browsepaths_to_nodeids(self, browse_paths: list[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        parameters = ua.TranslateBrowsePathsToNodeIdsParameters(BrowsePaths=browse_paths)
        request = ua.TranslateBrowsePathsToNodeIdsRequest(Parameters=parameters)
        return (await self.request(request, ua.TranslateBrowsePathsToNodeIdsResponse)).Results

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        request = ua.CreateMonitoredItemsRequest(Parameters=params)
        return (await self.request(request, ua.CreateMonitoredItemsResponse)).Results

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> list[ua.StatusCode]:
        request = ua.DeleteMonitoredItemsRequest(Parameters=params)
        return (await self.request(request, ua.DeleteMonitoredItemsResponse)).Results

    async def call(self, methodstocall: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        request = ua.CallRequest(Parameters=ua.CallParameters(MethodsToCall=methodstocall))
        return await self._decoded(request, services.call_response)

    async def history_read(self, params: ua.HistoryReadParameters) -> list[ua.HistoryReadResult]:
        return await self._decoded(ua.HistoryReadRequest(Parameters=params), services.history_read_response)

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        return (await self.request(ua.WriteRequest(Parameters=params), ua.WriteResponse)).Results


class ServiceSession(UaSession):
    """asyncua's session, with responses decoded by `drivers.opcua.codec`."""

    _client: Transport

    async def create_session(self, parameters: ua.CreateSessionParameters) -> ua.CreateSessionResult:
        self._set_state(SessionState.CREATING)
        try:
            request = ua.CreateSessionRequest(Parameters=parameters)
            response = await self._client.request(request, ua.CreateSessionResponse)
        except BaseException:
            self._set_state(SessionState.NEW)
            raise
        result: ua.CreateSessionResult = response.Parameters
        self.restore_authentication_token(result.AuthenticationToken)
        self._set_state(SessionState.CREATED)
        return result

    async def activate_session(self, parameters: ua.ActivateSessionParameters) -> ua.ActivateSessionResult:
        request = ua.ActivateSessionRequest(Parameters=parameters)
        response = await self._client.request(request, ua.ActivateSessionResponse)
        self._set_state(SessionState.ACTIVATED)
        result: ua.ActivateSessionResult = response.Parameters
        return result

    async def close_session(self, delete_subscriptions: bool) -> None:  # noqa: FBT001 - asyncua's signature
        before = self.state
        self._set_state(SessionState.CLOSED)
        protocol = self._client.protocol
        exists = before in {SessionState.CREATED, SessionState.ACTIVATED}
        if exists and protocol is not None and not protocol.is_closed:
            request = ua.CloseSessionRequest(DeleteSubscriptions=delete_subscriptions)
            # the first for pending publish requests, the second for a session that was never activated
            with suppress(BadSessionClosed, BadUserAccessDenied):
                await self._client.request(request, ua.CloseSessionResponse)
