"""Pause the requests to a silent unit, so that other units on the connection keep their period."""

from __future__ import annotations

FIRST, MOST = 1.0, 30.0
"""Seconds without requests to the unit: after the first time-out, and at most."""


class CircuitBreaker:
    """The circuit breaker of one unit. Times are seconds of the event loop's clock.

    `alive` is True if the unit answered its last request; `failures` counts the scans without an answer since then.
    """

    __slots__ = ("_since", "_until", "_wait", "alive", "failures")

    def __init__(self) -> None:
        self.alive = False
        self.failures = 0
        self._wait = 0.0
        self._until = 0.0
        self._since = 0.0  # time of the first failure

    def silent_for(self, now: float) -> float:
        """Return the seconds since the first scan without an answer, 0 if there is none."""
        return now - self._since if self.failures else 0.0

    def open(self, now: float) -> bool:
        """Return True while no request may be sent to the unit."""
        return now < self._until

    def shorten(self) -> None:
        """Allow the next request at once."""
        self._until = 0.0

    def timed_out(self, now: float, most: float = MOST, least: float = 0.0) -> None:
        """Double the pause after requests without an answer; it has `least` to `most` seconds."""
        self._since = self._since if self.failures else now
        self.alive = False
        self.failures += 1
        self._wait = min(max(self._wait * 2 or FIRST, least), most)
        self._until = now + self._wait

    def answered(self) -> None:
        """Close the circuit after an answer of the unit."""
        self.alive = True
        self.failures = 0
        self._wait = self._until = 0.0
