"""asyncua's client, with limits on what a server may send, and with care for whom a password is shown to.

asyncua by itself sends a password in the clear where the server asks for that.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import asyncua
from asyncua import ua
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
    SecurityPolicyNone,
)
from cryptography.exceptions import InvalidSignature

from drivers.base import NotConnected
from drivers.opcua.connection.session_takeover import SessionTakeover
from drivers.opcua.connection.transport import MAX_CHUNKS, MAX_MESSAGE, Protocol, Transport
from drivers.opcua.security.settings import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua.common.utils import Buffer
    from asyncua.crypto.security_policies import SecurityPolicy

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


class Client(asyncua.Client):
    """A client for one connection: it takes bounded messages, and shows a password to nobody but the server.

    `secured` in `drivers.opcua.security` makes it ready to connect. `strongest` says that the policy was chosen as
    the strongest that is offered, which is then checked against what the server says once it can't be forged.
    """

    def __init__(self, url: str, timeout: float, **options: Any) -> None:  # noqa: ANN401 - asyncua's own
        super().__init__(url, timeout=timeout, **options)
        self.timeout = timeout
        self.uaclient = Transport(timeout)
        self.uaclient.pre_request_hook = self.check_connection
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = MAX_MESSAGE
        self.max_chunkcount = MAX_CHUNKS
        self.strongest = False
        self._leftovers: Sequence[SessionTakeover] = ()

    async def connect_alone(self, leftovers: Sequence[SessionTakeover] = ()) -> None:
        """Connect, with nothing of asyncua watching over it: its watchdog takes a slow server for a dead one.

        What sessions before have left is taken over first, so that there is one at a time.
        """
        self._leftovers = leftovers
        self.uaclient.clear_disconnect_request()
        await self._connect_sequence()

    async def _try_resume_persisted_session(self) -> bool:
        # which asyncua does between channel and session
        for one in self._leftovers:
            await one.take_over(self)
        return False

    async def adopt_session(self, left: SessionTakeover) -> None:
        """Activate a session that another client has made, on this channel (Part 4, 5.7.3)."""
        self.uaclient.session.restore_authentication_token(left.token)
        self._server_nonce, self._policy_ids = left.nonce, left.users  # type: ignore[assignment] # None, or what there was
        self.security_policy.peer_certificate = self.security_policy.peer_certificate or left.certificate
        await self._activate_with_credentials()

    def leave_session(self) -> None:
        """Forget a session that was adopted."""
        self.uaclient.session.reset_authentication_token()
        self._server_nonce = None

    def left(self, until: float) -> SessionTakeover | None:
        """Return the session, if there is one, as what it is when nobody closes it; `until` then it is remembered."""
        token, url = self.uaclient.session.authentication_token, self.server_url.geturl()
        if token.is_null():
            return None
        return SessionTakeover(
            url, token, self._server_nonce, self._policy_ids, self.security_policy.peer_certificate, until
        )

    async def close(self) -> bool:
        """Close session, channel and connection; returns whether the server has taken part in it.

        Raises what lost connections raise; the connection is closed all the same.
        """
        protocol = self.uaclient.protocol
        try:
            await self.close_session()  # which is silent where the connection is lost already
            there = protocol is not None and not protocol.is_closed
            await self.close_secure_channel()
        finally:
            self.disconnect_socket()
        return there

    @property
    def heard(self) -> float:
        """When the server was heard last, by the event loop's clock."""
        protocol = self.uaclient.protocol
        return protocol.heard if isinstance(protocol, Protocol) else 0.0

    def lose(self, reason: str) -> None:
        """Give the connection up, for a reason that all who wait for an answer are told."""
        protocol = self.uaclient.protocol
        if isinstance(protocol, Protocol):
            protocol.lose(reason)

    def begin(self, kind: int, parameters: bytes, timeout: float = 0.0) -> asyncio.Future[Buffer]:
        """Send a request; the future is its answer's body, or has `ConnectionError`. See `Protocol.begin`."""
        protocol = self.uaclient.protocol
        if not isinstance(protocol, Protocol):
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
