"""A heartbeat for whatever supervises a service: a file that is touched as long as the event loop runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from drivers.timer_grid import wait_for_slot
from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
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
    file.touch()


def heartbeat_age(file: Path) -> float | None:
    """Return the seconds since the last heartbeat; None where there is no file: the service has stopped in order."""
    try:
        return max(0.0, time.time() - file.stat().st_mtime)
    except OSError:
        return None


def check_heartbeats(folder: Path) -> tuple[bool, str]:
    """Return whether every service that works in `folder` is alive, and a line of text that says so."""
    ages = {file.name: time.time() - file.stat().st_mtime for file in sorted(folder.glob("*.alive"))}
    if not ages:
        return False, f"no service runs in {folder}"
    listed = ", ".join(f"{name.removesuffix('.alive')}: {age:.0f} s ago" for name, age in ages.items())
    return all(age < STALE for age in ages.values()), f"last sign of life: {listed}"
