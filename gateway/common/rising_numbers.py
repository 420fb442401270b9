"""Numbers that only rise: over restarts, in several processes of one box, and while the clock is set back.

A number is the time of the box in microseconds since the epoch, UTC, unless an earlier number was not below it: then
the numbers go on from the earlier number, at the pace of the monotonic clock. A file keeps the highest for the next
start.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.own_files import read_own
from gateway.common.atomic_file import save_json
from gateway.common.state_log import RepeatLog

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

SAVE_EVERY = 10.0
"""Seconds between two saves. A process that is killed may have used numbers of so many seconds that no file has."""

MAX_FILE_BYTES = 1_000
"""Bytes of the file."""

LARGEST = 2**62
"""The largest number that is read from a file: the numbers after it fit into 64 bits for as long as a box lives."""


class _File(BaseModel):
    """The content of the file: a number that no number before it exceeds."""

    model_config = ConfigDict(strict=True, frozen=True)

    number: Annotated[int, Field(ge=0, le=LARGEST)]


class RisingNumbers:
    """The numbers of a process. Processes that share a file begin above the numbers of each other."""

    def __init__(self, file: Path) -> None:
        """Prepare; no I/O before `begin`."""
        self._file = file
        self._last = self._saved = 0
        self._at = time.monotonic_ns()
        self._repeated = RepeatLog(log)

    async def begin(self) -> None:
        """Read the file, and save it. One that can't be used is logged: the numbers begin with the clock."""
        try:
            stored = await asyncio.to_thread(_read, self._file)
        except FileNotFoundError:
            stored = 0
        except (OSError, ValueError) as error:
            log.warning("sign_numbers.unreadable", file=str(self._file), error=str(error))
            stored = 0
        if stored:
            self._last = max(self._last, stored + round(SAVE_EVERY * 1e6))
        self.next()
        await self.save()

    def next(self) -> int:
        """Return a number above all before it."""
        now = time.monotonic_ns()
        passed, self._at = (now - self._at) // 1000, now
        self._last = max(time.time_ns() // 1000, self._last + max(1, passed))
        return self._last

    async def keep(self) -> None:
        """Save the numbers from time to time, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_EVERY)
            await self.save()

    async def save(self) -> None:
        """Save the highest number, in a thread. A disk that fails is logged, and tried again later."""
        number = self._last
        if number == self._saved:
            return
        try:
            await asyncio.to_thread(_save, self._file, number)
        except OSError as error:
            self._repeated.warning("sign_numbers.not_saved", file=str(self._file), error=str(error))
        else:
            self._saved = number


def _read(file: Path) -> int:
    """Return the number in a file. Raises `OSError`, or `ValueError` with a short text."""
    content = read_own(file, MAX_FILE_BYTES)
    try:
        return _File.model_validate_json(content).number
    except ValidationError:
        raise ValueError("is not a number of this gateway or ingest; remove the file") from None


def _save(file: Path, number: int) -> None:
    """Save a number, unless another process has saved a higher number. Raises `OSError`."""
    with suppress(FileNotFoundError, ValueError):
        number = max(number, _read(file))
    save_json(file, {"number": number})
