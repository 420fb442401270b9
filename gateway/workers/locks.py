"""The lock of a gateway with workers, beside the locks of their spools."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gateway.common.file_locks import is_locked
from gateway.common.own_files import open_or_make
from gateway.model.part import part_name
from gateway.spool.files import SpoolFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PATIENCE = 3.0
"""Seconds to wait for a lock: the workers of a killed supervisor end with it, but not in the same moment."""

LOOK_EVERY = 0.05
"""Seconds between two attempts."""


def lock_file(folder: Path, gateway: str) -> Path:
    """Return the file that a supervisor has locked."""
    return folder / f"{gateway}.workers.lock"


def gateway_runs(folder: Path, gateway: str) -> bool:
    """Return whether a gateway, or the supervisor of its workers, has its lock; False if that can't be read."""
    with suppress(OSError):
        return is_locked(lock_file(folder, gateway)) or is_locked(SpoolFiles(folder, gateway).lock)
    return False


@contextmanager
def locked(folder: Path, gateway: str, workers: Sequence[int]) -> Iterator[None]:
    """Lock out other gateways of this id. The spools of `workers` are free when this begins.

    Blocks for `PATIENCE` at the most. Raises `BlockingIOError` if another gateway works in this folder, or `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = lock_file(folder, gateway)
    spools = [SpoolFiles(folder, part_name(gateway, number)) for number in workers]
    deadline = time.monotonic() + PATIENCE
    with os.fdopen(open_or_make(file), "r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                busy = next((spool.db for spool in spools if is_locked(spool.lock)), None)
            except BlockingIOError:
                busy = file
            if busy is None:
                break
            if time.monotonic() > deadline:
                raise BlockingIOError(errno.EAGAIN, f"{busy} is in use by another gateway")
            time.sleep(LOOK_EVERY)
        yield
