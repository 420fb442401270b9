"""Reads and writes the folder `pki`: our certificate and key, trusted and rejected certificates, revocation lists.

Its layout is that of Part 12, F.1:

    own/certs  own/private            our certificate (DER) and its key (PEM)
    trusted/certs  trusted/crl        servers, and authorities whose servers are trusted; revocation lists
    issuers/certs  issuers/crl        authorities that complete a chain, but are not trusted themselves
    rejected                          certificates of servers that were not trusted

Several gateways may use the same folder: files are written atomically, and the first gateway makes the certificate.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua.security.certificates import (
    fingerprint,
    in_time,
    make_certificate,
    make_key,
    names,
    read_crl,
    read_file,
    read_key,
    verifies_itself,
    when_valid,
)
from drivers.opcua.security.settings import OWN_KEY
from drivers.own_files import ForeignFile, read_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    from drivers.opcua.security.settings import SecureConnection

T = TypeVar("T")

MAX_REJECTED = 100
"""Maximum number of rejected certificates: a server that changes its certificate must not fill the disk."""

MOST_BYTES = 32 * 2**20
"""Bytes of a file; a revocation list of an authority is the longest."""

_CERTIFICATES = {".der", ".cer", ".crt", ".pem"}
_LISTS = {".crl", ".der", ".pem"}


class Own(NamedTuple):
    """Our application instance certificate, its key, and its application URI."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    uri: str


