"""Public keys of Ed25519 as people write them, read at one place and shown in one form.

    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=       the canonical form

It is the SubjectPublicKeyInfo (RFC 8410, section 4) in Base64: the middle line of what `openssl pkey -pubout` prints.
A PEM as a whole (RFC 7468, section 13), and the 32 bytes of the key in Base64 (RFC 8032, 5.1.5), are read as well.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_HEAD = bytes.fromhex("302a300506032b6570032100")
"""The SubjectPublicKeyInfo of Ed25519 before the 32 bytes of the key: it has no parameters, so it never differs."""

KEY_BYTES = 32
"""Bytes of the key itself."""

_ID_DIGITS = 16
"""Hexadecimal digits of a key's id."""

MOST_CHARACTERS = 10_000
"""Characters of a text that is looked at."""

_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----\s*")

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----")

RIGHT = "write the line of Base64 that openssl pkey -in KEY.pem -pubout prints, as in MCowBQYDK2VwAyEA..."


class UnusableKey(ValueError):
    """A text is not an Ed25519 public key; the message says what would be right, and never repeats the text."""


def canonical(written: str) -> str:
    """Return a public key in its canonical form. Raises `UnusableKey`."""
    return b64encode(_HEAD + _bytes_of(written)).decode()


def public_key(written: str) -> Ed25519PublicKey:
    """Return the key of a text in any of the forms. Raises `UnusableKey`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - slow to import

    return Ed25519PublicKey.from_public_bytes(_bytes_of(written))


def public_text(key: Ed25519PublicKey) -> str:
    """Return the canonical form of a key."""
    return b64encode(_HEAD + key.public_bytes_raw()).decode()


def key_id(key: Ed25519PublicKey) -> str:
    """Return the id of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return sha256(key.public_bytes_raw()).hexdigest()[:_ID_DIGITS]


def _bytes_of(written: str) -> bytes:
    """Return the 32 bytes of a key."""
    if len(written) > MOST_CHARACTERS:
        raise UnusableKey(f"is too long for a public key of Ed25519; {RIGHT}")
    pem = _PEM.fullmatch(written)
    if pem is None and (begin := _BEGIN.search(written)):
        kind = begin[1]
        if "PRIVATE" in kind:
            raise UnusableKey(f"is a private key, which belongs in no configuration; make a new key, and {RIGHT}")
        raise UnusableKey(f"is a PEM of the kind {kind}, and not of a public key; {RIGHT}")
    if written.strip().startswith("ssh-"):
        raise UnusableKey(f"is a key of OpenSSH, which has a form of its own; {RIGHT}")
    text = "".join((written if pem is None else pem[1]).split())
    try:
        content = b64decode(text, validate=True)
    except ValueError:
        raise UnusableKey(f"is not a public key of Ed25519 in Base64; {RIGHT}") from None
    if len(content) == KEY_BYTES and pem is None:
        return content
    if content.startswith(_HEAD) and len(content) == len(_HEAD) + KEY_BYTES:
        return content[len(_HEAD) :]
    if content[:1] == _HEAD[:1] and not content.startswith(_HEAD) and len(content) > KEY_BYTES:  # a SEQUENCE of ASN.1
        raise UnusableKey(f"is a key of another kind than Ed25519; {RIGHT}")
    raise UnusableKey(
        f"is not a public key of Ed25519: it has {len(content)} bytes, and not {KEY_BYTES}, or "
        f"{len(_HEAD) + KEY_BYTES} with its kind; {RIGHT}"
    )


def _canonical(written: object) -> object:
    return canonical(written) if isinstance(written, str) else written


PublicKey = Annotated[
    str,
    BeforeValidator(_canonical),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\s*((MCowBQYDK2VwAyEA)?[A-Za-z0-9+/]{43}=|-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s-]*"
            r"END PUBLIC KEY-----)\s*$",
        }
    ),
]
"""A public key of Ed25519 in a configuration, in its canonical form."""
