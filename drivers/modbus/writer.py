"""From a point and its value to the requests that write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.modbus import pdu
from drivers.modbus.address import Table
from drivers.modbus.codec import encode, masks

if TYPE_CHECKING:
    from drivers.base import Value
    from drivers.modbus.source import ModbusSource


def write_requests(point: ModbusSource, value: Value) -> list[bytes]:
    """Return the requests: for a coil function 5, for a part of registers 22, for whole ones 6 or 16.

    The point's table must be one that can be written. `value` is as the device holds it. Raises `ValueError` where it
    does not fit.
    """
    table, entry = point.address
    if table is Table.COIL:
        return [pdu.write_coil(entry, on=bool(value))]
    if point.field is not None:
        return [pdu.mask_register(entry + i, keep, put) for i, (keep, put) in enumerate(masks(point, value))]
    words = encode(point, value)
    return [pdu.write_register(entry, words[0]) if len(words) == 1 else pdu.write_registers(entry, words)]
