"""Parts with serial numbers, the orders they are made for, and the buffers they wait in."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

FIRST_ORDER = 1001


class Order(NamedTuple):
    """An order. `variant` selects the recipe of each machine."""

    number: str
    variant: int


class Part(NamedTuple):
    """One part, or one batch, by its serial number."""

    serial: str
    order: Order


class Orders:
    """The consecutive orders of a line, each for `parts` parts, 20 percent more or less."""

    def __init__(self, seed: str, parts: float) -> None:
        self._rng = Random(f"{seed}/orders")
        self._mean = parts
        self._number = FIRST_ORDER
        self._remaining = self._draw()
        self._variant = 0

    def next_order(self) -> Order:
        """Return the order of the next part."""
        if self._remaining <= 0:
            self._number += 1
            self._variant += 1
            self._remaining = self._draw()
        self._remaining -= 1
        return Order(f"ORD-{self._number}", self._variant)

    def _draw(self) -> int:
        return max(1, round(self._mean * self._rng.uniform(0.8, 1.2)))


class Buffer:
    """The parts between two stages of a line."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: deque[Part] = deque()

    @property
    def full(self) -> bool:
        """Whether there is no room for another part."""
        return len(self.parts) >= self.room
