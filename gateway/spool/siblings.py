"""The spools of one gateway's workers, in one folder."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.model.ledger import Ledger
from gateway.model.part import BETWEEN, MAX_WORKERS, part_name
from gateway.spool.files import SpoolFiles
from gateway.spool.inspect import NotReadable, inspect

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from gateway.spool.inspect import SpoolStatus


def workers_with_spools(folder: Path, gateway: str) -> list[int]:
    """Return the numbers of the workers from 2 on that have a spool in a folder; empty if it can't be read."""
    found: set[int] = set()
    for suffix in (".spool.ledger", ".spool.db"):
        for file in folder.glob(f"{gateway}{BETWEEN}*{suffix}"):
            number = file.name.removesuffix(suffix).rpartition(BETWEEN)[2]
            if number.isascii() and number.isdecimal() and file.name == f"{part_name(gateway, int(number))}{suffix}":
                found.add(int(number))
    return sorted(number for number in found if 1 < number <= MAX_WORKERS)


def spools_of(folder: Path, gateway: str) -> list[SpoolFiles]:
    """Return the spools of a gateway: that of its only process or first worker, then those of its other workers."""
    return [SpoolFiles(folder, part_name(gateway, number)) for number in (1, *workers_with_spools(folder, gateway))]


def read_ledger(folder: Path, name: str) -> Ledger | None:
    """Return the ledger of a spool as it is on disk; None if there is no spool, or if it can't be read."""
    with suppress(NotReadable, OSError):
        state = inspect(SpoolFiles(folder, name)).state
        return Ledger.of(state.counts, state.readings)
    return None


def ledger_of_all(states: Iterable[SpoolStatus]) -> Ledger:
    """Return the sum of the ledgers of spools."""
    total = Ledger()
    for one in states:
        total.add(Ledger.of(one.state.counts, one.state.readings))
    return total


def retired_ledger(folder: Path, gateway: str, used: Collection[int]) -> Ledger:
    """Return the sum of the ledgers of the workers that are not `used` any more."""
    total = Ledger()
    for number in workers_with_spools(folder, gateway):
        if number not in used and (ledger := read_ledger(folder, part_name(gateway, number))) is not None:
            total.add(ledger)
    return total
