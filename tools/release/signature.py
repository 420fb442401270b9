"""The detached signature of the checksums, with a key of who builds the packages (Ed25519, RFC 8032)."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING

from drivers.private_key import is_locked, load_signing_key
from gateway.software.release_keys import public_pem, read_keys

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MOST_BYTES = 100_000
"""The size of a file with a key."""

RIGHT = "make a key with openssl genpkey -algorithm ed25519 -out FILE"


class UnusableKey(Exception):
    """The file is not a key that signs; the message names it, and what would be right."""


def read_key(file: Path) -> Ed25519PrivateKey:
    """Return the Ed25519 key in a PEM file; asks a person for the password of a locked key. Raises `UnusableKey`."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnusableKey(f"{file}: {error.strerror}; {RIGHT}") from None
    if len(content) > MOST_BYTES:
        raise UnusableKey(f"{file}: it has more than {MOST_BYTES:,} bytes; {RIGHT}")
    password = None
    if is_locked(content):
        if not sys.stdin.isatty():
            raise UnusableKey(f"{file}: it is locked with a password; sign at a terminal, or use a key without one")
        password = getpass(f"Password of {file}: ")
    try:
        return load_signing_key(content, password)
    except ValueError as error:
        raise UnusableKey(f"{file}: {error}; {RIGHT}") from None


def read_public_key(file: Path) -> bytes:
    """Return a public key in PEM. Raises `UnusableKey`."""
    try:
        text = file.read_text(encoding="utf-8")
        (found,) = read_keys(text, file)
    except OSError as error:
        raise UnusableKey(f"{file}: {error.strerror}") from None
    except ValueError as error:  # no key, or several
        raise UnusableKey(f"{file}: {error}; write one with openssl pkey -in KEY -pubout") from None
    return public_pem(found).encode()


def write_signature(sums: Path, key: Ed25519PrivateKey | None) -> None:
    """Write the 64 bytes of the signature of a file beside it; without a key remove that of an earlier build."""
    file = sums.with_name(f"{sums.name}.sig")
    if key is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(key.sign(sums.read_bytes()))
