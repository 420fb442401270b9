"""The mount that a path is on, from `/proc/self/mountinfo` (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 4 * 2**20
"""Bytes of the list of mounts that are read; a host of containers has some thousand lines."""

_LEAST_FIELDS = 6
"""Fields before the optional fields."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mounted file system: the number of its device (`8:1`), where it is mounted, its type and its source."""

    device: str
    point: str
    type: str
    source: str


def mounts_in(text: str) -> Iterator[Mount]:
    """Yield the mounts of a mountinfo file in its order; a line of another form is left out."""
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if separator and len(fields) >= _LEAST_FIELDS and len(rest) > 1:
            yield Mount(fields[2], _plain(fields[4]), rest[0], _plain(rest[1]))


def mount_of(path: str, text: str) -> Mount | None:
    """Return the mount that an absolute path without links is on: the deepest, and of those the newest."""
    at = PurePosixPath(path)
    found = [one for one in mounts_in(text) if at.is_relative_to(one.point)]
    # of mounts with the same depth the last: a later mount hides an earlier one
    return max(reversed(found), key=lambda one: len(PurePosixPath(one.point).parts), default=None)


def _plain(field: str) -> str:
    """Return a field without the escapes of space, tab, newline and backslash."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
