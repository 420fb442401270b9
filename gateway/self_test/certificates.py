"""Check certificates and keys: readable, of one pair, and valid now and for some weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from drivers.private_key import load_private_key
from drivers.secret import MissingSecret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drivers.secret import Secret

SOON = timedelta(days=30)
"""The time before its end in which a certificate is reported."""

LARGEST = 2**20
"""Bytes of a file of certificates."""


class Pair(NamedTuple):
    """A certificate with its key, or a certificate alone. `name` is its purpose."""

    name: str
    certificate: Path
    key: Path | None = None
    password: Secret | None = None


def problems_of(pair: Pair, now: datetime | None = None) -> Iterator[str]:
    """Yield the problems of a certificate and its key."""
    moment = datetime.now(UTC) if now is None else now
    try:
        found = _certificates(pair.certificate)
    except OSError as error:
        yield f"{pair.name}: {pair.certificate} can't be read: {error.strerror}"
        return
    except ValueError as error:
        yield f"{pair.name}: {pair.certificate} is not a certificate: {error}"
        return
    for one in found:
        begin, end = one.not_valid_before_utc, one.not_valid_after_utc
        if moment < begin:
            yield f"{pair.name}: {pair.certificate} is valid from {begin:%Y-%m-%d} on; check the clock of this box"
        elif moment > end:
            yield f"{pair.name}: {pair.certificate} has expired on {end:%Y-%m-%d}; renew it"
        elif moment > end - SOON:
            yield f"{pair.name}: {pair.certificate} expires on {end:%Y-%m-%d}; renew it"
    if pair.key is not None:
        yield from _problems_of_key(pair, pair.key, found[0])


def _problems_of_key(pair: Pair, key: Path, certificate: x509.Certificate) -> Iterator[str]:
    try:
        password = None if pair.password is None else pair.password.reveal()
        content = _content(key)
        is_pem = b"-----BEGIN" in content
        private = load_private_key(content, password) if is_pem else load_der_private_key(content, None)
    except MissingSecret as error:
        yield f"{pair.name}: {error}"
    except OSError as error:
        yield f"{pair.name}: {key} can't be read: {error.strerror}"
    except (ValueError, TypeError):  # the text of the library can quote the content
        yield f"{pair.name}: {key} is not a private key that can be read, with the password if it has one"
    else:
        if private.public_key() != certificate.public_key():
            yield f"{pair.name}: {key} is not the key of {pair.certificate}; write the pair that belongs together"


def _certificates(file: Path) -> list[x509.Certificate]:
    content = _content(file)
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def _content(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    return content
