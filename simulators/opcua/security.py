"""Security of simulated OPC UA servers: the configured policies, certificates and users.

With `--ports auto` all of it is created for the run, in a folder that the written configuration names, so that no
secret of the real machines is needed:

    own  trusted  ...      certificates: the gateway's, and the servers', which it trusts (see the driver's `pki`)
    users/NAME.password    password of each user
    users/gateway.der .pem certificate and key of users with an X.509 token

Without it the real passwords are unknown: a configured user may log in with any password, and any certificate is
trusted.
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


POLICY_FOR_USERS = "Basic256Sha256_SignAndEncrypt"
"""Policy offered besides None if users log in: no password is sent in clear text."""


class SecurityRequirements(NamedTuple):
    """The security that the connections to one server need: policies by asyncua's names, and kinds of user tokens."""

    policies: frozenset[str]
    anonymous: bool
    users: frozenset[str]
    certificates: bool

    @property
    def plain(self) -> bool:
        """Whether no certificate is needed."""
        return self.policies == {"NoSecurity"} and not (self.users or self.certificates)


def requirements_of(connections: Iterable[OpcUaConnection]) -> SecurityRequirements:
    """Return the security that connections to one server need."""
    policies: set[str] = set()
    users: set[str] = set()
    anonymous = certificates = False
    for connection in connections:
        mode = _MODES[connection.security_mode]
        if connection.security is Policy.NONE:
            policies.add("NoSecurity")
        else:
            wanted = list(_NAMES) if connection.security is Policy.AUTO else [connection.security]
            policies.update(f"{_NAMES[policy]}_{mode}" for policy in wanted)
        users.update([connection.username] if connection.username is not None else [])
        certificates |= connection.user_certificate is not None
        anonymous |= not connection.identified
    if (users or certificates) and policies == {"NoSecurity"}:
        policies.add(POLICY_FOR_USERS)
    return SecurityRequirements(frozenset(policies), anonymous, frozenset(users), certificates)


class Credentials:
    """The servers' certificate, and the users: those of `folder`, or all that are configured if that is None."""

    def __init__(self, connections: Iterable[OpcUaConnection], folder: Path | None) -> None:
        """Prepare; `create` creates certificates and passwords."""
        self.folder = folder
        self._hosts = {LOOPBACK: None, "localhost": None, socket.gethostname(): None}
        self._names: dict[str, None] = {}
        for connection in connections:
            named = connection.server_name not in {None, ANY_HOST}
            host = connection.server_name if named else urlsplit(connection.url).hostname
            self._hosts[host or LOOPBACK] = None
            if connection.username is not None and connection.password is not None:
                self._names[connection.username] = None
        self._passwords: dict[str, str] = {}
        self._clients: set[bytes] = set()
        self._users: set[bytes] = set()
        self.server: Identity

    def create(self) -> None:
        """Create certificates and passwords, and write the gateway's files. Raises `OSError`."""
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
        """The certificate of users with an X.509 token."""
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

    async def secure(self, server: Server, requirements: SecurityRequirements) -> None:
        """Set the user manager, the policies and the certificate of a server before it is started."""
        from asyncua import ua  # noqa: PLC0415 - only servers need it

        server.iserver.user_manager = cast("UserManager", _UserManager(self, requirements))
        if requirements.plain:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        await server.set_application_uri(URI)
        await server.load_certificate(cast("str", self.server.certificate), "der")
        await server.load_private_key(cast("str", self.server.key), format="pem")
        server.set_certificate_validator(self._validate)
        server.set_security_policy([ua.SecurityPolicyType[name] for name in sorted(requirements.policies)])
        tokens: list[type] = [ua.AnonymousIdentityToken] if requirements.anonymous else []
        tokens += [ua.UserNameIdentityToken] if requirements.users else []
        tokens += [ua.X509IdentityToken] if requirements.certificates else []
        server.set_identity_tokens(tokens)

    async def _validate(self, certificate: x509.Certificate, _: ua.ApplicationDescription) -> None:
        """Trust the gateway's certificate of this run, or any if none was created."""
        from asyncua import ua  # noqa: PLC0415 - see above
        from asyncua.common.utils import ServiceError  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

        if self._clients and certificate.public_bytes(Encoding.DER) not in self._clients:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    def knows(self, name: str, password: str | None) -> bool:
        """Return True if the password of a user is right."""
        return self.folder is None or self._passwords.get(name, "") == (password or "")

    def knows_certificate(self, certificate: bytes | None) -> bool:
        """Return True if the certificate of a user is right."""
        return certificate is not None and (self.folder is None or certificate in self._users)


class _UserManager:
    """The users of one server (asyncua's contract `UserManager`)."""

    def __init__(self, credentials: Credentials, requirements: SecurityRequirements) -> None:
        self._credentials, self._requirements = credentials, requirements

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002 - asyncua's contract
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Return the user, None if the token is rejected."""
        from asyncua.crypto.permission_rules import User, UserRole  # noqa: PLC0415 - only servers need it

        if username is not None:
            known = username in self._requirements.users and self._credentials.knows(username, password)
        elif self._requirements.certificates and self._credentials.knows_certificate(certificate):
            known = True
        else:
            known = self._requirements.anonymous
        return User(role=UserRole.User) if known else None
