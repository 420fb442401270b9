"""Translates errors of asyncua, of decoders and of servers into errors of the driver contract.

`REQUEST_ERRORS` contains all exceptions of a request. `translated` and `not_connected` translate them into errors of
`drivers.base` in one place, the edge of the driver.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc

from drivers.base import NotConnected, ReadFailed, Reason, bad
from drivers.opcua.limits import MAX_CHUNK, MAX_MESSAGE
from drivers.opcua.security.certificates import read_file, thumbprint
from drivers.opcua.security.pki import pki_of
from drivers.opcua.security.settings import Policy

if TYPE_CHECKING:
    from drivers.opcua.settings import OpcUaConnection


class DecodeError(Exception):
    """Bytes violate the encoding of Part 6, or are an unexpected message; the whole message is discarded."""


class ServiceFault(Exception):
    """The server refused a service; `status` is its reason (Part 4, 7.34 and 7.39)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered 0x{status:08X} {get_name_and_doc(status & 0xFFFF0000)[0]}")
        self.status = status


class SecurityViolation(ua.UaError):
    """A server breaks a rule of Part 4 that protects the connection; `code` is the name of the status code."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


MALFORMED = (
    DecodeError, ua.UaError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
    struct.error,
)  # fmt: skip
"""Exceptions of our decoders and those of asyncua for malformed bytes."""

REQUEST_ERRORS = (
    OSError, TimeoutError, ua.UaError, ValueError, struct.error, AssertionError, DecodeError, ServiceFault,
)  # fmt: skip
"""Exceptions of a request if the server can't be reached, refuses, or sends malformed responses."""

HANDSHAKE_ERRORS = (*REQUEST_ERRORS, *MALFORMED)
"""Exceptions while asyncua connects: it also raises others, since it uses received data before it checks them."""

# -- status codes by the next action of a client --

NO_ROOM = {
    ua.StatusCodes.BadTooManyMonitoredItems,
    ua.StatusCodes.BadTooManySubscriptions,
    ua.StatusCodes.BadServiceUnsupported,
    ua.StatusCodes.BadNotSupported,
    ua.StatusCodes.BadNotImplemented,
}
"""The server has no subscriptions, or no room for more: poll instead."""

FULL = {ua.StatusCodes.BadTooManyMonitoredItems}
"""The subscription has no room for more items: another subscription may have."""

NO_NODE = {ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid}
"""The node is not, or no longer, on the server: look it up again."""

NO_FILTER = {
    ua.StatusCodes.BadMonitoredItemFilterUnsupported,
    ua.StatusCodes.BadMonitoredItemFilterInvalid,
    ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadDeadbandFilterInvalid,
}
"""The server refuses a deadband: monitor without it."""

TOO_LARGE = {
    ua.StatusCodes.BadTooManyOperations,
    ua.StatusCodes.BadRequestTooLarge,
    ua.StatusCodes.BadResponseTooLarge,
    ua.StatusCodes.BadEncodingLimitsExceeded,
}
"""The request has too many operations: send it in smaller parts."""

NO_HISTORY = {ua.StatusCodes.BadNoData, ua.StatusCodes.BadNoDataAvailable, ua.StatusCodes.BadBoundNotFound}
"""Some servers return these instead of `GoodNoData`: the time range has no values."""

HISTORY_BUSY = {
    ua.StatusCodes.BadNoContinuationPoints,
    ua.StatusCodes.BadContinuationPointInvalid,
    ua.StatusCodes.BadTooManyOperations,
    ua.StatusCodes.BadServerTooBusy,
    ua.StatusCodes.BadTcpServerTooBusy,
    ua.StatusCodes.BadTcpNotEnoughResources,
    ua.StatusCodes.BadResourceUnavailable,
    ua.StatusCodes.BadOutOfMemory,
    ua.StatusCodes.BadTimeout,
    ua.StatusCodes.BadRequestTimeout,
    ua.StatusCodes.BadWaitingForInitialData,
}
"""The server may accept a history read later: try again."""

_CERTIFICATE_TEXTS = {
    "BadCertificateUntrusted": "it does not trust this gateway's certificate yet; let it trust {own}",
    "BadCertificateChainIncomplete": "it does not know who signed this gateway's certificate; let it trust {own}",
    "BadSecurityChecksFailed": (
        "it refuses this gateway, and must not say why; usually it does not trust its certificate yet: let it trust "
        "{own}"
    ),
    "BadCertificateTimeInvalid": (
        "by its clock this gateway's certificate is not valid; compare the two clocks, and look at {own}"
    ),
    "BadCertificateInvalid": "it does not accept this gateway's certificate, {own}",
    "BadCertificateUriInvalid": "the application URI in this gateway's certificate is wrong for it: {own}",
    "BadCertificateHostNameInvalid": "this machine's name is not in the gateway's certificate: {own}",
    "BadCertificateUseNotAllowed": "this gateway's certificate does not allow this use: {own}",
    "BadCertificateRevoked": "this gateway's certificate was revoked: {own}",
    "BadCertificatePolicyCheckFailed": "this gateway's certificate is too weak for it: {own}",
}
"""Texts for refusals of our certificate; `own` is its file and thumbprint."""

