"""Build the requests that write a point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.modbus import pdu
from drivers.modbus.address import Table
from drivers.modbus.codec import encode, masks

if TYPE_CHECKING:
    from drivers.base import Value
    from drivers.modbus.source import ModbusSource


def write_requests(point: ModbusSource, value: Value) -> list[bytes]:
    """Return the requests: function 5 for a coil, 22 for a part of registers, 6 or 16 for whole registers.

    The point's table must be writable. `value` is the device's value, before scale and offset. Raises `ValueError` if
    it does not fit.
    """
    table, entry = point.address
    if table is Table.COIL:
        return [pdu.write_coil(entry, on=bool(value) != point.invert)]
    if point.field is not None:
        return [pdu.mask_register(entry + i, keep, put) for i, (keep, put) in enumerate(masks(point, value))]
    words = encode(point, value)
    return [pdu.write_register(entry, words[0]) if len(words) == 1 else pdu.write_registers(entry, words)]
