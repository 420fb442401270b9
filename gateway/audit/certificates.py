"""The certificates in changed files, for the entries about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.audit.trust_files import ADDED, CHANGED, digest_and_content
from gateway.common.key_files import PEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.audit.apart import Entry

MOST = 10
"""Certificates of one file that are in an entry."""


def described(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries, those about files that were added or changed with the certificates in these files.

    A file that has changed again meanwhile has an entry of its own later. Blocks.
    """
    return [_described(one) if one.action in {ADDED, CHANGED} else one for one in entries]


def _described(entry: Entry) -> Entry:
    try:
        digest, content = digest_and_content(Path(entry.object))
    except OSError:
        return entry
    if digest != entry.after["sha256"] or not (found := _certificates(content)):
        return entry
    listed = [_about(one) for one in found[:MOST]]
    more = {"more_certificates": len(found) - MOST} if len(found) > MOST else {}
    return entry.model_copy(update={"after": entry.after | {"certificates": listed} | more})


def _certificates(content: bytes) -> list[x509.Certificate]:
    """Return the certificates in a file, none if it has another content."""
    try:
        if PEM in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    except ValueError:
        return []


def _about(certificate: x509.Certificate) -> dict[str, Any]:
    """Return the subject, and the SHA-256 that OPC UA and browsers show as the fingerprint."""
    try:
        subject = certificate.subject.rfc4514_string()
    except ValueError:
        subject = "can't be read"
    return {"subject": subject, "fingerprint": certificate.fingerprint(SHA256()).hex()}
