"""The files of this installation, out of the manifest of its release, or out of what pip has recorded.

The Debian package and the script of the bundle put the manifest into the folder of the installation, and a release
key vouches for it if it is signed. pip records the files of each package in `RECORD` (PyPA, recording installed
projects): nobody vouches for that, since who changes a file can change it, too. A source tree has neither.
"""

from __future__ import annotations

import csv
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import NamedTuple

import gateway
from gateway.software.manifest import MANIFEST, MOST_BYTES, SIGNATURE, SIGNATURE_BYTES, BadManifest, parse_manifest

NOTES = {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"}
"""Files of pip about a package. They are written at the installation, and never run."""

OF_ENVIRONMENTS = {"_virtualenv.py", "_virtualenv.pth"}
"""Files that some tools put into each environment that they make; no package has them."""


class Installation(NamedTuple):
    """An installation: `prefix` is its folder, `packages` that of its Python packages, `version` that of its release.

    `files` are the expected files with their SHA-256. `unhashed` may be there, with any content. `manifest` are the
    bytes of the manifest, and `signature` those of its signature; None without.
    """

    prefix: Path
    packages: Path
    version: str
    files: dict[Path, str]
    unhashed: frozenset[str] = frozenset()
    manifest: bytes | None = None
    signature: bytes | None = None


class NotInstalled(Exception):
    """This is not an installation, but a source tree."""


def installation(packages: Path | None = None, prefix: Path | None = None) -> Installation:
    """Return the installation that this process runs. Raises `NotInstalled`, `BadManifest` and `OSError`."""
    packages = Path(gateway.__file__).parents[1] if packages is None else packages
    prefix = Path(sys.prefix) if prefix is None else prefix
    if not packages.is_relative_to(prefix):
        raise NotInstalled
    manifest = _bytes(prefix / MANIFEST, MOST_BYTES)
    if manifest is not None:
        version, files = parse_manifest(manifest)
        absolute = {prefix / path: digest for path, digest in files.items()}
        signature = _bytes(prefix / SIGNATURE, SIGNATURE_BYTES)
        return Installation(prefix, packages, version, absolute, frozenset(), manifest, signature)
    if not list(packages.glob("lineside-*.dist-info/RECORD")):
        raise NotInstalled
    files = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        files |= _recorded(record)
    paths = {_normal(packages / path): digest for path, digest in files.items()}
    return Installation(prefix, packages, gateway.__version__, paths, frozenset(OF_ENVIRONMENTS))


def _bytes(file: Path, most: int) -> bytes | None:
    """Return the content of a file, with one byte more than `most` if it is larger; None if it is not there."""
    try:
        with file.open("rb") as opened:
            return opened.read(most + 1)
    except FileNotFoundError:
        return None


def _recorded(record: Path) -> dict[str, str]:
    """Return the files of a package with their SHA-256; those without a hash are compiled files and notes of pip."""
    content = _bytes(record, MOST_BYTES) or b""
    if len(content) > MOST_BYTES:
        raise BadManifest(f"{record} has more than {MOST_BYTES:,} bytes")
    found = {}
    try:
        for row in csv.reader(content.decode().splitlines()):
            path, digest, *_ = [*row, "", ""]
            kind, _, encoded = digest.partition("=")
            if kind == "sha256" and "\0" not in path:
                found[path] = urlsafe_b64decode(encoded + "==").hex()
    except (ValueError, csv.Error):
        raise BadManifest(f"{record} is not a record of installed files (RECORD)") from None
    return found


def _normal(path: Path) -> Path:
    """Return a path without `..`: `RECORD` names scripts relative to the folder of the packages."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return Path(*parts)
