"""Bound the lines of one log event: a burst passes, further lines of its window are counted and summarised."""

from __future__ import annotations

from typing import NamedTuple

MAX_KEYS = 1_000
"""Events that are counted apart within their windows; further events are counted together."""

LOOK_EVERY = 1.0
"""Seconds between two looks for windows that have ended."""

OTHERS = ("", "")
"""The key of events beyond `MAX_KEYS`."""

LogKey = tuple[str, str]
"""The name of an event, and the part of it that is counted apart: a logger and its message, or nothing."""


class Suppressed(NamedTuple):
    """The lines of an event that were not written within a window of so many seconds."""

    key: LogKey
    lines: int
    seconds: float


class _Window:
    """The lines of one event since a time."""

    __slots__ = ("began", "lines", "suppressed")

    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = 0
        self.suppressed = 0


class LineLimit:
    """At most `most` lines of each event in a window of `seconds`, which begins with its first line."""

    def __init__(self, most: int, seconds: float) -> None:
        self.seconds = seconds
        self.suppressing = 0
        """Windows with suppressed lines."""
        self._most = most
        self._windows: dict[LogKey, _Window] = {}
        self._look_at = 0.0

    def allows(self, key: LogKey, now: float) -> bool:
        """Return whether a line may be written at a monotonic time; otherwise it is counted."""
        window = self._windows.get(key)
        if window is None and len(self._windows) >= MAX_KEYS:
            key = OTHERS
            window = self._windows.get(key)
        if window is None or (now - window.began >= self.seconds and not window.suppressed):
            window = self._windows[key] = _Window(now)
        if window.lines < self._most:
            window.lines += 1
            return True
        self.suppressing += not window.suppressed
        window.suppressed += 1
        return False

    def take_ended(self, now: float) -> list[Suppressed]:
        """Return the counts of windows that have ended with suppressed lines, and forget all ended windows.

        It looks at most once in `LOOK_EVERY` seconds.
        """
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY
        return self._take([key for key, one in self._windows.items() if now - one.began >= self.seconds])

    def take_all(self) -> list[Suppressed]:
        """Return the counts of all windows, ended or not, and forget them: the process ends."""
        return self._take(list(self._windows))

    def _take(self, keys: list[LogKey]) -> list[Suppressed]:
        found = []
        for key in keys:
            if count := self._windows.pop(key).suppressed:
                self.suppressing -= 1
                found.append(Suppressed(key, count, self.seconds))
        return found
