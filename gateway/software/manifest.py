"""The manifest of a release: all its files, each with its SHA-256, and the version.

    # lineside 0.1.0
    5f1c...  bin/lineside
    09ab...  lib/python3.11/site-packages/gateway/__init__.py
    77de...  /usr/lib/systemd/system/lineside-gateway@.service

It is the file `SHA256SUMS` in the folder of an installation, and `sha256sum --check` reads it: paths are relative to
that folder, or absolute. `SHA256SUMS.sig` beside it is the detached signature of its bytes (Ed25519, RFC 8032, 64
bytes), which OpenSSL verifies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.public_keys import public_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MANIFEST, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
"""The names of the files."""

MOST_BYTES = 16 * 2**20
"""The size of a manifest."""

MOST_FILES = 100_000
"""Files of a manifest."""

SIGNATURE_BYTES = 64
"""The size of a signature."""

_HEAD = re.compile(r"# lineside (\S{1,100})")

_LINE = re.compile(r"([0-9a-f]{64})  ([^\\\x00-\x1f]{1,4096})")


class BadManifest(ValueError):
    """Bytes are not a manifest; the message says why."""


class Manifest(NamedTuple):
    """The content of a manifest: the version of the release, and the SHA-256 of each file by its path."""

    version: str
    files: dict[str, str]


def format_manifest(version: str, files: Mapping[str, str]) -> bytes:
    """Return the bytes of a manifest, sorted by path."""
    lines = (f"{digest}  {path}\n" for path, digest in sorted(files.items()))
    return "".join([f"# lineside {version}\n", *lines]).encode()


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in these bytes. Raises `BadManifest`."""
    if len(content) > MOST_BYTES:
        raise BadManifest(f"has more than {MOST_BYTES:,} bytes")
    try:
        first, *lines = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise BadManifest("is not UTF-8") from None
    head = _HEAD.fullmatch(first)
    if head is None:
        raise BadManifest("line 1 is not the version, as in: # lineside 0.1.0")
    if len(lines) > MOST_FILES:
        raise BadManifest(f"has more than {MOST_FILES:,} files")
    files: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadManifest(f"line {number} is not a hash and a path, as sha256sum prints them")
        if found[2] in files:
            raise BadManifest(f"line {number} has a path for the second time")
        files[found[2]] = found[1]
    return Manifest(head[1], files)


def signer_of(content: bytes, signature: bytes, keys: Iterable[str]) -> str | None:
    """Return the public key, of those given, whose signature of the bytes this is; None if it is of none of them."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to import

    if len(signature) != SIGNATURE_BYTES:
        return None
    for key in keys:
        try:
            public_key(key).verify(signature, content)
        except InvalidSignature:
            continue
        return key
    return None
