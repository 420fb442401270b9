"""Counters of a driver over all its sessions; `docs/opcua.md` explains each."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Events since the start of a driver.

    `republished`        messages that the server sent again on request
    `lost_messages`      messages that the server no longer had
    `undecodable`        publish responses that break the encoding
    `overflows`          full queues of monitored items on the server
    `deadbands_refused`  monitored items without the requested deadband
    `polled_instead`     points that are read because the server has no room for more monitored items
    `failovers`          changes to another address of the server
    `backfilled`         historical values that filled a gap
    `history_refused`    gaps that were given up
    """

    republished: int = 0
    lost_messages: int = 0
    undecodable: int = 0
    overflows: int = 0
    deadbands_refused: int = 0
    polled_instead: int = 0
    failovers: int = 0
    backfilled: int = 0
    history_refused: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)
