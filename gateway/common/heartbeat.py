"""A sign of life for whoever supervises a service: a file that is touched as long as the event loop runs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EVERY = 2.0
"""Seconds between two signs."""

STALE = 15.0
"""Seconds after which a missing sign means that the service hangs."""


async def beat(file: Path) -> None:
    """Touch `file` until cancelled, then remove it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        while True:
            file.touch()
            await asyncio.sleep(EVERY)
    finally:
        file.unlink(missing_ok=True)


def check_heartbeats(folder: Path) -> tuple[bool, str]:
    """Return whether every service that works in `folder` is alive, and what to say about it."""
    signs = {file.name: time.time() - file.stat().st_mtime for file in sorted(folder.glob("*.alive"))}
    if not signs:
        return False, f"no service runs in {folder}"
    told = ", ".join(f"{name.removesuffix('.alive')}: {age:.0f} s ago" for name, age in signs.items())
    return all(age < STALE for age in signs.values()), f"last sign of life: {told}"
