"""Times: microseconds since the epoch, UTC."""

from __future__ import annotations

FLOOR = 1_735_689_600_000_000
"""The first time that is believed, 2025-01-01: a clock that shows an earlier one was not set."""

GRAIN = 8
"""Microseconds between two times of the gateway's clock. The three bits below say how often that time was used
before, when the clock has been set back."""

APART = 1000
"""Microseconds between two scans of one group: the coarsest resolution of a store (VictoriaMetrics), which would mix
two scans of one millisecond. A multiple of `GRAIN`."""
