"""Devices that dial in: identified, registered, and never mistaken for each other."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import pytest
from fakes.modbus_server import HOST, Asked
from processes import ends, free_port
from pydantic import ValidationError

from drivers.base import Group, NotConnected
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.framing import Rtu
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATIENT = 5.0


class Dialler:
    """A device that dials in: it answers every read of its unit with one number."""

    def __init__(
        self, port: int, number: int, *, unit: int = 1, first: bytes = b"", heartbeat: bytes = b"", rtu: bool = False
    ) -> None:
        self.closed = asyncio.Event()
        self._port, self._number, self._unit, self._rtu = port, number, unit, rtu
        self._first, self._heartbeat = first, heartbeat
        self._task: asyncio.Task[None]
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection(HOST, self._port)
        self._writer.write(self._first)
        self._task = asyncio.create_task(self._serve(reader, self._writer))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(self._heartbeat)
                unit, frame = await (self._rtu_request(reader) if self._rtu else self._tcp_request(reader))
                if unit == self._unit:
                    writer.write(frame)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()

    async def _tcp_request(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readexactly(12)
        asked = Asked(int.from_bytes(head[:2], "big"), head[6], head[7], 0, int.from_bytes(head[10:], "big"))
        data = self._number.to_bytes(2, "big") * asked.count
        return asked.unit, asked.frame(bytes((len(data),)) + data)

    async def _rtu_request(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        request = await reader.readexactly(8)
        data = self._number.to_bytes(2, "big") * request[5]
        return request[0], Rtu().pack(0, request[0], bytes((request[1], len(data))) + data)


@asynccontextmanager
async def listening(port: int, **options: Any) -> AsyncIterator[tuple[ModbusDriver, Group]]:
    settings = {"timeout": 0.4} | options
    connection = ModbusConnection(transport=Transport.LISTEN, host=HOST, port=port, **settings)
    sources = (ModbusSource(address=Address(Table.HOLDING, 0)),)
    group: Group = Group(f"m{connection.unit}", connection, ("p",), sources, 1.0)
    driver = ModbusDriver(connection.shared(), [group], Clock())
    try:
        yield driver, group
    finally:
        await driver.close()


async def connect(driver: ModbusDriver) -> None:
    """Connect as the worker does: again and again."""
    async with asyncio.timeout(20):
        while True:
            try:
                await driver.connect()
            except NotConnected:
                continue
            return


async def read_on(driver: ModbusDriver, group: Group) -> None:
    """Read until the connection is lost; each value is that of the device that was there first."""
    while True:
        assert (await driver.read(group)).values in ([11], [None])


async def open_port(driver: ModbusDriver) -> None:
    """Open the port of a driver, to which a device can dial in then."""
    with pytest.raises(NotConnected, match="no device has dialled in"):
        await driver.connect()


async def test_registration_and_heartbeat_packets_of_a_dtu_are_skipped() -> None:
    """A cellular modem says who it is, and sends two bytes now and then; neither is Modbus."""
    port = free_port()
    async with listening(port) as (driver, group):
        await open_port(driver)
        async with Dialler(port, 11, first=b"DTU-00861234", heartbeat=b"\xfe\xfe"):
            await connect(driver)
            for _ in range(5):
                assert (await driver.read(group)).values == [11]
            assert any("write registration=DTU-00861234" in one.text for one in driver.warnings() or ())


async def test_rtu_frames_come_over_a_connection_that_is_dialled_in() -> None:
    """A transparent modem sends the frames of its serial line as they are."""
    port = free_port()
    async with listening(port, framing="rtu") as (driver, group):
        await open_port(driver)
        async with Dialler(port, 12, first=b"\xa5\x5a\x01", heartbeat=b"\xfe\xfe", rtu=True):
            await connect(driver)
            for _ in range(5):
                assert (await driver.read(group)).values == [12]


async def test_devices_at_one_port_are_identified_by_their_registration() -> None:
    """Both have unit 1; each connection goes to the machine that it belongs to."""
    port = free_port()
    async with (
        listening(port, registration="DTU-1") as (first, one),
        listening(port, registration="0x4454552D32") as (second, two),
    ):
        await open_port(first)
        await open_port(second)
        async with Dialler(port, 22, first=b"DTU-2"), Dialler(port, 11, first=b"DTU-1"):
            await asyncio.gather(connect(first), connect(second))
            assert (await first.read(one)).values == [11]
            assert (await second.read(two)).values == [22]


async def test_devices_at_one_port_are_identified_by_their_units() -> None:
    """Each connection is asked for the units, and belongs to the unit that answers."""
    port = free_port()
    async with (
        listening(port, by_unit=True, unit=1) as (first, one),
        listening(port, by_unit=True, unit=2) as (second, two),
    ):
        await open_port(first)
        await open_port(second)
        async with Dialler(port, 22, unit=2), Dialler(port, 11, unit=1):
            await asyncio.gather(connect(first), connect(second))
            assert (await first.read(one)).values == [11]
            assert (await second.read(two)).values == [22]


async def test_a_device_from_another_address_is_refused_and_counted() -> None:
    """It is not in the network of the machine."""
    port = free_port()
    async with listening(port, peer="10.20.0.0/16") as (driver, _):
        await open_port(driver)
        async with Dialler(port, 99) as stranger:
            async with asyncio.timeout(PATIENT):
                await stranger.closed.wait()
        assert driver.counts()["refused_connections"] == 1
        assert any("dialled in and was refused" in one.text for one in driver.warnings() or ())


async def test_a_device_with_another_registration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger that sends nothing, or another packet, is not the machine."""
    monkeypatch.setattr("drivers.modbus.listener.REGISTRATION_WAIT", 0.2)
    port = free_port()
    async with listening(port, registration="DTU-1") as (driver, group):
        await open_port(driver)
        async with Dialler(port, 99, first=b"DTU-2") as stranger, Dialler(port, 98) as mute:
            async with asyncio.timeout(PATIENT):
                await asyncio.gather(stranger.closed.wait(), mute.closed.wait())
        async with Dialler(port, 11, first=b"DTU-1"):
            await connect(driver)
            assert (await driver.read(group)).values == [11]
        assert driver.counts()["refused_connections"] == 2


