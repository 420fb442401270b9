"""What one machine shows to who reads it: its model's signals, or what faults make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from drivers.base import ValueType
from simulators.machines.signals import compile_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Value
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machines.signals import Signal

TYPES = {ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str}


class Simulated(Protocol):
    """What is asked of a machine: to move on, and to be looked at. `faults` are process faults that are active."""

    name: str
    clock: float
    faults: set[str]

    def step(self, dt: float) -> None:
        """Move on by `dt` simulated seconds."""

    def look(self) -> dict[str, Value]:
        """Return what it shows now, by the names of its points."""


@dataclass
class Link:
    """Faults of the machine's way to the network; each server looks at them when it answers.

    `silent`   it does not answer
    `slow`     seconds by which answers come late
    `garbage`  answers are noise
    `refused`  nobody listens: of all machines behind one address
    `restarts` how often the server has been started anew: of all machines behind one address
    `illegal`  points whose registers, or node, the device does not have
    `clock`    seconds by which the machine's clock is wrong
    """

    silent: bool = False
    slow: float = 0.0
    garbage: bool = False
    refused: bool = False
    restarts: int = 0
    illegal: set[str] = field(default_factory=set)
    clock: float = 0.0


class MachineOutputs:
    """A machine with its configured points.

    A template may be a user's own, and have the name of a bundled one: a point that the model does not know, or knows
    with another type or range, has a plausible signal of its own.
    """

    def __init__(self, configured: Configured, machine: Simulated) -> None:
        self.configured = configured
        self.machine = machine
        self.link = Link()
        self.broken: set[str] = set()
        self.stuck: dict[str, Value] = {}
        self.drifting: dict[str, tuple[float, float]] = {}  # point -> clock when it began, and units a second
        self.version = 0  # of the faults
        signals = machine.look()
        self._own: list[tuple[str, Signal]] = [
            (point.name, compile_signal(point)) for point in configured.points if not _fits(point, signals)
        ]

    @property
    def stamp(self) -> tuple[float, int]:
        """Something that differs whenever what is shown may differ."""
        return self.machine.clock, self.version

    def sound(self) -> Mapping[str, Value]:
        """Return what the machine would show now if nothing were wrong with its sensors."""
        values = self.machine.look()
        if self._own:
            clock, name = self.machine.clock, self.machine.name
            values = values | {point: signal(clock, name) for point, signal in self._own}
        return values

    def values(self) -> Mapping[str, Value | None]:
        """Return what the machine shows now; None where a sensor is broken."""
        values = self.sound()
        if not (self.broken or self.stuck or self.drifting):
            return values
        faulty: dict[str, Value | None] = {**values, **self.stuck}
        for point, (began, rate) in self.drifting.items():
            value = faulty[point]
            if isinstance(value, int | float) and not isinstance(value, bool):
                moved = value + rate * (self.machine.clock - began)
                faulty[point] = moved if isinstance(value, float) else round(moved)
        return faulty | dict.fromkeys(self.broken)


def _fits(point: Point, signals: Mapping[str, Value]) -> bool:
    """Return whether a model's signal can stand for a point."""
    value = signals.get(point.name)
    if type(value) is not TYPES[point.type]:
        return False
    if isinstance(value, int | float) and point.range is not None:
        return point.range[0] <= value <= point.range[1]
    return True
