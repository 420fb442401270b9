"""A control file: each line that is appended begins or ends a fault while machines run.

press-03:silence+30s          begins now, and ends by itself
press-03:bladder_leak         begins now
press-03:bladder_leak off     ends
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.settings.problems import Problem
from simulators.faults.catalogue import parse_fault

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from simulators.faults.injector import Injector
    from simulators.machines.outputs import MachineOutputs

log = structlog.get_logger(__name__)

OFF = " off"


class ControlFile:
    """Follows a control file. Lines that were there before count, too."""

    def __init__(self, file: Path, injector: Injector, machines: Sequence[MachineOutputs]) -> None:
        self._file, self._injector, self._machines = file, injector, machines
        self._read = 0  # bytes
        self._line = 0

    def poll(self, clock: float) -> None:
        """Apply new lines at `clock` simulated seconds; log a line that can't be parsed."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]  # the last line may be incomplete
        self._read += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._line += 1
            written = line.partition("#")[0].strip()
            if written:
                self._apply(written, clock)

    def _apply(self, written: str, clock: float) -> None:
        message = ""
        if written.endswith(OFF):
            name = written.removesuffix(OFF)
            message = "" if self._injector.end(name) else f"{name!r} is not active"
        else:
            try:
                self._injector.schedule(parse_fault(written, self._machines, f"{self._line}", clock))
            except ValueError as error:
                message = str(error)
        if message:
            log.warning("fault.rejected", problem=str(Problem(self._file, self._line, 1, "", message)))
