"""The tables of a simulated Modbus device, laid out as the templates say that the gateway reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from drivers.modbus.address import Table
from drivers.modbus.codec import encode, encoder
from drivers.modbus.raw_types import FLOATS, SIGNED, Order, Raw, Sign
from simulators.machines.plant import raw_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drivers.base import Value
    from drivers.modbus.source import ModbusSource
    from gateway.settings.point import Point
    from simulators.machines.outputs import MachineOutputs

    # a point's value, None where its sensor is broken, and the registers as they are -> as they are next
    Put = Callable[[Value | None, Sequence[int]], Sequence[int]]

WORD = 0xFFFF


class RegisterMap:
    """Where the points of a machine type stand, compiled once for all machines of the type."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.sizes = dict.fromkeys(Table, 0)
        self.places: list[tuple[str, Put, Table, int, int]] = []
        # bits of a register come last, over a point that shows all of it
        for point in sorted(points, key=lambda one: _source(one).field is not None):
            source = _source(point)
            first, end = source.address.offset, source.address.offset + source.size
            table = source.address.table
            self.sizes[table] = max(self.sizes[table], end)
            self.places.append((point.name, _put(point, source), table, first, end))


class Unit:
    """What stands behind one unit id: the tables of a machine, or of several. What no point uses reads as 0."""

    def __init__(self) -> None:
        self.machines: list[MachineOutputs] = []
        self.tables: dict[Table, list[int]] = {table: [] for table in Table}
        self._places: list[tuple[MachineOutputs, Sequence[tuple[str, Put, Table, int, int]]]] = []
        self._stamps: list[tuple[float, int]] = []

    def add(self, registers: RegisterMap, shown: MachineOutputs) -> None:
        """Put a machine's points in the tables."""
        for table, size in registers.sizes.items():
            self.tables[table] += [0] * (size - len(self.tables[table]))
        self.machines.append(shown)
        self._places.append((shown, registers.places))
        self._stamps.append((-1.0, 0))
        self.refresh()

    def refresh(self) -> None:
        """Write what the machines show now into the tables, where that has changed."""
        for i, (shown, places) in enumerate(self._places):
            stamp = shown.stamp
            if stamp == self._stamps[i]:
                continue
            self._stamps[i] = stamp
            values, tables = shown.values(), self.tables
            for name, put, kind, first, end in places:
                table = tables[kind]
                table[first:end] = put(values[name], table[first:end])

    def read(self, table: Table, first: int, count: int) -> list[int] | None:
        """Return entries as they are now, None where the device has none."""
        self.refresh()  # now that somebody looks
        entries = self.tables[table][first : first + count]
        if len(entries) < count or self._illegal(table, first, first + count):
            return None
        return entries

    def _illegal(self, wanted: Table, since: int, until: int) -> bool:
        return any(
            name in shown.link.illegal and table is wanted and first < until and since < end
            for shown, places in self._places
            if shown.link.illegal
            for name, _, table, first, end in places
        )


def overlaps(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Yield pairs of points that claim a register, each for its whole value: one of them can't be right."""
    owners: dict[tuple[Table, int], Point] = {}
    for point in points:
        source = _source(point)
        if source.field is not None:
            continue
        for entry in range(source.address.offset, source.address.offset + source.size):
            owner = owners.setdefault((source.address.table, entry), point)
            if owner is not point and not _same(owner, point):
                yield owner, point
                break


def _same(one: Point, other: Point) -> bool:
    """Return whether two points are two views of the same registers, which is nobody's mistake."""
    first, second = _source(one), _source(other)
    return (first.address, first.raw, first.order, first.size) == (
        second.address,
        second.raw,
        second.order,
        second.size,
    )


def _source(point: Point) -> ModbusSource:
    return cast("ModbusSource", point.source)


def _put(point: Point, source: ModbusSource) -> Put:
    """Return what turns a point's value into its registers; what is too large is cut to what there is room for."""
    raw, broken = raw_of(point), _broken(source)
    if source.address.table.bits:
        return lambda value, _: (int(bool(value)),)
    if _is_word(source):
        low, high = source.limits or (0, WORD)

        def put_word(value: Value | None, held: Sequence[int]) -> Sequence[int]:
            if value is None:
                return broken(held)
            word = raw(value)
            return (min(high, max(low, cast("int", word))) & WORD,)

        return put_word
    to_registers = encoder(source)

    def put(value: Value | None, held: Sequence[int]) -> Sequence[int]:
        if value is None:
            return broken(held)
        try:
            return to_registers(raw(value), held)
        except ValueError:
            return to_registers(_cut(source, raw(value)), held)

    return put


def _is_word(source: ModbusSource) -> bool:
    """Return whether this is one plain register, the most common thing of all."""
    plain = source.raw in {Raw.UINT16, Raw.INT16} and source.field is None and source.sign is Sign.TWOS_COMPLEMENT
    return plain and source.order in {Order.ABCD, Order.CDAB}


def _cut(source: ModbusSource, value: Value) -> Value:
    if isinstance(value, str):
        return value[: source.capacity]
    if source.limits is not None:
        return min(source.limits[1], max(source.limits[0], round(value)))
    return math.copysign(math.inf, value)


def _broken(source: ModbusSource) -> Callable[[Sequence[int]], Sequence[int]]:
    """Return what a device shows where a sensor is broken: NaN, "not available", or the end of the range."""
    value: Value
    if source.raw in FLOATS:
        value = math.nan
    elif source.not_available:
        return lambda held: [WORD & int(source.not_available[0]) >> 16 * i for i in reversed(range(len(held)))]
    elif source.limits is not None:
        value = source.limits[0] if source.raw in SIGNED else source.limits[1]
    else:
        return lambda held: [0] * len(held)
    return lambda held: encode(source, value, held)
