"""Decide whether a gateway may publish records of a machine.

A record names its gateway, and its topic or its content names its machines. With `ingest.gateways` the machines of
each gateway are fixed. Without it a machine belongs to the gateway of its last record, also after a restart, and a
change is logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from gateway.common.state_log import RepeatLog
from gateway.ingest.learned_owners import LearnedOwners
from gateway.model.machine_patterns import MachinePatterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.ingest.batch import Sender
    from gateway.ingest.status import IngestStatus
    from gateway.model.path import MachinePath

log = structlog.get_logger(__name__)

OTHER_GATEWAY = "other_gateway"
"""Drop reason of readings of a machine that their gateway must not publish."""

MACHINE_CLAIMED = "machine-claimed"
"""The action of a gateway that publishes records of a machine that another gateway had."""

NoteRefused = Callable[[str, str, str, str], None]
"""Is called with an action, the gateway that is said to have sent a message, its topic or machine, and a reason."""

HINT = "find its publisher; if this gateway has the machine now, change ingest.gateways"


class MachineOwners:
    """The gateways of machines: `gateways` maps the id of a gateway to its patterns; empty if they are learned."""

    def __init__(
        self,
        status: IngestStatus,
        gateways: Mapping[str, Iterable[str]] | None = None,
        place: tuple[str, str] = ("*", "*"),
        learned: LearnedOwners | None = None,
        note: NoteRefused | None = None,
    ) -> None:
        """Prepare; `place` is the enterprise and the site of patterns without them.

        `note` is called with each machine that another gateway than before publishes.
        """
        self._note = note
        self._patterns = MachinePatterns(gateways, place)
        self._status = status
        self._learned = LearnedOwners() if learned is None else learned  # an empty one is false
        self._repeats = RepeatLog(log)

    def denied(self, sender: Sender, paths: Iterable[MachinePath]) -> MachinePath | None:
        """Return a machine whose records this gateway must not publish; None if it may publish all of them."""
        if not self._patterns:
            for path in paths:
                if self._learned.of(path) != sender.gateway:
                    self._learn(path, sender.gateway)
            return None
        return next((path for path in paths if not self._may_publish(sender.gateway, path)), None)

    def _may_publish(self, gateway: str, path: MachinePath) -> bool:
        known = self._patterns.match(gateway, path)
        if not known:
            self._repeats.error("gateway.not_allowed", key=str(path), gateway=gateway, machine=str(path), hint=HINT)
        return known

    def _learn(self, path: MachinePath, gateway: str) -> None:
        """Learn the gateway of a machine; log a change of it."""
        before = self._learned.of(path)
        self._learned.learn(path, gateway)
        if before is not None:
            self._status.machines_claimed += 1
            self._repeats.warning(
                "machine.other_gateway", key=str(path), machine=str(path), gateway=gateway, before=before,
                hint="if it has not moved, find the publisher, and set ingest.gateways",
            )  # fmt: skip
            if self._note is not None:
                self._note(MACHINE_CLAIMED, gateway, str(path), f"was of gateway {before}")
