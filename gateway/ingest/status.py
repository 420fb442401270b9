"""The counts of ingest since its start, and the report of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.common.histogram import Histogram


@dataclass(slots=True)
class IngestStatus:
    """What ingest has done since it started.

    `first_stored` is the time of the first write, in seconds since the epoch. `set_aside` counts readings that a
    store refused, `dead_letters` the entries written for them and for unreadable messages. `latency` is in seconds,
    from a reading's time to the write.
    """

    records: int = 0
    readings: int = 0
    set_aside: int = 0
    dead_letters: int = 0
    waiting_for_metadata: int = 0
    first_stored: float | None = None
    latency: Histogram = field(default_factory=Histogram)

    def report(self) -> dict[str, Any]:
        """Return the closing report."""
        return {
            "records": self.records,
            "stored_readings": self.readings,
            "first_stored": self.first_stored,
            "set_aside": self.set_aside,
            "dead_letters": self.dead_letters,
            "waiting_for_meta": self.waiting_for_metadata,
            "latency_ms": {
                name: None if (seconds := self.latency.percentile(share)) is None else round(seconds * 1000, 1)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            },
        }
