"""Write log lines in a thread of their own: a log that can't be written never delays or ends a service.

The reader of a pipe may stop reading, a disk may be full or hang, a terminal may be suspended with Ctrl-S. Lines wait
in a bounded queue. Lines without room there, and lines that can't be written, are lost and counted; an event says how
many as soon as a line can be written again.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.common.log_limits import LOOK_EVERY, LineLimit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from gateway.common.log_limits import LogKey, Suppressed

MAX_WAITING = 2 * 2**20
"""Characters of lines that wait to be written."""

FLUSH_SECONDS = 0.5
"""Seconds that the end of a process waits for lines that are not written yet: a stop has five seconds in all."""

EVENT_LINES, EVENT_SECONDS = 100, 10.0
"""Lines of one event within a window, and its seconds. A plant whose 100 machines stop together fits."""

LIBRARY_SECONDS = 60.0
"""Seconds between two lines with the same message of a library."""

SELF = "gateway.common.log_writer"
"""The logger of the events about the log itself."""

_POLL_MILLISECONDS = 1000


class LogWriter(logging.Handler):
    """The only handler of the process: formats records where they are logged, and writes them in its thread.

    `key` returns the name of a record's event, and whether its lines are limited as those of a library; None for
    lines without a limit. `about` makes a record of an event about the log itself.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        key: Callable[[logging.LogRecord], tuple[LogKey, bool] | None],
        about: Callable[..., logging.LogRecord],
    ) -> None:
        """Start the thread; `write` writes a line, and raises where it can't."""
        super().__init__()
        self._write = write
        self._key = key
        self._about = about
        self._events = LineLimit(EVENT_LINES, EVENT_SECONDS)
        self._libraries = LineLimit(1, LIBRARY_SECONDS)
        self._lines: deque[str] = deque()
        self._size = 0
        self._lost = 0
        self._error = ""
        self._busy = self._closing = self._stuck = self._idle = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record. Never blocks and never raises: the caller has other work than its log."""
        try:
            line = self._line(record)
        except Exception as error:  # noqa: BLE001 - any field may fail to show itself; that must not end its service
            line = None
            self._lose(f"a line can't be formatted: {type(error).__name__}")
        if line is not None:
            self._queue(line)

    def _line(self, record: logging.LogRecord) -> str | None:
        """Return the text of a record, None where its event has too many lines."""
        if (found := self._key(record)) is not None:
            key, is_library = found
            with self._change:
                limit = self._libraries if is_library else self._events
                if not limit.allows(key, time.monotonic()):
                    if limit.suppressing == 1 and self._idle:
                        self._change.notify_all()  # the thread has a summary to write, later
                    return None
        return f"{self.format(record)}\n"

    def _queue(self, line: str) -> None:
        with self._change:
            if self._size + len(line) > MAX_WAITING:
                self._lost += 1
                self._error = self._error or "lines are written too slowly"
                return
            self._lines.append(line)
            self._size += len(line)
            self._change.notify_all()

    def _lose(self, error: str) -> None:
        with self._change:
            self._lost += 1
            self._error = error

    # -- in the thread --

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._lines and not self._closing:
                    self._idle = not (self._events.suppressing or self._libraries.suppressing)
                    self._change.wait(None if self._idle else LOOK_EVERY)
                    self._idle = False
                line = self._lines.popleft() if self._lines else None
                self._size -= len(line or "")
                self._busy = line is not None
                ends = self._closing and line is None
                summaries = self._summaries(all_of_them=ends)
            if line is not None:
                self._write_line(line)
            for summary in summaries:
                self._write_line(self._text("log.suppressed", summary))
            with self._change:
                self._busy = False
                self._change.notify_all()
            if ends:
                return

    def _summaries(self, *, all_of_them: bool) -> list[Suppressed]:
        limits = self._events, self._libraries
        if all_of_them:
            return [one for limit in limits for one in limit.take_all()]
        return [one for limit in limits for one in limit.take_ended(time.monotonic())]

    def _text(self, event: str, summary: Suppressed) -> str:
        name, part = summary.key
        fields = {"of": name or "other events"} | ({"source": part} if part else {})
        return self._own(event, **fields, suppressed=summary.lines, seconds=round(summary.seconds))

    def _own(self, event: str, **fields: object) -> str:
        return f"{self.format(self._about(SELF, event, **fields))}\n"

    def _write_line(self, line: str) -> None:
        try:
            if self._lost:
                with self._change:
                    lost, error = self._lost, self._error
                self._write(self._own("log.lines_lost", lines=lost, error=error))
                with self._change:
                    self._lost -= lost
                    self._error = ""
            self._write(line)
        except Exception as error:  # noqa: BLE001 - a full disk, a closed stream: nothing may end the thread
            self._lose(str(error) or type(error).__name__)

    # -- the end --

    def flush(self) -> None:
        """Wait until all lines are written, at most `FLUSH_SECONDS`, and not a second time for a stuck log."""
        deadline = time.monotonic() + FLUSH_SECONDS
        with self._change:
            while self._lines or self._busy:
                left = deadline - time.monotonic()
                if self._stuck or left <= 0:
                    self._stuck = True
                    return
                self._change.wait(left)
            self._stuck = False

    def close(self) -> None:
        """Write waiting lines and the last summaries, and end the thread; a thread that is stuck is left alone."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(0 if self._stuck else FLUSH_SECONDS)
        super().close()


def writer_of(stream: TextIO | None) -> Callable[[str], None]:
    """Return the function that writes a line to a stream, at once and as a whole.

    The buffer of the stream is avoided where there is a file descriptor: a line that can't be written would stay in
    it, and its lock would stop the process at its end. Without a stream (file descriptor 2 is closed) lines vanish.
    """
    if stream is None:
        return lambda _: None
    with suppress(OSError, ValueError, AttributeError):  # a stream in memory has none
        return _DescriptorWriter(stream.fileno(), stream.encoding or "utf-8")

    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


class _DescriptorWriter:
    """Writes each line with one call, so that the lines of several processes do not mix."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._is_cut = False

    def __call__(self, line: str) -> None:
        """Write a line. Raises `OSError`; the next line then begins on a line of its own."""
        data = line.encode(self._encoding, "backslashreplace")
        if self._is_cut:
            data = b"\n" + data
        left = data
        try:
            while left:
                left = left[self._write(left) :]
        finally:
            self._is_cut = bool(left) and (self._is_cut or len(left) < len(data))

    def _write(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process has made the shared descriptor non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(_POLL_MILLISECONDS)
