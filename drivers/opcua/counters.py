"""What a driver counts of a server; `docs/opcua.md` says what each means."""

from __future__ import annotations

COUNTS = (
    "republished",
    "lost_messages",
    "undecodable",
    "overflows",
    "deadbands_refused",
    "polled_instead",
    "failovers",
    "backfilled",
    "history_refused",
)
"""The names, in the order in which they are told."""
