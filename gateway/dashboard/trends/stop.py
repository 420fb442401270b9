"""An end to a query that runs in a thread: its time is over, or nobody waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from gateway.dashboard.trends.errors import TimedOut
from gateway.stores.base import checked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


class Cancelled(Exception):
    """Nobody waits for the query."""


class Stop:
    """The time that a query has, in seconds, and whether it was cancelled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._cancelled = False

    @property
    def left(self) -> float:
        """Seconds until the query has to end; 0 if it is over."""
        return max(0.0, self._deadline - time.monotonic())

    def cancel(self) -> None:
        """Let the query end at its next check; for any thread."""
        self._cancelled = True

    def check(self) -> None:
        """Raise `Cancelled` or `TimedOut` if the query has to end."""
        if self._cancelled:
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise TimedOut(self.seconds)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Return an iterator over items, with a check now and then."""
        return checked(items, self.check)
