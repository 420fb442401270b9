"""The services of a box: whether they run, and what they wrote into their status files.

A gateway that runs has a lock, so its state is certain. An ingest has none: its heartbeat and its process show it.
"""

from __future__ import annotations

import errno
import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from drivers.own_files import read_own
from gateway.common.heartbeat import STALE, heartbeat_age
from gateway.common.status_file import process_start, status_file
from gateway.model.part import MAX_WORKERS, part_name
from gateway.mqtt.messages import IngestReport, LedgerReport, MachineState
from gateway.settings.reload import outcome_file, read_outcome
from gateway.spool.files import SpoolFiles
from gateway.workers.assignment import assignment_file, read_assignment
from gateway.workers.locks import gateway_runs, lock_file

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory

MAX_FILE = 8 * 2**20
"""Bytes of a status file: a thousand machines that are not online have 200 kB."""

OLD = 20.0
"""Seconds after which the status file of a running service is old: four writes are missing."""

FAR_FUTURE = 253_402_300_800_000_000


class ServiceState(StrEnum):
    """Whether a service runs on this box."""

    RUNNING = "running"
    HANGS = "hangs"  # its process is there, and does not report
    DEAD = "dead"  # it has ended without a stop: killed, or the box was switched off
    STOPPED = "stopped"  # it was stopped in order
    ABSENT = "absent"  # it has never run here with this configuration


_Micros = Annotated[int, Field(ge=0, le=FAR_FUTURE)]
_Text = Annotated[str, Field(max_length=100_000)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Link(_Model):
    """The connection to the broker; see `gateway.mqtt.session.LinkStatus`."""

    connected: bool
    since: _Micros
    broker: _Text
    error: _Text = ""


class UnwellMachine(MachineState):
    """A machine that is not online."""

    machine: _Text


class Machines(_Model):
    """The machines by state, and a list of those that are not online."""

    counts: dict[str, int]
    not_online: Annotated[tuple[UnwellMachine, ...], Field(max_length=10_000)] = ()


class Recent(_Model):
    """The growth of counts within the last `seconds`."""

    seconds: int
    missed: int = 0
    dropped: int = 0


class _Status(_Model):
    """The parts that the status files of all services have."""

    v: Literal[1]
    id: _Text
    pid: int
    process_start: int
    version: _Text
    started: _Micros
    time: _Micros
    stopped: bool
    config: _Text
    file: _Text
    broker: Link

    @property
    def age(self) -> float:
        """Seconds since the file was written."""
        return max(0.0, time.time() - self.time / 1e6)

    @property
    def has_process(self) -> bool:
        """Whether the process that wrote the file runs."""
        return self.process_start != 0 and process_start(self.pid) == self.process_start


class GatewayStatus(_Status):
    """The status of a gateway, or of one of its workers."""

    service: Literal["gateway"]
    worker: Annotated[int, Field(ge=0, le=MAX_WORKERS)]
    report: LedgerReport
    recent: Recent
    machines: Machines


class IngestFileReport(IngestReport):
    """The report of an ingest with the percentiles of its latency since the start, in milliseconds."""

    time: int = 0
    latency_ms: dict[str, float | None] = {}


class IngestStatus(_Status):
    """The status of an ingest."""

    service: Literal["ingest"]
    report: IngestFileReport


class Reloaded(_Model):
    """The outcome of the last reload of a gateway, which its start writes first."""

    outcome: _Text
    time: _Micros
    pid: int
    file: _Text
    config: _Text
    problems: tuple[_Text, ...] = ()


class GatewayOnBox(NamedTuple):
    """The gateway of a configuration on this box. `parts` are the statuses of its process, or of its workers.

    `silent` are the seconds since its heartbeat; None without one. `missing` are workers without a present status.
    `since` is the beginning of the state in microseconds since the epoch, 0 if it is not known.
    """

    state: ServiceState
    parts: tuple[GatewayStatus, ...]
    reload: Reloaded | None
    silent: float | None
    missing: tuple[int, ...]
    since: int


class IngestOnBox(NamedTuple):
    """An ingest on this box; `silent` as in `GatewayOnBox`."""

    id: str
    state: ServiceState
    status: IngestStatus | None
    silent: float | None
    since: int


_S = TypeVar("_S", bound=_Model)

_GATEWAY = TypeAdapter(GatewayStatus)
_INGEST = TypeAdapter(IngestStatus)
_RELOADED = TypeAdapter(Reloaded)


def read_gateway(factory: Factory) -> GatewayOnBox:
    """Return the gateway of a configuration on this box. Raises `PermissionError` for a user without the rights."""
    own = factory.gateway
    folder = own.spool.folder
    _check_rights(folder, SpoolFiles(folder, own.id).lock, lock_file(folder, own.id))
    reload = _read_outcome(factory)
    runs = gateway_runs(folder, own.id)
    silent = heartbeat_age(folder / f"{own.id}.alive")
    used = {1, *(read_assignment(assignment_file(folder, own.id)) or {}).values()}
    found = {number: _read(_GATEWAY, status_file(folder, part_name(own.id, number))) for number in sorted(used)}
    parts = tuple(part for part in found.values() if part is not None)
    missing: tuple[int, ...] = ()
    if runs:
        state = ServiceState.HANGS if silent is not None and silent > STALE else ServiceState.RUNNING
        if state is ServiceState.RUNNING:  # while it hangs, the last status is the latest known
            missing = tuple(n for n, part in found.items() if part is None or part.stopped or part.age > OLD)
            parts = tuple(part for n, part in found.items() if part is not None and n not in missing)
        since = min((part.started for part in parts), default=0 if reload is None else reload.time)
    elif reload is None and not parts:
        state, since = ServiceState.ABSENT, 0
    else:
        in_order = silent is None and all(part.stopped for part in parts)
        state = ServiceState.STOPPED if in_order else ServiceState.DEAD
        since = max((part.time for part in parts), default=0)
    return GatewayOnBox(state, parts, reload, silent, missing, since)


def _check_rights(folder: Path, *files: Path) -> None:
    """Raise `PermissionError` if the files of a service can't be read: it would seem to be dead."""
    closed = folder if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK) else None
    closed = closed or next((file for file in files if file.exists() and not os.access(file, os.R_OK)), None)
    if closed is not None:
        raise PermissionError(errno.EACCES, "can't be read: run this as the user of the services", str(closed))


