"""Files with certificates and keys, by their names or their beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PEM = b"-----BEGIN "
"""The begin of a file in PEM (RFC 7468), if no text precedes it."""

KEY_FILES = {".cer", ".crl", ".crt", ".der", ".key", ".p12", ".pem", ".pfx"}
"""Ends of the names of certificates and keys; files in PEM may have any name."""


def is_key_file(file: Path) -> bool:
    """Return whether a regular file has a certificate or a key, by its name or its begin. Raises `OSError`."""
    if file.suffix.lower() in KEY_FILES:
        return True
    with file.open("rb") as opened:
        return opened.read(len(PEM)) == PEM
