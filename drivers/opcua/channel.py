"""asyncua's client, with limits on what a server may send, and with care for whom a password is shown to.

asyncua by itself takes chunks of 2 GiB and messages without an end, believes the server's limits to be ours, and
sends a password in the clear where the server asks for that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import struct
import time
from typing import TYPE_CHECKING, Any

import asyncua
from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyNone,
)
from asyncua.ua.ua_binary import nodeid_to_binary, uatcp_to_binary
from cryptography.exceptions import InvalidSignature

from drivers.base import NotConnected
from drivers.opcua.security_settings import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua.common.utils import Buffer
    from asyncua.crypto.security_policies import SecurityPolicy

_TYPE = struct.Struct("<BBH")
"""A type id: a node id in four bytes (Part 6, 5.2.2.9)."""

_HEADER = struct.Struct("<qIIiIHB")
"""A request's header behind its token (Part 4, 7.32): time, handle, diagnostics, audit id, time-out, nothing more."""

MAX_CHUNK = 64 * 1024
"""Bytes of one chunk: what all servers can do, and what bounds the memory for one that is half here."""

MIN_CHUNK = 8192
"""Bytes of a chunk that everybody takes (Part 6, 7.1.2.3), whatever a server says."""

MAX_MESSAGE = 8 * 2**20
"""Bytes of one message: 10,000 changes or nodes take a twentieth of it, and decoding more would stop the gateway."""

MAX_CHUNKS = MAX_MESSAGE // MIN_CHUNK
"""Chunks of one message: all of it in the smallest."""

POLICIES: dict[Policy, type[SecurityPolicy]] = {
    Policy.AES256: SecurityPolicyAes256Sha256RsaPss,
    Policy.AES128: SecurityPolicyAes128Sha256RsaOaep,
    Policy.BASIC256_SHA256: SecurityPolicyBasic256Sha256,
}
"""What we speak, the strongest first."""

STRENGTH: dict[str, int] = {policy.URI: -place for place, policy in enumerate(POLICIES.values())}
"""URI of a policy that we speak -> a number that is greater for a stronger one."""

_USERS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "name and password",
    ua.UserTokenType.Certificate: "user certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}


