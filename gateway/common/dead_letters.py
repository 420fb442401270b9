"""The dead-letter file: payloads that can't be stored, with the reason, for a person to look at."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from drivers.own_files import open_own
from gateway.common.own_files import open_or_make

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import FileIO
    from pathlib import Path

MAX_LINE = 64 * 2**20
"""Bytes of a line that are read back: more than any file's bound leaves for one."""


class DeadLetter(NamedTuple):
    """A payload that can't be stored. `details` are further numbers that are known of it, such as its `seq`."""

    topic: str
    reason: str
    payload: bytes
    details: Mapping[str, int] = {}


class DeadLetters:
    """A file of JSON lines, bounded: a full file is renamed to `.1`, and replaces an earlier `.1`.

    Only the beginning of a payload that is larger than the bound is kept, with its full size as `cut_from`. `count`
    is the number of letters written.
    """

    def __init__(self, file: Path, max_size: int) -> None:
        self.file = file
        self.count = 0
        self._half = max_size // 2

    def add(self, topic: str, reason: str, payload: bytes, **details: int) -> None:
        """Write one letter; see `write`."""
        self.write([DeadLetter(topic, reason, payload, details)])

    def write(self, letters: Iterable[DeadLetter]) -> None:
        """Append letters, with one fsync for all: they are on the disk when this returns.

        Raises `OSError` where they are not; the caller keeps them, and may write all of them again.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines: list[bytes] = []
        size = self._size()
        created = size == 0
        for letter in letters:
            line = self._line(letter)
            if lines and size + len(line) > self._half:
                self._append(lines)
                lines, size = [], self._size()
            if size and size + len(line) > self._half:
                self.file.replace(_older(self.file))
                size, created = 0, True
            lines.append(line)
            size += len(line)
        if lines:
            self._append(lines)
        if created:
            _sync_folder(self.file.parent)

    def _size(self) -> int:
        try:
            return self.file.lstat().st_size
        except FileNotFoundError:
            return 0

    def _append(self, lines: list[bytes]) -> None:
        with os.fdopen(open_or_make(self.file, os.O_RDWR | os.O_APPEND), "a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            content = b"".join(lines if _ends_whole(file) else [b"\n", *lines])
            try:
                written = 0
                while written < len(content):  # a nearly full disk takes a part
                    written += file.write(content[written:])
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # so that letters are not there twice after another attempt
                    file.truncate(size)
                raise
        self.count += len(lines)

    def _line(self, letter: DeadLetter) -> bytes:
        topic, reason, payload, details = letter
        entry: dict[str, str | int] = {"time": datetime.now(UTC).isoformat(), "topic": topic, "reason": reason}
        entry |= details
        line = _encode(entry, payload)
        if len(line) > self._half:  # JSON may need six times the size of the payload
            line = _encode(entry | {"cut_from": len(payload)}, payload[: self._half // 8])
        return line


def ingest_letters(folder: Path, ingest: str) -> Path:
    """Return the dead-letter file of an ingest."""
    return folder / f"{ingest}.dead-letters.jsonl"


def read_letters(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the letters of a file and of its predecessor, oldest first.

    Raises `OSError` where a file exists and can't be read.
    """
    for part in (_older(file), file):
        if part.exists():
            with os.fdopen(open_own(part), "rb") as opened:
                while line := opened.readline(MAX_LINE):
                    yield _entry(line)


def _older(file: Path) -> Path:
    return file.with_name(file.name + ".1")


def _sync_folder(folder: Path) -> None:
    """Make the names of files durable, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ends_whole(file: FileIO) -> bool:
    """Return whether the last line is complete: a power cut may have cut it."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"


def _entry(line: bytes) -> dict[str, Any]:
    with suppress(orjson.JSONDecodeError):
        entry = orjson.loads(line)
        if isinstance(entry, dict):
            return entry
    return {
        "time": "",
        "topic": "",
        "reason": "this line is no longer whole",
        "payload": line.decode(errors="replace"),
    }


def _encode(entry: dict[str, str | int], payload: bytes) -> bytes:
    try:
        written = {"payload": payload.decode()}
    except UnicodeDecodeError:
        written = {"base64": base64.b64encode(payload).decode()}
    return orjson.dumps(entry | written, option=orjson.OPT_APPEND_NEWLINE)
