"""Entries of an audit log from the newest on, for a reader who wants the last of them. Nothing is verified.

A log may grow, and lose its oldest file, while it is read: the reader has no lock, so that no entry waits for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from drivers.own_files import open_own
from gateway.audit.entry import LONGEST_LINE, Malformed, parse_line
from gateway.audit.files import log_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 64 * 2**10
"""Bytes that are read at a time."""


def entries_newest_first(folder: Path, before: int | None = None) -> Iterator[dict[str, Any] | None]:
    """Yield the entries of a log whose numbers are below `before`; None for each line that is not an entry.

    A last line without a line feed is one that is being written, and is left out. Raises `OSError`.
    """
    for file in reversed(log_files(folder)):
        try:
            opened = os.fdopen(open_own(file), "rb")
        except FileNotFoundError:  # the oldest file has made room
            return
        with opened:
            if before is not None and (_number(opened.readline(LONGEST_LINE)) or 0) >= before:
                continue
            for line in _lines_backward(opened):
                if before is not None and (_number(line) or 0) >= before:
                    continue
                try:
                    yield parse_line(line)
                except Malformed:
                    yield None


def _number(line: bytes) -> int | None:
    """Return the number of the entry of a line, without a check of the rest; None if there is none."""
    try:
        found = orjson.loads(line)["n"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if type(found) is int else None


def _lines_backward(opened: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file with their line feeds, the last first. A line that is too long is cut."""
    place = opened.seek(0, os.SEEK_END)
    rest, is_last = b"", True
    while place > 0:
        step = min(_BLOCK, place)
        place -= step
        opened.seek(place)
        *others, first = reversed((opened.read(step) + rest).split(b"\n"))
        for line in others:
            if not is_last:
                yield line + b"\n"
            is_last = False
        rest = first[-LONGEST_LINE:]
    if rest and not is_last:
        yield rest + b"\n"
