"""The Modbus driver against libmodbus, over every kind of line; and mbpoll against our simulator."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import tty
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from peers.modbus import (
    ENTRIES,
    Cable,
    Libmodbus,
    content,
    driver_of,
    group_of,
    read_all,
    read_until_good,
    serial_server,
)
from processes import LOOPBACK, Lineside, free_port, need, write_factory

from drivers.base import NotConnected, Reason
from drivers.modbus.address import Address, Table
from drivers.modbus.client import ModbusClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from drivers.base import Driver

PATIENT = 5.0
SHORT = 0.05


async def not_connected(driver: Driver) -> str:
    """Return the error, at connecting or at the first read."""
    with pytest.raises(NotConnected) as caught:  # noqa: PT012 - TLS 1.3 refuses a client after it is connected
        await driver.connect()
        await driver.read(driver.groups[0])
    await driver.close()
    return str(caught.value)


# -- libmodbus --


async def test_libmodbus_over_tcp(tmp_path: Path) -> None:
    """All four tables of three units behind one connection, and what the fourth says."""
    _, port = await Libmodbus.tcp(tmp_path)
    url = f"modbus+tcp://{LOOPBACK}:{port}"
    async with driver_of(*(group_of(url, unit=unit, timeout=PATIENT) for unit in (1, 2, 3))) as driver:
        await read_all(driver)
        await read_all(driver)
    whole = [Address(table, offset) for table in Table for offset in range(ENTRIES)]
    async with driver_of(group_of(url, whole, unit=2, timeout=PATIENT, in_flight=4)) as driver:
        await read_all(driver)
    async with driver_of(group_of(url, unit=9, timeout=PATIENT)) as driver:
        scan = await driver.read(driver.groups[0])
        assert {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}


async def test_entries_that_libmodbus_does_not_have_cost_only_themselves(tmp_path: Path) -> None:
    """Its exception 2 is for the whole block."""
    _, port = await Libmodbus.tcp(tmp_path)
    addresses = [Address(Table.HOLDING, ENTRIES + i) for i in range(-3, 3)]
    async with driver_of(group_of(f"modbus+tcp://{LOOPBACK}:{port}", addresses, timeout=PATIENT)) as driver:
        for _ in range(2):
            scan = await driver.read(driver.groups[0])
            assert scan.values == [*(content(1, address) for address in addresses[:3]), None, None, None]
            assert {fault.code for fault in scan.faults.values()} == {"exception 2 illegal data address"}


async def test_libmodbus_over_rtu(tmp_path: Path) -> None:
    """The port is named by a symbolic link, as those in /dev/serial/by-id are."""
    cable = await Cable.between(tmp_path)
    await Libmodbus.rtu(tmp_path, cable.theirs, 17)
    assert cable.ours.is_symlink()
    whole = [Address(table, offset) for table in Table for offset in range(0, ENTRIES, 2)]
    async with driver_of(group_of(f"modbus+rtu://{cable.ours}", whole, unit=17, timeout=PATIENT)) as driver:
        await read_all(driver)


async def test_a_unit_that_is_not_on_the_line_does_not_disturb_another_unit(tmp_path: Path) -> None:
    """libmodbus takes the bytes after a request to another unit for its answer, and ignores function 8, too."""
    cable = await Cable.between(tmp_path)
    await Libmodbus.rtu(tmp_path, cable.theirs, 17)
    url = f"modbus+rtu://{cable.ours}"
    groups = [group_of(url, unit=unit, timeout=SHORT) for unit in (16, 17)]
    async with driver_of(*groups) as driver:
        for _ in range(2):
            scan = await driver.read(groups[0])
            assert {fault.reason for fault in scan.faults.values()} == {Reason.NO_RESPONSE}
            await read_until_good(driver, groups[1])


async def test_libmodbus_over_rtu_in_tcp(tmp_path: Path) -> None:
    """A serial server forwards the bytes that it gets."""
    cable = await Cable.between(tmp_path)
    await Libmodbus.rtu(tmp_path, cable.theirs, 3)
    for _ in range(2):
        server, port = await serial_server(tmp_path, cable.ours)
        async with driver_of(group_of(f"modbus+rtutcp://{LOOPBACK}:{port}", unit=3, timeout=PATIENT)) as driver:
            await read_all(driver)
        await server.ended()


async def test_a_serial_port_that_vanishes_is_read_again_when_it_is_back(tmp_path: Path) -> None:
    """A USB adapter that is pulled out takes its port with it."""
    cable = await Cable.between(tmp_path)
    server = await Libmodbus.rtu(tmp_path, cable.theirs, 17)
    driver = driver_of(group_of(f"modbus+rtu://{cable.ours}", unit=17, timeout=2.0, parity="none"))
    async with driver:
        await read_all(driver)
        cable.kill()
        with pytest.raises(NotConnected):
            await driver.read(driver.groups[0])
        with pytest.raises(NotConnected, match=str(cable.ours)):
            await driver.connect()
        server.kill()
        await cable.up()
        await server.up()
        await driver.connect()
        await read_until_good(driver, driver.groups[0])  # lost bytes may leave it out of step for a moment


async def test_a_serial_port_is_for_one_process_alone(tmp_path: Path) -> None:
    """Two masters on one line would mix up their answers; a file that is not a port is reported as such."""
    cable = await Cable.between(tmp_path)
    group = group_of(f"modbus+rtu://{cable.ours}", unit=17, timeout=PATIENT, parity="none")
    async with driver_of(group):
        assert "lock" in await not_connected(driver_of(group))
    async with driver_of(group):
        pass
    plain = tmp_path / "plain"
    plain.touch()
    for path in (plain, tmp_path, tmp_path / "none"):
        assert str(path) in await not_connected(driver_of(group_of(f"modbus+rtu://{path}")))


async def test_the_backup_is_used_where_the_first_address_is_dead(tmp_path: Path) -> None:
    """Two gateways to one machine; the first is preferred again as soon as it is there."""
    dead = free_port()
    first, port = await Libmodbus.tcp(tmp_path)
    url = f"modbus+tcp://{LOOPBACK}:{dead}"
    async with driver_of(group_of(url, backup=f"{LOOPBACK}:{port}", timeout=PATIENT)) as driver:
        await read_all(driver)
        first.kill()
        message = await not_connected(driver)
        assert f"{LOOPBACK}:{dead}: " in message
        assert f"{LOOPBACK}:{port}: " in message


# -- fakes of our own: what libmodbus has not --


def answer(unit: int, pdu: bytes) -> bytes:
    """Return the answer to a read, with the same content as libmodbus's tables."""
    table = list(Table)[pdu[0] - 1]
    first, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
    entries = [int(content(unit, Address(table, first + i))) for i in range(count)]
    if table.bits:
        data = sum(entry << i for i, entry in enumerate(entries)).to_bytes((count + 7) // 8, "little")
    else:
        data = b"".join(entry.to_bytes(2, "big") for entry in entries)
    return bytes((pdu[0], len(data))) + data


def framed(request: bytes) -> bytes:
    """Return the answer to a request with an MBAP header."""
    pdu = answer(request[6], request[7:])
    return request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7] + pdu


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer on a stream, until the other end closes it."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            writer.write(framed(await reader.readexactly(12)))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def ascii_device() -> AsyncIterator[str]:
    """A unit that speaks ASCII, in lower case; yields its port."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    received = bytearray()

    def hear() -> None:
        received.extend(os.read(ours, 4096))
        while b"\r\n" in received:
            line, _, rest = bytes(received).partition(b"\r\n")
            received[:] = rest
            body = bytes.fromhex(line.decode().removeprefix(":"))
            assert line.startswith(b":")
            assert sum(body) % 256 == 0
            pdu = body[:1] + answer(body[0], body[1:-1])
            os.write(ours, b":" + (pdu + bytes((-sum(pdu) % 256,))).hex().encode() + b"\r\n")

    asyncio.get_running_loop().add_reader(ours, hear)
    yield os.ttyname(theirs)
    asyncio.get_running_loop().remove_reader(ours)
    os.close(ours)
    os.close(theirs)


async def test_ascii_over_a_serial_line() -> None:
    """Digits in lower case are understood as well."""
    async with ascii_device() as port, driver_of(group_of(f"modbus+ascii://{port}", timeout=PATIENT)) as driver:
        await read_all(driver)


class UdpDevice(asyncio.DatagramProtocol):
    """A unit that speaks UDP; `mangle` may change its datagrams."""

    def __init__(self, mangle: Callable[[bytes], list[bytes]] = lambda whole: [whole]) -> None:
        self.mangle = mangle

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for datagram in self.mangle(framed(data)):
            self.transport.sendto(datagram, addr)


@asynccontextmanager
async def udp_device(device: UdpDevice) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: device, local_addr=(LOOPBACK, 0))
    yield "{}:{}".format(*transport.get_extra_info("sockname"))
    transport.close()


async def test_udp() -> None:
    """Also with halves and garbage between the answers."""
    messy = UdpDevice(lambda whole: [whole[:8], b"\xff" * 30, whole[:3], whole, whole])
    for device in (UdpDevice(), messy):
        async with udp_device(device) as address:
            group = group_of(f"modbus+udp://{address}", timeout=PATIENT, in_flight=3)
            async with driver_of(group) as driver:
                await read_all(driver)
                await read_all(driver)


async def test_nobody_at_a_udp_port_is_not_connected() -> None:
    """The operating system reports it, where it can."""
    assert await not_connected(driver_of(group_of(f"modbus+udp://{LOOPBACK}:{free_port()}", timeout=PATIENT)))


async def test_the_backup_is_used_where_udp_brings_no_answer() -> None:
    """There is no connection to fail, only silence."""
    async with udp_device(UdpDevice(lambda _: [])) as dead, udp_device(UdpDevice()) as alive:
        group = group_of(f"modbus+udp://{dead}", backup=alive, timeout=SHORT)
        client = ModbusClient(group.connection, {1})  # below the driver, which leaves units alone
        request = bytes((3, 0, 0, 0, 1))
        for _ in range(2):
            await client.connect()
            outcomes = await asyncio.gather(*(client.request(1, request) for _ in range(4)), return_exceptions=True)
        assert outcomes == [answer(1, request)[1:]] * 4
        client.close()


async def test_a_device_dials_in_and_again() -> None:
    """Behind a mobile network nobody can dial a device. The newest connection counts."""
    port = free_port()
    driver = driver_of(group_of(f"modbus+listen://{LOOPBACK}:{port}", timeout=SHORT))
    with pytest.raises(NotConnected, match="no device has dialled in"):
        await driver.connect()
    driver.connection.timeout = PATIENT  # type: ignore[attr-defined] # an AdjustableConnection
    devices = []
    for _ in range(2):
        gone = [await asyncio.open_connection(LOOPBACK, port) for _ in range(3)]
        gone[0][1].close()
        devices.append(asyncio.create_task(serve(*await asyncio.open_connection(LOOPBACK, port))))
        await asyncio.sleep(0)
        await driver.connect()
        await read_all(driver)
        for reader, writer in gone[1:]:
            with suppress(ConnectionError):
                await reader.read()  # it may have been asked for its unit
                assert reader.at_eof(), "an older connection is closed"
            writer.close()
    await driver.close()
    await asyncio.gather(*devices)
    with pytest.raises(OSError, match=r"refused|Connect"):
        socket.create_connection((LOOPBACK, port), timeout=1)


async def test_a_port_that_is_in_use_is_not_listened_to() -> None:
    """Two machines with one port is a mistake that must be seen."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        url = f"modbus+listen://{LOOPBACK}:{taken.getsockname()[1]}"
        assert "can't listen" in await not_connected(driver_of(group_of(url)))


