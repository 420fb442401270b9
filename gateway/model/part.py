"""The part of a gateway in one process: the whole gateway, or one of several workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE = 0
"""The number of a process that runs the whole gateway, without workers."""

MAX_WORKERS = 64
"""Workers of a gateway."""

BETWEEN = "@"
"""Between a gateway's id and a worker's number; no id has this character."""


def part_name(gateway: str, worker: int) -> str:
    """Return the name of a worker's spool and files.

    The first worker has the files of a gateway without workers, so that turning workers on keeps the backlog.
    """
    return gateway if worker <= 1 else f"{gateway}{BETWEEN}{worker}"


def gateway_of(name: str) -> str:
    """Return the id of the gateway that a spool or file of this name belongs to."""
    return name.partition(BETWEEN)[0]


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a gateway in one process.

    `worker`     its number from 1, or `WHOLE`
    `inherited`  the machines that another worker read before, by machine path, with the name of that worker's files
    `since`      the monotonic time in seconds from which its slots count as missed: its former process ended then
    `elsewhere`  the paths of the machines with alarms that other workers read
    """

    worker: int = WHOLE
    inherited: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    elsewhere: frozenset[str] = frozenset()

    @property
    def has_identity(self) -> bool:
        """Whether this process publishes the gateway's birth, death and ledger, and clears removed machines."""
        return self.worker == WHOLE

    def client(self, gateway: str) -> str:
        """Return the client id at the broker."""
        return f"lineside-{gateway}" if self.has_identity else f"lineside-{gateway}{BETWEEN}{self.worker}"

    def sources(self) -> dict[str, set[str]]:
        """Return the inherited machines by the name of the files that they are in."""
        found: dict[str, set[str]] = {}
        for machine, name in self.inherited.items():
            found.setdefault(name, set()).add(machine)
        return found


WHOLE_GATEWAY = Part()
"""The part of the only process of a gateway."""
