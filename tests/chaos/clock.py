"""The wall clocks that the gateway and ingest see, which faults step; their monotonic clocks are true.

libfaketime is preloaded into the process that these commands are forked from, so that each still starts at once. Each
process has a file with the offset of its clock.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import forked

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1")

PRELOADED = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
"""The last one: with this fix each wait of a thread of Python for the interpreter returns at once, and it spins."""


@contextmanager
def preloaded() -> Iterator[bool]:
    """Let the commands that are started see clocks of their own; yields whether libfaketime is installed."""
    library = next((str(found) for pattern in LIBRARIES for found in Path("/usr/lib").glob(pattern)), None)
    if library is None:
        yield False
        return
    changed = PRELOADED | {"LD_PRELOAD": library}
    with forked.apart():
        os.environ.update(changed)
        try:
            yield True
        finally:
            for name in changed:
                os.environ.pop(name, None)


class SteppedClock:
    """The clock of one process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.environment = {"FAKETIME_TIMESTAMP_FILE": str(file)}
        self.ahead = 0
        """Seconds."""
        self.step(0)

    def step(self, ahead: int) -> None:
        """Set the clock so many seconds beside the true time."""
        self.ahead = ahead
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}s\n", encoding="utf-8")
        new.replace(self._file)
