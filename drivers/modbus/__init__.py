"""Modbus: poll registers and coils.

`plan` plans the requests, `codec` converts registers to values and back, `client` sends requests and matches
responses, and `driver` implements the contract of `drivers.base` with them. Clauses named in this folder
are those of the MODBUS Application Protocol Specification V1.1b3.
"""

from drivers.base import Protocol
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.cost import check, cost_of
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.overlaps import doubts
from drivers.modbus.sampler import ModbusSampler
from drivers.modbus.source import ModbusSource

PROTOCOL = Protocol(
    "modbus",
    ModbusConnection,
    ModbusSource,
    ModbusDriver,
    cost_of,
    check,
    doubts,
    ModbusSampler,
    simulator="modbus",
    explore="probe",
    example="{address: holding 0, raw: int16, scale: 0.1, unit: Cel, range: [-20, 200]}",
    loggers=("pymodbus",),
)
