"""Writing and asking who is there: with libmodbus and pymodbus at the other end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from peers.modbus import Cable, Libmodbus, driver_of, group_of
from processes import LOOPBACK
from pymodbus import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Misconfigured, Reason, WriteFailed
from drivers.modbus import pdu
from drivers.modbus.address import Address, Table
from drivers.modbus.client import ModbusClient
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.pdu import ExceptionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = {
    0: "Lineside Works", 1: "PRESS-9", 2: "4.2", 3: "https://works.example", 4: "Press", 5: "Nine", 6: "Unit",
}  # fmt: skip


@asynccontextmanager
async def pymodbus_server() -> AsyncIterator[str]:
    """Serve 100 entries of each table; yields the URL."""
    bits = SimData(0, values=[False] * 160, datatype=DataType.BITS)
    registers = SimData(0, count=100, values=0, datatype=DataType.REGISTERS)
    identity = ModbusDeviceIdentification(
        info_name={
            "VendorName": NAMES[0], "ProductCode": NAMES[1], "MajorMinorRevision": NAMES[2], "VendorUrl": NAMES[3],
            "ProductName": NAMES[4], "ModelName": NAMES[5], "UserApplicationName": NAMES[6],
        }
    )  # fmt: skip
    device = SimDevice(1, ([bits], [bits], [registers], [registers]), identity=identity)
    server = ModbusTcpServer(device, address=(LOOPBACK, 0), identity=identity)
    await server.serve_forever(background=True)
    listening: Any = server.transport
    yield f"modbus+tcp://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}"
    await server.shutdown()


@asynccontextmanager
async def peer(name: str, folder: Path) -> AsyncIterator[str]:
    """Yield the URL of a device."""
    if name == "pymodbus":
        async with pymodbus_server() as url:
            yield url
    elif name == "libmodbus over TCP":
        _, port = await Libmodbus.tcp(folder)
        yield f"modbus+tcp://{LOOPBACK}:{port}"
    else:
        cable = await Cable.between(folder)
        await Libmodbus.rtu(folder, cable.theirs, 1)
        yield f"modbus+rtu://{cable.ours}"


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[ModbusClient]:
    client = ModbusClient(ModbusConnection.from_url(url, {"timeout": 5}))
    await client.connect()
    yield client
    client.end()


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big") for i in range(1, len(data), 2)]


PEERS = ["pymodbus", "libmodbus over TCP", "libmodbus over RTU"]


@pytest.mark.parametrize("name", PEERS)
async def test_written_values_are_read_back(name: str, tmp_path: Path) -> None:
    """Functions 5, 6, 15, 16, 22 and 23, and no change beside the written entries."""
    async with peer(name, tmp_path) as url, client_of(url) as client:

        async def registers(first: int, count: int) -> list[int]:
            return words(await client.request(1, pdu.read(Table.HOLDING, first, count)))

        async def coils(first: int, count: int) -> list[bool]:
            data = await client.request(1, pdu.read(Table.COIL, first, count))
            return [int.from_bytes(data[1:], "little") >> i & 1 == 1 for i in range(count)]

        before = await coils(0, 40)
        for on in (True, False, True):
            await client.request(1, pdu.write_coil(9, on=on))
            assert await coils(0, 40) == [*before[:9], on, *before[10:]]
        pattern = [i % 3 != 1 for i in range(19)]
        await client.request(1, pdu.write_coils(11, pattern))
        assert await coils(0, 40) == [*before[:9], True, before[10], *pattern, *before[30:]]

        beside = await registers(0, 20)
        await client.request(1, pdu.write_register(4, 0xBEEF))
        await client.request(1, pdu.write_registers(7, [1, 0xFFFF, 3]))
        assert await registers(0, 20) == [*beside[:4], 0xBEEF, *beside[5:7], 1, 0xFFFF, 3, *beside[10:]]
        await client.request(1, pdu.write_register(5, 0x12))
        await client.request(1, pdu.mask_register(5, 0xF2, 0x25))  # the example of clause 6.16
        assert await registers(5, 1) == [0x17]
        answer = await client.request(1, pdu.read_write_registers(6, 5, 8, [10, 11]))
        assert words(answer) == [beside[6], 1, 10, 11, beside[10]]


@pytest.mark.parametrize("name", PEERS)
async def test_the_driver_writes_points_where_it_may(name: str, tmp_path: Path) -> None:
    """A coil and a register; a point that can't be written is reported, and the connection remains."""
    addresses = [
        Address(Table.COIL, 3),
        Address(Table.HOLDING, 4),
        Address(Table.DISCRETE, 5),
        Address(Table.INPUT, 6),
    ]
    async with peer(name, tmp_path) as url:
        group = group_of(url, addresses, writable=True, timeout=5, parity="none")
        async with driver_of(group) as driver:
            before = await driver.read(group)
            for on, word in ((True, 4711), (False, 0), (True, 65535)):
                await driver.write(group, 0, on)
                await driver.write(group, 1, word)
                assert (await driver.read(group)).values == [on, word, *before.values[2:]]
            for position in (2, 3):
                with pytest.raises(Misconfigured, match="only coils and holding registers"):
                    await driver.write(group, position, 1)
            with pytest.raises(WriteFailed):
                await driver.write(group, 1, 65536)
            assert (await driver.read(group)).values == [True, 65535, *before.values[2:]]


async def test_nothing_is_written_without_leave_or_where_nothing_is(tmp_path: Path) -> None:
    """Writing moves machines, so it is off unless it is switched on."""
    async with peer("libmodbus over TCP", tmp_path) as url:
        addresses = [Address(Table.HOLDING, 4), Address(Table.HOLDING, 60_000)]
        locked, free = (group_of(url, addresses, unit=unit, writable=unit == 2, timeout=5) for unit in (1, 2))
        async with driver_of(locked, free) as driver:
            before = (await driver.read(locked)).values
            with pytest.raises(Misconfigured, match="not writable"):
                await driver.write(locked, 0, 1)
            assert (await driver.read(locked)).values == before
            with pytest.raises(WriteFailed, match="exception 2") as caught:
                await driver.write(free, 1, 1)
            assert caught.value.fault.reason is Reason.REFUSED


async def test_a_device_says_who_it_is() -> None:
    """Device identification, piece by piece where a device gives only some objects at a time."""
    async with pymodbus_server() as url, client_of(url) as client:
        found: dict[int, str] = {}
        first: int | None = 0
        while first is not None:
            objects, first = pdu.identification(await client.request(1, pdu.identify(first, 2)))
            found |= objects
        assert found == NAMES
        objects, more = pdu.identification(await client.request(1, pdu.identify()))
        assert objects == {key: NAMES[key] for key in (0, 1, 2)}
        assert more is None


async def test_a_device_that_does_not_say_who_it_is(tmp_path: Path) -> None:
    """libmodbus refuses function 43."""
    async with peer("libmodbus over TCP", tmp_path) as url, client_of(url) as client:
        with pytest.raises(ExceptionResponse, match="exception 1 illegal function"):
            await client.request(1, pdu.identify())
