"""Keep the metadata of all machines that ingest knows, in a file over restarts.

Every client that may publish on a machine's topic can add metadata, so there are two limits. A machine above its
limit loses its oldest metadata; above the total limit, the least recently used metadata is dropped. Gateways are
asked for missing metadata, see `metadata_requests.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drivers.own_files import read_own
from gateway.ingest.saved_file import SavedFile, SaveEvents
from gateway.model.metadata import write_meta
from gateway.model.path import MachinePath
from gateway.mqtt.messages import MachineDescription  # noqa: TC001 - of a field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.model.metadata import MachineMeta


log = structlog.get_logger(__name__)

_EVENTS = SaveEvents("metadata.not_saved", "metadata.saved", "metadata.unstable")

MAX_BYTES = 64 * 2**20
"""Bytes of JSON of all metadata: some 15,000 machines of 60 points. It needs about five times the memory."""

MAX_FILE_BYTES = 2 * MAX_BYTES
"""Bytes of the file that are read at the start."""

MAX_MACHINES = 100_000
"""Machines whose present metadata is known."""

MAX_OF_MACHINE, MAX_BYTES_OF_MACHINE = 64, 8 * 2**20
"""Number of descriptions of one machine, and their bytes."""


@dataclass(slots=True, eq=False)
class _Known:
    """Metadata with its JSON, and when a record last needed it."""

    meta: MachineMeta
    encoded: bytes
    used: int


@dataclass(slots=True)
class _Machine:
    """The metadata ids of a machine, oldest first, their bytes, and the id of its present metadata."""

    ids: dict[str, int] = field(default_factory=dict)
    size: int = 0
    present: str = ""


class _File(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(strict=True, frozen=True)

    metas: list[MachineDescription] = []
    machines: dict[Annotated[str, Field(max_length=2_000)], Annotated[str, Field(max_length=64)]] = Field(
        default={}, max_length=MAX_MACHINES
    )


class MetadataRegistry(SavedFile):
    """The known metadata of all machines."""

    def __init__(self, file: Path | None = None) -> None:
        """Prepare; no I/O before `load`. Without a file the metadata is lost at a restart."""
        super().__init__(file, log, _EVENTS)
        self._known: dict[str, _Known] = {}
        self._machines: dict[MachinePath, _Machine] = {}
        self._owners: Counter[str] = Counter()
        self._bytes = 0
        self._clock = 0

    def __len__(self) -> int:
        return len(self._known)

    # -- the file --

    def load(self) -> None:
        """Read the file of the last run. A missing or damaged file is ignored: gateways publish metadata again."""
        if self._file is None:
            return
        try:
            found = _File.model_validate_json(read_own(self._file, MAX_FILE_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            short = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            log.warning("metadata.unreadable", file=str(self._file), error=short)
            return
        by_id = {meta.id: meta for meta in (description.meta for description in found.metas)}
        for path, key in found.machines.items():
            levels = path.split("/")
            if key in by_id and len(levels) == len(MachinePath._fields):
                self.add(MachinePath(*levels), [by_id[key]])
        for meta in by_id.values():
            self._keep(meta)
        self._shrink()
        self.changed = False

    def _pieces(self) -> Iterator[bytes]:
        yield b'{"metas":['
        for position, known in enumerate(self._known.values()):
            yield b"," + known.encoded if position else known.encoded
        yield b'],"machines":'
        yield orjson.dumps(
            {str(path): machine.present for path, machine in self._machines.items() if machine.present}
        )
        yield b"}"

    # -- the metadata --

    def add(self, path: MachinePath, metas: Iterable[MachineMeta]) -> None:
        """Register the metadata of a machine: the present metadata first, then earlier metadata."""
        metas = list(metas)
        for meta in reversed(metas):
            self._register(path, meta)
        if metas:
            machine = self._machines[path]
            if machine.present != metas[0].id:
                machine.present = metas[0].id
                self.changed = True
        self._shrink()

    def add_earlier(self, path: MachinePath, meta: MachineMeta) -> None:
        """Register metadata that a machine had at some time."""
        self._register(path, meta)
        self._shrink()

    def find(self, path: MachinePath, key: str) -> MachineMeta | None:
        """Return the metadata with this id; if the record names no id, the present metadata of the machine."""
        if not key:
            machine = self._machines.get(path)
            key = machine.present if machine is not None else ""
        known = self._known.get(key)
        if known is None:
            return None
        self._clock += 1
        known.used = self._clock
        return known.meta

    def _register(self, path: MachinePath, meta: MachineMeta) -> None:
        self._keep(meta)
        machine = self._machines.get(path)
        if machine is None:
            machine = self._machines[path] = _Machine()
        size = len(self._known[meta.id].encoded)
        if meta.id not in machine.ids:
            self._owners[meta.id] += 1
        machine.size += size - machine.ids.pop(meta.id, 0)
        machine.ids[meta.id] = size
        while len(machine.ids) > 1 and (len(machine.ids) > MAX_OF_MACHINE or machine.size > MAX_BYTES_OF_MACHINE):
            oldest = next(iter(machine.ids))
            machine.size -= machine.ids.pop(oldest)
            self._disown([oldest])

    def _keep(self, meta: MachineMeta) -> None:
        self._clock += 1
        known = self._known.get(meta.id)
        if known is not None:
            known.used = self._clock
            return
        encoded = orjson.dumps(write_meta(meta))
        self._known[meta.id] = _Known(meta, encoded, self._clock)
        self._bytes += len(encoded)
        self.changed = True

    def _disown(self, keys: Iterable[str]) -> None:
        """Drop metadata that no other machine has: many machines of a template have the same metadata."""
        for key in list(keys):
            self._owners[key] -= 1
            if not self._owners[key]:
                del self._owners[key]
                self._drop([key])

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            known = self._known.pop(key, None)
            if known is not None:
                self._bytes -= len(known.encoded)
                self.changed = True

    def _shrink(self) -> None:
        """Drop a tenth, the least recently used first, if a limit is exceeded."""
        if self._bytes > MAX_BYTES:
            by_use = sorted(self._known, key=lambda key: self._known[key].used)
            most, drop = MAX_BYTES * 9 // 10, []
            size = self._bytes
            for key in by_use:
                if size <= most:
                    break
                size -= len(self._known[key].encoded)
                drop.append(key)
            self._drop(drop)
            log.warning("metadata.dropped", descriptions=len(drop), bytes=MAX_BYTES)
            self._forget_machines()
        if len(self._machines) > MAX_MACHINES:
            used = {path: self._used(machine) for path, machine in self._machines.items()}
            for path in sorted(used, key=used.__getitem__)[: MAX_MACHINES // 10]:
                self._disown(self._machines.pop(path).ids)

    def _forget_machines(self) -> None:
        """Forget machines without any known metadata."""
        for path in [path for path, machine in self._machines.items() if not self._used(machine)]:
            self._disown(self._machines.pop(path).ids)

    def _used(self, machine: _Machine) -> int:
        return max((self._known[key].used for key in machine.ids if key in self._known), default=0)
