"""asyncua's client with bounded messages and protected passwords.

asyncua itself sends a password unencrypted if the server requests that.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlparse

import asyncua
from asyncua import ua
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic128Rsa15,
    SecurityPolicyBasic256,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyNone,
)
from cryptography.exceptions import InvalidSignature

from drivers.base import NotConnected
from drivers.opcua.connection.transport import Protocol, Transport
from drivers.opcua.errors import status
from drivers.opcua.limits import MAX_CHUNKS, MAX_MESSAGE
from drivers.opcua.security.settings import Policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asyncua.common.utils import Buffer
    from asyncua.crypto.security_policies import SecurityPolicy

    from drivers.opcua.connection.reverse import ReverseLease

POLICIES: dict[Policy, type[SecurityPolicy]] = {
    Policy.AES256: SecurityPolicyAes256Sha256RsaPss,
    Policy.AES128: SecurityPolicyAes128Sha256RsaOaep,
    Policy.BASIC256_SHA256: SecurityPolicyBasic256Sha256,
}
"""The policies that are not deprecated, the strongest first."""

LEGACY_POLICIES: dict[Policy, type[SecurityPolicy]] = {
    Policy.BASIC256: SecurityPolicyBasic256,
    Policy.BASIC128_RSA15: SecurityPolicyBasic128Rsa15,
}
"""Deprecated policies, which are used only by name, and with `allow_insecure_legacy`; the stronger first."""

STRENGTH: dict[str, int] = {policy.URI: -place for place, policy in enumerate(POLICIES.values())}
"""URI of a policy that is not deprecated -> its strength; a greater number is stronger."""

LEGACY_STRENGTH: dict[str, int] = STRENGTH | {
    policy.URI: -len(STRENGTH) - place for place, policy in enumerate(LEGACY_POLICIES.values())
}
"""The same with the deprecated policies."""

RENEW_PAUSE = 5.0
"""Seconds between two requests to renew a channel if the first has no response."""

MIN_NONCE = 32
"""Minimum bytes of a server's nonce (Part 4, 5.7.2)."""

_USERS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "name and password",
    ua.UserTokenType.Certificate: "user certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}


class SessionState(NamedTuple):
    """The client's part of a session: another channel of the same client needs it to activate the session again.

    `certificate` is the server's, which encrypts a user's secret; `users` are the user token policies.
    """

    url: str
    token: ua.NodeId
    nonce: bytes | None
    users: list[ua.UserTokenPolicy]
    certificate: bytes | None


