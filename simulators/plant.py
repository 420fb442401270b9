"""A factory's machines as models, connected into lines, with the values of its points."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from drivers.base import ValueType
from simulators.generic import GenericMachine
from simulators.machine import Buffer
from simulators.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.base import Value
    from gateway.settings.factory import Factory
    from gateway.settings.factory import Machine as Configured
    from gateway.settings.point import Point
    from simulators.machine import Machine

BUFFER_PARTS = 6
"""Parts that fit between two stages of a line."""


class Plant:
    """All machines of one factory. Machines of one template that follow each other in a line work side by side."""

    def __init__(self, factory: Factory, seed: str) -> None:
        self.machines: list[tuple[Configured, Machine]] = []
        for (_, _), line in groupby(factory.machines, lambda machine: (machine.path.area, machine.path.line)):
            self._build_line(list(line), seed)

    def _build_line(self, configured: list[Configured], seed: str) -> None:
        before: Buffer | None = None
        stages = [list(stage) for _, stage in groupby(configured, lambda machine: machine.template)]
        for number, stage in enumerate(stages, 1):
            after = Buffer(BUFFER_PARTS * len(stage)) if number < len(stages) else None
            for one in stage:
                model = MODELS.get(one.template)
                machine = (
                    model(one.path.machine, seed) if model else GenericMachine(one.path.machine, seed, one.points)
                )
                machine.inlet, machine.outlet = before, after
                self.machines.append((one, machine))
            before = after

    def step(self, dt: float) -> None:
        """Move all machines on by `dt` seconds."""
        for _, machine in self.machines:
            machine.step(dt)


def raw_of(point: Point) -> Callable[[Value], Value]:
    """Return `raw_value` for one point: nothing to do where the device holds the value as it is."""
    as_it_is = (point.scale, point.offset) == (1.0, 0.0) and not point.labels
    return _itself if as_it_is and point.source.value_type is point.type else partial(raw_value, point)


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
