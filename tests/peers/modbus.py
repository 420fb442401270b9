"""A Modbus server made with libmodbus, and serial lines made with socat; see libmodbus_server.c for its tables."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from fakes.modbus_connection import AdjustableConnection
from processes import LOOPBACK, POLL, Process, free_port, need, until

from drivers.base import Group, Reason
from drivers.modbus import PROTOCOL
from drivers.modbus.address import Address, Table
from drivers.modbus.source import ModbusSource, Raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Driver, Value

SOURCE = Path(__file__).with_name("libmodbus_server.c")
ENTRIES = 2000
"""Each table of the server has so many."""


def content(unit: int, address: Address) -> Value:
    """Return the first value of an entry of the server."""
    i = address.offset
    match address.table:
        case Table.COIL:
            return i % 3 == unit % 3
        case Table.DISCRETE:
            return i % 5 == unit % 5
        case Table.HOLDING:
            return i * 7 + unit
        case Table.INPUT:
            return 65535 - i * 3 - unit


SPREAD = [
    Address(table, offset)
    for table in Table
    for offset in (0, 1, 2, 7, 8, 9, 100, 225, 226, 300, 301, 1000, ENTRIES - 1)
]
"""Entries of all tables: alone, in rows, across bytes, at both ends."""


def group_of(url: str, addresses: Sequence[Address] = SPREAD, **options: object) -> Group:
    """Return a group of entries, each a point."""
    connection = AdjustableConnection.from_url(url, options)
    sources = tuple(
        ModbusSource(address=address, raw=Raw.BOOL if address.table.bits else Raw.UINT16) for address in addresses
    )
    return Group(f"unit-{connection.unit}", connection, tuple(map(str, addresses)), sources, 1.0)


def driver_of(*groups: Group) -> Driver:
    """Return a driver of groups behind one connection."""
    return PROTOCOL.driver(groups[0].connection.shared(), groups, lambda: 1)


async def read_all(driver: Driver) -> None:
    """Read every group, and compare with the contents of the server."""
    for group in driver.groups:
        scan = await driver.read(group)
        assert scan.faults == {}, set(scan.faults.values())
        unit = group.connection.unit  # type: ignore[attr-defined] # of Modbus
        assert scan.values == [content(unit, source.address) for source in group.sources]  # type: ignore[attr-defined]


async def read_until_good(driver: Driver, group: Group) -> None:
    """Read a group again and again until all of it is there, and compare."""

    async def good() -> None:
        while (scan := await driver.read(group)).faults:
            assert {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}
            await asyncio.sleep(POLL)
        assert scan.values == [content(group.connection.unit, source.address) for source in group.sources]  # type: ignore[attr-defined]

    await asyncio.wait_for(good(), 20)


class _Peer(Process):
    """A process whose folder is the test's."""

    _runs = 0

    def __init__(self, name: str, folder: Path) -> None:
        _Peer._runs += 1
        super().__init__(name, folder / f"{name}-{_Peer._runs}.log")


class Libmodbus(_Peer):
    """The server. `arguments` are those of the program."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__("libmodbus", folder)
        self._program = folder / "libmodbus_server"
        self._arguments = arguments
        self._starts = 0

    @classmethod
    async def tcp(cls, folder: Path) -> tuple[Self, int]:
        """Serve units 1 to 3 over TCP; returns the port, too."""
        port = free_port()
        server = cls(folder, "tcp", LOOPBACK, str(port))
        await server.up()
        return server, port

    @classmethod
    async def rtu(cls, folder: Path, device: Path, unit: int) -> Self:
        """Be a unit on a serial line."""
        server = cls(folder, "rtu", str(device), str(unit))
        await server.up()
        return server

    async def up(self) -> None:
        """Build it where need be, start it, and wait until it serves."""
        self._build()
        self.launch()
        self._starts += 1
        served = lambda: self.last_words().count("ready") == self._starts  # noqa: E731 - said once a start
        await until(lambda: served() or not self.running, "libmodbus serves")
        assert self.running, self.last_words()

    def _build(self) -> None:
        if self._program.exists():
            return
        cc = need("cc")
        include = Path("/usr/include/modbus")
        if not include.exists():
            need("libmodbus (libmodbus-dev)")
        built = subprocess.run(
            [cc, "-Wall", "-Wextra", "-Werror", "-I", include, "-o", self._program, SOURCE, "-lmodbus"],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            pytest.fail(built.stderr)

    def command(self) -> list[str]:
        return [str(self._program), *self._arguments]


class Socat(_Peer):
    """A socat between two addresses."""

    def __init__(self, folder: Path, one: str, other: str) -> None:
        super().__init__("socat", folder)
        self._ends = one, other

    def command(self) -> list[str]:
        return [need("socat"), "-d", "-d", *self._ends]


class Cable(Socat):
    """A serial cable: bytes written at one end are read at the other. It can be pulled, and put in again."""

    def __init__(self, folder: Path, name: str = "cable") -> None:
        self.ours, self.theirs = folder / f"{name}-ours", folder / f"{name}-theirs"
        super().__init__(folder, *(f"PTY,link={end},raw,echo=0" for end in (self.ours, self.theirs)))

    @classmethod
    async def between(cls, folder: Path, name: str = "cable") -> Self:
        """Put in a new cable."""
        cable = cls(folder, name)
        await cable.up()
        return cable

    async def up(self) -> None:
        """Put it in, and wait until both ends are there."""
        for end in (self.ours, self.theirs):
            end.unlink(missing_ok=True)
        self.launch()
        await until(lambda: self.ours.exists() and self.theirs.exists(), "socat makes the line")


async def serial_server(folder: Path, device: Path) -> tuple[Socat, int]:
    """Serve a serial line over TCP, as serial servers do, for one connection; returns the port, too."""
    port = free_port()
    server = Socat(folder, f"TCP-LISTEN:{port},bind={LOOPBACK},reuseaddr", f"FILE:{device},raw,echo=0")
    server.launch()
    await until(lambda: "listening on" in server.last_words(), "socat listens")
    return server, port
