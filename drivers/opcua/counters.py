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
    `single_queues`      monitored items whose queue of one change hides losses: it never reports an overflow
    `deadbands_refused`  monitored items without the requested deadband
    `triggers_refused`   monitored items without the requested trigger
    `events_refused`     event points without room on the server
    `polled_instead`     points that are read because the server has no room for more monitored items
    `failovers`          changes to another address of the server
    `backfilled`         historical values that filled a gap
    `history_refused`    gaps that were given up
    """

    republished: int = 0
    lost_messages: int = 0
    undecodable: int = 0
    overflows: int = 0
    single_queues: int = 0
    deadbands_refused: int = 0
    triggers_refused: int = 0
    events_refused: int = 0
    polled_instead: int = 0
    failovers: int = 0
    backfilled: int = 0
    history_refused: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)
