"""The key that signs an audit log, made at first use, and the public keys that verify it.

A key signs for some time only. Then it signs an entry with the public key of its successor, and is destroyed: a
person who takes the key of today can't sign entries of yesterday.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from drivers.own_files import read_own
from drivers.private_key import load_signing_key
from gateway.audit.files import sync_folder
from gateway.common.public_keys import key_id, public_key

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = "audit-key.pem"
"""The file of the key that signs, readable by its owner alone."""

NEXT = "audit-key.pem.next"
"""The file of the successor, until the entry about it is on disk."""

ENTRY, HEAD = b"lineside audit entry 1\0", b"lineside audit head 1\0"
"""The beginnings of signed texts: the signature of an entry is not that of a head, so that nobody can make the head
of a log that was cut.
"""


class UnusableKey(Exception):
    """The key can't be used; the text is one line."""


class SigningKey:
    """An Ed25519 key and its id: the start of the SHA-256 of the public key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.id = key_id(private.public_key())

    @property
    def public(self) -> str:
        """The public key: 32 bytes in Base64 (RFC 8032, 5.1.5)."""
        return b64encode(self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sign(self, domain: bytes, digest: str) -> str:
        """Return the signature of an entry's hash as `ENTRY` or `HEAD`, in Base64."""
        return b64encode(self._private.sign(domain + digest.encode())).decode()


def open_key(folder: Path) -> SigningKey:
    """Return the key of a folder; makes it at first use. Raises `UnusableKey` or `OSError`."""
    try:
        return _read(folder / PRIVATE)
    except FileNotFoundError:
        return _make(folder, PRIVATE)


def next_key(folder: Path) -> SigningKey | None:
    """Return the successor of a renewal that a kill or a power cut has stopped; None without one.

    Raises `OSError`. A file that can't be used is removed: no entry names it.
    """
    try:
        return _read(folder / NEXT)
    except FileNotFoundError:
        return None
    except UnusableKey:
        (folder / NEXT).unlink()
        return None


def make_next_key(folder: Path) -> SigningKey:
    """Make the successor of the key. Raises `OSError`."""
    (folder / NEXT).unlink(missing_ok=True)
    return _make(folder, NEXT)


def promote_next_key(folder: Path) -> None:
    """Destroy the key, and put its successor in its place. Raises `OSError`; it can be called again then."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder / PRIVATE, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(bytes(os.fstat(descriptor).st_size))
            opened.flush()
            os.fsync(descriptor)
    (folder / NEXT).replace(folder / PRIVATE)
    sync_folder(folder)


def _read(file: Path) -> SigningKey:
    """Return the key in a file. Raises `UnusableKey` or `OSError`."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o077:
            raise UnusableKey(f"{file}: others can use the key; run chmod 600 {file}, and chown it to this user")
        content = opened.read(10_000)
    try:
        return SigningKey(load_signing_key(content))
    except ValueError:
        raise UnusableKey(f"{file}: is not an Ed25519 key in PEM without a password") from None


def _make(folder: Path, name: str) -> SigningKey:
    private = Ed25519PrivateKey.generate()
    key = SigningKey(private)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write(folder / f"audit-{key.id}.pub", public, 0o644)
    _write(folder / name, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return key


def _write(file: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)


def public_keys(folder: Path) -> dict[str, Ed25519PublicKey]:
    """Return the public keys of a folder by their ids. Raises `UnusableKey` or `OSError`."""
    found: dict[str, Ed25519PublicKey] = {}
    for file in sorted(folder.glob("audit-*.pub")):
        try:
            key = public_key(read_own(file, 10_000).decode())
        except ValueError as error:
            raise UnusableKey(f"{file}: {error}") from None
        found[key_id(key)] = key
    return found


def is_signed(key: Ed25519PublicKey, domain: bytes, digest: str, signature: str) -> bool:
    """Return whether a signature of an entry's hash as `ENTRY` or `HEAD` is right."""
    try:
        key.verify(b64decode(signature, validate=True), domain + digest.encode())
    except (InvalidSignature, Base64Error, ValueError):
        return False
    return True
