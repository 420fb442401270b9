"""The form of an encrypted archive: a header, then the archive in chunks that are encrypted and authenticated.

| bytes | content |
|---|---|
| 29 | `lineside encrypted archive 1` and a line end: the version stands for all parameters |
| one line | JSON: `salt` for a passphrase (scrypt, RFC 7914); `recipient`, `ephemeral` for a key (X25519, RFC 7748) |
| the rest | chunks of 65,536 bytes and a tag of 16 (AES-256-GCM, NIST SP 800-38D); the last is shorter, or as long |

HKDF-SHA-256 (RFC 5869) makes the key of an archive, of the secret and of the whole header: a changed header is a
wrong key. The nonce of a chunk is its number, from 0, and a last byte that is 1 for the last chunk (STREAM of Hoang,
Reyhanitabar, Rogaway and Vizár, 2015): chunks that are changed, moved, left out or cut off are found, and nothing
behind them is used.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Annotated

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from gateway.backup.container import BadArchive
from gateway.backup.sealed import KEY, SALT, WrongPassphrase, key_of_passphrase

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path
    from typing import BinaryIO

MAGIC = b"lineside encrypted archive 1\n"
"""The begin of an encrypted archive."""

FAMILY = MAGIC[:-2]
"""The begin in every version."""

CHUNK, TAG = 2**16, 16
"""Bytes of a chunk before its encryption, and of the tag behind it."""

LONGEST_HEADER = 1_000
"""Bytes of the line of JSON."""

LARGEST_KEY_FILE = 2**16
"""Bytes of a file with a key."""

_Bytes32 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
_Salt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{22}==$")]


class UnusableKey(Exception):
    """A file has no key that encrypts or decrypts archives; the text says which would be right."""


class Header(BaseModel):
    """The line of JSON: the salt of a passphrase, or two public keys in Base64."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    salt: _Salt | None = None
    recipient: _Bytes32 | None = None
    ephemeral: _Bytes32 | None = None

    @property
    def needs_passphrase(self) -> bool:
        """Whether a passphrase opens the archive; else a private key does."""
        return self.salt is not None


Lock = str | X25519PublicKey
"""What encrypts an archive: a passphrase, or the public key of its recipient."""

Unlock = str | X25519PrivateKey
"""What decrypts it: the passphrase, or the private key of the recipient."""


def recipient_of(file: Path) -> X25519PublicKey:
    """Return the public key in a file, in PEM. Raises `UnusableKey` or `OSError`."""
    try:
        key = load_pem_public_key(_content(file))
    except ValueError:
        key = None
    if not isinstance(key, X25519PublicKey):
        raise UnusableKey(
            f"{file} is not a public key of X25519 in PEM; make one: openssl genpkey -algorithm x25519 -out KEY.pem; "
            "openssl pkey -in KEY.pem -pubout -out KEY.pub"
        )
    return key


def private_key_of(file: Path) -> X25519PrivateKey:
    """Return the private key in a file, in PEM and without a password. Raises `UnusableKey` or `OSError`."""
    try:
        key = load_pem_private_key(_content(file), None)
    except TypeError:
        raise UnusableKey(
            f"{file} is locked with a password; unlock it where nobody else can read it: openssl pkey -in {file}"
        ) from None
    except ValueError:
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise UnusableKey(f"{file} is not a private key of X25519 in PEM; name that of the archive's recipient")
    return key


def read_header(file: BinaryIO) -> Header | None:
    """Return the header of an archive, and leave the file behind it; None, at the begin, if it is not encrypted.

    Raises `BadArchive` or `OSError`.
    """
    begin = file.read(len(MAGIC))
    if begin != MAGIC:
        file.seek(0)
        if begin.startswith(FAMILY):
            raise BadArchive("the archive is encrypted in a form that this version does not know")
        return None
    line = file.readline(LONGEST_HEADER)
    try:
        header = Header.model_validate_json(line)
    except ValidationError:
        raise BadArchive("the archive is damaged: its header can't be read") from None
    whole = {"salt"} if header.salt else {"recipient", "ephemeral"}
    if not line.endswith(b"\n") or header.model_fields_set != whole:
        raise BadArchive("the archive is damaged: its header can't be read")
    return header


