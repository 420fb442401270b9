"""Back off: the time between two attempts, which grows."""

from __future__ import annotations

import asyncio
import random

GROWTH = 1.5
"""From one wait to the next: a device that is up after twenty seconds does not wait twenty more."""


class Backoff:
    """Grows up to a ceiling, with jitter, so that a hundred boxes do not connect in step. Times are in seconds."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def reset(self) -> None:
        """Start again with the first wait, after a success."""
        self._next = self._first

    async def wait(self) -> None:
        """Wait, longer each time."""
        delay = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._next * GROWTH, self._most)
        await asyncio.sleep(delay)
