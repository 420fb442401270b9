"""Open files that Lineside has written itself, so that nobody else can put another file in their place.

A user who may create names in a state folder could leave a symbolic link there, or a second name of a file of ours
(a hard link), and let the service read or overwrite another file; or leave a file there that the service would trust
as its own. A second name in a folder where nobody else can create names is the work of its owner, such as a copy by
hard links, and harmless.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600
"""The rights of a new file: its owner reads and writes it."""


class ForeignFile(PermissionError):
    """A file is a link, of another kind, or of another user; `strerror` says which."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(errno.EPERM, reason, str(file))


def open_own(file: Path, flags: int = os.O_RDONLY, mode: int = MODE) -> int:
    """Return a descriptor of a regular file that belongs to this user, to root, or to the owner of its folder.

    With `os.O_CREAT` in `flags` a missing file is made, with the rights `mode`. A symbolic link is never followed as
    the last part of the path, and a file with several names is refused in a folder that others can write. Raises
    `ForeignFile`, or another `OSError`.
    """
    try:
        descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        # ELOOP of a link, ENXIO of a FIFO that nobody reads, EISDIR of a folder
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EMLINK}:
            check_own(file)
        raise
    try:
        _refuse_foreign(os.fstat(descriptor), file)
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_own(file: Path) -> None:
    """Raise `ForeignFile` if `open_own` would; for a library that opens files itself. A missing file is right."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return
    _refuse_foreign(found, file)


def read_own(file: Path, most: int) -> bytes:
    """Return the content of a file that `open_own` opens. Raises `ValueError` if it has more than `most` bytes."""
    with os.fdopen(open_own(file), "rb") as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise ValueError(f"is larger than {most:,} bytes")
    return content


def _refuse_foreign(found: os.stat_result, file: Path) -> None:
    """Raise `ForeignFile` for a file that is not ours."""
    if stat.S_ISLNK(found.st_mode):
        raise ForeignFile(file, "is a symbolic link, which is never followed here; put the file itself there")
    if not stat.S_ISREG(found.st_mode):
        raise ForeignFile(file, "is not a regular file; remove it")
    if found.st_uid not in {0, os.geteuid()} and found.st_uid != _owner(file.parent):
        raise ForeignFile(file, f"belongs to user id {found.st_uid}; if it is right, run chown {os.geteuid()} {file}")
    if found.st_nlink > 1 and _is_shared(file.parent):
        raise ForeignFile(
            file,
            f"has {found.st_nlink} names, and others can create names in {file.parent}; put a copy there, or run "
            f"chmod go-w {file.parent}",
        )


def _is_shared(folder: Path) -> bool:
    """Return whether others than root and this user can create names in a folder."""
    try:
        found = folder.stat()
    except OSError:
        return True
    return found.st_uid not in {0, os.geteuid()} or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _owner(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None
