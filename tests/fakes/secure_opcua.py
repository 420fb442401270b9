"""An OPC UA server of asyncua's with certificates of a test's own, which remembers who came and how."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from cryptography.hazmat.primitives.serialization import Encoding

import drivers
from drivers.base import Group
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from fakes.certificates import SERVER_URI, Signed
from gateway.common.clock import Clock
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncua import Server
    from asyncua.server.internal_server import InternalServer

    from drivers.opcua.security.pki import Pki

NAMESPACE = "urn:test:machine"
SECURE = [
    ua.SecurityPolicyType.Basic256Sha256_Sign,
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]


class Door:
    """The users that may connect, and the attempts to: a user manager of asyncua's."""

    def __init__(self, users: dict[str, str] | None = None, certificates: Sequence[Signed] = ()) -> None:
        self.users = users
        self.certificates = [one.certificate.public_bytes(Encoding.DER) for one in certificates]
        self.came: list[tuple[str | None, str | None]] = []

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002 - asyncua's contract
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        self.came.append((username, password))
        if self.users is None and not self.certificates:
            return User(role=UserRole.User)
        if username is None:
            known = certificate in self.certificates
        else:
            known = self.users is not None and self.users.get(username) == password
        return User(role=UserRole.User) if known else None


def channels(server: Server) -> list[tuple[str, ua.MessageSecurityMode]]:
    """Return policy and mode of every channel with an active session."""
    found = []
    for client in server.bserver.clients:
        processor = client.processor
        if processor.session is not None and processor.session.is_activated():
            policy = processor._connection.security_policy  # noqa: SLF001 - asyncua shows it nowhere else
            found.append((policy.URI.rpartition("#")[2], policy.Mode))
    return found


@asynccontextmanager
async def served(
    port: int,
    own: Signed | None,
    policies: Sequence[ua.SecurityPolicyType] = tuple(SECURE),
    *,
    door: Door | None = None,
    uri: str = SERVER_URI,
    tokens: Sequence[type] = (ua.AnonymousIdentityToken, ua.X509IdentityToken, ua.UserNameIdentityToken),
) -> AsyncIterator[Server]:
    """Serve the node `Speed`, 12.5, in `NAMESPACE`."""
    server = new_server(door)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    await server.set_application_uri(uri)
    if own is not None:
        await server.load_certificate(own.der, "der")
        await server.load_private_key(own.key_pem, format="pem")
    server.set_security_policy([*policies])
    server.set_identity_tokens([*tokens])
    index = await server.register_namespace(NAMESPACE)
    await server.nodes.objects.add_variable(ua.NodeId("Speed", index), "Speed", 12.5)
    async with server:
        yield server


def driver_of(port: int, pki: Pki, node: str = "s=Speed", **options: Any) -> OpcUaDriver:
    """Return a driver that polls one node of such a server."""
    written = {"url": f"opc.tcp://127.0.0.1:{port}", "namespace": NAMESPACE, "pki": str(pki.folder), "timeout": 10}
    settings = drivers.parse_connection(drivers.protocol("opcua"), written | options)
    assert isinstance(settings, OpcUaConnection)
    source = OpcUaSource.model_validate({"node": node, "mode": "poll"})
    return OpcUaDriver(settings, [Group("machine", settings, ("speed",), (source,), 1.0)], Clock())
