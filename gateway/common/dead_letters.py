"""What can't be stored is set aside in a file, with the reason, for a person to look at."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class DeadLetters:
    """A file of JSON lines, bounded: when it is full it becomes `.1`, and the `.1` before it goes.

    Of a payload that is too large for the bound only the beginning is kept, with its whole size as `cut_from`.
    """

    def __init__(self, file: Path, max_size: int) -> None:
        self.file = file
        self.count = 0
        self._half = max_size // 2

    def add(self, topic: str, reason: str, payload: bytes, **more: int) -> None:
        """Set a payload aside, with more that is known of it. It is written before this returns."""
        self.count += 1
        entry: dict[str, str | int] = {"time": datetime.now(UTC).isoformat(), "topic": topic, "reason": reason} | more
        line = _line(entry, payload)
        if len(line) > self._half:
            line = _line(
                entry | {"cut_from": len(payload)}, payload[: self._half // 8]
            )  # JSON may need six times that
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists() and self.file.stat().st_size + len(line) > self._half:
            self.file.replace(_older(self.file))
        with self.file.open("a+b") as file:
            file.write(line if _ends_whole(file) else b"\n" + line)


def ingest_letters(folder: Path, ingest: str) -> Path:
    """Return the file of what ingest sets aside."""
    return folder / f"{ingest}.dead-letters.jsonl"


def read_letters(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what was set aside in a file and the one before it, oldest first.

    Raises `OSError` where a file is there and can't be read.
    """
    for part in (_older(file), file):
        if part.exists():
            with part.open("rb") as opened:
                for line in opened:
                    yield _entry(line)


def _older(file: Path) -> Path:
    return file.with_name(file.name + ".1")


def _ends_whole(file: BinaryIO) -> bool:
    """Return whether the last line was written to its end: a power cut may have cut it."""
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


def _line(entry: dict[str, str | int], payload: bytes) -> bytes:
    try:
        written = {"payload": payload.decode()}
    except UnicodeDecodeError:
        written = {"base64": base64.b64encode(payload).decode()}
    return orjson.dumps(entry | written, option=orjson.OPT_APPEND_NEWLINE)
