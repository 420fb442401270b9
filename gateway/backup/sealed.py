"""Keys and secrets, encrypted with a passphrase: scrypt (RFC 7914) makes the key of AES-256-GCM (NIST SP 800-38D).

The encryption is bound to the manifest: with the passphrase, a change of any member is found, even if its hash in the
manifest was changed as well.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Annotated

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.secret import NAME

MAGIC = b"lineside sealed 1\n"
"""The begin of the member; it stands for the parameters of scrypt as well."""

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**16, 8, 1
"""Cost, block size and parallelization: 64 MiB and some tenths of a second."""

SALT, NONCE, KEY = 16, 12, 32
"""Bytes."""

SHORTEST = 12
"""Characters of the shortest passphrase: an archive can be copied and tried on, as often as anybody likes."""


class WrongPassphrase(Exception):
    """The passphrase or the key is wrong, or the archive was changed."""


class Contents(BaseModel):
    """Named secrets, and files by the names of their members, in Base64."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    secrets: Annotated[
        dict[Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$", max_length=255)], str],
        Field(max_length=1_000),
    ] = Field(default={}, repr=False)
    files: Annotated[dict[str, str], Field(max_length=10_000)] = Field(default={}, repr=False)

    @property
    def contents(self) -> dict[str, bytes]:
        """The contents of the files. Raises `ValueError` if one is not Base64."""
        return {name: b64decode(text, validate=True) for name, text in self.files.items()}


def seal(named: dict[str, str], files: dict[str, bytes], passphrase: str, bound: bytes) -> bytes:
    """Return named secrets, and files by the names of their members, encrypted and bound to the manifest."""
    contents = Contents(secrets=named, files={name: b64encode(data).decode() for name, data in files.items()})
    salt, nonce = secrets.token_bytes(SALT), secrets.token_bytes(NONCE)
    plain = orjson.dumps(contents.model_dump(mode="json"))
    return MAGIC + salt + nonce + AESGCM(key_of_passphrase(passphrase, salt)).encrypt(nonce, plain, bound)


def unseal(data: bytes, passphrase: str, bound: bytes) -> Contents:
    """Return keys and secrets. Raises `WrongPassphrase`."""
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + SALT + NONCE:
        raise WrongPassphrase("the keys and secrets in the archive have a form that this version does not know")
    rest = data[len(MAGIC) :]
    salt, nonce, encrypted = rest[:SALT], rest[SALT : SALT + NONCE], rest[SALT + NONCE :]
    try:
        plain = AESGCM(key_of_passphrase(passphrase, salt)).decrypt(nonce, encrypted, bound)
        found = Contents.model_validate_json(plain)
        found.contents  # noqa: B018 - raises if a file is damaged
    except InvalidTag:
        raise WrongPassphrase("the passphrase is wrong, or the archive was changed after it was made") from None
    except (ValidationError, Base64Error):
        raise WrongPassphrase("the keys and secrets in the archive are damaged") from None
    return found


def key_of_passphrase(passphrase: str, salt: bytes) -> bytes:
    """Return the key of 32 bytes that scrypt makes of a passphrase."""
    return Scrypt(salt=salt, length=KEY, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.encode())
