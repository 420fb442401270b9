"""Content of the scale registers of simulated machines: constant exponents that suit the ranges of the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from drivers.modbus.raw_types import FLOATS
from drivers.modbus.scale_register import LARGEST_EXPONENT, ScaleKind, ScaleRegister

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.modbus.source import ModbusSource
    from gateway.settings.point import Point

_FINEST = -3
"""The lowest exponent: a thousandth of a unit."""


def exponents(points: Sequence[Point]) -> dict[str, int]:
    """Return the exponent of ten of each point with a scale register, by name; points may share a register."""
    scaled = [point for point in points if getattr(point.source, "scale_register", None) is not None]
    found: dict[object, int] = {}
    for point in scaled:
        register = _register(point)
        found[register] = max(found.get(register, _FINEST), _smallest(point, register))
    return {point.name: found[_register(point)] for point in scaled}


def content(register: ScaleRegister, exponent: int) -> float:
    """Return the number in a scale register that scales by `10**exponent`."""
    match register.kind:
        case ScaleKind.EXPONENT:
            return exponent
        case ScaleKind.DECIMALS:
            return -exponent
        case ScaleKind.FACTOR:
            return 10.0**exponent
        case ScaleKind.DIVISOR:
            return 10.0**-exponent


def _register(point: Point) -> ScaleRegister:
    return cast("ScaleRegister", cast("ModbusSource", point.source).scale_register)


def _smallest(point: Point, register: ScaleRegister) -> int:
    """Return the smallest exponent with which the point's range fits its registers."""
    source = cast("ModbusSource", point.source)
    low, high = point.range or (0.0, 100.0)
    largest = max(abs((bound - point.offset) / point.scale) for bound in (low, high))
    exponent = _FINEST
    if source.raw_limits is not None:
        highest = source.raw_limits[1]
        while largest > highest * 10.0**exponent and exponent < LARGEST_EXPONENT:
            exponent += 1
    match register.kind:
        case ScaleKind.DECIMALS:
            return min(exponent, 0)
        case ScaleKind.FACTOR:
            return exponent if register.raw in FLOATS else max(exponent, 0)
        case ScaleKind.DIVISOR:
            return exponent if register.raw in FLOATS else min(exponent, 0)
        case ScaleKind.EXPONENT:
            return exponent
