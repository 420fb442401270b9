"""Parts with serial numbers, the orders they are made for, the buffers they wait in, and the stores between lines."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

FIRST_ORDER = 1001

STORED = 500
"""Parts of a kind in the store between two lines; more go elsewhere."""


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


class Supply:
    """The store between the lines of a plant: finished parts by their kinds, and the newest lot of each material."""

    def __init__(self) -> None:
        self._parts: dict[str, deque[Part]] = {}
        self._lots: dict[str, str] = {}

    def add(self, kind: str, part: Part) -> None:
        """Add a finished part."""
        self._parts.setdefault(kind, deque(maxlen=STORED)).append(part)

    def draw(self, kind: str, count: int) -> list[Part]:
        """Return the oldest parts of a kind, none if there are not enough."""
        parts = self._parts.get(kind, deque())
        return [parts.popleft() for _ in range(count)] if len(parts) >= count else []

    def name_lot(self, material: str, lot: str) -> None:
        """Let a lot be the newest of a material."""
        self._lots[material] = lot

    def lot(self, material: str) -> str:
        """Return the newest lot of a material; empty if this plant has made none."""
        return self._lots.get(material, "")
