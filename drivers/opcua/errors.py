"""What a server's refusal means for who runs the gateway, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import NotConnected, ReadFailed, Reason, bad
from drivers.opcua.codec.binary import DecodeError
from drivers.opcua.connection.client import status
from drivers.opcua.connection.transport import MAX_CHUNK, MAX_MESSAGE
from drivers.opcua.security.certificates import read_file, thumbprint
from drivers.opcua.security.pki import pki_of
from drivers.opcua.security.settings import Policy

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaConnection

_OURS = {
    "BadCertificateUntrusted": "it does not trust this gateway's certificate yet; let it trust {own}",
    "BadCertificateChainIncomplete": "it does not know who signed this gateway's certificate; let it trust {own}",
    "BadSecurityChecksFailed": (
        "it refuses this gateway, and must not say why; mostly it does not trust its certificate yet: let it trust "
        "{own}"
    ),
    "BadCertificateTimeInvalid": (
        "by its clock this gateway's certificate is not valid; compare the two clocks, and look at {own}"
    ),
    "BadCertificateInvalid": "it does not take this gateway's certificate, {own}",
    "BadCertificateUriInvalid": "the application URI in this gateway's certificate is wrong for it: {own}",
    "BadCertificateHostNameInvalid": "this machine's name is not in the gateway's certificate: {own}",
    "BadCertificateUseNotAllowed": "this gateway's certificate does not allow what it is used for: {own}",
    "BadCertificateRevoked": "this gateway's certificate was revoked: {own}",
    "BadCertificatePolicyCheckFailed": "this gateway's certificate is too weak for it: {own}",
}
"""What a server says of our certificate. In `own` stand its file and thumbprint."""

_USER = {
    "BadUserAccessDenied": "it does not let {user} in: the name or the password is wrong, or may not connect",
    "BadIdentityTokenRejected": "it does not accept {user}",
    "BadIdentityTokenInvalid": "it can't read how {user} is told",
    "BadUserSignatureInvalid": "it finds that {user} does not have the key of the certificate",
}
"""What a server says of the user."""

_CHANNEL = {
    "BadSecurityPolicyRejected": "it does not take this security policy any more; write security: auto",
    "BadSecurityModeRejected": "it does not take this security mode; write security: auto",
    "BadTcpMessageTooLarge": f"it sent a chunk of more than {MAX_CHUNK // 1024} KiB",
    "BadRequestTooLarge": f"it sent a message of more than {MAX_MESSAGE // 2**20} MiB, or was sent too large a one",
    "BadResponseTooLarge": f"its answer would be larger than {MAX_MESSAGE // 2**20} MiB",
    "BadTcpEndpointUrlInvalid": "it does not know the path in the url",
}
"""What is wrong between the two."""

_NO_SESSION = {
    ua.StatusCodes.BadSessionIdInvalid,
    ua.StatusCodes.BadSessionClosed,
    ua.StatusCodes.BadSessionNotActivated,
    ua.StatusCodes.BadSecureChannelIdInvalid,
    ua.StatusCodes.BadSecureChannelClosed,
    ua.StatusCodes.BadSecureChannelTokenUnknown,
    ua.StatusCodes.BadTcpMessageTooLarge,
    ua.StatusCodes.BadRequestTooLarge,
    ua.StatusCodes.BadConnectionClosed,
    ua.StatusCodes.BadServerHalted,
    ua.StatusCodes.BadShutdown,
    ua.StatusCodes.BadNoSubscription,
    ua.StatusCodes.BadSubscriptionIdInvalid,
}
"""Status codes that say that there is nobody to talk to any more, or nothing to wait for."""

_BROKEN_OFF = (ConnectionError, ConnectionResetError, BrokenPipeError, AssertionError)
"""What asyncua raises where a server closes the connection; one that can't be reached is something else."""


def refused(error: BaseException, url: str, settings: OpcUaConnection | None) -> NotConnected:
    """Return why a server can't be talked to, in words for who runs the gateway.

    `settings` are those of the connection, None before they matter. The text never has a secret in it.
    """
    if not isinstance(error, ua.UaStatusCodeError):
        return NotConnected(f"{url}: {_told(error, settings)}")
    name, meaning = get_name_and_doc(error.code)
    if name in _OURS and settings is not None:
        text = _OURS[name].format(own=_own(settings))
    elif name in _USER and settings is not None:
        text = _USER[name].format(user=_user(settings))
    else:
        text = _CHANNEL.get(name, meaning)
    return NotConnected(f"{url}: {text}", status(name) if hasattr(ua.StatusCodes, name) else f"0x{error.code:08X}")


def failed(error: BaseException, url: str, settings: OpcUaConnection) -> NotConnected | ReadFailed:
    """Return what a request's failure means: that the session is lost, or that this request was in vain."""
    if isinstance(error, TimeoutError):
        return ReadFailed(f"{url}: no answer within {settings.timeout:g} s", bad(Reason.NO_RESPONSE))
    if isinstance(error, DecodeError):
        return ReadFailed(f"{url}: {error}", bad(Reason.BAD_ANSWER, str(error)))
    if isinstance(error, ua.UaStatusCodeError) and error.code not in _NO_SESSION:
        name, meaning = get_name_and_doc(error.code)
        return ReadFailed(f"{url}: {meaning}", bad(Reason.REFUSED, f"0x{error.code:08X} {name}"))
    return refused(error, url, settings)


def _told(error: BaseException, settings: OpcUaConnection | None) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if settings is not None and settings.security is not Policy.NONE and type(error) in _BROKEN_OFF:
        # some servers close the connection instead of saying why
        return f"it broke the connection off; if it does so each time, let it trust {_own(settings)}"
    return str(error) or type(error).__name__


def _user(settings: OpcUaConnection) -> str:
    if settings.username is not None:
        return f"user {settings.username!r}"
    if settings.user_certificate is not None:
        return f"the user of {settings.user_certificate}"
    return "an anonymous user; write username and password, or user_certificate and user_key"


def _own(settings: OpcUaConnection) -> str:
    pki = pki_of(settings)
    try:
        return f"{pki.certificate_file} (thumbprint {thumbprint(read_file(pki.certificate_file.read_bytes()))})"
    except (OSError, ValueError):
        return str(pki.certificate_file)
