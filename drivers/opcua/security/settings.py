"""Security settings of a connection: policy, mode, user, and trust."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from drivers.base import Connection, File, Flag
from drivers.private_key import KeyFile
from drivers.secret import Secret  # noqa: TC001 - pydantic looks it up

if TYPE_CHECKING:
    from collections.abc import Iterable

OWN_KEY = Path("own", "private", "lineside.pem")
"""The gateway's own key, in the folder of certificates."""

ANY_HOST = "*"
"""A `server_name` that accepts a certificate of any host, if this certificate itself is trusted."""


class Policy(StrEnum):
    """The security policies of Part 7, 6.6; `auto` is the strongest offered policy that is not deprecated."""

    NONE = "none"
    AUTO = "auto"
    BASIC256_SHA256 = "Basic256Sha256"
    AES128 = "Aes128_Sha256_RsaOaep"
    AES256 = "Aes256_Sha256_RsaPss"
    BASIC256 = "Basic256"
    BASIC128_RSA15 = "Basic128Rsa15"


LEGACY = frozenset({Policy.BASIC256, Policy.BASIC128_RSA15})
"""Deprecated policies, which use SHA-1; they need `allow_insecure_legacy`."""


class SecurityMode(StrEnum):
    """The protection of every message (Part 4, 7.20)."""

    SIGN = "sign"
    SIGN_AND_ENCRYPT = "sign_and_encrypt"


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


_POLICIES = {_plain(policy): policy for policy in Policy}
_MODES = {_plain(mode): mode for mode in SecurityMode}
_CURRENT = [policy for policy in Policy if policy not in LEGACY]
_SECURE = [policy for policy in _CURRENT if policy is not Policy.NONE]


def _policy(written: object) -> object:
    """Parse the name of a policy, ignoring case, '_' and '-'."""
    if not isinstance(written, str):
        raise ValueError(f"write security: {_choices(_CURRENT)}")  # noqa: TRY004 - what a user wrote
    if _plain(written) not in _POLICIES:
        raise ValueError(f"{written!r} is not a security policy; write {_choices(_CURRENT)}")
    return _POLICIES[_plain(written)]


def _mode(written: object) -> object:
    if not isinstance(written, str) or _plain(written) not in _MODES:
        raise ValueError(f"{written!r} is not a security mode; write {_choices(SecurityMode)}")
    return _MODES[_plain(written)]


def _choices(of: Iterable[str]) -> str:
    *most, last = of
    return f"{', '.join(most)} or {last}"


def default_folder() -> Path:
    """Return the default folder of certificates: LINESIDE_PKI, else in the state folder of systemd, else relative."""
    if written := os.environ.get("LINESIDE_PKI"):
        return Path(written)
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(state, "pki") if state else Path("lineside-data", "pki")


class SecureConnection(Connection):
    """The security keys of an OPC UA connection; docs/opcua-security.md explains each key.

    Only with `security: none` anybody on the network can read and forge messages.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # the input may be a misplaced password

    security: Annotated[Policy, BeforeValidator(_policy)] = Policy.AUTO
    """The security policy; auto is the strongest that the server offers, as in `Aes256_Sha256_RsaPss`."""
    security_mode: Annotated[SecurityMode, BeforeValidator(_mode)] = SecurityMode.SIGN_AND_ENCRYPT
    """The protection of every message, as in `sign`."""
    username: Annotated[str, Field(min_length=1)] | None = None
    """The user name at the server, as in `edge-01`."""
    password: Secret | None = None
    """The name of the password, never the password, as in `{secret: plc_password}`."""
    user_certificate: File = None
    """The certificate that identifies the user, as in `/etc/lineside/user.pem`."""
    user_key: File = None
    """The key of the user's certificate, as in `/etc/lineside/user.key`."""
    user_key_password: Secret | None = None
    """The name of the password of this key, as in `{secret: user_key}`."""
    server_name: Annotated[str, Field(min_length=1)] | None = None
    """The host in the server's certificate, if it is not that of the URL, as in `plc-01.plant`."""
    revocation: Literal["required", "if_known"] = "required"
    """Whether an authority without an up-to-date revocation list is refused, as in `if_known`."""
    allow_insecure_legacy: Flag = False
    """Whether deprecated policies (Basic256, Basic128Rsa15), and certificates with SHA-1 or keys of 1024 bits, which
    others can forge, are accepted, as in `true`.
    """
    insecure: Flag = False
    """Whether `security: none` is accepted beyond this machine, so that others can read and forge all messages, as in
    `true`.
    """
    pki: File = None
    """The folder of certificates, as in `/var/lib/lineside/pki`."""
    key_password: Secret | None = None
    """The name of the password of the gateway's own key in that folder, as in `{secret: pki_key}`."""

    @model_validator(mode="after")
    def _secures(self) -> Self:
        if self.security is Policy.NONE and "security_mode" in self.model_fields_set:
            raise ValueError("security: none neither signs nor encrypts, so it has no security_mode")
        if self.security in LEGACY and not self.allow_insecure_legacy:
            raise ValueError(
                f"security: {self.security} is deprecated, since SHA-1 is broken; write {_choices(_SECURE)}, and let "
                "the server's administrator switch one of them on. For a device that has no other, also write "
                "allow_insecure_legacy: true"
            )
        if self.insecure and self.security is not Policy.NONE:
            raise ValueError(f"insecure is for security: none, and security: {self.security} is secure: leave it out")
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username")
        if (self.user_certificate is None) != (self.user_key is None):
            raise ValueError("user_certificate and user_key go together")
        if self.user_key_password is not None and self.user_key is None:
            raise ValueError("user_key_password is for a user_key")
        if self.user_certificate is not None and self.username is not None:
            raise ValueError("a user is known by a username or by a user_certificate, not by both")
        return self

    def beside(self, folder: Path) -> Self:
        default = default_folder()
        if self.pki is not None or self.unprotected or default.is_absolute():
            return self
        return self.model_copy(update={"pki": folder / default})

    @property
    def key_files(self) -> tuple[KeyFile, ...]:
        found = [] if self.unprotected else [KeyFile("pki", self.own_key, "key_password", self.key_password)]
        if self.user_key is not None:
            found.append(KeyFile("user_key", self.user_key, "user_key_password", self.user_key_password))
        return tuple(found)

    @property
    def folder(self) -> Path:
        """The folder of the certificates."""
        return self.pki or default_folder()

    @property
    def own_key(self) -> Path:
        """The file of the gateway's own key."""
        return self.folder / OWN_KEY

    @property
    def identified(self) -> bool:
        """True if the connection sends a user identity to the server."""
        return self.username is not None or self.user_certificate is not None

    @property
    def unprotected(self) -> bool:
        """True if the connection needs no certificate of the server: neither its messages nor a user is protected."""
        return self.security is Policy.NONE and not self.identified
