"""A file that keeps what ingest has learned over restarts: replaced as a whole, in a thread, when it has changed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.atomic_file import replace_file
from gateway.common.state_log import StateLog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from gateway.common.worker_thread import WorkerThread

SAVE_TIMEOUT = 1.0
"""Seconds to wait for the disk."""


class SaveEvents(NamedTuple):
    """The names of the log events of saving, after a failure and in general."""

    not_saved: str
    saved: str
    unstable: str


class SavedFile(ABC):
    """The content of one file. Without a file it is lost at a restart."""

    def __init__(self, file: Path | None, log: FilteringBoundLogger, events: SaveEvents) -> None:
        """Prepare; no I/O."""
        self._file = file
        self.changed = False
        """Whether the content differs from that of the file."""
        self._events = events
        self._state = StateLog(log, events.unstable, file=str(file))

    @abstractmethod
    def _pieces(self) -> Iterable[bytes]:
        """Return the content of the file in pieces."""

    async def save(self, disk: WorkerThread, *, wait: bool = False) -> None:
        """Replace the file if its content has changed; a disk that fails or hangs does not stop ingest.

        While an earlier call is under way the content is left to the next save. `wait` is for content that must be on
        the disk now: it waits for that call, which may be an earlier save of the same file.
        """
        if disk.busy and not wait:
            return
        try:
            async with asyncio.timeout(SAVE_TIMEOUT):
                await disk.idle()
                if (pieces := self._snapshot()) is not None:
                    await disk.run(self._replace, pieces)
        except asyncio.CancelledError:
            self.changed = True  # the thread goes on, and nobody will know how it ends
            raise
        except OSError as error:  # also `TimeoutError`
            self._note_saved(error)
        else:
            self._note_saved(None)

    def _snapshot(self) -> list[bytes] | None:
        """Return the content of the file in pieces; None if nothing has changed."""
        if not self.changed or self._file is None:
            return None
        self.changed = False
        return list(self._pieces())

    def _replace(self, pieces: list[bytes]) -> None:
        """Replace the file, in the thread. Raises `OSError`."""
        if self._file is not None:
            replace_file(self._file, pieces)

    def _note_saved(self, error: Exception | None) -> None:
        """Process the result of a save. A failure is logged once, and the file is saved again later."""
        if error is not None:
            self.changed = True
            self._state.enter(self._events.not_saved, error=str(error) or "the disk does not answer")
        elif self._state.state:
            self._state.enter(self._events.saved, healthy=True)
