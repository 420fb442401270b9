"""Machines of templates without a model."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from simulators.machines.signals import compile_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Value
    from gateway.settings.point import Point
    from simulators.machines.signals import Signal

LARGEST_OFFSET = 10_000.0
"""Largest difference of two such machines' clocks in seconds."""


class GenericMachine:
    """A machine with a generated signal for each point, computed when it is read."""

    def __init__(self, name: str, seed: str, signals: Sequence[tuple[str, Signal]]) -> None:
        """Use the signals of `signals_of`, which all machines of a template share."""
        self.name = name
        self.clock = 0.0
        self.faults: set[str] = set()
        self._offset = Random(f"{seed}/{name}").uniform(0.0, LARGEST_OFFSET)
        self._signals = signals
        self._read_at = -1.0
        self._values: dict[str, Value] = {}

    def step(self, dt: float) -> None:
        """Advance the machine by `dt` simulated seconds."""
        self.clock += dt

    def read(self) -> dict[str, Value]:
        """Return the present values, by point."""
        if self.clock != self._read_at:
            self._read_at = self.clock
            t, name = self.clock + self._offset, self.name
            self._values = {point: signal(t, name) for point, signal in self._signals}
        return self._values


def signals_of(points: Sequence[Point]) -> list[tuple[str, Signal]]:
    """Return the signals of a template's points."""
    return [(point.name, compile_signal(point)) for point in points]