class _Limits(TransportLimits):
    """What we take, and what we may send; the server's own limits say only the latter (Part 6, 7.1.2.4)."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(max(msg.ReceiveBufferSize, MIN_CHUNK), MAX_CHUNK)


class _Protocol(UASocketProtocol):
    heard = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
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

    def lose(self, reason: str) -> None:
        """Give the connection up; all that wait for an answer get `ConnectionError` with the reason."""
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
    """Return the time as messages have it: 100 ns since 1601."""
    return time.time_ns() // 100 + ua.uatypes.EPOCH_AS_FILETIME


class _Transport(UaClient):
    def _make_protocol(self) -> UASocketProtocol:
        limits = _Limits(MAX_CHUNK, MAX_CHUNK, MAX_CHUNKS, MAX_MESSAGE)
        self.protocol = _Protocol(self._timeout, security_policy=self.security_policy, limits=limits)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class Client(asyncua.Client):
    """A client for one connection: it takes bounded messages, and shows a password to nobody but the server.

    `secured` in `drivers.opcua.security` makes it ready to connect. `strongest` says that the policy was chosen as
    the strongest that is offered, which is then checked against what the server says once it can't be forged.
    """

    def __init__(self, url: str, timeout: float, **options: Any) -> None:  # noqa: ANN401 - asyncua's own
        super().__init__(url, timeout=timeout, **options)
        self.timeout = timeout
        self.uaclient = _Transport(timeout)
        self.uaclient.pre_request_hook = self.check_connection
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_CHUNKS
        self.strongest = False

    async def connect_alone(self) -> None:
        """Connect, with nothing of asyncua watching over it: its watchdog takes a slow server for a dead one."""
        self.uaclient.clear_disconnect_request()
        await self._connect_sequence()

    @property
    def heard(self) -> float:
        """When the server was heard last, by the event loop's clock."""
        protocol = self.uaclient.protocol
        return protocol.heard if isinstance(protocol, _Protocol) else 0.0

    def lose(self, reason: str) -> None:
        """Give the connection up, for a reason that all who wait for an answer are told."""
        protocol = self.uaclient.protocol
        if isinstance(protocol, _Protocol):
            protocol.lose(reason)

    def begin(self, kind: int, parameters: bytes, timeout: float = 0.0) -> asyncio.Future[Buffer]:
        """Send a request; the future is its answer's body, or has `ConnectionError`. See `_Protocol.begin`."""
        protocol = self.uaclient.protocol
        if not isinstance(protocol, _Protocol):
            raise ConnectionError("not connected")
        return protocol.begin(kind, parameters, timeout)

    async def ask(self, kind: int, parameters: bytes) -> bytes:
        """Send a request, and return its answer's body.

        Raises `UaStatusCodeError` where the server refuses, `TimeoutError` or `ConnectionError`.
        """
        async with asyncio.timeout(self.timeout):
            answer = await self.begin(kind, parameters, self.timeout)
        self.check(answer)
        return bytes(answer)

    def check(self, answer: Buffer) -> None:
        """Raise `UaStatusCodeError` where an answer is a fault."""
        protocol = self.uaclient.protocol
        if protocol is not None:
            protocol.check_answer(answer, "")

    async def create_session(self) -> ua.CreateSessionResult:
        """Create the session.

        Raises `NotConnected` where the server can't prove who it is, or hid what it offers.
        """
        try:
            created = await super().create_session()
        except ua.UaStatusCodeError:
            raise
        except InvalidSignature:
            raise self._refused(
                "it does not have the key of its certificate", "BadApplicationSignatureInvalid"
            ) from None
        except (ua.UaError, ValueError) as error:  # what the session says is not what was offered
            text = f"its session is not as it was offered: {error}"
            if self.security_policy.Mode == ua.MessageSecurityMode.None_:
                text = "it takes no session without security; write security: auto"
            raise self._refused(text, "BadSecurityPolicyRejected") from error
        best = strongest(created.ServerEndpoints, self.security_policy.Mode)
        if self.strongest and best is not None and STRENGTH[best] > STRENGTH[self.security_policy.URI]:
            raise self._refused(
                f"it offers {short(best)}, and somebody on the way has hidden that", "BadSecurityChecksFailed"
            )
        return created

    def server_policy(self, token_type: ua.UserTokenType) -> ua.UserTokenPolicy:
        """Return how the user is told to the server (Part 4, 7.41), with the policy that protects the token.

        Raises `NotConnected` where the server takes no such user, or would have the password sent in the clear.
        """
        offered = [policy for policy in self._policy_ids if policy.TokenType == token_type]
        if self._policy_ids and not offered:
            kinds = ", ".join(sorted({_USERS[policy.TokenType] for policy in self._policy_ids}))
            raise self._refused(
                f"it takes no user by {_USERS[token_type]}, only by {kinds}", "BadIdentityTokenRejected"
            )
        if token_type is ua.UserTokenType.Anonymous or not offered:
            return super().server_policy(token_type)
        # no policy of its own means the channel's
        named = [dataclasses.replace(one, SecurityPolicyUri=self._protection(one)) for one in offered]
        best = max(named, key=_protects)
        ours = best.SecurityPolicyUri in STRENGTH and self.security_policy.peer_certificate
        encrypted = self.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt
        if ours or (encrypted and token_type is ua.UserTokenType.UserName):
            return best
        raise self._refused(
            f"it wants the user's {_USERS[token_type]} without protection; write security: auto",
            "BadSecurityPolicyRejected",
        )

    def _protection(self, policy: ua.UserTokenPolicy) -> str:
        uri = policy.SecurityPolicyUri or self.security_policy.URI
        if policy.TokenType == ua.UserTokenType.Certificate and uri not in STRENGTH:
            return self.security_policy.URI
        return uri

    def _refused(self, text: str, code: str) -> NotConnected:
        return NotConnected(f"{self.server_url.geturl()}: {text}", status(code))


def strongest(endpoints: Sequence[ua.EndpointDescription], mode: ua.MessageSecurityMode) -> str | None:
    """Return the URI of the strongest policy that we speak and that is offered in a mode."""
    offered = [one.SecurityPolicyUri for one in endpoints if one.SecurityMode == mode]
    return max((uri for uri in offered if uri in STRENGTH), key=STRENGTH.__getitem__, default=None)


def _protects(token: ua.UserTokenPolicy) -> int:
    """Rank how a user is protected: by what we speak, by the channel alone, by what is deprecated or unknown."""
    beyond = -len(STRENGTH) if token.SecurityPolicyUri == SecurityPolicyNone.URI else -len(STRENGTH) - 1
    return STRENGTH.get(token.SecurityPolicyUri, beyond)


def short(policy: str) -> str:
    """Return the name in the URI of a policy."""
    return policy.rpartition("#")[2]


def status(name: str) -> str:
    """Return number and name of a status code, as in `0x801A0000 BadCertificateUntrusted`."""
    return f"0x{getattr(ua.StatusCodes, name):08X} {name}"
