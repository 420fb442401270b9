"""Private keys in PEM files, which may be locked with a password (PKCS#8, RFC 5958)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from drivers.secret import Secret

_LOCKED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
"""Marks of an encrypted key in a file: PKCS#8, and the older form of OpenSSL (RFC 1421)."""


class KeyFile(NamedTuple):
    """The file of a key, its password, and their names in the configuration."""

    name: str
    file: Path
    password_name: str
    password: Secret | None

    def problem(self) -> str:
        """Return why the password does not open the key; empty if it does, or if there is no such file here.

        Raises `MissingSecret` if the key is locked, and the secret of its password is missing.
        """
        try:
            content = self.file.read_bytes()
        except OSError:
            return ""
        if not is_locked(content):
            return ""
        password = None if self.password is None else self.password.reveal()
        try:
            load_private_key(content, password, self.password_name)
        except ValueError as error:
            return f"{self.file} can't be used: {error}"
        return ""


def is_locked(content: bytes) -> bool:
    """Return whether a PEM file has a key that is encrypted with a password."""
    return any(mark in content for mark in _LOCKED)


def load_private_key(content: bytes, password: str | None, option: str = "key_password") -> PrivateKeyTypes:
    """Return the key in a PEM file; a password of a key that has none is ignored.

    Raises `ValueError` with what would be right, and never with the password or a part of the file. `option` is the
    name of the password in the configuration.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - 30 ms, for those with keys alone
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - as above

    locked = is_locked(content)
    if locked and password is None:
        raise ValueError(f"it is locked with a password; write {option}: {{secret: NAME}}")
    try:
        return load_pem_private_key(content, password.encode() if locked and password is not None else None)
    except UnsupportedAlgorithm:
        raise ValueError("its kind of key or encryption is not supported; convert it with openssl pkcs8") from None
    except (ValueError, TypeError):  # not chained: the error may quote the file
        if locked:
            raise ValueError(f"the secret of {option} is not its password") from None
        raise ValueError("it is not a PEM file with a private key") from None


def load_signing_key(content: bytes, password: str | None = None) -> Ed25519PrivateKey:
    """Return the Ed25519 key in a PEM file (RFC 8410). Raises `ValueError` as `load_private_key` does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - as above

    key = load_private_key(content, password)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it is not a key of Ed25519")  # noqa: TRY004 - of a file
    return key
