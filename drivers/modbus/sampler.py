"""Sample the raw registers behind each reading, and their values in other byte orders."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING

from drivers.base import DeviceWarning, Fault, NotConnected, Reason, Sampler, Value, ValueType
from drivers.modbus.address import FunctionData
from drivers.modbus.alternatives import alternative
from drivers.modbus.codec import compile_registers
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.diagnosis import WireRecord
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.raw_types import EIGHT_BITS, Order, byte_order, fits_order
from drivers.modbus.source import ModbusSource
from drivers.sampling import RawValue, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Scan
    from drivers.modbus.group_state import GroupState
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup
    from drivers.trace import Tracer

LATE_WAIT = 3.0
"""Seconds to wait once for the late response of a unit that does not answer."""

DIAL_WAIT = 8.0
"""Seconds to wait for a device that dials in."""

_DOUBTFUL = {Reason.NO_RESPONSE, Reason.NOT_CONNECTED, Reason.BAD_ANSWER}
"""Faults that another scan may not have, once the driver has learned how the device answers."""


class ModbusSampler(ModbusDriver, Sampler[ModbusConnection, ModbusSource]):
    """Reads as the driver does, keeps the raw responses, and diagnoses the device from its messages."""

    def __init__(self, connection: ModbusConnection, groups: Sequence[ModbusGroup], clock: Callable[[], int]) -> None:
        super().__init__(connection, groups, clock)
        self._answers: dict[int, bytes] = {}  # of the present sample: the raw response of each point, by its position
        self._record = WireRecord(connection)
        self._seen: dict[ModbusGroup, object] = {}  # plan and faults of the last sample
        self._unsettled: set[ModbusGroup] = set()
        self._waited: set[int] = set()  # units whose late response was waited for
        self._tried: set[int] = set()  # silent units whose alternatives were tried
        self._observe(self._record)

    async def connect(self) -> None:
        """Connect; wait longer than a driver for a device that dials in, since it dials now and then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (DIAL_WAIT if self._settings.transport is Transport.LISTEN else 0.0)
        while True:
            try:
                await super().connect()
            except NotConnected:
                if loop.time() >= until:
                    raise
            else:
                return

    def trace(self, tracer: Tracer) -> bool:
        self._observe(self._record, self._trace_to(tracer))
        return True

    async def sample(self, group: ModbusGroup) -> Sample:
        self._answers = {}
        state = self._states[group]
        unit = state.settings.unit
        self._breakers[unit].shorten()  # a person waits for the result
        silent = group in self._unsettled and not self._breakers[unit].alive
        if silent and unit not in self._waited:
            self._waited.add(unit)  # a gateway may be busy with the request, and serve no other unit
            await self._record.wait_for_late(unit, LATE_WAIT)
        scan = await self.read(group)
        self._note_progress(group, scan)
        if group not in self._unsettled and unit not in self._tried and self._is_silent(scan, unit):
            self._tried.add(unit)
            self._client.close()  # the device may serve a single connection; the next request opens it again
            if text := await alternative(self.connection, unit, self._breakers.keys()):
                self._warn(state, range(len(state.points)), text)
        return Sample(scan, [held(point, self._answers.get(i, b"")) for i, point in enumerate(state.points)])

    def _is_silent(self, scan: Scan, unit: int) -> bool:
        """Return True if a device that can be asked elsewhere has never sent anything for a unit."""
        dialled = self._settings.transport is Transport.LISTEN
        silent = {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}
        return silent and len(scan.faults) == len(scan.values) and not dialled and not self._record.diagnose(unit)

    def _note_progress(self, group: ModbusGroup, scan: Scan) -> None:
        """Note whether the last sample was like the sample before, and whether another may show more."""
        requests = tuple(planned.pdu for planned in self._states[group].plan.requests)
        seen = requests, frozenset(scan.faults)
        doubtful = any(fault.reason in _DOUBTFUL for fault in scan.faults.values())
        (self._unsettled.add if doubtful and seen != self._seen.get(group) else self._unsettled.discard)(group)
        self._seen[group] = seen

    def settled(self, group: ModbusGroup) -> bool:
        return group not in self._unsettled

    def warnings(self) -> list[DeviceWarning]:
        found = super().warnings()
        for group in self._states:
            for text in self._record.diagnose(group.connection.unit):
                found.append(DeviceWarning(group.machine, group.names, text))
        return found

    async def _ask(self, state: GroupState, planned: Request, answer: bytes | None = None) -> list[Value]:
        if answer is None:
            answer = await self._client.request(state.settings.unit, planned.pdu)
        payload = planned.payload(answer, self._payload)
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
    start = planned.width * distance + planned.lead(point)
    return payload[start : start + 2 * point.size]


def held(point: ModbusSource, content: bytes) -> RawValue:
    """Return the raw value of a point; its text is empty if the device did not answer."""
    first, last = point.address.offset, point.address.offset + point.size - 1
    where = f"{point.address}..{last}" if last > first else str(point.address)
    if point.bit is not None:
        where += f" bit {point.bit}"
    if point.scale_register is not None:
        where += f", scaled by {point.scale_register.address}"
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
