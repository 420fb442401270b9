"""A factory's machines as models, joined into lines, with the values of its points."""

from __future__ import annotations

import math
import threading
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import orjson

from drivers.base import ValueType
from simulators.machines.carousel import Carousel
from simulators.machines.generic import GenericMachine, signals_of
from simulators.machines.line import Line, form_lines
from simulators.machines.machine import Machine
from simulators.machines.models import MODELS
from simulators.machines.outputs import MachineOutputs
from simulators.machines.parts import Supply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machines.outputs import SimulatedMachine
    from simulators.machines.signals import Signal

LONGEST_STEP = 2.0
"""Longest step of the whole plant in simulated seconds, at any speed."""

STEPS_PER_CYCLE = 20
"""Least number of steps in a machine's cycle."""

SHORTEST_STEP = 0.25
"""Seconds; no model needs shorter steps."""


class Plant:
    """All machines of one factory, in the order of its configuration.

    Take `lock` to change the machines, and to read them in another thread: within a step they are half changed.
    """

    def __init__(self, factory: Factory, seed: str) -> None:
        self.lock = threading.Lock()
        self.machines: list[tuple[Configured, MachineOutputs]] = []
        self.lines: list[Line] = []
        self.clock = 0.0
        self._signals: dict[int, Sequence[tuple[str, Signal]]] = {}
        for (area, name), group in groupby(factory.machines, lambda machine: (machine.path.area, machine.path.line)):
            line = [(configured, self._machine(configured, seed)) for configured in group]
            self.machines += [(one, MachineOutputs(one, machine, self.lock)) for one, machine in line]
            self._join(f"{area}/{name}", seed, [machine for _, machine in line])
        supply = Supply()
        for stage in (stage for line in self.lines for stage in line.stages):
            for machine in stage.each():
                machine.supply = supply
        self._models = [
            (outputs.machine, max(SHORTEST_STEP, outputs.machine.model.cycle / STEPS_PER_CYCLE))
            for _, outputs in self.machines
            if isinstance(outputs.machine, Machine | Carousel)
        ]
        self._generic = [
            outputs.machine for _, outputs in self.machines if isinstance(outputs.machine, GenericMachine)
        ]

    def _machine(self, configured: Configured, seed: str) -> SimulatedMachine:
        path = configured.path
        seed = f"{seed}/{path.area}/{path.line}"
        model = MODELS.get(configured.template)
        if model is not None:
            return Carousel(model, path.machine, seed) if model.places > 1 else model(path.machine, seed)
        signals = self._signals.get(id(configured.points))
        if signals is None:
            signals = self._signals[id(configured.points)] = signals_of(configured.points)
        return GenericMachine(path.machine, seed, signals)

    def _join(self, name: str, seed: str, machines: list[SimulatedMachine]) -> None:
        for modelled, group in groupby(machines, lambda machine: not isinstance(machine, GenericMachine)):
            if modelled:
                models = [machine for machine in group if isinstance(machine, Machine | Carousel)]
                self.lines += [Line(name, seed, stages) for stages in form_lines(models)]

    def step(self, dt: float) -> None:
        """Advance all machines by `dt` seconds, in as many steps as the models need."""
        slots = math.ceil(dt / LONGEST_STEP)
        slot = dt / slots
        for _ in range(slots):
            for model, longest in self._models:
                steps = math.ceil(slot / longest)
                for _ in range(steps):
                    model.step(slot / steps)
        for machine in self._generic:
            machine.step(dt)
        self.clock = round(self.clock + dt, 9)  # sums of 0.2 are inexact in binary


def raw_of(point: Point) -> Callable[[Value], Value]:
    """Return `raw_value` for one point, or the identity if the device holds the point's value unchanged."""
    unscaled = (point.scale, point.offset) == (1.0, 0.0) and not point.labels and point.type is not ValueType.JSON
    return _identity if unscaled and point.source.value_type in {None, point.type} else partial(raw_value, point)


def _identity(value: Value) -> Value:
    return value


def raw_value(point: Point, value: Value) -> Value:
    """Return the device's value for a value in the point's unit: the inverse of the gateway's normalization."""
    if point.labels and isinstance(value, str):
        return next((number for number, label in point.labels.items() if label == value), 0)
    if point.type is ValueType.JSON and isinstance(value, str):
        text: Value = orjson.loads(value)  # the JSON text of a plain value
        return text
    if isinstance(value, bool | str):
        return value
    raw = (value - point.offset) / point.scale if (point.scale, point.offset) != (1.0, 0.0) else value
    natural = point.source.value_type
    return round(raw) if natural is ValueType.INT or (natural is None and point.type is ValueType.INT) else raw
