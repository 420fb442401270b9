"""Secures a connection: chooses an endpoint, validates the server's certificate, and sets our certificate and user.

`secured` prepares a client before it connects. A person may trust a certificate or correct a server at any time, so
every error here is `NotConnected`, and the connection is tried again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyNone

from drivers.base import NotConnected
from drivers.opcua.connection.client import (
    LEGACY_POLICIES,
    LEGACY_STRENGTH,
    POLICIES,
    STRENGTH,
    Client,
    short,
    strongest,
)
from drivers.opcua.errors import HANDSHAKE_ERRORS, not_connected, status
from drivers.opcua.security.certificates import common_name, fingerprint, read_chain, read_file, read_key
from drivers.opcua.security.pki import pki_of
from drivers.opcua.security.settings import ANY_HOST, Policy, SecurityMode
from drivers.opcua.security.trust import UNKNOWN, Expected, problems
from drivers.opcua.settings import PORT
from drivers.secret import MissingSecret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from drivers.opcua.connection.reverse import ReverseLease
    from drivers.opcua.security.pki import Own, Pki
    from drivers.opcua.settings import OpcUaConnection
    from drivers.secret import Secret

DISCOVERY = "/discovery"
"""The usual end of the path of a discovery endpoint (Part 6, Annex E of older editions; Milo, Ignition)."""

MAX_PASSWORD = 128
"""Maximum bytes of a password that fit, with the server's nonce, into one block of a key of 2048 bits."""

_MODES = {
    SecurityMode.SIGN: ua.MessageSecurityMode.Sign,
    SecurityMode.SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt,
}
_WRITTEN = {
    ua.MessageSecurityMode.None_: "without security",
    ua.MessageSecurityMode.Sign: "sign",
    ua.MessageSecurityMode.SignAndEncrypt: "sign_and_encrypt",
}


