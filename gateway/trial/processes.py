"""Services as child processes, that end with their parent however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LINESIDE = ("gateway", "--log", "json")
"""The command `lineside`."""

STOP_SECONDS = 8.0
"""A service that has not ended so long after SIGTERM is killed; they promise 5 s."""


LOOK_EVERY = 0.05
"""Seconds between two looks into a log."""

FIRST_WORDS = 64 * 2**10
"""Characters at the beginning of a log, in which a service says that it has started."""


class Service:
    """One command in a process of its own. Its log goes to a file."""

    def __init__(self, name: str, log: Path, *arguments: str, nice: int = 0) -> None:
        """Prepare; `nice` lets other processes go first."""
        self.name = name
        self.log = log
        self._arguments = arguments
        self._nice = nice
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *LINESIDE, *self._arguments, "--with-stdin",
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops them in order
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        if self._nice:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, self._nice)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.returncode

    async def ended(self) -> int:
        """Wait until the process has ended."""
        return await self._process.wait()

    async def logged(self, event: str, seconds: float) -> None:
        """Wait until the process has logged an event of its start, has ended, or the time is over."""
        deadline = time.monotonic() + seconds
        while self._process.returncode is None and time.monotonic() < deadline:
            if f'"event": "{event}"' in await asyncio.to_thread(self._first_words):
                return
            await asyncio.sleep(LOOK_EVERY)

    def _first_words(self) -> str:
        with self.log.open(encoding="utf-8", errors="replace") as log:
            return log.read(FIRST_WORDS)

    async def stop(self) -> None:
        """Stop with SIGTERM, and wait."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def last_words(self) -> str:
        """Return its error messages for people, or the end of its log without such a message."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([line for line in lines if line.startswith("lineside: ")] or lines[-5:])