def read_ingests(factory: Factory) -> list[IngestOnBox]:
    """Return the ingests that work, or have worked, in the folder of a configuration; the configured ingest first.

    Raises `PermissionError` for a user without the rights.
    """
    folder, own = factory.ingest.folder, factory.ingest.id
    _check_rights(folder, status_file(folder, own))
    suffix = status_file(folder, "").name
    names = {file.name.removesuffix(suffix) for file in sorted(folder.glob(f"*{suffix}"))[:MAX_INGESTS]}
    found = []
    for name in sorted({own, *names}, key=lambda one: (one != own, one)):
        status = _read(_INGEST, status_file(folder, name))
        silent = heartbeat_age(folder / f"{name}.alive") if name == own or status is not None else None
        if status is None and (silent is None or name == factory.gateway.id):
            if name == own:
                found.append(IngestOnBox(name, ServiceState.ABSENT, None, None, 0))
            continue
        found.append(IngestOnBox(name, *_ingest_state(status, silent)))
    return found


def ingest_runs(folder: Path, name: str) -> bool:
    """Return whether an ingest of this id works, or hangs, in a folder."""
    status = _read(_INGEST, status_file(folder, name))
    if status is not None:
        return not status.stopped and status.has_process
    silent = heartbeat_age(folder / f"{name}.alive")
    return silent is not None and silent <= STALE


MAX_INGESTS = 100
"""Status files that are looked at in one folder."""


def _ingest_state(
    status: IngestStatus | None, silent: float | None
) -> tuple[ServiceState, IngestStatus | None, float | None, int]:
    ended = 0 if status is None else status.time
    if silent is not None and silent <= STALE:
        return ServiceState.RUNNING, status, silent, 0 if status is None else status.started
    if status is not None and not status.stopped and status.has_process:
        return ServiceState.HANGS, status, silent, ended
    in_order = silent is None and (status is None or status.stopped)
    return (ServiceState.STOPPED if in_order else ServiceState.DEAD), status, silent, ended


def _read(model: TypeAdapter[_S], file: Path) -> _S | None:
    """Return the content of a status file; None if it is missing, of another service, too large or damaged."""
    try:
        return model.validate_json(read_own(file, MAX_FILE))
    except (OSError, ValueError):
        return None


def _read_outcome(factory: Factory) -> Reloaded | None:
    try:
        return _RELOADED.validate_python(read_outcome(outcome_file(factory.gateway)), strict=False)
    except (OSError, ValueError):
        return None