class Client(asyncua.Client):
    """asyncua's client for one connection, with bounded messages and protected passwords.

    `secured` in `drivers.opcua.security` prepares it. `strongest` is True if the policy was selected as the strongest
    offered policy; the session's signed list of endpoints confirms that later. `strengths` are
    the policies that may protect a user, by their strength.
    """

    def __init__(self, url: str, timeout: float, **options: Any) -> None:  # noqa: ANN401 - asyncua's own
        super().__init__(url, timeout=timeout, **options)
        self.timeout = timeout
        self.uaclient: Transport = Transport(timeout)
        self.uaclient.pre_request_hook = self.check_connection
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_CHUNKS
        self.strongest = False
        self.strengths: Mapping[str, int] = STRENGTH
        self.reverse: ReverseLease | None = None
        """Where the server dials in; None if this client connects to the server."""
        self._nonces: set[bytes] = set()  # of the server, on this connection
        self._before_session: Callable[[Client], Awaitable[None]] | None = None

    def use_endpoint(self, url: str) -> None:
        """Connect to this endpoint instead of the discovery endpoint."""
        self._server_url = urlparse(url)

    async def connect_socket(self) -> None:
        """Connect to the server, or wait until it has dialled in, and use the endpoint that it names."""
        if self.reverse is None:
            await super().connect_socket()
            return
        dialled_in = await self.reverse.next()
        self.use_endpoint(dialled_in.endpoint_url)
        self.uaclient.adopt(dialled_in.transport)

    async def open(self, before_session: Callable[[Client], Awaitable[None]] | None = None) -> None:
        """Connect without asyncua's watchdog, which disconnects a slow server.

        `before_session` runs on the new channel before its session is created.
        """
        self._before_session = before_session
        self.uaclient.clear_disconnect_request()
        await self._connect_sequence()

    async def _try_resume_persisted_session(self) -> bool:
        # asyncua's own step between channel and session
        if self._before_session is not None:
            await self._before_session(self)
        return False

    async def adopt_session(self, state: SessionState) -> None:
        """Activate the session of an earlier channel on this channel (Part 4, 5.7.3)."""
        self.uaclient.session.restore_authentication_token(state.token)
        self._server_nonce, self._policy_ids = state.nonce, state.users  # type: ignore[assignment] # None is allowed
        self.security_policy.peer_certificate = self.security_policy.peer_certificate or state.certificate
        await self._activate_with_credentials()

    def leave_session(self) -> None:
        """Forget an adopted session."""
        self.uaclient.session.reset_authentication_token()
        self._server_nonce = None

    def session_state(self) -> SessionState | None:
        """Return the state of the session, None without a session."""
        token, url = self.uaclient.session.authentication_token, self.server_url.geturl()
        if token.is_null():
            return None
        return SessionState(url, token, self._server_nonce, self._policy_ids, self.security_policy.peer_certificate)

    async def close(self) -> bool:
        """Close session, channel and connection; return True if the server was still connected.

        Raises the errors of a lost connection; the connection is closed in any case.
        """
        protocol = self.uaclient.protocol
        try:
            await self.close_session()  # raises nothing if the connection is already lost
            there = protocol is not None and not protocol.is_closed
            await self.close_secure_channel()
        finally:
            self.disconnect_socket()
        return there

    async def _renew_channel_loop(self) -> None:
        """Renew the secure channel after three quarters of its lifetime (Part 4, 5.5.2.1), until a response arrives.

        asyncua's own loop ends at the first request without a response, and the channel expires.
        """
        while not self.uaclient.is_disconnect_requested:
            lifetime = self.secure_channel_timeout / 1000
            await asyncio.sleep(lifetime * 0.75)
            while True:
                try:
                    await self.open_secure_channel(renew=True)
                except ConnectionError:
                    return  # all pending requests fail
                except (TimeoutError, ua.UaError):
                    self.uaclient.forget_channel_request()
                    await asyncio.sleep(min(RENEW_PAUSE, lifetime / 20))
                else:
                    break
            self.uaclient.revolve_security_token()

    @property
    def last_received(self) -> float:
        """Event loop time at which the last bytes of the server arrived."""
        protocol = self.uaclient.protocol
        return protocol.last_received if isinstance(protocol, Protocol) else 0.0

    def abort(self, reason: str) -> None:
        """Drop the connection; all pending requests fail with the reason."""
        protocol = self.uaclient.protocol
        if isinstance(protocol, Protocol):
            protocol.abort(reason)

    def begin(self, kind: int, parameters: bytes, timeout: float = 0.0) -> asyncio.Future[Buffer]:
        """Send a request; the future is the body of the response, or has `ConnectionError`. See `Protocol.begin`."""
        protocol = self.uaclient.protocol
        if not isinstance(protocol, Protocol):
            raise ConnectionError("not connected")
        return protocol.begin(kind, parameters, timeout)

    async def ask(self, kind: int, parameters: bytes) -> bytes:
        """Send a request, and return the body of the response.

        Raises `UaStatusCodeError` if the server refuses, `TimeoutError` or `ConnectionError`.
        """
        async with asyncio.timeout(self.timeout):
            answer = await self.begin(kind, parameters, self.timeout)
        self.check(answer)
        return bytes(answer)

    def check(self, answer: Buffer) -> None:
        """Raise `UaStatusCodeError` if a response is a service fault."""
        protocol = self.uaclient.protocol
        if protocol is not None:
            protocol.check_answer(answer, "")

    async def create_session(self) -> ua.CreateSessionResult:
        """Create the session.

        Raises `NotConnected` if the server can't prove its identity, or if its list of endpoints was changed.
        """
        try:
            created = await super().create_session()
        except ua.UaStatusCodeError:
            raise
        except InvalidSignature:
            raise self._refused(
                "it does not have the key of its certificate", "BadApplicationSignatureInvalid"
            ) from None
        except (ua.UaError, ValueError) as error:  # the session differs from the offer
            text = f"its session is not as it was offered: {error}"
            if self.security_policy.Mode == ua.MessageSecurityMode.None_:
                text = "it takes no session without security; write security: auto"
            raise self._refused(text, "BadSecurityPolicyRejected") from error
        self._check_nonce(created.ServerNonce)
        best = strongest(created.ServerEndpoints, self.security_policy.Mode)
        if self.strongest and best is not None and STRENGTH[best] > STRENGTH[self.security_policy.URI]:
            raise self._refused(
                f"it offers {short(best)}, and somebody on the way has hidden that", "BadSecurityChecksFailed"
            )
        return created

    async def activate_session(self, *arguments: Any, **options: Any) -> ua.ActivateSessionResult:  # noqa: ANN401 - asyncua's own
        """Activate the session. Raises `NotConnected` if the server's next nonce is too short or used before."""
        activated = await super().activate_session(*arguments, **options)
        self._check_nonce(activated.ServerNonce)
        return activated

    def _check_nonce(self, nonce: bytes | None) -> None:
        """Check a nonce of the server (Part 4, 5.7.2): at least 32 bytes, never used before.

        A server without security and without users that sign or encrypt may send no nonce.
        """
        secured = self.security_policy.Mode != ua.MessageSecurityMode.None_
        if not secured and not self._password and self.user_certificate is None:
            return
        if not nonce or len(nonce) < MIN_NONCE:
            raise self._refused(
                f"its nonce has {len(nonce or b'')} bytes; {MIN_NONCE} are the least", "BadNonceInvalid"
            )
        if nonce in self._nonces:
            raise self._refused("it sent the same nonce twice", "BadNonceInvalid")
        self._nonces.add(nonce)

    def server_policy(self, token_type: ua.UserTokenType) -> ua.UserTokenPolicy:
        """Return the user token policy (Part 4, 7.41), with the security policy that protects the token.

        A server that lists no tokens gets the token under the policy of the channel, which without security does not
        protect it. Raises `NotConnected` if the server does not accept such a user, or would get the password
        unencrypted.
        """
        offered = [policy for policy in self._policy_ids if policy.TokenType == token_type]
        if not self._policy_ids:
            offered = [ua.UserTokenPolicy(TokenType=token_type)]
        if not offered:
            kinds = ", ".join(sorted({_USERS.get(policy.TokenType, "another way") for policy in self._policy_ids}))
            raise self._refused(
                f"it takes no user by {_USERS[token_type]}, only by {kinds}", "BadIdentityTokenRejected"
            )
        if token_type is ua.UserTokenType.Anonymous:
            return super().server_policy(token_type)
        # without a policy of its own it has that of the channel
        named = [dataclasses.replace(one, SecurityPolicyUri=self._protection(one)) for one in offered]
        best = max(named, key=lambda one: _protects(one, self.strengths))
        ours = best.SecurityPolicyUri in self.strengths and self.security_policy.peer_certificate
        encrypted = self.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt
        if ours or (encrypted and token_type is ua.UserTokenType.UserName):
            return best
        raise self._refused(
            f"it wants the user's {_USERS[token_type]} without protection; write security: auto",
            "BadSecurityPolicyRejected",
        )

    def _protection(self, policy: ua.UserTokenPolicy) -> str:
        uri = policy.SecurityPolicyUri or self.security_policy.URI
        if policy.TokenType == ua.UserTokenType.Certificate and uri not in self.strengths:
            return self.security_policy.URI
        return uri

    def _refused(self, text: str, code: str) -> NotConnected:
        return NotConnected(f"{self.server_url.geturl()}: {text}", status(code))


def strongest(endpoints: Sequence[ua.EndpointDescription], mode: ua.MessageSecurityMode) -> str | None:
    """Return the URI of the strongest supported policy that is offered in a mode."""
    offered = [one.SecurityPolicyUri for one in endpoints if one.SecurityMode == mode]
    return max((uri for uri in offered if uri in STRENGTH), key=STRENGTH.__getitem__, default=None)


def _protects(token: ua.UserTokenPolicy, strengths: Mapping[str, int]) -> int:
    """Rank the protection of a user: an accepted policy, the channel alone, another policy."""
    beyond = -len(strengths) if token.SecurityPolicyUri == SecurityPolicyNone.URI else -len(strengths) - 1
    return strengths.get(token.SecurityPolicyUri, beyond)


def short(policy: str) -> str:
    """Return the name of a policy out of its URI."""
    return policy.rpartition("#")[2]
