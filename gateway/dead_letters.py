"""What can't be stored is set aside in a file, with the reason, for a person to look at."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from pathlib import Path


class DeadLetters:
    """A file of JSON lines, bounded: when it is full it becomes `.1`, and the `.1` before it goes.

    Of a payload that is too large for the bound only the beginning is kept, with its whole size as `cut_from`.
    """

    def __init__(self, file: Path, max_size: int) -> None:
        self.file = file
        self.count = 0
        self._half = max_size // 2

    def add(self, topic: str, reason: str, payload: bytes) -> None:
        """Set a payload aside. It is written before this returns."""
        self.count += 1
        entry: dict[str, str | int] = {"time": datetime.now(UTC).isoformat(), "topic": topic, "reason": reason}
        line = _line(entry, payload)
        if len(line) > self._half:
            line = _line(
                entry | {"cut_from": len(payload)}, payload[: self._half // 8]
            )  # JSON may need six times that
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.file.exists() and self.file.stat().st_size + len(line) > self._half:
            self.file.replace(self.file.with_name(self.file.name + ".1"))
        with self.file.open("ab") as file:
            file.write(line)


def _line(entry: dict[str, str | int], payload: bytes) -> bytes:
    try:
        written = {"payload": payload.decode()}
    except UnicodeDecodeError:
        written = {"base64": base64.b64encode(payload).decode()}
    return orjson.dumps(entry | written, option=orjson.OPT_APPEND_NEWLINE)
