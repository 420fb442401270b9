"""Leaving a silent unit alone for a while, so that it does not cost the others behind its connection their time."""

from __future__ import annotations

FIRST, MOST = 1.0, 30.0
"""Seconds for which a unit is left alone: after its first silence, and at the most."""


class CircuitBreaker:
    """One unit's. Times are those of the event loop's clock, in seconds."""

    def __init__(self) -> None:
        self._wait = 0.0
        self._until = 0.0

    def open(self, now: float) -> bool:
        """Return whether the unit is to be left alone now."""
        return now < self._until

    def silent(self, now: float) -> None:
        """Note that the unit was asked and stayed silent."""
        self._wait = min(self._wait * 2 or FIRST, MOST)
        self._until = now + self._wait

    def answered(self) -> None:
        """Note that the unit lives."""
        self._wait = self._until = 0.0
