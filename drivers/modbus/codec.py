"""Decode registers to values and encode values. Pure functions; a decoder is compiled once per request.

Registers are big-endian on the wire (clause 4.2), bits are packed lowest first (clause 6.1).
"""

from __future__ import annotations

import struct
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from drivers.base import Fault
from drivers.float32 import compile_shortest
from drivers.modbus.raw_types import BIT_FIELDS, FLOATS, TEXTS, Raw, Sign, byte_order
from drivers.modbus.values import reader, to_unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Value
    from drivers.modbus.scale_register import Scaling
    from drivers.modbus.source import ModbusSource


LAYOUTS = 1000
"""Layouts of responses that are kept, to be shared by machines."""


def compile_bits(offsets: Sequence[int], inverted: Sequence[bool] = ()) -> Callable[[bytes], list[Value]]:
    """Return a decoder of a bit table's response for the bits at `offsets` from the first requested bit.

    `inverted` says for each of them whether its opposite is the value.
    """
    if any(inverted):
        states = [(offset, int(not opposite)) for offset, opposite in zip(offsets, inverted, strict=True)]

        def decode_inverted(payload: bytes) -> list[Value]:
            bits = int.from_bytes(payload, "little")
            return [bits >> offset & 1 == state for offset, state in states]

        return decode_inverted

    def decode(payload: bytes) -> list[Value]:
        bits = int.from_bytes(payload, "little")
        return [bits >> offset & 1 == 1 for offset in offsets]

    return decode


def compile_registers(points: Sequence[tuple[int, ModbusSource]]) -> Callable[[bytes], list[Any]]:
    """Return a decoder of a register response; it returns the values in the order of `points`.

    Each point comes with its distance in registers from the first requested register. One `struct` call unpacks all
    numbers of a response. If bytes have another order, or points share registers, the bytes are rearranged first.
    If `ModbusSource.fallible` is True, a `Fault` may replace a value; `split_faults` removes the faults.

    A scale register is decoded at its distance from its point. A float32 has its shortest decimal digits. A response
    that is equal to the previous response is not decoded again.
    """
    items, scaled = _items(points)
    run = _run_of_floats(points)
    if run is not None:  # they are unpacked together
        items[run] = [(places, "" if i else f"{4 * len(items[run])}s") for i, (places, _) in enumerate(items[run])]
    layout = [byte for places, _ in items for byte in places]
    unpack = _layout_of(">" + "".join(letters for _, letters in items)).unpack
    size = len(layout)
    gather = None if layout == list(range(size)) else itemgetter(*layout)
    steps = [*_float_steps(points, run), *_value_steps(points)]
    if scaled:
        steps.append(_scale_step(scaled, len(points)))
    last, last_values = b"", tuple[Any, ...]()

    def decode(payload: bytes) -> list[Any]:
        nonlocal last, last_values
        if payload == last:
            return list(last_values)
        values = list(unpack(payload[:size] if gather is None else bytes(gather(payload))))
        for step in steps:
            step(values)
        last, last_values = payload, tuple(values)  # the caller may change the list
        return values

    return decode


@lru_cache(LAYOUTS)
def _layout_of(letters: str) -> struct.Struct:
    """Return the layout of a response, which the machines of a template share."""
    return struct.Struct(letters)


Items: TypeAlias = "list[tuple[list[int], str]]"
"""The places of the bytes of each number in a response, most significant first, and its `struct` format."""

Step: TypeAlias = "Callable[[list[Any]], None]"
"""Changes the numbers of a response in place."""


def _items(points: Sequence[tuple[int, ModbusSource]]) -> tuple[Items, list[tuple[int, int, Scaling]]]:
    """Return the numbers of a response: those of the points, then those of their scale registers, each once.

    The second list contains the positions of a point and of its scale register, and the function that scales.
    """
    items: Items = []
    for distance, point in points:
        places = byte_order(point.raw, point.order, point.size)
        items.append(([2 * distance + byte for byte in places], point.wire_format))
    scaled: list[tuple[int, int, Scaling]] = []
    known: dict[tuple[int, ModbusSource], int] = {}
    for i, (distance, point) in enumerate(points):
        register = point.scaling_source()
        if register is None or point.scale_register is None:
            continue
        away = distance + register.address.offset - point.address.offset
        if (away, register) not in known:
            known[away, register] = len(items)
            places = byte_order(register.raw, register.order, register.size)
            items.append(([2 * away + byte for byte in places], register.wire_format))
        scaled.append((i, known[away, register], point.scale_register.scaling))
    return items, scaled


def _run_of_floats(points: Sequence[tuple[int, ModbusSource]]) -> slice | None:
    """Return the positions of the float32, if no other point is between them."""
    floats = [i for i, (_, point) in enumerate(points) if point.raw is Raw.FLOAT32]
    return slice(floats[0], floats[-1] + 1) if floats and floats[-1] - floats[0] < len(floats) else None


