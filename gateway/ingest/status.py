"""Count the work of ingest since its start, and report the counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gateway.common.histogram import Histogram


@dataclass(slots=True)
class IngestStatus:
    """Counts of ingest since its start.

    `first_stored`    the time of the first write, in seconds since the epoch; `last_stored` that of the last
    `set_aside`       readings that are in dead letters and in no store; `not_stored` has them by reason
    `dead_letters`    letters of them, and of messages that are not records; `letters_dropped` had no room
    `waiting_for_metadata`  records that had to wait for their metadata
    `confirmations_denied`  confirmations that the broker refused; their gateways send the records again
    `latency`         seconds from a reading's time to the write
    """

    records: int = 0
    readings: int = 0
    set_aside: int = 0
    not_stored: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    letters_dropped: int = 0
    waiting_for_metadata: int = 0
    confirmations_denied: int = 0
    first_stored: float | None = None
    last_stored: float | None = None
    latency: Histogram = field(default_factory=Histogram)

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
            "latency_ms": {
                name: None if (seconds := self.latency.percentile(share)) is None else round(seconds * 1000, 1)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
        }
