"""Find out whether another process has locked a file."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from drivers.own_files import open_own

if TYPE_CHECKING:
    from pathlib import Path


def is_locked(file: Path) -> bool:
    """Return whether a process has locked a file of ours. Raises `OSError`."""
    try:
        with os.fdopen(open_own(file)) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