def _float_steps(points: Sequence[tuple[int, ModbusSource]], run: slice | None) -> list[Step]:
    """Return the step that gives float32 their shortest decimal digits; those of a run are still bytes."""
    floats = [i for i, (_, point) in enumerate(points) if point.raw is Raw.FLOAT32]
    if not floats:
        return []
    shorten = compile_shortest(len(floats))
    if run is not None:
        first, end = run.start, run.start + 1

        def shorten_run(values: list[Any]) -> None:
            values[first:end] = shorten(values[first])

        return [shorten_run]
    pick, pack = itemgetter(*floats), struct.Struct(f">{len(floats)}f").pack

    def shorten_each(values: list[Any]) -> None:
        for i, value in zip(floats, shorten(pack(*pick(values))), strict=True):
            values[i] = value

    return [shorten_each]


def _value_steps(points: Sequence[tuple[int, ModbusSource]]) -> list[Step]:
    """Return the steps that pick bits and convert numbers that `struct` does not know."""
    steps: list[Step] = []
    bits = [(i, point.bit, int(not point.invert)) for i, (_, point) in enumerate(points) if point.bit is not None]
    readers = [(i, read) for i, (_, point) in enumerate(points) if (read := reader(point)) is not None]
    if bits:

        def pick_bits(values: list[Any]) -> None:
            for i, bit, state in bits:
                values[i] = values[i] >> bit & 1 == state

        steps.append(pick_bits)
    if readers:

        def convert(values: list[Any]) -> None:
            for i, read in readers:
                values[i] = read(values[i])

        steps.append(convert)
    return steps


def _scale_step(scaled: Sequence[tuple[int, int, Scaling]], count: int) -> Step:
    """Return the step that scales values by the contents of registers, which follow the values of `count` points."""

    def scale_values(values: list[Any]) -> None:
        for i, j, scale in scaled:
            values[i] = scale(values[i], values[j])
        del values[count:]

    return scale_values


def fallible(points: Sequence[ModbusSource]) -> tuple[int, ...]:
    """Return the positions of the points whose value a decoder may replace by a fault."""
    return tuple(i for i, point in enumerate(points) if point.fallible)


def split_faults(values: list[Any], positions: Sequence[int]) -> dict[int, Fault]:
    """Return the faults in `values` by position, and replace them by None. `positions` comes from `fallible`."""
    faults = {i: value for i in positions if type(value := values[i]) is Fault}
    for i in faults:
        values[i] = None
    return faults


def encode(point: ModbusSource, value: Value, before: Sequence[int] = ()) -> list[int]:
    """Return the registers that encode `value`; the simulators and writes use it.

    `before` is the present content: a point that is part of a register leaves the other bits unchanged. Raises
    `ValueError` if the value does not fit.
    """
    positions = byte_order(point.raw, point.order, point.size)
    try:
        if point.field is not None:
            held = b"".join(register.to_bytes(2, "big") for register in before).ljust(len(positions), b"\0")
            packed = _with_field(point, value, bytes(held[position] for position in positions))
        elif point.raw is Raw.BOOL:
            return [int(bool(value) != point.invert)]
        else:
            packed = struct.pack(f">{point.wire_format}", to_unpacked(point, value))
    except (struct.error, OverflowError, ValueError) as error:
        kind = f"{point.raw} of {point.size} registers" if point.raw in TEXTS else point.raw
        raise ValueError(f"{value!r} does not fit {kind}: {error}") from error
    wire = bytearray(len(packed))
    for position, byte in zip(positions, packed, strict=True):
        wire[position] = byte
    return [register for (register,) in struct.iter_unpack(">H", wire)]


def encoder(point: ModbusSource) -> Callable[[Any, Sequence[int]], Sequence[int]]:
    """Return `encode` compiled for one point, since the simulators encode every point of every machine repeatedly."""
    plain = {*BIT_FIELDS, *FLOATS}
    if point.field is not None or point.raw not in plain or point.sign is not Sign.TWOS_COMPLEMENT:
        return partial(encode, point)
    pack, unpack = struct.Struct(f">{point.wire_format}").pack, struct.Struct(f">{point.size}H").unpack
    positions = byte_order(point.raw, point.order, point.size)
    gather = itemgetter(*sorted(range(len(positions)), key=positions.__getitem__))
    straight = positions == list(range(len(positions)))

    def encode_number(value: Any, _: Sequence[int]) -> Sequence[int]:  # noqa: ANN401 - a number
        try:
            packed = pack(value)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{value!r} does not fit {point.raw}: {error}") from error
        return unpack(packed if straight else bytes(gather(packed)))

    return encode_number


def masks(point: ModbusSource, value: Value) -> list[tuple[int, int]]:
    """Return an AND and an OR mask for each register, which write a part of it (clause 6.16).

    Raises `ValueError` if the value does not fit.
    """
    over_zeros = encode(point, value)
    over_ones = encode(point, value, [0xFFFF] * point.size)
    return [(ones ^ zeros, zeros) for ones, zeros in zip(over_ones, over_zeros, strict=True)]


def _with_field(point: ModbusSource, value: Value, held: bytes) -> bytes:
    """Return the registers with the point's bits replaced. Both have the most significant byte first."""
    low, width = cast("tuple[int, int]", point.field)
    own = (1 << width) - 1
    inside = int(bool(value) != point.invert) if point.bit is not None else to_unpacked(point, value) & own
    number = int.from_bytes(held, "big") & ~(own << low) | inside << low
    return number.to_bytes(len(held), "big")
