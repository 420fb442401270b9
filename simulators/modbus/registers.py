"""The tables of a simulated Modbus device, laid out by the templates that the gateway reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, cast

from drivers.modbus.address import ENTRIES, FunctionData, Table
from drivers.modbus.codec import encode, encoder
from drivers.modbus.overlaps import overlapping
from drivers.modbus.raw_types import FLOATS, SIGNED, Order, Raw, Sign, wire_encoding
from simulators.machines.plant import raw_of
from simulators.modbus.scale_registers import content, exponents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drivers.base import Value
    from drivers.modbus.source import ModbusSource
    from gateway.settings.point import Point
    from simulators.machines.outputs import MachineOutputs

    RegisterWriter = Callable[[Value | None, Sequence[int]], Sequence[int]]
    """A point's value (None for a broken sensor), and its registers before -> its registers after."""

    Place = tuple[str, RegisterWriter, Table, int, int]
    """Point, its writer, table, first entry, end."""

WORD, ERASED = 0xFFFF, 0xFF


class RegisterMap:
    """The places of a machine type's points, compiled once for all machines of the type."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.sizes = dict.fromkeys(Table, 0)
        self.places: list[Place] = []
        self.function_data: list[tuple[str, FunctionDataWriter]] = []
        scaled = exponents(points)
        # parts of a register are written last, over a point that fills all of it
        for point in sorted(points, key=lambda point: _source(point).field is not None):
            source = _source(point)
            first, end = source.address.offset, source.address.offset + source.size
            table = source.address.table
            if isinstance(table, FunctionData):
                self.function_data.append((point.name, function_data_writer(point, source)))
                continue
            self.sizes[table] = max(self.sizes[table], end)
            exponent = scaled.get(point.name)
            self.places.append((point.name, _register_writer(point, source, exponent), table, first, end))
            register = source.scaling_source()
            if source.scale_register is not None and register is not None and exponent is not None:
                table, first = Table(register.address.table), register.address.offset
                end = first + register.size
                self.sizes[table] = max(self.sizes[table], end)
                number = content(source.scale_register, exponent)
                words = encode(register, number if register.raw in FLOATS else round(number))
                self.places.append((point.name, _constant(words), table, first, end))


class FunctionDataStore:
    """The data of a unit outside of its tables: files, queues, the server id and the identification."""

    def __init__(self) -> None:
        self.registers: dict[FunctionData, dict[int, int]] = {FunctionData.FILE: {}, FunctionData.FIFO: {}}
        self.server_id = bytearray()
        self.objects: dict[int, bytes] = {}

    def file(self, number: int, record: int, count: int) -> list[int] | None:
        """Return registers of a file; None if it does not exist or is shorter."""
        held, first = self.registers[FunctionData.FILE], number * ENTRIES + record
        last = max((offset for offset in held if offset // ENTRIES == number), default=-1)
        if first + count > last + 1:
            return None
        return [held.get(offset, 0) for offset in range(first, first + count)]

    def queue(self, pointer: int) -> list[int] | None:
        """Return the registers in a queue; None if there is no queue at the address."""
        held, first = self.registers[FunctionData.FIFO], pointer * ENTRIES + 1
        last = max((offset for offset in held if offset // ENTRIES == pointer), default=-1)
        return None if last < 0 else [held.get(offset, 0) for offset in range(first, last + 1)]


FunctionDataWriter: TypeAlias = "Callable[[Value | None, FunctionDataStore], None]"
"""Writes a point's value, None for a broken sensor."""


def function_data_writer(point: Point, source: ModbusSource) -> FunctionDataWriter:
    """Return the function that writes a point's value into a unit's data outside of the tables."""
    table, offset = FunctionData(source.address.table), source.address.offset
    if table.registers:
        write = _register_writer(point, source, None)

        def write_registers(value: Value | None, store: FunctionDataStore) -> None:
            held = store.registers[table]
            before = [held.get(offset + i, 0) for i in range(source.size)]
            held.update(enumerate(write(value, before), start=offset))

        return write_registers

    def write_bytes(value: Value | None, store: FunctionDataStore) -> None:
        content = _content(source, value)
        if table is FunctionData.IDENTIFICATION:
            store.objects[offset] = content
        else:
            end = offset + len(content)
            store.server_id = store.server_id.ljust(end, b"\0")
            store.server_id[offset:end] = content

    return write_bytes


def _content(source: ModbusSource, value: Value | None) -> bytes:
    """Return the bytes of a value in a server id or an identification."""
    match source.raw:
        case Raw.BOOL:
            return b"\xff" if bool(value) != source.invert else b"\0"
        case Raw.UINT8:
            return bytes((cast("int", value or 0) & 0xFF,))
        case Raw.BYTES:
            return bytes.fromhex(str(value or ""))
        case _:
            return str(value or "").encode(wire_encoding(source.encoding))


