"""Pauses between requests to a unit that does not answer, so that other units on the connection keep their cycle."""

from __future__ import annotations

FIRST, MOST = 1.0, 30.0
"""Seconds without requests to the unit: after the first time-out, and at most."""


class CircuitBreaker:
    """The circuit breaker of one unit. Times are seconds of the event loop's clock."""

    def __init__(self) -> None:
        self._wait = 0.0
        self._until = 0.0

    def open(self, now: float) -> bool:
        """Return True while no request may be sent to the unit."""
        return now < self._until

    def timed_out(self, now: float) -> None:
        """Double the pause after a request without a response."""
        self._wait = min(self._wait * 2 or FIRST, MOST)
        self._until = now + self._wait

    def answered(self) -> None:
        """Close the circuit after a response of the unit."""
        self._wait = self._until = 0.0
