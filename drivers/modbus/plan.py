"""Plan the read requests of points. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from drivers.modbus.address import FunctionData, Table
from drivers.modbus.codec import compile_bits, compile_registers
from drivers.modbus.function_data import blocks, function_request
from drivers.modbus.pdu import MAX_BITS, read, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from drivers.base import Value
    from drivers.modbus.connection import ModbusConnection, Span
    from drivers.modbus.source import ModbusSource


_REGISTER, _WIDE = 2, 4
"""Bytes of a register, and of a wide register."""

_MOST_WIDE = 62
"""The most wide registers in one response, whose byte count is at most 250."""


class Limits(NamedTuple):
    """Limits of one request to a device.

    `max_registers` limits a request to registers, `max_bits` a request to bits. `max_gap` is the number of entries
    between two points that may be read as well; `even` allows only even numbers of registers. `forbidden` entries are
    never read. Registers in `wide` have 32 bits.
    """

    max_registers: int = 125
    max_gap: int = 16
    even: bool = False
    forbidden: tuple[Span, ...] = ()
    max_bits: int = MAX_BITS
    wide: tuple[Span, ...] = ()

    def most(self, table: Table | FunctionData) -> int:
        """Return the most entries of a table in one request."""
        return self.max_bits if table.bits else self.max_registers


def limits_of(connection: ModbusConnection) -> Limits:
    """Return the limits that a connection names."""
    return Limits(
        connection.max_registers,
        connection.max_gap,
        connection.even,
        connection.forbidden,
        connection.max_bits,
        connection.wide,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One read request, and the decoder of its response.

    `positions` are those of its points in the group; `decode` turns the payload of the response into their values,
    in that order; `size` is the expected size of the payload in bytes, `width` that of a register. `unwrap` finds the
    payload in a response that is not one of registers or bits.
    """

    table: Table | FunctionData
    first: int
    count: int
    positions: tuple[int, ...]
    decode: Callable[[bytes], list[Value]]
    pdu: bytes
    size: int
    width: int = _REGISTER
    unwrap: Callable[[bytes, int], bytes] | None = None

    def payload(self, answer: bytes, of_registers: Callable[[bytes, int], bytes] = read_answer) -> bytes:
        """Return the payload of a response without its function code. Raises `InvalidResponse`.

        `of_registers` finds the payload in a response of registers or bits.
        """
        return (self.unwrap or of_registers)(answer, self.size)

    def values(self, answer: bytes, of_registers: Callable[[bytes, int], bytes] = read_answer) -> list[Value]:
        """Return the values of the points in a response without its function code. Raises `InvalidResponse`."""
        return self.decode(self.payload(answer, of_registers))

    @property
    def splittable(self) -> bool:
        """Whether there are requests for a part of the points: a queue or a server id is read as a whole."""
        return len(self.positions) > 1 and (isinstance(self.table, Table) or self.table is FunctionData.FILE)

    def entries(self, point: ModbusSource) -> int:
        """Return the number of entries that a point occupies."""
        return point.size if self.width == _REGISTER else _wide_entries(point)

    def lead(self, point: ModbusSource) -> int:
        """Return the bytes before a point in its first register: 16 bits are in the low half of 32."""
        return self.width * self.entries(point) - 2 * point.size if self.width != _REGISTER else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of one group, and how their values become the group's columns.

    `arrange` takes the values of all requests, followed by a value for each point without a request (`left_out`), and
    returns them in the group's order; None if they are in that order already.
    """

    requests: tuple[Request, ...]
    left_out: tuple[int, ...]
    arrange: Callable[[list[Value | None]], tuple[Value | None, ...]] | None


def plan(points: Sequence[ModbusSource], limits: Limits, without: Collection[int] = ()) -> Plan:
    """Merge points into as few requests as the limits allow; a value is always in one request.

    Points at the positions `without` are left out. Raises `ValueError` if a point can't be read within the limits.
    """
    return arranged(tuple(merge(points, limits, without)), len(points))


def arranged(requests: tuple[Request, ...], size: int) -> Plan:
    """Return a plan of these requests for a group of `size` points."""
    positions = [position for request in requests for position in request.positions]
    left_out = tuple(sorted(set(range(size)) - set(positions)))
    positions += left_out
    if positions == list(range(size)):
        return Plan(requests, left_out, None)
    slots = sorted(range(size), key=positions.__getitem__)
    return Plan(requests, left_out, itemgetter(*slots))


def merge(points: Sequence[ModbusSource], limits: Limits, without: Collection[int] = ()) -> Iterator[Request]:
    """Yield the requests that read all points except those at the positions `without`."""
    for table in Table:
        chosen = [i for i, point in enumerate(points) if point.address.table is table and i not in without]
        wide = [span for span in limits.wide if span.table is table]
        for region in wide:
            inside = [i for i in chosen if region.first <= points[i].address.offset <= region.last]
            chosen = [i for i in chosen if i not in inside]
            yield from _blocks(points, inside, limits, ())
        yield from _blocks(points, chosen, limits, wide)
    for block in blocks(points, limits.max_registers, limits.max_gap, without):
        yield request(points, block, limits)


def _blocks(
    points: Sequence[ModbusSource], chosen: list[int], limits: Limits, avoided: Sequence[Span]
) -> Iterator[Request]:
    """Yield the requests that read the points at the positions `chosen`, of one table and one width of registers."""
    if not chosen:
        return
    table = points[chosen[0]].address.table
    extents = {i: extent(points[i], limits) for i in chosen}
    chosen.sort(key=lambda i: (extents[i][0], extents[i][1] - extents[i][0], points[i].address.offset))
    spans = [*(span for span in limits.forbidden if span.table is table), *avoided]
    wide = is_wide(points[chosen[0]], limits)
    most = min(limits.most(table), _MOST_WIDE) if wide else limits.most(table)
    gap = limits.max_gap
    block: list[int] = []
    first = end = 0
    for i in chosen:
        offset, own_end = extents[i]
        check_point(points[i], spans, most, _wide_entries(points[i]) if wide else points[i].size)
        new_end = max(end, own_end)
        if block and (offset - end > gap or new_end - first > most or _meets(spans, first, new_end)):
            yield request(points, block, limits)
            block = []
        if not block:
            first, new_end = offset, own_end
        block.append(i)
        end = new_end
    if block:
        yield request(points, block, limits)


def extent(point: ModbusSource, limits: Limits) -> tuple[int, int]:
    """Return the first entry of a point and the entry after its last, its scale register included if they are joined.

    A value and its scale register are in one response, so that they are of one moment, unless the limits forbid it:
    `apart` returns the registers that then need requests of their own.
    """
    if limits.wide and is_wide(point, limits):  # its registers are counted in another way
        return point.address.offset, point.address.offset + _wide_entries(point)
    first, end = point.address.offset, point.address.offset + point.size
    register = point.scale_register
    if register is None or register.address.table is not point.address.table:
        return first, end
    other, other_end = register.address.offset, register.address.offset + register.size
    low, high = min(first, other), max(end, other_end)
    spans = [span for span in (*limits.forbidden, *limits.wide) if span.table is point.address.table]
    too_far = max(other - end, first - other_end) > 0 and not limits.max_gap
    if too_far or high - low > limits.max_registers or _meets(spans, low, high):
        return first, end
    return low, high


def joined(point: ModbusSource, limits: Limits) -> bool:
    """Return True if a point has no scale register, or is read in one request with it."""
    if point.scale_register is None:
        return True
    low, high = extent(point, limits)
    same = point.scale_register.address.table is point.address.table
    return same and low <= point.scale_register.address.offset < high


def apart(points: Sequence[ModbusSource], limits: Limits) -> dict[int, ModbusSource]:
    """Return the scale registers that are read in requests of their own, by the positions of their points."""
    return {
        i: register
        for i, point in enumerate(points)
        if point.scale_register is not None
        and not joined(point, limits)
        and (register := point.scaling_source()) is not None
    }


def check_point(point: ModbusSource, spans: Iterable[Span], most: int, size: int) -> None:
    """Raise `ValueError` if a point of `size` entries does not fit one request, or is in a forbidden range."""
    if size > most:
        raise ValueError(f"{point.address} takes {size} registers at once, and the device gives {most}")
    if _meets(spans, point.address.offset, point.address.offset + size):
        raise ValueError(f"{point.address} is in a range that the connection forbids to read")


def is_wide(point: ModbusSource, limits: Limits) -> bool:
    """Return True if a point is in registers of 32 bits."""
    table, offset = point.address
    return any(span.table is table and span.first <= offset <= span.last for span in limits.wide)


def _wide_entries(point: ModbusSource) -> int:
    return (point.size + 1) // 2


def _meets(spans: Iterable[Span], first: int, end: int) -> bool:
    return any(span.first < end and first <= span.last for span in spans)


def request(points: Sequence[ModbusSource], block: Sequence[int], limits: Limits) -> Request:
    """Return the request that reads the points at the positions `block`, which are in one table."""
    table = points[block[0]].address.table
    if isinstance(table, FunctionData):
        found = function_request([points[i].unscaled() for i in block])
        return Request(
            table, found.first, found.count, tuple(block), found.decode, found.pdu, found.size, unwrap=found.unwrap
        )
    if limits.wide and is_wide(points[block[0]], limits):
        return _wide_request(points, block, limits)
    own = [points[i] for i in block]
    extents = [extent(point, limits) for point in own]
    first = min(low for low, _ in extents)
    count = max(end for _, end in extents) - first
    if any(point.scale_register is not None for point in own):
        own = [point if joined(point, limits) else point.unscaled() for point in own]
    distances = [(point.address.offset - first, point) for point in own]
    if table.bits:
        inverted = [point.invert for point in own]
        decode, size = compile_bits([distance for distance, _ in distances], inverted), (count + 7) // 8
    else:
        decode = compile_registers(distances)
        if limits.even and count % 2:
            # add a register behind, or before at the end of the table
            first, count = (first, count + 1) if first + count <= 0xFFFF else (first - 1, count + 1)  # noqa: PLR2004
            decode = compile_registers([(point.address.offset - first, point) for point in own])
        size = 2 * count
    return Request(table, first, count, tuple(block), decode, read(table, first, count), size)


def _wide_request(points: Sequence[ModbusSource], block: Sequence[int], limits: Limits) -> Request:
    """Return the request that reads points in registers of 32 bits; 16 bits are the low half of a register."""
    table = Table(points[block[0]].address.table)
    first = min(points[i].address.offset for i in block)
    count = max(points[i].address.offset + _wide_entries(points[i]) for i in block) - first
    own = [points[i] if joined(points[i], limits) else points[i].unscaled() for i in block]
    distances = [(2 * (point.address.offset - first) + point.size % 2, point) for point in own]
    decode = compile_registers(distances)
    return Request(table, first, count, tuple(block), decode, read(table, first, count), _WIDE * count, _WIDE)
