"""Machines served over Modbus TCP, by pymodbus: several units behind one port."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.modbus.address import Table
from drivers.modbus.codec import encoder
from drivers.modbus.pdu import READ
from simulators.plant import raw_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from pymodbus.simulator.simcore import SimCore

    from drivers.base import Value
    from drivers.modbus.source import ModbusSource
    from gateway.settings.factory import Machine as Configured
    from simulators.machine import Machine

_TABLES = {code: table for table, code in READ.items()}


class Unit:
    """One machine's tables, as large as its points need. What lies between two points reads as 0."""

    def __init__(self, configured: Configured, machine: Machine) -> None:
        self._machine = machine
        self.tables: dict[Table, list[int]] = {table: [] for table in Table}
        self._points = []
        for point in configured.points:
            source = cast("ModbusSource", point.source)
            table, first = self.tables[source.address.table], source.address.offset
            end = first + source.size
            table.extend([0] * (end - len(table)))
            encode = _as_bit if source.address.table.bits else encoder(source)
            self._points.append((point.name, raw_of(point), encode, table, first, end))
        self._shown_at = -1.0
        self.refresh()

    def refresh(self) -> None:
        """Write what the machine shows now into the tables."""
        self._shown_at = self._machine.clock
        signals = self._machine.signals
        for name, raw, encode, table, first, end in self._points:
            table[first:end] = encode(raw(signals[name]), table[first:end])

    def read(self, table: Table, first: int, count: int) -> list[int] | list[bool] | ExcCodes:
        """Return entries, or exception 2 where the device has none."""
        if self._machine.clock != self._shown_at:
            self.refresh()  # now that somebody looks
        entries = self.tables[table][first : first + count]
        if len(entries) < count:
            return ExcCodes.ILLEGAL_ADDRESS
        return [bool(entry) for entry in entries] if table.bits else entries


def _as_bit(value: Value, _: Sequence[int]) -> Sequence[int]:
    return (int(bool(value)),)


class ModbusMachines:
    """One port and the units behind it."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.units: dict[int, Unit] = {}
        self._server: ModbusTcpServer | None = None

    async def start(self) -> None:
        """Listen; port 0 takes a free one. Raises `OSError` where the port is taken."""
        # pymodbus wants a device of its own kind before it takes our tables in its place
        stand_in = SimDevice(0, simdata=SimData(0, datatype=DataType.REGISTERS))
        self._server = ModbusTcpServer(stand_in, address=(self.host, self.port), ignore_missing_devices=False)
        self._server.context = cast("SimCore", _Tables(self.units))
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as error:
            raise OSError(f"port {self.port} of {self.host} is taken") from error
        listening = cast("asyncio.Server", self._server.transport)
        self.port = listening.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            await self._server.shutdown()


class _Tables:
    """What pymodbus's server asks for values."""

    def __init__(self, units: dict[int, Unit]) -> None:
        self._units = units

    async def async_getValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Answer a read."""
        if device_id not in self._units:
            raise NoSuchIdException(f"no unit {device_id}")
        return self._units[device_id].read(_TABLES[func_code], address, count)

    async def async_setValues(self, *_: object) -> ExcCodes:  # noqa: N802 - pymodbus's name
        """Refuse a write: these machines are for reading."""
        return ExcCodes.ILLEGAL_FUNCTION

    def device_ids(self) -> list[int]:
        """Return the units."""
        return list(self._units)
