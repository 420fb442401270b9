"""The last sign-in of each user, read from the audit log: it survives a restart of the page."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.audit.newest_first import entries_newest_first

if TYPE_CHECKING:
    from pathlib import Path

MOST_READ = 20_000
"""Entries of the log that are read at a time."""

MOST_KNOWN = 2_000
"""Users whose sign-ins are kept; those without a sign-in for longest are left out."""


class SignIn(NamedTuple):
    """A sign-in: its time in microseconds since the epoch, and the role that the user had."""

    time: int
    role: str


class User(NamedTuple):
    """A user by the way of the sign-in, `password` or `oidc`: the same name may exist in both."""

    name: str
    method: str


class SignIns:
    """The last sign-ins. `read` may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Prepare for the log of a folder; no I/O before the first `read`."""
        self.since = 0
        """The time of the oldest entry that was read, 0 if the whole log was: older sign-ins are not known."""
        self._folder = folder
        self._newest = 0
        self._known: dict[User, SignIn] = {}
        self._lock = threading.Lock()

    def read(self) -> dict[User, SignIn]:
        """Read the entries since the last look, and return the sign-ins. Raises `OSError`."""
        with self._lock:
            found: dict[User, SignIn] = {}
            newest = 0
            for number, entry in enumerate(entries_newest_first(self._folder)):
                if entry is None:
                    continue
                if not newest and entry["n"] < self._newest:  # another log is in the place of the log
                    self._newest, self._known = 0, {}
                newest = max(newest, entry["n"])
                if entry["n"] <= self._newest:
                    break
                if number >= MOST_READ:
                    self.since = entry["time"]
                    break
                _note(found, entry)
            self._newest = max(self._newest, newest)
            together = sorted((self._known | found).items(), key=lambda one: one[1].time)
            self._known = dict(together[-MOST_KNOWN:])
            return dict(self._known)


def _note(found: dict[User, SignIn], entry: dict[str, Any]) -> None:
    """Note the sign-in of an entry, unless a newer of the same user is there."""
    after = entry["after"]
    if entry["action"] == "login" and entry["outcome"] == "done" and isinstance(after, dict):
        user = User(entry["who"], str(after.get("method", "")))
        found.setdefault(user, SignIn(entry["time"], str(after.get("role", ""))))
