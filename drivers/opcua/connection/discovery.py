"""Reads the endpoints of a server and the servers that it knows (Part 4, 5.5), without a session and trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from asyncua import ua

from drivers.opcua.connection.client import STRENGTH, Client, short
from drivers.opcua.connection.session import client_of
from drivers.opcua.errors import HANDSHAKE_ERRORS, not_connected
from drivers.opcua.security.certificates import common_name, fingerprint, printable, read_chain, thumbprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from drivers.opcua.settings import OpcUaConnection

T = TypeVar("T")

_MODES = {
    ua.MessageSecurityMode.None_: "none",
    ua.MessageSecurityMode.Sign: "sign",
    ua.MessageSecurityMode.SignAndEncrypt: "sign_and_encrypt",
}
_USERS = {
    ua.UserTokenType.Anonymous: "anonymous",
    ua.UserTokenType.UserName: "username and password",
    ua.UserTokenType.Certificate: "certificate",
    ua.UserTokenType.IssuedToken: "issued token",
}


class Endpoint(NamedTuple):
    """An endpoint. `policy` and `mode` are as in a connection's settings; `spoken` is True if they are supported."""

    url: str
    policy: str
    mode: str
    users: tuple[str, ...]
    spoken: bool
    certificate: str
    """Common name, thumbprint and fingerprint of the certificate; empty without a certificate."""


class Application(NamedTuple):
    """A server that another server knows."""

    name: str
    uri: str
    urls: tuple[str, ...]


async def endpoints(settings: OpcUaConnection) -> list[Endpoint]:
    """Return the endpoints of a server. Raises `NotConnected`."""
    return [_endpoint(one) for one in await _asked(settings, Client.connect_and_get_server_endpoints)]


async def servers(settings: OpcUaConnection) -> list[Application]:
    """Return the servers that a server knows, usually only itself. Raises `NotConnected`."""
    return [
        Application(
            printable(one.ApplicationName.Text or ""),
            printable(one.ApplicationUri or ""),
            tuple(printable(url) for url in one.DiscoveryUrls or ()),
        )
        for one in await _asked(settings, Client.connect_and_find_servers)
    ]


async def _asked(settings: OpcUaConnection, ask: Callable[[Client], Awaitable[list[T]]]) -> list[T]:
    """Return the answer to one question, over a connection of its own."""
    client = await client_of(settings, settings.url)
    try:
        return await ask(client)
    except HANDSHAKE_ERRORS as error:
        raise not_connected(error, settings.url, None) from error
    finally:
        if client.reverse is not None:
            client.reverse.close()


def _endpoint(endpoint: ua.EndpointDescription) -> Endpoint:
    open_ = endpoint.SecurityMode == ua.MessageSecurityMode.None_
    policy = "none" if open_ else printable(short(endpoint.SecurityPolicyUri or ""))
    users = {_USERS.get(one.TokenType, "an unknown kind of user"): None for one in endpoint.UserIdentityTokens or ()}
    supported = open_ or endpoint.SecurityPolicyUri in STRENGTH
    spoken = (endpoint.EndpointUrl or "").startswith("opc.tcp://") and supported
    mode = _MODES.get(endpoint.SecurityMode, "unknown")
    return Endpoint(printable(endpoint.EndpointUrl or ""), policy, mode, tuple(users), spoken, _certificate(endpoint))


def _certificate(endpoint: ua.EndpointDescription) -> str:
    try:
        chain = read_chain(endpoint.ServerCertificate or b"")
    except ValueError as error:
        return f"unreadable: {error}"
    if not chain:
        return ""
    own = chain[0]
    return f"{common_name(own.subject)}, thumbprint {thumbprint(own)}, SHA-256 {fingerprint(own)}"
