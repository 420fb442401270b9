"""A heartbeat for whatever supervises a service: a file that is touched as long as the event loop runs."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from drivers.timer_grid import wait_for_slot
from gateway.common.own_files import open_or_make
from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EVERY = 4.0
"""Seconds between two heartbeats."""

STALE = 15.0
"""Seconds after which a missing heartbeat means that the service hangs."""


async def beat(file: Path) -> None:
    """Touch `file` until cancelled, then remove it. A file that can't be written is logged once."""
    writing = BestEffort("heartbeat", file=str(file))
    try:
        while True:
            with writing:
                await asyncio.to_thread(_touch, file)
            await wait_for_slot(EVERY)
    finally:
        with writing:
            file.unlink(missing_ok=True)


def _touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_or_make(file, os.O_WRONLY)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


class Heartbeat(NamedTuple):
    """The last heartbeat of a service: its name, and the seconds since then."""

    service: str
    seconds: float

    @property
    def alive(self) -> bool:
        """Whether the event loop of the service runs."""
        return self.seconds < STALE


def heartbeats(folder: Path) -> list[Heartbeat]:
    """Return the last heartbeat of each service that works in `folder`."""
    files = sorted(folder.glob("*.alive"))
    # a service that stops removes its file
    return [
        Heartbeat(file.name.removesuffix(".alive"), age) for file in files if (age := heartbeat_age(file)) is not None
    ]


def summary(found: Sequence[Heartbeat]) -> str:
    """Return a line of text about heartbeats; empty without any."""
    listed = ", ".join(f"{one.service}: {one.seconds:.0f} s ago" for one in found)
    return f"last sign of life: {listed}" if found else ""


def heartbeat_age(file: Path) -> float | None:
    """Return the seconds since the last heartbeat; None where there is no file: the service has stopped in order."""
    try:
        return max(0.0, time.time() - file.stat().st_mtime)
    except OSError:
        return None