_USER_TEXTS = {
    "BadUserAccessDenied": "it does not let {user} in: the name or the password is wrong, or may not connect",
    "BadIdentityTokenRejected": "it does not accept {user}",
    "BadIdentityTokenInvalid": "it can't read the identity token of {user}",
    "BadUserSignatureInvalid": "it rejects the signature of {user}: the key does not match the certificate",
}
"""Texts for refusals of the user."""

_CHANNEL_TEXTS = {
    "BadSecurityPolicyRejected": "it no longer accepts this security policy; write security: auto",
    "BadSecurityModeRejected": "it does not accept this security mode; write security: auto",
    "BadTcpMessageTooLarge": f"it sent a chunk of more than {MAX_CHUNK // 1024} KiB",
    "BadRequestTooLarge": f"it sent a message of more than {MAX_MESSAGE // 2**20} MiB, or refused a large request",
    "BadResponseTooLarge": f"its answer would be larger than {MAX_MESSAGE // 2**20} MiB",
    "BadTcpEndpointUrlInvalid": "it does not know the path in the url",
}
"""Texts for refusals of the channel or of a message."""

NO_SESSION = {
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
"""The session, its channel or its subscription is gone: connect again."""

_BROKEN_OFF = (ConnectionError, ConnectionResetError, BrokenPipeError, AssertionError)
"""Exceptions of asyncua when a server closes the connection; an unreachable server raises other errors."""


def status(name: str) -> str:
    """Return the number and name of a status code, as in `0x801A0000 BadCertificateUntrusted`."""
    return f"0x{getattr(ua.StatusCodes, name):08X} {name}"


def not_connected(error: BaseException, url: str, settings: OpcUaConnection | None) -> NotConnected:
    """Translate an error that ends a connection; the text contains the next action of an operator.

    `settings` are those of the connection, None during discovery. The text contains no secret.
    """
    if isinstance(error, ServiceFault):
        error = ua.UaStatusCodeError(error.status)
    if isinstance(error, SecurityViolation):
        return NotConnected(f"{url}: {error}", status(error.code))
    if not isinstance(error, ua.UaStatusCodeError):
        return NotConnected(f"{url}: {_text(error, settings)}")
    name, meaning = get_name_and_doc(error.code)
    if name in _CERTIFICATE_TEXTS and settings is not None:
        text = _CERTIFICATE_TEXTS[name].format(own=_own_certificate(settings))
    elif name in _USER_TEXTS and settings is not None:
        text = _USER_TEXTS[name].format(user=_user_name(settings))
    else:
        text = _CHANNEL_TEXTS.get(name, meaning)
    return NotConnected(f"{url}: {text}", status(name) if hasattr(ua.StatusCodes, name) else f"0x{error.code:08X}")


def translated(error: BaseException, url: str, settings: OpcUaConnection) -> NotConnected | ReadFailed:
    """Translate an error of a request: `NotConnected` if the session is lost, `ReadFailed` if only the request is."""
    if isinstance(error, ServiceFault):
        error = ua.UaStatusCodeError(error.status)
    if isinstance(error, TimeoutError):
        return ReadFailed(f"{url}: no answer within {settings.timeout:g} s", bad(Reason.NO_RESPONSE))
    if isinstance(error, DecodeError):
        return ReadFailed(f"{url}: {error}", bad(Reason.BAD_ANSWER, str(error)))
    if isinstance(error, ua.UaStatusCodeError) and error.code not in NO_SESSION:
        name, meaning = get_name_and_doc(error.code)
        return ReadFailed(f"{url}: {meaning}", bad(Reason.REFUSED, f"0x{error.code:08X} {name}"))
    return not_connected(error, url, settings)


def _text(error: BaseException, settings: OpcUaConnection | None) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if settings is not None and settings.security is not Policy.NONE and type(error) in _BROKEN_OFF:
        # some servers close the connection without a reason
        return f"it broke the connection off; if it does so each time, let it trust {_own_certificate(settings)}"
    if isinstance(error, TypeError | LookupError | AttributeError | ArithmeticError | RecursionError):
        return f"its answer can't be used: {error}"  # asyncua found unexpected contents
    return str(error) or type(error).__name__


def _user_name(settings: OpcUaConnection) -> str:
    if settings.username is not None:
        return f"user {settings.username!r}"
    if settings.user_certificate is not None:
        return f"the user of {settings.user_certificate}"
    return "an anonymous user; write username and password, or user_certificate and user_key"


def _own_certificate(settings: OpcUaConnection) -> str:
    pki = pki_of(settings)
    try:
        return f"{pki.certificate_file} (thumbprint {thumbprint(read_file(pki.certificate_file.read_bytes()))})"
    except (OSError, ValueError):
        return str(pki.certificate_file)
