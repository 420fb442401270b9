"""Archives that depend on nothing but their content: same files, same bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from typing import TYPE_CHECKING

from project import build_time

if TYPE_CHECKING:
    from pathlib import Path


def pack(folder: Path, file: Path) -> None:
    """Write a tar archive of a folder, under its name: sorted, owned by root, with the time of the build."""

    def normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = build_time()
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted([folder, *folder.rglob("*")]):
            archive.add(path, str(path.relative_to(folder.parent)), recursive=False, filter=normal)


def compress(text: str) -> bytes:
    """Return text as gzip without a name and a time."""
    return gzip.compress(text.encode(), 9, mtime=0)


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def set_times_and_modes(folder: Path) -> None:
    """Give all below a folder the time of the build, and modes that do not depend on this machine's umask."""
    for path in sorted([folder, *folder.rglob("*")], reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (build_time(), build_time()), follow_symlinks=False)