async def secured(client: Client, settings: OpcUaConnection) -> None:
    """Prepare a client to connect with the configured security, never with weaker security.

    Reads the server's endpoints, and validates its certificate before anything is encrypted for it.

    Raises `NotConnected` if the server can't be reached, does not offer the configured security, or is not trusted,
    and if our own files can't be used. A certificate that is not trusted is stored as rejected, and the text contains
    the command that trusts it.
    """
    url = client.server_url.geturl()
    client.strengths = LEGACY_STRENGTH if settings.allow_insecure_legacy else STRENGTH
    try:
        await asyncio.to_thread(_identify, client, settings)
    except (OSError, ValueError, MissingSecret) as error:
        raise NotConnected(f"{url}: {error}") from None
    if settings.unprotected and not is_discovery(url):
        return
    endpoint = _chosen(await _offered(url, settings, client.reverse), settings, url)
    if client.reverse is None:
        client.use_endpoint(await _reachable(endpoint_urls(url, endpoint.EndpointUrl or ""), settings))
    if settings.unprotected:
        return
    pki, uri = pki_of(settings), settings.server_uri or endpoint.Server.ApplicationUri or ""
    if client.reverse is not None:  # what dials in is the host of its endpoint
        url = settings.endpoint or endpoint.EndpointUrl or url
    try:
        chain = read_chain(endpoint.ServerCertificate or b"")
    except ValueError as error:
        raise NotConnected(f"{url}: {error}", status("BadCertificateInvalid")) from None
    if not chain:
        raise NotConnected(f"{url}: it sends no certificate to encrypt for", status("BadCertificateInvalid"))

    async def validate(certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
        # again with the identity in the session, which can't be forged on the network
        stated = settings.server_uri or application.ApplicationUri or uri
        await asyncio.to_thread(_judge, [certificate, *chain[1:]], settings, pki, url, stated)

    await asyncio.to_thread(_judge, chain, settings, pki, url, uri)
    client.certificate_validator = validate
    if settings.security is not Policy.NONE:
        own = await asyncio.to_thread(_own, pki, url, settings.key_password)
        client.strongest = settings.security is Policy.AUTO
        _protect(client, endpoint, own, chain[0])


def _identify(client: Client, settings: OpcUaConnection) -> None:
    """Set the user of the client. Raises `MissingSecret`, `OSError`, or `ValueError` for unusable files."""
    if settings.username is not None:
        client.set_user(settings.username)
    if settings.password is not None:
        password = settings.password.reveal()
        if len(password.encode()) > MAX_PASSWORD:
            raise ValueError(f"the password of {settings.username!r} has more than {MAX_PASSWORD} bytes")
        client.set_password(password)
    if settings.user_certificate is not None and settings.user_key is not None:
        try:
            certificate = read_file(settings.user_certificate.read_bytes())
        except ValueError:
            raise ValueError(
                f"user_certificate {settings.user_certificate} is not a certificate, DER or PEM"
            ) from None
        try:
            key = read_key(settings.user_key.read_bytes(), _revealed(settings.user_key_password), "user_key_password")
        except ValueError as error:
            raise ValueError(f"user_key {settings.user_key} can't be used: {error}") from None
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{settings.user_key} is not the key of {settings.user_certificate}")
        client.user_certificate, client.user_private_key = certificate, key


async def _offered(url: str, settings: OpcUaConnection, reverse: ReverseLease | None) -> list[ua.EndpointDescription]:
    """Return the endpoints of a server, read by a separate client without user or secret.

    If all endpoints of the server require security, its discovery endpoint is used (Part 6, 7.1.2.3 and Annex E).
    """
    client = Client(url, settings.timeout)
    client.reverse = reverse
    try:
        return await client.connect_and_get_server_endpoints()
    except HANDSHAKE_ERRORS as error:
        refused = isinstance(error, ConnectionError | ua.UaError) and not isinstance(error, ConnectionRefusedError)
        if refused and reverse is None and not is_discovery(url):
            with suppress(*HANDSHAKE_ERRORS):
                discovery = Client(f"{url.rstrip('/')}{DISCOVERY}", settings.timeout)
                return await discovery.connect_and_get_server_endpoints()
        raise not_connected(error, url, None) from error


def is_discovery(url: str) -> bool:
    """Return True for the URL of a discovery endpoint by the usual name of its path."""
    return urlsplit(url).path.rstrip("/").endswith(DISCOVERY)


def endpoint_urls(asked: str, stated: str) -> list[str]:
    """Return the URLs at which an endpoint may be reached, the likeliest first.

    `asked` is the URL that responded, `stated` the endpoint's own URL. A server behind address translation states a
    host or port that is unknown here, so the host that responded comes first, with the endpoint's port and path.
    """
    ours, theirs = urlsplit(asked), urlsplit(stated)
    try:
        port, own = theirs.port or PORT, ours.port or PORT
    except ValueError:
        return [asked]
    if theirs.scheme != ours.scheme or not theirs.hostname:
        return [asked]
    path = theirs.path
    if path.rstrip("/") == ours.path.rstrip("/"):
        return [asked]  # a forwarded port: what answers at the endpoint's own may be another machine
    if port == own:
        return [ours._replace(path=path).geturl()]
    host = f"[{ours.hostname}]" if ":" in (ours.hostname or "") else ours.hostname
    return [
        ours._replace(netloc=f"{host}:{port}", path=path).geturl(),
        theirs._replace(path=path, query="", fragment="").geturl(),
        ours._replace(path=path).geturl(),
    ]


async def _reachable(urls: Sequence[str], settings: OpcUaConnection) -> str:
    """Return the first URL with an open port, or the last URL if no port is open."""
    for url in urls[:-1]:
        parts = urlsplit(url)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(settings.timeout):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port or PORT)
            writer.close()
            return url
    return urls[-1]


def _chosen(
    endpoints: Sequence[ua.EndpointDescription], settings: OpcUaConnection, url: str
) -> ua.EndpointDescription:
    """Return the endpoint that matches the settings."""
    usable = [one for one in endpoints if (one.EndpointUrl or "").startswith(ua.OPC_TCP_SCHEME)]
    mode = ua.MessageSecurityMode.None_ if settings.security is Policy.NONE else _MODES[settings.security_mode]
    match settings.security:
        case Policy.NONE:
            wanted: str | None = SecurityPolicyNone.URI
        case Policy.AUTO:
            wanted = strongest(usable, mode)
        case policy:
            wanted = (POLICIES | LEGACY_POLICIES)[policy].URI
    found = [one for one in usable if (one.SecurityPolicyUri, one.SecurityMode) == (wanted, mode)]
    if found:
        return found[0]
    asked = "nothing" if settings.security is Policy.NONE else f"{settings.security} with {settings.security_mode}"
    raise NotConnected(f"{url}: {_not_offered(usable, asked)}", status("BadSecurityPolicyRejected"))


