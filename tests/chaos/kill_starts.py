"""Kills a start of the spool before each of its system calls that change a file, and opens the spool afterwards.

    cc -shared -fPIC -o kill_at.so tests/chaos/kill_at.c -ldl
    cd tests && LD_PRELOAD=../kill_at.so python -m chaos.kill_starts FOLDER

For a first start, a start with a backlog, and starts after damage: whenever it is killed, and killed again in the
next start, the spool opens, has every record that an undisturbed start has, and its ledger is the same.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import random
import shutil
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from chaos.damage import FilledSpool, batch, everything, reopen, settle
from gateway.model.ledger import Ledger
from gateway.settings.sections import SMALLEST_SPOOL
from gateway.spool.files import PAGE, Spooled, SpoolFiles

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS = 2
"""Starts that are killed, one after the other, before the start that has to succeed."""


def prepare_nothing(folder: Path) -> None:
    folder.mkdir()


def prepare_backlog(folder: Path) -> None:
    """A gateway was killed: records are in the database, and in its log."""
    spool = FilledSpool(folder.with_name("made"), 1, SMALLEST_SPOOL)
    for _ in range(3):
        spool.commit(puts=3)
    spool.commit(confirms=[2, 5])
    spool.killed(folder)
    spool.close()
    shutil.rmtree(folder.with_name("made"))


def prepare_damaged(folder: Path) -> None:
    """The database's first page is gone."""
    prepare_backlog(folder)
    with SpoolFiles(folder, "edge").db.open("r+b") as file:
        file.write(bytes(PAGE))


def prepare_lost_log(folder: Path) -> None:
    """The log is gone, so commits are missing."""
    prepare_backlog(folder)
    SpoolFiles(folder, "edge").wal.write_bytes(b"")


def prepare_old_journal_mode(folder: Path) -> None:
    """An older version created the database, and was killed before it was in WAL mode."""
    reopen(SpoolFiles(folder, "edge"), SMALLEST_SPOOL).close()
    files = SpoolFiles(folder, "edge")
    with files.db.open("r+b") as file:
        file.seek(18)
        file.write(b"\x01\x01")
    for other in (files.wal, files.shm, files.slots):
        other.unlink(missing_ok=True)


SCENES: dict[str, Callable[[Path], None]] = {
    "first start": prepare_nothing,
    "start with a backlog": prepare_backlog,
    "start after damage": prepare_damaged,
    "start after the log was lost": prepare_lost_log,
    "start of an older version's database": prepare_old_journal_mode,
}


def start(folder: Path) -> None:
    """Start, put a record if the spool is new, and stop."""
    file = reopen(SpoolFiles(folder, "edge"), SMALLEST_SPOOL)
    if not file.state.records and file.state.next == 1:
        file.write(batch(Counter(acquired=3), 2, [Spooled(1, "line/m-1", b"first", 3)], []))
    file.close()


def outcome(folder: Path) -> dict[str, Any]:
    """Open the spool, and return everything in it and its ledger."""
    file = reopen(SpoolFiles(folder, "edge"), SMALLEST_SPOOL)
    ledger = Ledger.of(file.state.counts, file.state.readings)
    assert ledger.balanced, ledger
    found = everything(file)
    settle(file, ledger)
    assert ledger.balanced, ledger
    file.close()
    return {"records": sorted(found), "ledger": ledger.as_dict()}


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run in a forked process; returns its wait status, and what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - reported by the exit code
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return status, json.loads(answer) if answer else None


class Failed(Exception):
    """A spool that does not open after a kill, or lacks something."""


def play(folder: Path, name: str, arm: Callable[[int], None], chance: random.Random) -> int:
    """Kill the starts of one scene at every call; returns how many calls there are. Raises `Failed`."""
    template, work = folder / "template", folder / "work"
    status, _ = in_child(lambda: SCENES[name](template))
    if status:
        raise Failed(f"{name}: not prepared")
    shutil.copytree(template, work)
    status, expected = in_child(lambda: (start(work), outcome(work))[1])
    if status:
        raise Failed(f"{name}: an undisturbed start fails")

    def killed_start(calls: int) -> None:
        arm(calls)
        start(work)
        arm(0)

    calls = 0
    while True:
        calls += 1
        shutil.rmtree(work)
        shutil.copytree(template, work)
        kills = [calls, *(chance.randrange(1, 40) for _ in range(STARTS - 1))]
        statuses = []
        for at in kills:
            status, _ = in_child(lambda at=at: killed_start(at))
            if status not in {0, signal.SIGKILL}:
                raise Failed(f"{name}: killed at {kills}, a start fails")
            statuses.append(status)
        status, found = in_child(lambda: outcome(work))
        if status:
            raise Failed(f"{name}: killed at {kills}, the spool does not open")
        fresh = name in {"first start", "start of an older version's database"}
        if found != expected and not (fresh and (not found["records"] or found["records"] == expected["records"])):
            raise Failed(f"{name}: killed at {kills}, {found} instead of {expected}")
        if statuses[0] == 0:
            shutil.rmtree(template)
            shutil.rmtree(work)
            return calls - 1


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder, chance = Path(sys.argv[1]), random.Random(1)  # noqa: S311 - to be repeated
    arm = ctypes.CDLL(None).kill_at
    sys.stdout.write(json.dumps({name: play(folder, name, arm, chance) for name in SCENES}) + "\n")


if __name__ == "__main__":
    main()
