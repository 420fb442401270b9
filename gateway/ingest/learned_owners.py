"""Keep the gateways of machines that were learned from their records, in a file over restarts.

Each ingest has a file of its own and learns from the records that it receives. Of several ingests that share a
subscription each learns the machines of its part of the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.common.atomic_file import replace_file
from gateway.common.state_log import StateLog
from gateway.model.path import MachinePath
from gateway.model.text import MAX_NAME

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

MAX_MACHINES = 100_000
"""Machines whose gateway is known; further machines are not learned."""

MAX_FILE_BYTES = 128 * 2**20
"""Bytes of the file that are read at the start: more than the longest names of all machines take."""

DAMAGED = ".damaged"
"""The end of the name of a file that can't be read; a file of that name is replaced."""

_Text = Annotated[str, Field(max_length=5 * (MAX_NAME + 1))]


class _File(BaseModel):
    """The content of the file: the paths of machines, by the id of their gateway."""

    model_config = ConfigDict(strict=True, frozen=True)

    gateways: dict[Annotated[str, Field(max_length=MAX_NAME)], list[_Text]]


class LearnedOwners:
    """The gateways of machines by path. Without a file they are lost at a restart."""

    def __init__(self, file: Path | None = None) -> None:
        """Prepare; no I/O before `load`."""
        self._file = file
        self._gateways: dict[MachinePath, str] = {}
        self._changed = False
        self._state = StateLog(log, "owners.unstable", file=str(file))

    def __len__(self) -> int:
        return len(self._gateways)

    def of(self, path: MachinePath) -> str | None:
        """Return the gateway of a machine, None if it is not known."""
        return self._gateways.get(path)

    def learn(self, path: MachinePath, gateway: str) -> None:
        """Note the gateway of a machine, if there is room for the machine."""
        if path in self._gateways or len(self._gateways) < MAX_MACHINES:
            self._gateways[path] = gateway
            self._changed = True

    # -- the file --

    def load(self) -> None:
        """Read the file of the last run. A damaged file is set aside, and the gateways are learned again."""
        if self._file is None:
            return
        try:
            with self._file.open("rb") as opened:
                content = opened.read(MAX_FILE_BYTES)  # a longer file is truncated, so it is not JSON
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("owners.unreadable", file=str(self._file), error=str(error))
            return
        try:
            found = _File.model_validate_json(content)
        except ValueError as error:
            short = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            self._set_aside(self._file, short)
            return
        for gateway, paths in found.gateways.items():
            for path in paths:
                levels = path.split("/")
                if len(levels) == len(MachinePath._fields):
                    self.learn(MachinePath(*levels), gateway)
        self._changed = False

    def _set_aside(self, file: Path, reason: str) -> None:
        kept = file.with_name(file.name + DAMAGED)
        try:
            file.replace(kept)
        except OSError as error:
            reason = f"{reason}; it can't be renamed: {error.strerror}"
        log.warning("owners.unreadable", file=str(kept), error=reason)

    def snapshot(self) -> list[bytes] | None:
        """Return the content of the file in pieces for `save` in a thread; None if nothing has changed."""
        if not self._changed or self._file is None:
            return None
        self._changed = False
        gateways: dict[str, list[str]] = {}
        for path, gateway in self._gateways.items():
            gateways.setdefault(gateway, []).append(str(path))
        return [orjson.dumps({"gateways": gateways})]

    def save(self, pieces: list[bytes]) -> None:
        """Replace the file. Call it in a thread, because it waits for the disk. Raises `OSError`."""
        if self._file is not None:
            replace_file(self._file, pieces)

    def note_saved(self, error: Exception | None) -> None:
        """Process the result of a save. A failure is logged once, and the file is saved again later."""
        if error is not None:
            self._changed = True
            self._state.enter("owners.not_saved", error=str(error) or "the disk does not answer")
        elif self._state.state:
            self._state.enter("owners.saved", healthy=True)
