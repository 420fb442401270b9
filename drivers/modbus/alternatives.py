"""Find out how a device that does not answer would answer: as another unit, or to other frames.

Only `lineside check` asks, once for each silent unit, with a single read request for each alternative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.base import Misconfigured, NotConnected
from drivers.modbus.address import Table
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import Transport
from drivers.modbus.pdu import (
    PATH_UNAVAILABLE,
    TARGET_SILENT,
    ExceptionResponse,
    InvalidResponse,
    ResponseTimeout,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from drivers.modbus.connection import ModbusConnection

USUAL_UNITS = (1, 255, 0)
"""Unit ids of devices that have a single unit."""

_OTHER_FRAMES = {Transport.TCP: Transport.RTU_TCP, Transport.RTU_TCP: Transport.TCP}


async def alternative(connection: ModbusConnection, unit: int, known: Collection[int]) -> str:
    """Return the option to write for a silent unit, empty if no alternative is answered.

    `known` are the units of the configuration, which are not tried. Opens connections of its own: close any other
    connection to the device before.
    """
    units = [
        other for other in USUAL_UNITS if other not in known and not (connection.transport.serial and other != 1)
    ]
    if found := await _answering(connection, units):
        return f"unit {unit} does not answer, and unit {found[0]} does: write unit={found[0]}"
    other = _OTHER_FRAMES.get(connection.transport)
    if other is None:
        return ""
    framed = connection.model_copy(update={"transport": other, "in_flight": 1})
    if await _answering(framed, [unit]):
        return f"unit {unit} does not answer these frames, and answers the others: write {other}://"
    return ""


async def _answering(connection: ModbusConnection, units: Collection[int]) -> list[int]:
    """Return the first unit that answers, if one does."""
    client = ModbusClient(connection, {-1})  # a unit that is never asked: time-outs do not end the connection
    try:
        await client.connect()
        for unit in units:
            if await _answers(client, unit):
                return [unit]
    except (NotConnected, Misconfigured):
        pass
    finally:
        client.end()
    return []


async def _answers(client: ModbusClient, unit: int) -> bool:
    try:
        await client.request(unit, read(Table.HOLDING, 0, 1))
    except ExceptionResponse as error:
        return error.code not in {PATH_UNAVAILABLE, TARGET_SILENT}
    except (InvalidResponse, ResponseTimeout):
        return False
    return True
