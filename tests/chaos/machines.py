"""Machines that count how often they were read: the content and the time of each of their answers are known."""

from __future__ import annotations

import asyncio
import re
import struct
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

LOOPBACK = "127.0.0.1"

TEMPLATE = """
format: 1
protocol: modbus
defaults: {every: 100ms}
points:
  count: {address: holding 0, raw: uint32}
  check: {address: holding 2, raw: uint32}
  third: {address: holding 4, raw: float64}
"""
"""The points of each machine: how often it was read, and two numbers that follow from that, all in one answer."""

POINTS = 3

_FRAME = struct.Struct(">HHHBB")
_REQUEST = 12  # bytes: header, unit, function, first register, number of registers


def unit_of(machine: str) -> int | None:
    """Return the unit behind a machine's name, such as `unit-5` or, once it was renamed, `unit-5b`."""
    match = re.fullmatch(r"unit-(\d+)b?", machine)
    return int(match[1]) if match else None


def check_of(count: int) -> int:
    """Return the second point of the `count`th answer."""
    return count * 2_654_435_761 & 0xFFFFFFFF


def third_of(count: int) -> float:
    """Return the third point of the `count`th answer."""
    return count / 3


class Machines:
    """Modbus units behind one port; the truth is in `served`: by unit, the wall time (us) of each count from 0 on."""

    def __init__(self, units: int) -> None:
        self.served: dict[int, list[int]] = {unit: [] for unit in range(1, units + 1)}
        self.port = self.connects = 0
        self._server: asyncio.Server
        self._connections: set[asyncio.Transport] = set()

    async def __aenter__(self) -> Self:
        await self.switch_on()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.switch_off()

    async def switch_on(self) -> None:
        """Answer requests, on the same port as before, and go on counting."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def switch_off(self) -> None:
        """Answer no more requests; answers that were sent still arrive."""
        self._server.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def hang_up(self) -> None:
        """End all connections, whose other end is dead: its last requests get no answer."""
        for connection in self._connections:
            connection.abort()
        self._connections.clear()

    def connected(self, connection: asyncio.Transport) -> None:
        """Note a connection."""
        self.connects += 1
        self._connections.add(connection)

    def disconnected(self, connection: asyncio.Transport) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def answer(self, unit: int) -> bytes:
        """Return the registers of a unit's next answer."""
        served = self.served[unit]
        count = len(served)
        served.append(time.time_ns() // 1000)
        return struct.pack(">IId", count, check_of(count), third_of(count))


class _Connection(asyncio.Protocol):
    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._received = b""
        self._transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._machines.connected(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._machines.disconnected(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _REQUEST:
            request, self._received = self._received[:_REQUEST], self._received[_REQUEST:]
            transaction, _, _, unit, function = _FRAME.unpack_from(request)
            registers = self._machines.answer(unit)
            head = _FRAME.pack(transaction, 0, 3 + len(registers), unit, function)
            self._transport.write(head + bytes((len(registers),)) + registers)
