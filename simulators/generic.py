"""Plausible signals for points of machine types without a model: range, unit, type, labels and source decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from drivers.base import ValueType
from drivers.modbus.raw import TIMES, Raw
from drivers.modbus.source import ModbusSource
from drivers.modbus.values import room
from simulators.machine import Machine
from simulators.physics import Wander

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.point import Point

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""What a simulated device's clock shows when it is started."""

COUNTED = 2**15
"""Numbers without a range count up to here, where they have the room."""


class GenericMachine(Machine):
    """A machine of which only the points are known."""

    def __init__(self, name: str, seed: str, points: Sequence[Point]) -> None:
        super().__init__(name, seed)
        self._points = points
        self._wander: dict[str, Wander] = {}
        self._bounds = {point.name: _bounds(point) for point in points}
        for point in points:
            if point.type is ValueType.FLOAT or (point.type is ValueType.INT and point.range):
                low, high = self._bounds[point.name]
                self._wander[point.name] = Wander((low + high) / 2, (high - low) / 12, 30.0, self.rng)
        self.run(0.0)

    def run(self, dt: float) -> None:
        for point in self._points:
            wander = self._wander.get(point.name)
            if wander is not None:
                low, high = self._bounds[point.name]
                value = min(high, max(low, wander.step(dt) if dt else wander.value))
                self.signals[point.name] = value if point.type is ValueType.FLOAT else round(value)
            elif point.labels:
                self._state(point)
            elif point.type is ValueType.INT:
                self.signals[point.name] = self._count(point)
            elif point.type is ValueType.BOOL:
                self.signals[point.name] = int(self.clock / 10) % 2 == 0
            else:
                self.signals[point.name] = self._text(point)

    def _count(self, point: Point) -> int:
        scale, offset = int(point.scale), int(point.offset)
        _, highest = point.source.limits or (0, COUNTED)
        raw = int(self.clock) % min(highest, COUNTED)  # the highest itself often means "not available"
        return raw * scale + offset

    def _state(self, point: Point) -> None:
        """Stay in each state for a while, one after the other."""
        lowest, highest = point.source.limits or (min(point.labels), max(point.labels))
        states = [number for number in sorted(point.labels) if lowest <= number <= highest] or [0]
        number = states[int(self.clock / 15) % len(states)]
        self.signals[point.name] = point.labels.get(number, "") if point.type is ValueType.STRING else number

    def _text(self, point: Point) -> str:
        source = point.source
        label = f"{self.name}-{int(self.clock / 60) % 1000:03d}"
        if not isinstance(source, ModbusSource):
            return label
        if source.raw in TIMES:
            whole = timedelta(seconds=int(self.clock))
            return (BEGAN + whole).isoformat()
        if source.raw is Raw.BYTES:
            return (int(self.clock) % 256).to_bytes(room(source), "big").hex()
        return label[-room(source) :]  # the end of it is what changes

    def _show(self) -> None:
        """Show nothing but the configured points."""


def _bounds(point: Point) -> tuple[float, float]:
    """Return the lowest and the highest value: the range, as far as the source can hold it."""
    low, high = point.range or (0.0, 100.0)
    if point.source.limits is not None:
        held = sorted(limit * point.scale + point.offset for limit in point.source.limits)
        inside = max(low, held[0]), min(high, held[1])
        low, high = inside if inside[0] <= inside[1] else (held[0], held[1])
    return low, high
