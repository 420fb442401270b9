"""The status of a service, in a file beside its other files: `lineside status` reads it on the same box.

The file is replaced every few seconds, and a last time when the service stops. It is not forced onto the disk: after
a power cut it may be old or missing, which its reader can see.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.timer_grid import wait_for_slot
from gateway import __version__
from gateway.common.atomic_file import save_json
from gateway.common.tasks import BestEffort

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WRITE_EVERY = 5.0
"""Seconds between two writes."""

RECENT = 60.0
"""Seconds that count as recent."""

VERSION = 1
"""The version of the format."""


def status_file(folder: Path, name: str) -> Path:
    """Return the status file of an ingest, a gateway, or a worker of a gateway."""
    return folder / f"{name}.status.json"


def process_start(pid: int) -> int:
    """Return when a process was started, in clock ticks since the boot of the system; 0 if it does not run.

    A process with the same id and another start is another process. See proc(5), field 22 of `stat`.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


class RecentCounts:
    """How much some counts have grown within the last `RECENT` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Note the counts of now; return their growth, and `seconds`, the time in which they grew."""
        now = time.monotonic()
        self._samples.append((now, dict(counts)))
        while len(self._samples) > 1 and now - self._samples[1][0] >= RECENT:
            self._samples.popleft()
        before, then = self._samples[0]
        grown = {name: max(0, count - then.get(name, 0)) for name, count in counts.items()}
        return grown | {"seconds": round(now - before)}


class StatusFile:
    """Writes the status of a service until cancelled. A file that can't be written is logged once."""

    def __init__(self, file: Path, head: Mapping[str, Any], content: Callable[[], Mapping[str, Any]]) -> None:
        """Prepare; `head` is the part that stays: `service` and `id`. `content` returns the rest at each write."""
        self.file = file
        self._content = content
        self._writing = BestEffort("status file", file=str(file))
        self._head = {
            "v": VERSION, "version": __version__, "pid": os.getpid(), "process_start": process_start(os.getpid()),
            "started": time.time_ns() // 1000,
        } | dict(head)  # fmt: skip

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self.write(stopped=False)
            await wait_for_slot(WRITE_EVERY)

    async def close(self) -> None:
        """Write that the service has stopped."""
        await self.write(stopped=True)

    async def write(self, *, stopped: bool) -> None:
        """Write the file once."""
        with self._writing:
            content = self._head | {"time": time.time_ns() // 1000, "stopped": stopped} | dict(self._content())
            await asyncio.to_thread(save_json, self.file, content, durable=False)