async def test_two_devices_that_nothing_distinguishes_are_not_mixed() -> None:
    """Nobody knows which is which, so neither is read: a value of another machine would be worse than none."""
    port = free_port()
    async with listening(port) as (driver, group):
        await open_port(driver)
        async with Dialler(port, 11) as device:
            await connect(driver)
            async with Dialler(port, 99) as rival, asyncio.timeout(PATIENT):
                with pytest.raises(NotConnected, match="nothing distinguishes them"):
                    await read_on(driver, group)
                await asyncio.gather(device.closed.wait(), rival.closed.wait())
        async with Dialler(port, 99):
            for _ in range(3):
                with pytest.raises(NotConnected, match="nothing distinguishes them: write peer, registration"):
                    await driver.connect()
        assert any("write peer, registration" in one.text for one in driver.warnings() or ())


async def test_the_port_stays_open_for_a_device_that_dials_rarely() -> None:
    """A modem dials once a minute; a port that is open for a time-out in every back-off is mostly closed to it."""
    port = free_port()
    async with listening(port, timeout=0.1) as (driver, group):
        await open_port(driver)
        connecting = asyncio.create_task(driver.connect())
        done, _ = await asyncio.wait({connecting}, timeout=0.5)
        assert not done, "it waits for longer than a time-out"
        async with Dialler(port, 11), asyncio.timeout(PATIENT):
            await connecting
            assert (await driver.read(group)).values == [11]


@pytest.mark.parametrize("turns", range(7))
async def test_a_device_that_dials_in_at_the_last_moment_is_hung_up_on(turns: int) -> None:
    """Its gateway reloads: a connection without an end would keep the device from dialling again."""
    port = free_port()
    async with listening(port, timeout=0.1) as (driver, _):
        await open_port(driver)
        with socket.create_connection((HOST, port)) as device:
            for _ in range(turns):
                await asyncio.sleep(0)
            await driver.close()
            await ends(device)
        async with listening(port, timeout=0.1) as (following, group):
            await open_port(following)
            async with Dialler(port, 11):
                await connect(following)
                assert (await following.read(group)).values == [11]


@pytest.mark.slow
async def test_a_connection_that_sends_nothing_does_not_displace_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port scan must not disconnect the device."""
    port = free_port()
    async with listening(port, timeout=0.3) as (driver, group):
        await open_port(driver)
        async with Dialler(port, 11) as device:
            await connect(driver)
            reader, writer = await asyncio.open_connection(HOST, port)
            async with asyncio.timeout(PATIENT):
                with suppress(ConnectionError):
                    while await reader.read(100) != b"":
                        assert (await driver.read(group)).values == [11]
            writer.close()
            assert not device.closed.is_set()
        async with Dialler(port, 12):
            with monkeypatch.context() as patch:
                patch.setattr("drivers.modbus.listener.DIAL_WAIT", 0.5)  # no device will dial in
                await driver.close()
                await open_port(driver)
        async with Dialler(port, 13):
            await connect(driver)
            assert (await driver.read(group)).values == [13]


async def test_a_device_that_dials_again_replaces_its_dead_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mobile network forgets a connection without a message to either side."""
    port = free_port()
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.0)  # it is asked again at once
    async with listening(port, timeout=0.2) as (driver, group):
        await open_port(driver)
        async with Dialler(port, 11, unit=7):  # it never answers unit 1, as a connection that is dead
            await connect(driver)
            async with Dialler(port, 12):
                async with asyncio.timeout(20):
                    while True:
                        try:
                            if (await driver.read(group)).values == [12]:
                                break
                        except NotConnected:
                            await connect(driver)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transport": Transport.TCP, "registration": "x"}, "are for modbus\\+listen alone"),
        ({"transport": Transport.LISTEN, "peer": "edge"}, "not an address or a network"),
        ({"transport": Transport.LISTEN, "registration": "0xABC"}, "whole bytes"),
        ({"transport": Transport.LISTEN, "framing": "rtu", "in_flight": 2}, "only one request"),
        ({"transport": Transport.UDP, "any_transaction": True}, "any_transaction is for"),
        ({"transport": Transport.TCP, "any_transaction": True, "in_flight": 2}, "only one request"),
        ({"transport": Transport.TCP, "any_transaction": True, "surplus": True}, "surplus needs transaction ids"),
        ({"transport": Transport.RTU_TCP, "surplus": True}, "surplus needs transaction ids"),
    ],
)
def test_options_that_do_not_fit_are_errors(options: dict[str, Any], message: str) -> None:
    """Each says what would be right."""
    with pytest.raises(ValidationError, match=message):
        ModbusConnection(host=HOST, **options)
