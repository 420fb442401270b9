"""Lock out the services whose files are replaced or removed."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from gateway.common.own_files import open_or_make
from gateway.spool.files import SpoolFiles
from gateway.spool.siblings import workers_with_spools
from gateway.status.services import ingest_runs
from gateway.workers.locks import gateway_runs, lock_file, locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_stopped(state: Path, gateway: str, folder: Path, ingest: str) -> None:
    """Raise `BlockingIOError` if the gateway or the ingest runs; nothing is written."""
    if gateway_runs(state, gateway):
        raise BlockingIOError(errno.EAGAIN, f"gateway {gateway} runs in {state}: stop it first")
    if ingest_runs(folder, ingest):
        raise BlockingIOError(errno.EAGAIN, f"ingest {ingest} runs in {folder}: stop it first")


@contextmanager
def locked_out(state: Path, gateway: str) -> Iterator[None]:
    """Let no gateway of this id start in its folder. Raises `BlockingIOError` if one has started, or `OSError`."""
    with ExitStack() as locks:
        try:
            locks.enter_context(locked(state, gateway, (1, *workers_with_spools(state, gateway))))
            lock = locks.enter_context(os.fdopen(open_or_make(SpoolFiles(state, gateway).lock), "r+"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, f"gateway {gateway} runs in {state}: stop it first") from None
        if os.geteuid() == 0:  # the user of the gateway opens them next
            owner = state.stat()
            for file in (lock_file(state, gateway), SpoolFiles(state, gateway).lock):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
        yield
