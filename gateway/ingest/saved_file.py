"""A file that keeps what ingest has learned over restarts: replaced as a whole, in a thread, when it has changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.atomic_file import replace_file
from gateway.common.state_log import StateLog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger


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
        self._changed = False
        """Whether the content differs from that of the file."""
        self._events = events
        self._state = StateLog(log, events.unstable, file=str(file))

    @abstractmethod
    def _pieces(self) -> Iterable[bytes]:
        """Return the content of the file in pieces."""

    def snapshot(self) -> list[bytes] | None:
        """Return the content of the file in pieces for `save` in a thread; None if nothing has changed."""
        if not self._changed or self._file is None:
            return None
        self._changed = False
        return list(self._pieces())

    def save(self, pieces: list[bytes]) -> None:
        """Replace the file. Call it in a thread, because it waits for the disk. Raises `OSError`."""
        if self._file is not None:
            replace_file(self._file, pieces)

    def note_saved(self, error: Exception | None) -> None:
        """Process the result of a save. A failure is logged once, and the file is saved again later."""
        if error is not None:
            self._changed = True
            self._state.enter(self._events.not_saved, error=str(error) or "the disk does not answer")
        elif self._state.state:
            self._state.enter(self._events.saved, healthy=True)