@dataclass(frozen=True, slots=True)
class Store:
    """The contents of the folder for validation; `unreadable` are files without a certificate."""

    trusted: tuple[x509.Certificate, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    unreadable: tuple[Path, ...] = field(default=())


class Pki:
    """A PKI folder. Its methods raise `OSError` if it can't be read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.certificate_file = self.folder / "own" / "certs" / "lineside.der"
        self.key_file = self.folder / OWN_KEY
        self.trusted = self.folder / "trusted" / "certs"
        self.issuers = self.folder / "issuers" / "certs"
        self.rejected = self.folder / "rejected"
        self.crl = (self.folder / "trusted" / "crl", self.folder / "issuers" / "crl")

    def own(self, password: str | None = None) -> Own:
        """Return our certificate and key; make them if they do not exist. `password` is that of the key.

        Raises `ValueError` if a file has the wrong contents, or the key does not match the certificate.
        """
        for folder in (self.trusted, self.issuers, self.rejected, *self.crl):
            folder.mkdir(parents=True, exist_ok=True)
        made = self.certificate_file.exists()  # checked first, since it is made last
        if not self.key_file.exists():
            if made:
                raise ValueError(
                    f"{self.certificate_file} is there, and its key {self.key_file} is not; put it there"
                )
            self.key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_first(self.key_file, make_key(password), 0o600)
        key = _readable(self.key_file, lambda content: read_key(content, password))
        if not self.certificate_file.exists():
            self.certificate_file.parent.mkdir(parents=True, exist_ok=True)
            _write_first(self.certificate_file, make_certificate(key), 0o644)
        certificate = _readable(self.certificate_file, read_file)
        if certificate.public_key() != key.public_key():
            raise ValueError(f"{self.key_file} is not the key of {self.certificate_file}")
        uris = names(certificate).uris
        if not uris:
            raise ValueError(f"{self.certificate_file} names no application URI, as Part 6, 6.2.2 wants it")
        return Own(certificate, key, uris[0])

    def store(self) -> Store:
        """Read the trusted certificates, authorities and revocation lists.

        Raises `ValueError` for an unreadable revocation list: without it, revoked certificates would be trusted.
        """
        unreadable: list[Path] = []
        return Store(
            tuple(certificate for _, certificate in certificates(self.trusted, unreadable)),
            tuple(certificate for _, certificate in certificates(self.issuers, unreadable)),
            tuple(_readable(file, read_crl) for folder in self.crl for file in _files(folder, _LISTS)),
            tuple(unreadable),
        )

    def reject(self, certificate: x509.Certificate) -> None:
        """Store the certificate of a rejected server for inspection."""
        file = self.rejected / f"{fingerprint(certificate)}.der"
        if file.exists():
            return
        self.rejected.mkdir(parents=True, exist_ok=True)
        _write_first(file, certificate.public_bytes(Encoding.DER), 0o644)
        kept = sorted(self.rejected.glob("*.der"), key=_age)
        for old in kept[:-MAX_REJECTED]:
            old.unlink(missing_ok=True)

    def trust(self, whole: str) -> x509.Certificate:
        """Move the rejected certificate with this SHA-256 fingerprint to the trusted certificates; return it.

        Raises `ValueError` if there is no such certificate, if less than the whole fingerprint is given (another
        certificate can begin alike), and if the certificate is out of date or its signature is wrong.
        """
        file, certificate = _only(self.rejected, whole)
        now = dt.datetime.now(dt.UTC)
        if not verifies_itself(certificate):
            raise ValueError(f"{file} is not trusted: its signature is wrong, so it was damaged or forged")
        if not in_time(certificate, now):
            raise ValueError(f"{file} is not trusted: it {when_valid(certificate, now)}")
        return _move(file, certificate, self.trusted)

    def distrust(self, whole: str) -> x509.Certificate:
        """Move the trusted certificate with this SHA-256 fingerprint to the rejected certificates; return it.

        Raises `ValueError` as `trust` does, but for the state of the certificate.
        """
        return _move(*_only(self.trusted, whole), self.rejected)


FINGERPRINT_DIGITS = 64
"""Hexadecimal digits of a SHA-256 fingerprint."""


def digits_of(written: str) -> str:
    """Return a fingerprint, or how it begins, in lower case; programs show it in capitals and with colons."""
    return written.lower().replace(":", "").replace(" ", "")


def _only(folder: Path, whole: str) -> tuple[Path, x509.Certificate]:
    """Return the certificate in a folder with this SHA-256 fingerprint, and its file. Raises `ValueError`."""
    written = digits_of(whole)
    if re.fullmatch(f"[0-9a-f]{{{FINGERPRINT_DIGITS}}}", written) is None:
        raise ValueError(
            f"{whole!r} is not a SHA-256 fingerprint of {FINGERPRINT_DIGITS} digits; the beginning, or a SHA-1 "
            "thumbprint, is enough to look at a certificate with lineside certs show. Compare the whole fingerprint "
            "with that of the device, and write it whole"
        )
    for file, certificate in certificates(folder, []):
        if fingerprint(certificate) == written:
            return file, certificate
    among = ", ".join(fingerprint(certificate) for _, certificate in certificates(folder, []))
    raise ValueError(f"no certificate in {folder} has the fingerprint {written}; there are: {among or 'none'}")


def _move(file: Path, certificate: x509.Certificate, there: Path) -> x509.Certificate:
    there.mkdir(parents=True, exist_ok=True)
    file.replace(there / f"{fingerprint(certificate)}{file.suffix}")
    return certificate


def pki_of(settings: SecureConnection) -> Pki:
    """Return the folder that a connection uses."""
    return Pki(settings.folder)


def certificates(folder: Path, unreadable: list[Path]) -> Iterator[tuple[Path, x509.Certificate]]:
    """Yield the certificates in a folder with their files; add others to `unreadable`."""
    for file in _files(folder, _CERTIFICATES):
        try:
            yield file, read_file(read_own(file, MOST_BYTES))
        except (ValueError, ForeignFile):
            unreadable.append(file)


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.suffix.lower() in suffixes)


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another gateway was faster
        return 0.0


def _readable(file: Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(read_own(file, MOST_BYTES))
    except ValueError as error:
        raise ValueError(f"{file} can't be used: {error}") from None


def _write_first(file: Path, content: bytes, mode: int) -> None:
    """Write a file atomically, unless it exists."""
    handle, half = tempfile.mkstemp(dir=file.parent, prefix=".half-")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(handle, mode)
            out.write(content)
            out.flush()
            os.fsync(handle)
        with suppress(FileExistsError):
            os.link(half, file)
    finally:
        Path(half).unlink()
