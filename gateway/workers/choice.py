"""Choose whether a gateway runs in one process, or with a supervisor and workers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from gateway.common.file_locks import is_locked
from gateway.model.part import part_name
from gateway.spool.siblings import read_ledger, workers_with_spools
from gateway.workers.assignment import assignment_file, worker_count
from gateway.workers.locks import lock_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory


def needs_supervisor(factory: Factory) -> bool:
    """Return whether a gateway has workers, or has to go on for workers that it had before.

    Raises `BlockingIOError` if a supervisor of this gateway works in the folder.
    """
    folder, gateway = factory.gateway.spool.folder, factory.gateway.id
    file = lock_file(folder, gateway)
    if is_locked(file):
        raise BlockingIOError(errno.EAGAIN, f"{file} is in use by another gateway")
    has_workers = worker_count(factory) > 1 or assignment_file(folder, gateway).exists()
    return has_workers or bool(with_backlog(folder, gateway))


def with_backlog(folder: Path, gateway: str) -> list[int]:
    """Return the workers from 2 on whose spools have records, or can't be read: opening them repairs them."""
    ledgers = {n: read_ledger(folder, part_name(gateway, n)) for n in workers_with_spools(folder, gateway)}
    return [number for number, ledger in ledgers.items() if ledger is None or ledger.pending]