def _not_offered(endpoints: Sequence[ua.EndpointDescription], asked: str) -> str:
    """Return the text for a policy that is not offered: the server's offer, and the settings to choose from it."""
    pairs = {(one.SecurityPolicyUri or "", one.SecurityMode): one.SecurityLevel for one in endpoints}
    offered = [
        _WRITTEN[mode]
        if mode == ua.MessageSecurityMode.None_
        else f"{short(uri)} with {_WRITTEN.get(mode, 'no mode')}"
        for uri, mode in sorted(pairs, key=lambda pair: (STRENGTH.get(pair[0], -9), pair[1]), reverse=True)
    ]
    text = f"security {asked} is not offered; the server offers: {', '.join(offered) or 'nothing over opc.tcp'}"
    ours = [pair for pair in pairs if pair[0] in STRENGTH]
    if ours:
        return f"{text}. Write security and security_mode as one of these"
    if offered == [_WRITTEN[ua.MessageSecurityMode.None_]]:
        return f"{text}. Switch it on there; or write security: none, which anybody on the network can read and forge"
    text = f"{text}. Switch one of {', '.join(POLICIES)} on there"
    legacy = [name for name, policy in LEGACY_POLICIES.items() if any(uri == policy.URI for uri, _ in pairs)]
    if legacy:
        text += f"; or write security: {legacy[0]} and allow_insecure_legacy: true, which others can forge"
    return text


def _judge(chain: Sequence[x509.Certificate], settings: OpcUaConnection, pki: Pki, url: str, uri: str) -> None:
    """Accept a server's certificate, or raise `NotConnected` with all problems."""
    host = settings.server_name or urlsplit(url).hostname
    expected = Expected(
        None if host == ANY_HOST else host, uri, settings.revocation == "required", settings.allow_insecure_legacy
    )
    try:
        store = pki.store()
    except (OSError, ValueError) as error:
        raise NotConnected(f"{url}: {error}", status("BadCertificateRevocationUnknown")) from None
    found = problems(chain, store, expected, dt.datetime.now(dt.UTC))
    if not found:
        return
    own = chain[0]
    text = f"its certificate ({common_name(own.subject)}) is refused: {'; '.join(problem.text for problem in found)}"
    if UNKNOWN & {problem.code for problem in found}:
        text += f". If it is the right server: lineside certs trust {pki.folder} {fingerprint(own)}"
        try:
            pki.reject(own)
        except OSError as error:
            text += f" (but it could not be put there: {error})"
        if store.unreadable:
            text += f". No certificate could be read of {', '.join(map(str, store.unreadable))}"
    raise NotConnected(f"{url}: {text}", status(found[0].code))


def _own(pki: Pki, url: str, password: Secret | None) -> Own:
    """Return our certificate and key. Raises `NotConnected` if they can't be used."""
    try:
        own = pki.own(_revealed(password))
    except (OSError, ValueError, MissingSecret) as error:
        raise NotConnected(f"{url}: {error}") from None
    end = own.certificate.not_valid_after_utc
    if end < dt.datetime.now(dt.UTC):
        raise NotConnected(
            f"{url}: this gateway's certificate expired on {end:%Y-%m-%d %H:%M} UTC; remove {pki.certificate_file} "
            "to get a new certificate, and let the servers trust it"
        )
    return own


def _revealed(password: Secret | None) -> str | None:
    return None if password is None else password.reveal()


def _protect(client: Client, endpoint: ua.EndpointDescription, own: Own, server: x509.Certificate) -> None:
    """Set policy, mode, certificates and key of the channel."""
    client.application_uri = own.uri
    known = (*POLICIES.values(), *LEGACY_POLICIES.values())
    policy = next(policy for policy in known if endpoint.SecurityPolicyUri == policy.URI)
    protection = policy(server, own.certificate, own.key, endpoint.SecurityMode)
    client.security_policy = protection  # type: ignore[assignment] # any policy, as for its own set_security
    client.uaclient.set_security(protection)
