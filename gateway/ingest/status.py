"""Count the work of ingest since its start, and report the counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gateway.common.histogram import Histogram


@dataclass(slots=True)
class IngestStatus:
    """Counts of ingest since its start.

    `first_stored`    the time of the first write, in seconds since the epoch
    `set_aside`       readings that are in dead letters and in no store; `not_stored` has them by reason
    `dead_letters`    letters of them, and of messages that are not records; `letters_dropped` had no room
    `waiting_for_metadata`  records that had to wait for their metadata
    `confirmations_denied`  confirmations that the broker refused; their gateways send the records again
    `machines_claimed`      times that a machine's record came from another gateway than the record before
    `retained_ignored`      retained messages where none belong
    `messages_refused`      metadata that is not signed as it has to be, by reason
    `latency`         seconds from a reading's time to the write
    `last_stored`     the time of the latest write, in microseconds since the epoch; 0 before the first
    `lag`             seconds from the time of the oldest reading in the latest batch to its write; None before it
    """

    records: int = 0
    readings: int = 0
    set_aside: int = 0
    not_stored: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    letters_dropped: int = 0
    waiting_for_metadata: int = 0
    confirmations_denied: int = 0
    machines_claimed: int = 0
    retained_ignored: int = 0
    messages_refused: Counter[str] = field(default_factory=Counter)
    first_stored: float | None = None
    latency: Histogram = field(default_factory=Histogram)
    last_stored: int = 0
    lag: float | None = None

    def present(self) -> dict[str, Any]:
        """Return the counts of the report on the topic `report`."""
        return {
            "records": self.records,
            "readings": self.readings,
            "dead_letters": self.dead_letters,
            "lag_ms": None if self.lag is None else round(self.lag * 1000, 1),
            "stored": self.last_stored,
        }

    def report(self) -> dict[str, Any]:
        """Return the closing report."""
        return {
            "records": self.records,
            "stored_readings": self.readings,
            "first_stored": self.first_stored,
            "set_aside": self.set_aside,
            "not_stored": dict(self.not_stored),
            "dead_letters": self.dead_letters,
            "dead_letters_dropped": self.letters_dropped,
            "waiting_for_meta": self.waiting_for_metadata,
            "confirmations_denied": self.confirmations_denied,
            "machines_claimed": self.machines_claimed,
            "retained_ignored": self.retained_ignored,
            "messages_refused": dict(self.messages_refused),
            "latency_ms": {
                name: None if (seconds := self.latency.percentile(share)) is None else round(seconds * 1000, 1)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
        }
