"""Modbus: poll registers and coils.

`plan` plans the requests, `codec` converts registers to values and back, `client` sends requests and matches
responses, and `driver` implements the contract of `drivers.base` with them. Clauses named in this folder
are those of the MODBUS Application Protocol Specification V1.1b3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.base import Protocol
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.cost import check, cost_of
from drivers.modbus.overlaps import doubts
from drivers.modbus.source import ModbusSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Driver, Sampler
    from drivers.modbus.source import ModbusGroup


def _driver(
    connection: ModbusConnection, groups: Sequence[ModbusGroup], clock: Callable[[], int]
) -> Driver[ModbusConnection, ModbusSource]:
    # a tenth of the time of `validate`, which reads no machine
    from drivers.modbus.driver import ModbusDriver  # noqa: PLC0415

    return ModbusDriver(connection, groups, clock)


def _sampler(
    connection: ModbusConnection, groups: Sequence[ModbusGroup], clock: Callable[[], int]
) -> Sampler[ModbusConnection, ModbusSource]:
    from drivers.modbus.sampler import ModbusSampler  # noqa: PLC0415 - as above

    return ModbusSampler(connection, groups, clock)


PROTOCOL = Protocol(
    "modbus",
    ModbusConnection,
    ModbusSource,
    _driver,
    cost_of,
    check,
    doubts,
    _sampler,
    simulator="modbus",
    explore="probe",
    example="{address: holding 0, raw: int16, scale: 0.1, unit: Cel, range: [-20, 200]}",
    loggers=("pymodbus",),
)
