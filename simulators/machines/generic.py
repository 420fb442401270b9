"""Machines of types without a model: only their points are known."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from simulators.machines.signals import compile_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Value
    from gateway.settings.point import Point
    from simulators.machines.signals import Signal

AHEAD = 10_000.0
"""Seconds by which machines of one type are apart at most."""


class GenericMachine:
    """A machine whose points each have a plausible signal. It computes them only when somebody looks."""

    def __init__(self, name: str, seed: str, signals: Sequence[tuple[str, Signal]]) -> None:
        """Take the signals of `signals_of`, which all machines of a type share."""
        self.name = name
        self.clock = 0.0
        self.faults: set[str] = set()
        self._ahead = Random(f"{seed}/{name}").uniform(0.0, AHEAD)
        self._signals = signals
        self._looked = -1.0
        self._shown: dict[str, Value] = {}

    def step(self, dt: float) -> None:
        """Move the machine on by `dt` simulated seconds."""
        self.clock += dt

    def look(self) -> dict[str, Value]:
        """Return what the machine shows now, by the names of its points."""
        if self.clock != self._looked:
            self._looked = self.clock
            t, name = self.clock + self._ahead, self.name
            self._shown = {point: signal(t, name) for point, signal in self._signals}
        return self._shown


def signals_of(points: Sequence[Point]) -> list[tuple[str, Signal]]:
    """Return the signals of a machine type."""
    return [(point.name, compile_signal(point)) for point in points]
