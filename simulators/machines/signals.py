"""Generated signals for points without a model, derived from the point's range, unit, type and labels.

A signal is a function of time alone. A machine costs nothing while it is not read. Any speed gives the same shape,
and the same seed the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from drivers.base import Value, ValueType
from drivers.modbus.raw_types import BCD, TIMES, Raw
from drivers.modbus.source import ModbusSource

if TYPE_CHECKING:
    from gateway.settings.point import Point

Signal = Callable[[float, str], Value]
"""Seconds and the machine's name -> the point's value."""

Shape = Callable[[float], float]
"""Seconds -> share of the range, 0 to 1."""

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
"""Initial time of a simulated device's clock."""

COUNTED = 2**15
"""Upper limit of integers without a range, if their type is large enough."""

TOTALS = {"kW.h", "W.h", "MW.h", "J", "kJ", "MJ", "h"}
PULSED = {"bar", "mbar", "Pa", "kPa", "MPa", "N", "kN", "t", "A", "mA", "kA", "W", "kW", "N.m", "kN.m", "V", "kV"}
LEVELS = {"%", "L", "kg", "m3"}
TURNING = {"r/min", "m/min", "m/s", "/min", "Hz", "mm/s"}
"""Units by the usual behaviour of their quantities; all others vary slowly, as temperatures do."""

CYCLE, RISE, DECAY = 60.0, 2.5, 4.0  # seconds: of a pulse, and its time constants
PAUSE = 20.0  # seconds, in five minutes
HOUR = 3600.0


def compile_signal(point: Point) -> Signal:
    """Return the signal of a point: of its declared type, inside its range and the limits of its source."""
    if point.labels:
        return _state(point)
    if point.type is ValueType.BOOL:
        return lambda t, _: int(t / 10) % 2 == 0
    if point.type in {ValueType.STRING, ValueType.JSON}:
        return _text(point)
    if point.type is ValueType.INT and point.range is None:
        return _avoiding(point, _counter(point))
    low, high = _bounds(point)
    shape, span, salt = _shape(point.unit), high - low, sum(point.name.encode()) * 7919

    def signal(t: float, _: str) -> Value:
        return low + span * min(1.0, max(0.0, shape(t + salt % 997) + 0.006 * _noise(t, salt)))

    if point.type is ValueType.INT:
        return _avoiding(point, lambda t, name: math.floor(float(signal(t, name)) + 0.5))
    return _avoiding(point, signal)


def _shape(unit: str) -> Shape:
    if unit in TOTALS:
        return lambda t: t / (24 * HOUR) % 1.0
    if unit in PULSED:
        return _pulse
    if unit in LEVELS:
        return lambda t: 0.1 + 0.8 * abs(1.0 - t / 900.0 % 2.0)  # 15 minutes down, 15 minutes up
    if unit in TURNING:
        return lambda t: 0.7 + 0.03 * math.sin(t / 7.0) if t % 300.0 > PAUSE else 0.02
    return lambda t: 0.55 + 0.12 * math.sin(t / 191.0) + 0.04 * math.sin(t / 23.0)


def _pulse(t: float) -> float:
    """Return a rise, hold and fall, as of pressure and force in a cycle."""
    inside = t % CYCLE
    if inside < CYCLE * 0.7:
        return 0.05 + 0.65 * -math.expm1(-inside / RISE)
    return 0.05 + 0.65 * math.exp(-(inside - CYCLE * 0.7) / DECAY)


def _noise(t: float, salt: int) -> float:
    """Return deterministic noise from -1 to 1 that changes five times a second."""
    mixed = (int(t * 5.0) + salt) * 2654435761 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 2246822519 & 0xFFFFFFFF
    return (mixed >> 8) / 8388608.0 - 1.0


def _bounds(point: Point) -> tuple[float, float]:
    """Return the lowest and the highest value: the range within the limits of the source."""
    low, high = point.range or (0.0, 100.0)
    if point.source.limits is not None:
        limits = sorted(limit * point.scale + point.offset for limit in point.source.limits)
        inside = max(low, limits[0]), min(high, limits[1])
        low, high = inside if inside[0] <= inside[1] else (limits[0], limits[1])
    if point.type is ValueType.INT and math.ceil(low) <= math.floor(high):
        low, high = math.ceil(low), math.floor(high)
    return low, high


def _counter(point: Point) -> Signal:
    scale, offset = int(point.scale), int(point.offset)
    _, highest = point.source.limits or (0, COUNTED)
    wrap = min(highest, COUNTED)  # the highest itself often means "not available"
    return lambda t, _: int(t) % wrap * scale + offset


def _state(point: Point) -> Signal:
    """Return a signal that goes through the labelled states in turn."""
    lowest, highest = point.source.limits or (min(point.labels), max(point.labels))
    states = [number for number in sorted(point.labels) if lowest <= number <= highest] or [0]
    shown: list[Value] = [bool(n) if point.type is ValueType.BOOL else n for n in states]
    if point.type is ValueType.STRING:
        shown = [point.labels.get(n, "") for n in states]
    return lambda t, _: shown[int(t / 15) % len(shown)]


def _text(point: Point) -> Signal:
    source = point.source
    if point.type is ValueType.JSON:
        return lambda t, name: f'"{_label(t, name)}"'
    if not isinstance(source, ModbusSource):
        return _label
    if source.raw in TIMES:
        return lambda t, _: (BEGAN + timedelta(seconds=int(t))).isoformat()
    size = source.capacity
    if source.raw is Raw.BYTES:
        return lambda t, _: (int(t) % 256).to_bytes(size, "big").hex()
    return lambda t, name: _label(t, name)[-size:]  # the end of the label changes


def _label(t: float, name: str) -> str:
    return f"{name}-{int(t / 60) % 1000:03d}"


def _unwanted(point: Point) -> list[float]:
    """Return the raw numbers that mean "not available"; for BCD they are written as bits."""
    if not isinstance(point.source, ModbusSource):
        return []
    numbers = [number for number in point.source.not_available if isinstance(number, int | float)]
    if point.source.raw not in BCD:
        return numbers
    return [int(digits) for number in numbers if (digits := f"{int(number):x}").isdecimal()]


def _avoiding(point: Point, signal: Signal) -> Signal:
    """Return the signal without the values that mean "not available"."""
    unwanted = _unwanted(point)
    if not unwanted:
        return signal
    step = abs(point.scale) if point.type is ValueType.FLOAT else abs(int(point.scale))
    low = point.range[0] if point.range is not None else 0
    reserved = {number * point.scale + point.offset for number in unwanted}

    def avoiding(t: float, name: str) -> Value:
        value = signal(t, name)
        if isinstance(value, int | float) and value in reserved:
            return value - step if value - step >= low else value + step
        return value

    return avoiding