# -- mbpoll against our simulator --


async def test_mbpoll_reads_what_we_simulate(tmp_path: Path) -> None:
    """Another client finds units, tables and refusals where it looks for them."""
    program = need("mbpoll")
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "meter.yaml").write_text(
        "format: 1\nprotocol: modbus\ndefaults: {every: 1s}\n"
        "points:\n  flow: {address: holding 3, raw: float32, unit: Cel, range: [20, 30]}\n  on: {address: coil 2}\n"
    )
    connection = f"modbus+tcp://{LOOPBACK}:{free_port()}?unit=7"
    machines = {"m-01": {"template": "meter", "connection": connection}}
    lines = {"line": {"area": "area", "machines": machines}}
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://127.0.0.1"}, lines=lines)
    await Lineside.simulate(config, tmp_path / "moved.yaml")
    port = load_port(tmp_path / "moved.yaml")

    def poll(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, "-0", "-1", "-p", port, *arguments, LOOPBACK]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    result = await asyncio.to_thread(poll, "-a", "7", "-t", "4:float", "-B", "-r", "3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert 20 <= float(result.stdout.split("[3]:")[1]) <= 30
    result = await asyncio.to_thread(poll, "-a", "7", "-t", "0", "-r", "0", "-c", "3")
    assert [result.stdout.split(f"[{i}]:")[1].split()[0] for i in (0, 1)] == ["0", "0"]
    assert result.stdout.split("[2]:")[1].split()[0] in {"0", "1"}
    result = await asyncio.to_thread(poll, "-a", "7", "-t", "4", "-r", "100")
    assert "Illegal data address" in result.stderr
    result = await asyncio.to_thread(poll, "-a", "8", "-t", "4", "-r", "3")
    assert result.returncode != 0


def load_port(moved: Path) -> str:
    """Return the port of the only machine of a configuration."""
    [connection] = re.findall(r"modbus\+tcp://\S+", moved.read_text())
    return str(urlsplit(connection).port)
