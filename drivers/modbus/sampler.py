"""Sample the raw registers behind each reading, and their values in other byte orders."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from drivers.base import Fault, Sampler, Value, ValueType
from drivers.modbus.address import FunctionData
from drivers.modbus.codec import compile_registers
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.raw_types import EIGHT_BITS, Order, byte_order, fits_order
from drivers.modbus.source import ModbusSource
from drivers.sampling import RawValue, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.modbus.group_state import GroupState
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup


class ModbusSampler(ModbusDriver, Sampler[ModbusConnection, ModbusSource]):
    """Reads as the driver does, and keeps the raw responses."""

    _answers: dict[int, bytes]  # of the present sample: the raw response of each point, by its position

    async def sample(self, group: ModbusGroup) -> Sample:
        self._answers = {}
        scan = await self.read(group)
        points: Sequence[ModbusSource] = self._states[group].points
        return Sample(scan, [held(point, self._answers.get(i, b"")) for i, point in enumerate(points)])

    async def _ask(self, state: GroupState, planned: Request, answer: bytes | None = None) -> list[Value]:
        if answer is None:
            answer = await self._client.request(state.settings.unit, planned.pdu)
        payload = planned.unwrap(answer, planned.size)
        for position in planned.positions:
            self._answers[position] = part_of(payload, planned, state.points[position])
        return planned.decode(payload)


def part_of(payload: bytes, planned: Request, point: ModbusSource) -> bytes:
    """Return the part of a response that belongs to one point: its registers, or a byte that is 0 or 1.

    A server id or an identification is returned as a whole.
    """
    if isinstance(planned.table, FunctionData) and not planned.table.registers:
        return payload
    distance = point.address.offset - planned.first
    if planned.table.bits:
        return bytes((payload[distance // 8] >> distance % 8 & 1,))
    return payload[2 * distance : 2 * (distance + point.size)]


def held(point: ModbusSource, content: bytes) -> RawValue:
    """Return the raw value of a point; its text is empty if the device did not answer."""
    first, last = point.address.offset, point.address.offset + point.size - 1
    where = f"{point.address}..{last}" if last > first else str(point.address)
    if point.bit is not None:
        where += f" bit {point.bit}"
    raw = str(content[0]) if len(content) == 1 else content.hex(" ", 2).upper()
    return RawValue(where, raw if content else "", partial(in_other_orders, point, content))


def in_other_orders(point: ModbusSource, content: bytes) -> dict[str, Value]:
    """Return the numbers that the registers contain in other orders, by the key to write for each order."""
    if not content or not _is_number(point):
        return {}
    known = {tuple(byte_order(point.raw, point.order, point.size))}
    found: dict[str, Value] = {}
    for order in Order:
        if not fits_order(point.raw, order):
            continue
        places = tuple(byte_order(point.raw, order, point.size))
        if places in known:  # the same bytes as an order before, under another name
            continue
        known.add(places)
        [value] = compile_registers([(0, point.model_copy(update={"order": order, "scale_register": None}))])(content)
        if not isinstance(value, Fault) and not (isinstance(value, float) and not math.isfinite(value)):
            found[f"order: {order}"] = value
    return found


def _is_number(point: ModbusSource) -> bool:
    """Return True if another byte order could give a point another number."""
    whole = not point.address.table.bits and point.bits is None and point.raw not in EIGHT_BITS
    return whole and point.value_type in {ValueType.INT, ValueType.FLOAT}
