"""Find points whose registers overlap as different types, which mostly means a wrong address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.modbus.address import FunctionData

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.modbus.source import ModbusSource


def doubts(points: Sequence[ModbusSource]) -> Iterator[tuple[int, int, str]]:
    """Yield pairs of points that read the same registers as different types: one address is probably wrong."""
    for later, earlier in overlapping(points):
        yield later, earlier, f"{_described(points[later])} overlaps {_described(points[earlier])}"


def overlapping(points: Sequence[ModbusSource]) -> Iterator[tuple[int, int]]:
    """Yield pairs of points, the later first, that read a register as different types.

    A part of a register (a bit, some bits, a byte) may overlap with the whole register, as devices intend.
    """
    whole = [i for i, point in enumerate(points) if _has_registers(point) and point.field is None]
    whole.sort(key=lambda i: (points[i].address, points[i].size))
    open_: list[int] = []
    for i in whole:
        point = points[i]
        open_ = [
            j
            for j in open_
            if points[j].address.table is point.address.table and _end(points[j]) > point.address.offset
        ]
        for j in open_:
            if _shape(points[j]) != _shape(point):
                yield max(i, j), min(i, j)
        open_.append(i)


def _has_registers(point: ModbusSource) -> bool:
    table = point.address.table
    return table.registers if isinstance(table, FunctionData) else not table.bits


def _end(point: ModbusSource) -> int:
    return point.address.offset + point.size


def _shape(point: ModbusSource) -> tuple[object, ...]:
    return point.address, point.size, point.raw, point.order, point.sign


def _described(point: ModbusSource) -> str:
    return f"{point.raw} at {point.address}"
