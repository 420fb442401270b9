"""A trial in a thread of its own, for callers without an event loop, such as tests."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from gateway.trial.trial import Trial, TrialFailed

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.trial.trial import Options

STOP_SECONDS = 60.0
"""The longest time in seconds that a stop may take: every service has its own limit."""


class Background:
    """One trial of one factory, from `start` to `stop`."""

    def __init__(self, folder: Path, config: Path, options: Options) -> None:
        """Prepare; nothing is started."""
        self._trial = Trial(folder, [config], options)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trial of {config}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event
        self._error: BaseException | None = None

    @property
    def store(self) -> Path:
        """The database of the stored readings."""
        return self._trial.store

    @property
    def factory(self) -> Factory:
        """The factory in use: with simulated machines, and with the trial's own broker and store."""
        return self._trial.factories[0]

    def start(self) -> None:
        """Start everything, and wait until it works. Raises `TrialFailed`."""
        self._thread.start()
        self._ready.wait()
        self.check()

    def check(self) -> None:
        """Raise `TrialFailed` if a service has ended."""
        if self._error is not None:
            raise TrialFailed(str(self._error)) from self._error

    def stop(self) -> None:
        """Stop in the order of the flow, and wait."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with self._trial as trial:
            self._ready.set()
            await trial.hold(self._stop.wait())
