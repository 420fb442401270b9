"""Files that root alone can change, and that nobody else can exchange: the policy of a machine, its release keys."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.own_files import ForeignFile, open_own

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 2**20
"""The size of such a file."""

MOST_LINKS = 40
"""Links on the way to a file, as in path_resolution(7)."""


class Unprotected(Exception):
    """A file can't be read, or somebody else than root can change it. `path` is that file, or a folder above it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def read_root_text(file: Path, name: str, hint: str) -> str:
    """Return the text of a file that root alone can change, and nobody can exchange. Raises `Unprotected`.

    `name` is the file in messages, as in `the policy`; `hint` is for a file that can't be read.
    """
    try:
        _check_folders(file.absolute().parent, name)
        with os.fdopen(open_own(file), "rb") as opened:
            found = os.fstat(opened.fileno())
            if found.st_uid:
                raise Unprotected(file, f"belongs to user id {found.st_uid}, and not to root; run chown root {file}")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Unprotected(file, f"others than root can write it; run chmod go-w {file}")
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise Unprotected(file, f"is larger than {MOST_BYTES:,} bytes")
        return content.decode()
    except ForeignFile as error:
        raise Unprotected(file, str(error.strerror)) from None
    except OSError as error:
        raise Unprotected(file, f"can't be read: {error.strerror}; {hint}") from None
    except UnicodeDecodeError:
        raise Unprotected(file, "is not UTF-8") from None
    except RuntimeError:  # of `resolve`, until Python 3.12
        raise Unprotected(file, "is behind symbolic links that lead in a circle") from None


def _check_folders(folder: Path, name: str) -> None:
    """Refuse a folder in which others than root could exchange the file. A sticky folder keeps files of root.

    The folders of links on the way count, too: who can exchange a link leads to another file.
    """
    for one in dict.fromkeys(_on_the_way(folder)):
        found = one.stat()
        writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
        if found.st_uid or writable:
            raise Unprotected(one, f"others than root can exchange {name} in this folder; chown root {one}; "
                                   f"chmod go-w {one}")  # fmt: skip


def _on_the_way(folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it, as they are written and as each link on the way leads."""
    for _ in range(MOST_LINKS):
        yield from (folder, *folder.parents)
        link = next((one for one in (*reversed(folder.parents), folder) if one.is_symlink()), None)
        if link is None:
            return
        folder = Path(os.path.normpath(link.parent / link.readlink() / folder.relative_to(link)))
    yield from ((resolved := folder.resolve()), *resolved.parents)
