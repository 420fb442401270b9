"""The state of a service for its next start: whether it has stopped in order, and runs that have no entry yet.

The file is in the folder of the audit log, and locked as long as the service runs. It is touched as a sign of life:
the time of its last change is that of the last sign of life of a service that was killed.
"""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.own_files import open_own

LARGEST = 16 * 2**10
"""Bytes of the file."""

MODE = 0o600

_BOOT = Path("/proc/sys/kernel/random/boot_id")

_Text = Annotated[str, StringConstraints(max_length=2_000)]
_Count = Annotated[int, Field(ge=0, le=2**53)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Interrupted(_Model):
    """Runs that have ended without an entry of their stop: their number, and of the last its times and a reason."""

    runs: _Count
    since: _Text
    last_seen: _Text
    reason: _Text


class FailedStarts(_Model):
    """Starts that have failed with one error: those since the last entry, and its time in seconds since the epoch."""

    error: _Text
    starts: _Count
    recorded: float


class LifeState(_Model):
    """The content of the file. `began` is the time of the start, `boot` the boot of the machine then."""

    began: _Text
    boot: _Text
    recorded_config: _Text = ""
    """The digest of the configuration in the last entry of a start."""
    stopping: _Text = ""
    """Why the service was asked to stop."""
    ended: bool = False
    """Whether the end of the service is in the audit log, or needs no entry."""
    interrupted: Interrupted | None = None
    failed: FailedStarts | None = None
    not_recorded: _Count = 0
    """Entries of the service that were lost since the last entry of a start."""


def now_text() -> str:
    """Return the time of now, UTC, as in `2026-12-01T06:00:00+00:00`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def boot_id() -> str:
    """Return the id of this boot of the machine; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


class LifeFile:
    """The file of one service. All methods block; belongs to one thread at a time."""

    def __init__(self, folder: Path, service: str, who: str) -> None:
        """Prepare; no I/O."""
        self.file = folder / f"{service}-{who}.life.json"
        self._descriptor = -1

    def begin(self) -> LifeState | None:
        """Lock the file, and return the state of this run, which has what earlier runs have left.

        Returns None while another process of this name runs. Raises `OSError`.
        """
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_own(self.file, os.O_RDWR | os.O_CREAT, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self._next_state()

    def _next_state(self) -> LifeState:
        content = os.pread(self._descriptor, LARGEST + 1, 0)
        seen = datetime.fromtimestamp(os.fstat(self._descriptor).st_mtime, UTC).isoformat(timespec="seconds")
        state = LifeState(began=now_text(), boot=boot_id())
        if content:
            state = state.model_copy(update=_left_by(content, seen, state.boot))
        self.save(state)
        return state

    def save(self, state: LifeState, *, durable: bool = True) -> None:
        """Replace the content. Raises `OSError`."""
        if self._descriptor < 0:
            return
        content = state.model_dump_json().encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        if durable:
            os.fsync(self._descriptor)

    def touch(self) -> None:
        """Give a sign of life. Raises `OSError`."""
        if self._descriptor >= 0:
            os.utime(self._descriptor)

    def close(self) -> None:
        """Free the file for another process."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _left_by(content: bytes, seen: str, boot: str) -> dict[str, object]:
    """Return the parts of a new state that follow from the state of the last run, which was alive until `seen`."""
    try:
        last = LifeState.model_validate_json(content)
    except ValidationError:
        reason = "the file of its state is damaged, as by a power cut"
        return {"interrupted": Interrupted(runs=1, since="", last_seen=seen, reason=reason)}
    kept: dict[str, object] = {"failed": last.failed, "not_recorded": last.not_recorded}
    kept["recorded_config"] = last.recorded_config
    if last.ended:
        return kept
    if last.stopping:
        reason = f"asked to stop ({last.stopping}), and its stop was not recorded in time"
    elif last.boot != boot:
        reason = "the machine was started again, as after a loss of power"
    else:
        reason = "it was killed, or has crashed"
    runs = 1 if last.interrupted is None else last.interrupted.runs + 1
    return kept | {"interrupted": Interrupted(runs=runs, since=last.began, last_seen=seen, reason=reason)}
