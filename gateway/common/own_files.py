"""Files of the services' own: opened without following links, and set aside if they are somebody else's.

`drivers.own_files` has the checks. A service needs its file more than a foreign file needs its name: the foreign file
is renamed, which is logged, and the service goes on with a file of its own.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from drivers.own_files import ForeignFile, check_own, open_own

if TYPE_CHECKING:
    from collections.abc import Iterable

log = structlog.get_logger(__name__)

SET_ASIDE = ".refused"
"""The ending of a file that was set aside; an earlier file of the same name is replaced, and a folder is not."""

UMASK = 0o077
"""What others than the owner may do with the files of a service: nothing."""


def keep_files_private() -> None:
    """Let all files that this process makes from now on be readable by their owner alone."""
    os.umask(UMASK)


def open_or_make(file: Path, flags: int = os.O_RDWR) -> int:
    """Return a descriptor of a file of ours, which is made if it is missing. Sets a foreign file aside.

    Raises `OSError`.
    """
    try:
        return open_own(file, flags | os.O_CREAT)
    except ForeignFile as error:
        set_aside(error)
        return open_own(file, flags | os.O_CREAT)


def set_aside_foreign(files: Iterable[Path]) -> None:
    """Set aside the files that are not ours, before a library opens them. Raises `OSError`."""
    for file in files:
        try:
            check_own(file)
        except ForeignFile as error:
            set_aside(error)


def set_aside(refused: ForeignFile) -> None:
    """Rename a foreign file, or the link itself, and log it. Raises `OSError`."""
    file = Path(refused.filename)
    aside = file.with_name(file.name + SET_ASIDE)
    try:
        file.rename(aside)
    except OSError:  # a folder that somebody has put there must not keep the service from its file
        aside = file.with_name(f"{file.name}{SET_ASIDE}.{secrets.token_hex(4)}")
        file.rename(aside)
    finally:
        log.error("file.refused", file=str(file), error=refused.strerror, set_aside=str(aside))
