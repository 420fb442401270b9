"""The manifests of packages: every file that they install, with its hash, and the signature of the list."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from zipfile import ZipFile

from archive import digest
from project import version

from gateway.software.manifest import MANIFEST, SIGNATURE, format_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOT_LISTED = ("etc/", "usr/share/doc/", "usr/share/man/")
"""Folders of files that a plant changes, or leaves out on small disks."""

_DATA = re.compile(r"[^/]+\.data/(purelib|platlib)/(.+)")


def write_manifest(prefix: Path, root: Path, key: Ed25519PrivateKey | None) -> None:
    """Write the manifest of a package into the folder of its installation; `root` is that of the package."""
    files = {}
    for file in (one for one in root.rglob("*") if one.is_file() and not one.is_symlink()):
        path = file.relative_to(root).as_posix()
        if file.is_relative_to(prefix):
            files[file.relative_to(prefix).as_posix()] = digest(file)
        elif not path.startswith(NOT_LISTED):
            files[f"/{path}"] = digest(file)
    write_signed(prefix / MANIFEST, prefix / SIGNATURE, files, key)


def wheel_files(wheels: Iterable[Path], packages: str) -> dict[str, str]:
    """Return the files that pip installs of wheels into a folder of packages, with their hashes.

    Scripts are left out, since pip makes them of the place of the installation; so is the record of the files.
    """
    files = {}
    for wheel in wheels:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                top, _, rest = name.partition("/")
                placed = _DATA.fullmatch(name)
                if name.endswith("/") or (top.endswith(".data") and placed is None):
                    continue
                if top.endswith(".dist-info") and rest in {"RECORD", "RECORD.jws", "RECORD.p7s"}:
                    continue
                path = name if placed is None else placed[2]
                files[f"{packages}/{path}"] = hashlib.sha256(archive.read(name)).hexdigest()
    return files


def write_signed(manifest: Path, signature: Path, files: dict[str, str], key: Ed25519PrivateKey | None) -> None:
    """Write a manifest of this version and, with a key, its signature."""
    content = format_manifest(version(), files)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_bytes(content)
    if key is not None:
        signature.write_bytes(key.sign(content))