class EncryptingWriter:
    """A file to write to, which encrypts into another file. `finish` writes the last chunk."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        """Write the header. Raises `OSError`."""
        header, secret = _header_for(lock)
        line = orjson.dumps(header.model_dump(exclude_none=True)) + b"\n"
        file.write(MAGIC + line)
        self._file = file
        self._cipher = _cipher(secret, header)
        self._number = 0
        self._waiting = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt each chunk that is full, and not the last. Raises `OSError`."""
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._put(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def flush(self) -> None:
        """Do nothing: a chunk is written when it is full."""

    def finish(self) -> None:
        """Write the last chunk. Raises `OSError`."""
        self._put(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1


class DecryptingReader:
    """A file to read from, which decrypts another file behind its header. Only authentic bytes come out."""

    def __init__(self, file: BufferedReader, header: Header, unlock: Unlock) -> None:
        """Prepare. Raises `WrongPassphrase` for a key of another archive."""
        self._file = file
        self._cipher = _cipher(_secret_of(header, unlock), header)
        self._number = 0
        self._ready = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return at most so many bytes, none at the end. Raises `WrongPassphrase`, or `BadArchive`."""
        if not self._ready and not self._ended:
            self._ready = self._next()
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def _next(self) -> bytes:
        data = self._file.read(CHUNK + TAG)
        self._ended = not self._file.peek(1)
        try:
            chunk = self._cipher.decrypt(_nonce(self._number, last=self._ended), data, None)
        except (InvalidTag, ValueError):
            if self._number == 0:
                raise WrongPassphrase(
                    "the passphrase or the key is wrong, or the archive was changed or cut off after it was made"
                ) from None
            raise BadArchive(
                f"the archive is damaged, was changed or is cut off, at byte {self._number * CHUNK:,}"
            ) from None
        self._number += 1
        return chunk


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(LARGEST_KEY_FILE)


def _header_for(lock: Lock) -> tuple[Header, bytes]:
    """Return a header of an archive, and the secret of it that the holder of the key can make, too."""
    if isinstance(lock, str):
        salt = secrets.token_bytes(SALT)
        return Header(salt=b64encode(salt).decode()), key_of_passphrase(lock, salt)
    ephemeral = X25519PrivateKey.generate()
    public = b64encode(ephemeral.public_key().public_bytes_raw()).decode()
    return Header(recipient=_text(lock), ephemeral=public), ephemeral.exchange(lock)


def _secret_of(header: Header, unlock: Unlock) -> bytes:
    if header.salt is not None:
        if not isinstance(unlock, str):
            raise WrongPassphrase("the archive is encrypted with a passphrase, and not for a key")
        return key_of_passphrase(unlock, b64decode(header.salt))
    if isinstance(unlock, str):
        raise WrongPassphrase("the archive is encrypted for a key, and not with a passphrase; write --key FILE")
    if header.recipient != _text(unlock.public_key()):
        raise WrongPassphrase(f"the archive is for another key: that with the public key {header.recipient}")
    try:
        return unlock.exchange(X25519PublicKey.from_public_bytes(b64decode(header.ephemeral or "", validate=True)))
    except (ValueError, Base64Error):
        raise WrongPassphrase("the header of the archive was changed") from None


def _cipher(secret: bytes, header: Header) -> AESGCM:
    info = MAGIC + orjson.dumps(header.model_dump(exclude_none=True))
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY, salt=None, info=info).derive(secret))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def _text(key: X25519PublicKey) -> str:
    return b64encode(key.public_bytes_raw()).decode()