class Unit:
    """The tables of the machines behind one unit id. Entries that no point uses read as 0."""

    def __init__(self) -> None:
        self.machines: list[MachineOutputs] = []
        self.tables: dict[Table, list[int]] = {table: [] for table in Table}
        self.function_data = FunctionDataStore()
        self._places: list[tuple[MachineOutputs, RegisterMap]] = []
        self._revisions: list[tuple[float, int]] = []

    def add(self, registers: RegisterMap, outputs: MachineOutputs) -> None:
        """Add a machine's points to the tables."""
        for table, size in registers.sizes.items():
            self.tables[table] += [0] * (size - len(self.tables[table]))
        self.machines.append(outputs)
        self._places.append((outputs, registers))
        self._revisions.append((-1.0, 0))
        self.refresh()

    def refresh(self) -> None:
        """Write the machines' values into the tables if they have changed."""
        for i, (outputs, registers) in enumerate(self._places):
            revision = outputs.revision
            if revision == self._revisions[i]:
                continue
            self._revisions[i] = revision
            values, tables = outputs.values(), self.tables
            for name, write, number, first, end in registers.places:
                table = tables[number]
                table[first:end] = write(values[name], table[first:end])
            for name, write_data in registers.function_data:
                write_data(values[name], self.function_data)

    def read(self, table: Table, first: int, count: int) -> list[int] | None:
        """Return the entries as they are now, None for an illegal address."""
        self.refresh()
        entries = self.tables[table][first : first + count]
        if len(entries) < count or self._illegal(table, first, first + count):
            return None
        return entries

    def covers(self, table: Table, first: int, count: int) -> bool:
        """Return True if every one of these entries belongs to a point."""
        used: set[int] = set()
        for _, registers in self._places:
            for _, _, own, start, end in registers.places:
                if own is table:
                    used.update(range(start, end))
        return used.issuperset(range(first, first + count))

    def _illegal(self, wanted: Table, since: int, until: int) -> bool:
        return any(
            name in outputs.network.illegal and table is wanted and first < until and since < end
            for outputs, registers in self._places
            if outputs.network.illegal
            for name, _, table, first, end in registers.places
        )


def overlaps(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Yield pairs of points, the earlier first, that claim a register for different values: one can't be right."""
    for later, earlier in overlapping([_source(point) for point in points]):
        yield points[earlier], points[later]


def _source(point: Point) -> ModbusSource:
    return cast("ModbusSource", point.source)


def _constant(words: Sequence[int]) -> RegisterWriter:
    return lambda _, __: words


def _scaled_down(raw: Callable[[Value], Value], source: ModbusSource, exponent: int) -> Callable[[Value], Value]:
    """Return the function from a point's value to the number in registers that a scale register scales."""
    whole = source.raw_limits is not None

    def scaled(value: Value) -> Value:
        number = cast("float", raw(value)) / 10.0**exponent
        return round(number) if whole else number

    return scaled


def _register_writer(point: Point, source: ModbusSource, exponent: int | None) -> RegisterWriter:
    """Return the function that turns a point's value into its registers; a value out of range is limited."""
    raw, broken = raw_of(point), _broken(source)
    if exponent is not None:
        raw = _scaled_down(raw, source, exponent)
    if source.address.table.bits:
        return lambda value, _: (int(value is not None and bool(raw(value)) != source.invert),)
    if _is_word(source):
        low, high = source.raw_limits or (0, WORD)

        def write_word(value: Value | None, before: Sequence[int]) -> Sequence[int]:
            if value is None:
                return broken(before)
            word = raw(value)
            return (min(high, max(low, cast("int", word))) & WORD,)

        return write_word
    to_registers = encoder(source)

    def write(value: Value | None, before: Sequence[int]) -> Sequence[int]:
        if value is None:
            return broken(before)
        try:
            return to_registers(raw(value), before)
        except ValueError:
            return to_registers(_limited(source, raw(value)), before)

    return write


def _is_word(source: ModbusSource) -> bool:
    """Return True if a source is one plain register, the most common kind."""
    plain = source.raw in {Raw.UINT16, Raw.INT16} and source.field is None and source.sign is Sign.TWOS_COMPLEMENT
    return plain and source.order in {Order.ABCD, Order.CDAB}


def _limited(source: ModbusSource, value: Value) -> Value:
    if isinstance(value, str):
        return value[: source.capacity]
    if source.raw_limits is not None:
        return min(source.raw_limits[1], max(source.raw_limits[0], round(value)))
    return math.copysign(math.inf, value)


def _broken(source: ModbusSource) -> Callable[[Sequence[int]], Sequence[int]]:
    """Return the function for a broken sensor's registers: NaN, "not available", or the end of the range."""
    value: Value
    if source.raw in FLOATS:
        value = math.nan
    elif source.raw is Raw.STRING:
        byte = int(source.not_available[0]) if source.not_available else ERASED
        return lambda before: [byte << 8 | byte] * len(before)
    elif source.not_available:
        absent = int(source.not_available[0])
        return lambda before: [WORD & absent >> 16 * i for i in reversed(range(len(before)))]
    elif source.raw_limits is not None:
        value = source.raw_limits[0] if source.raw in SIGNED else source.raw_limits[1]
    else:
        return lambda before: [0] * len(before)
    return lambda before: encode(source, value, before)
