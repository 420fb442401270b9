"""Keep the gateways of machines that were learned from their records, in a file over restarts.

Each ingest has a file of its own and learns from the records that it receives. Of several ingests that share a
subscription each learns the machines of its part of the records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.own_files import read_own
from gateway.ingest.saved_file import SavedFile, SaveEvents
from gateway.model.path import MachinePath
from gateway.model.text import MAX_NAME

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

_EVENTS = SaveEvents("owners.not_saved", "owners.saved", "owners.unstable")

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


class LearnedOwners(SavedFile):
    """The gateways of machines by path. Without a file they are lost at a restart."""

    def __init__(self, file: Path | None = None) -> None:
        """Prepare; no I/O before `load`."""
        super().__init__(file, log, _EVENTS)
        self._gateways: dict[MachinePath, str] = {}

    def __len__(self) -> int:
        return len(self._gateways)

    def of(self, path: MachinePath) -> str | None:
        """Return the gateway of a machine, None if it is not known."""
        return self._gateways.get(path)

    def learn(self, path: MachinePath, gateway: str) -> None:
        """Note the gateway of a machine, if there is room for the machine."""
        if path in self._gateways or len(self._gateways) < MAX_MACHINES:
            self._gateways[path] = gateway
            self.changed = True

    # -- the file --

    def load(self) -> None:
        """Read the file of the last run. A damaged file is set aside, and the gateways are learned again."""
        if self._file is None:
            return
        try:
            found = _File.model_validate_json(read_own(self._file, MAX_FILE_BYTES))
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("owners.unreadable", file=str(self._file), error=str(error))
            return
        except ValueError as error:
            short = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            self._set_aside(self._file, short)
            return
        for gateway, paths in found.gateways.items():
            for path in paths:
                levels = path.split("/")
                if len(levels) == len(MachinePath._fields):
                    self.learn(MachinePath(*levels), gateway)
        self.changed = False

    def _set_aside(self, file: Path, reason: str) -> None:
        kept = file.with_name(file.name + DAMAGED)
        try:
            file.replace(kept)
        except OSError as error:
            reason = f"{reason}; it can't be renamed: {error.strerror}"
        log.warning("owners.unreadable", file=str(kept), error=reason)

    def _pieces(self) -> list[bytes]:
        gateways: dict[str, list[str]] = {}
        for path, gateway in self._gateways.items():
            gateways.setdefault(gateway, []).append(str(path))
        return [orjson.dumps({"gateways": gateways})]
