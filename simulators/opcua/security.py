"""What makes simulated OPC UA servers as secure as they are configured: policies, certificates, users.

With `--ports auto` all of it is made for the run, in a folder that the written configuration names, so that no secret
of the real machines is needed:

    own  trusted  ...      certificates: the gateway's own, and the servers', which are trusted
    users/NAME.password    what each user is let in by
    users/gateway.der .pem the certificate of those who are known by one

Without it nobody knows real passwords here: a configured user is let in by any, and any certificate is trusted.
"""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote, urlsplit

from drivers.opcua.security.pki import Pki
from drivers.opcua.security.settings import ANY_HOST, Policy, SecurityMode
from simulators.certificates import Identity, application, write_private
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from asyncua import Server, ua
    from asyncua.crypto.permission_rules import User
    from asyncua.server.internal_server import InternalServer
    from asyncua.server.user_managers import UserManager
    from cryptography import x509

    from drivers.opcua.settings import OpcUaConnection

URI = "urn:lineside:simulator"
"""The servers' application URI."""

_NAMES = {
    Policy.BASIC256_SHA256: "Basic256Sha256",
    Policy.AES128: "Aes128Sha256RsaOaep",
    Policy.AES256: "Aes256Sha256RsaPss",
}
_MODES = {SecurityMode.SIGN: "Sign", SecurityMode.SIGN_AND_ENCRYPT: "SignAndEncrypt"}


TOKENS = "Basic256Sha256_SignAndEncrypt"
"""What a server offers besides where it is asked for nothing but who comes: a password never goes in the clear."""


class Demands(NamedTuple):
    """What the connections to one server ask for: asyncua's names of policies, and who comes."""

    policies: frozenset[str]
    anonymous: bool
    users: frozenset[str]
    certificates: bool

    @property
    def plain(self) -> bool:
        """Whether no certificate is needed."""
        return self.policies == {"NoSecurity"} and not (self.users or self.certificates)


def demands_of(connections: Iterable[OpcUaConnection]) -> Demands:
    """Return what connections to one server ask for."""
    policies: set[str] = set()
    users: set[str] = set()
    anonymous = certificates = False
    for one in connections:
        mode = _MODES[one.security_mode]
        if one.security is Policy.NONE:
            policies.add("NoSecurity")
        else:
            wanted = list(_NAMES) if one.security is Policy.AUTO else [one.security]
            policies.update(f"{_NAMES[policy]}_{mode}" for policy in wanted)
        users.update([one.username] if one.username is not None else [])
        certificates |= one.user_certificate is not None
        anonymous |= not one.identified
    if (users or certificates) and policies == {"NoSecurity"}:
        policies.add(TOKENS)
    return Demands(frozenset(policies), anonymous, frozenset(users), certificates)


class Credentials:
    """The servers' certificate, and who is let in: those of `folder`, or whoever is configured where that is None."""

    def __init__(self, connections: Iterable[OpcUaConnection], folder: Path | None) -> None:
        """Prepare; `make` makes it all."""
        self.folder = folder
        self._hosts = {LOOPBACK: None, "localhost": None, socket.gethostname(): None}
        self._names: dict[str, None] = {}
        for one in connections:
            own = one.server_name if one.server_name not in {None, ANY_HOST} else urlsplit(one.url).hostname
            self._hosts[own or LOOPBACK] = None
            if one.username is not None and one.password is not None:
                self._names[one.username] = None
        self._passwords: dict[str, str] = {}
        self._clients: set[bytes] = set()
        self._users: set[bytes] = set()
        self.server: Identity

    def make(self) -> None:
        """Make certificates and passwords, and write what a gateway needs. Raises `OSError`."""
        self.server = application("Lineside simulator", URI, self._hosts)
        if self.folder is None:
            return
        pki = Pki(self.folder)
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - most need no security

        self._clients = {pki.own().certificate.public_bytes(Encoding.DER)}
        (pki.trusted / "simulator.der").write_bytes(self.server.certificate)
        user = application("Lineside user", "urn:lineside:user", [LOOPBACK])
        self._users = {user.certificate}
        self.user_certificate.parent.mkdir(mode=0o700, exist_ok=True)
        self.user_certificate.write_bytes(user.certificate)
        write_private(self.user_key, user.key)
        for name in self._names:
            self._passwords[name] = secrets.token_urlsafe()
            write_private(self.password_of(name), self._passwords[name].encode())

    @property
    def user_certificate(self) -> Path:
        """The certificate that users of this run are known by."""
        return self._user("gateway.der")

    @property
    def user_key(self) -> Path:
        """Its key."""
        return self._user("gateway.pem")

    def password_of(self, name: str) -> Path:
        """Return the file with a user's password."""
        return self._user(f"{quote(name, safe='')}.password")

    def _user(self, file: str) -> Path:
        assert self.folder is not None, "there are no files without a folder"  # noqa: S101
        return self.folder.absolute() / "users" / file

    async def secure(self, server: Server, demands: Demands) -> None:
        """Give a server its door, and its policies with the certificate that they need, before it is started."""
        from asyncua import ua  # noqa: PLC0415 - only servers need it

        server.iserver.user_manager = cast("UserManager", _Door(self, demands))
        if demands.plain:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        await server.set_application_uri(URI)
        await server.load_certificate(cast("str", self.server.certificate), "der")
        await server.load_private_key(cast("str", self.server.key), format="pem")
        server.set_certificate_validator(self._validate)
        server.set_security_policy([ua.SecurityPolicyType[name] for name in sorted(demands.policies)])
        tokens: list[type] = [ua.AnonymousIdentityToken] if demands.anonymous else []
        tokens += [ua.UserNameIdentityToken] if demands.users else []
        tokens += [ua.X509IdentityToken] if demands.certificates else []
        server.set_identity_tokens(tokens)

    async def _validate(self, certificate: x509.Certificate, _: ua.ApplicationDescription) -> None:
        """Trust the gateway whose certificate was made for the run; whoever comes, where none was."""
        from asyncua import ua  # noqa: PLC0415 - see above
        from asyncua.common.utils import ServiceError  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

        if self._clients and certificate.public_bytes(Encoding.DER) not in self._clients:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    def knows(self, name: str, password: str | None) -> bool:
        """Return whether a user comes with the right password."""
        return self.folder is None or self._passwords.get(name, "") == (password or "")

    def knows_certificate(self, certificate: bytes | None) -> bool:
        """Return whether a user's certificate is the right one."""
        return certificate is not None and (self.folder is None or certificate in self._users)


class _Door:
    """Who is let in to one server: a user manager of asyncua's."""

    def __init__(self, credentials: Credentials, demands: Demands) -> None:
        self._credentials, self._demands = credentials, demands

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002 - asyncua's contract
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Return the user, None where there is none such."""
        from asyncua.crypto.permission_rules import User, UserRole  # noqa: PLC0415 - only servers need it

        if username is not None:
            known = username in self._demands.users and self._credentials.knows(username, password)
        elif self._demands.certificates and self._credentials.knows_certificate(certificate):
            known = True
        else:
            known = self._demands.anonymous
        return User(role=UserRole.User) if known else None
