"""What flows through a line: parts with serial numbers, made for orders, waiting in buffers."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

FIRST_ORDER = 1001


class Order(NamedTuple):
    """What is to be made. `variant` picks the recipe of each machine on the way."""

    number: str
    variant: int


class Part(NamedTuple):
    """One part, or one batch, by its serial number."""

    serial: str
    order: Order


class Orders:
    """The orders of a line, one after the other; each is for so many parts, a fifth more or less."""

    def __init__(self, seed: str, parts: float) -> None:
        self._rng = Random(f"{seed}/orders")
        self._usual = parts
        self._number = FIRST_ORDER
        self._left = self._draw()
        self._variant = 0

    def take(self) -> Order:
        """Return the order that the next part is for."""
        if self._left <= 0:
            self._number += 1
            self._variant += 1
            self._left = self._draw()
        self._left -= 1
        return Order(f"ORD-{self._number}", self._variant)

    def _draw(self) -> int:
        return max(1, round(self._usual * self._rng.uniform(0.8, 1.2)))


class Buffer:
    """The place between two stages of a line, with room for a few parts."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.parts: deque[Part] = deque()

    @property
    def full(self) -> bool:
        """Whether the machine before is blocked."""
        return len(self.parts) >= self.room
