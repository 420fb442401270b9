"""A line on the terminal that says what a command is doing, for work that takes longer than a moment."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

from gateway.common.text import printable

if TYPE_CHECKING:
    from types import TracebackType

DELAY = 1.0
"""Seconds before the line appears: shorter work needs no line."""

REDRAW = 0.2
"""Seconds between two pictures of the line."""

_ERASE = "\r\033[K"


class Progress:
    """The line, from `with` to its end, when it is erased. It goes to standard error, and only to a terminal.

    A thread draws it, so that work which does not look up is seen as well, with the time that it takes. `show` is
    cheap and may be called as often as there is progress, from any thread.
    """

    def __init__(self, text: str = "") -> None:
        self._text = text
        self._drawn = False
        self._began = 0.0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._draw, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._erase()

    def show(self, text: str) -> None:
        """Say what is being done; an empty text erases the line at once."""
        self._text = text
        if not text:
            with self._lock:
                self._erase()

    def count(self, done: int, total: int, things: str) -> None:
        """Say how much is done, as `12 of 100 devices read`."""
        self._text = f"{done:,} of {total:,} {things}"

    def print(self, line: str) -> None:
        """Print a line to standard error, above the line of the progress."""
        with self._lock:
            self._erase()
            print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - its purpose

    def _draw(self) -> None:
        pause = DELAY
        while not self._end.wait(pause):
            pause = REDRAW
            with self._lock:
                self._erase()
                if self._text:
                    line = f"{printable(self._text)}  {time.monotonic() - self._began:.0f} s"
                    self._write(line[: shutil.get_terminal_size().columns - 1])
                    self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._write(_ERASE)
            self._drawn = False

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:  # the terminal is gone, and the work goes on
            pass
