"""A factory's machines as models, joined into lines, with the values of its points."""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from drivers.base import ValueType
from simulators.machines.carousel import Carousel
from simulators.machines.generic import GenericMachine, signals_of
from simulators.machines.line import Line, joined
from simulators.machines.machine import Machine
from simulators.machines.models import MODELS
from simulators.machines.outputs import MachineOutputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machines.outputs import Simulated
    from simulators.machines.signals import Signal

SLOT = 2.0
"""Seconds: all machines of a plant have come so far before one goes on, however fast time runs."""

STEPS = 20
"""Steps, at least, of each machine's cycle."""

FINEST = 0.25
"""Seconds: shorter steps than that no machine needs."""


class Plant:
    """All machines of one factory, in the order of its configuration."""

    def __init__(self, factory: Factory, seed: str) -> None:
        self.machines: list[tuple[Configured, MachineOutputs]] = []
        self.lines: list[Line] = []
        self.clock = 0.0
        self._signals: dict[int, Sequence[tuple[str, Signal]]] = {}
        for (area, name), group in groupby(factory.machines, lambda one: (one.path.area, one.path.line)):
            line = [(configured, self._machine(configured, seed)) for configured in group]
            self.machines += [(configured, MachineOutputs(configured, machine)) for configured, machine in line]
            self._join(f"{area}/{name}", seed, [machine for _, machine in line])
        self._models = [
            (shown.machine, max(FINEST, shown.machine.model.cycle / STEPS))
            for _, shown in self.machines
            if isinstance(shown.machine, Machine | Carousel)
        ]
        self._generic = [shown.machine for _, shown in self.machines if isinstance(shown.machine, GenericMachine)]

    def _machine(self, configured: Configured, seed: str) -> Simulated:
        path = configured.path
        seed = f"{seed}/{path.area}/{path.line}"
        model = MODELS.get(configured.template)
        if model is not None:
            return Carousel(model, path.machine, seed) if model.places > 1 else model(path.machine, seed)
        signals = self._signals.get(id(configured.points))
        if signals is None:
            signals = self._signals[id(configured.points)] = signals_of(configured.points)
        return GenericMachine(path.machine, seed, signals)

    def _join(self, name: str, seed: str, machines: list[Simulated]) -> None:
        for known, group in groupby(machines, lambda machine: not isinstance(machine, GenericMachine)):
            if known:
                these = [one for one in group if isinstance(one, Machine | Carousel)]
                self.lines += [Line(name, seed, stages) for stages in joined(these)]

    def step(self, dt: float) -> None:
        """Move all machines on by `dt` seconds, in as many steps as the models need."""
        slots = math.ceil(dt / SLOT)
        slot = dt / slots
        for _ in range(slots):
            for model, longest in self._models:
                steps = math.ceil(slot / longest)
                for _ in range(steps):
                    model.step(slot / steps)
        for machine in self._generic:
            machine.step(dt)
        self.clock = round(self.clock + dt, 9)  # sums of fifths are none in binary


def raw_of(point: Point) -> Callable[[Value], Value]:
    """Return `raw_value` for one point: nothing to do where the device holds the value as it is."""
    as_it_is = (point.scale, point.offset) == (1.0, 0.0) and not point.labels
    return _itself if as_it_is and point.source.value_type in {None, point.type} else partial(raw_value, point)


def _itself(value: Value) -> Value:
    return value


def raw_value(point: Point, value: Value) -> Value:
    """Turn a value in the point's unit into what the device holds: the inverse of the gateway's normalization."""
    if point.labels and isinstance(value, str):
        return next((number for number, label in point.labels.items() if label == value), 0)
    if isinstance(value, bool | str):
        return value
    raw = (value - point.offset) / point.scale if (point.scale, point.offset) != (1.0, 0.0) else value
    natural = point.source.value_type
    return round(raw) if natural is ValueType.INT or (natural is None and point.type is ValueType.INT) else raw
