"""Devices as users of other gateways report them: readings are right, or bad with a reason, and never invented.

Each case names the report. The device is written here; nothing is copied from there.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from fakes.modbus_server import CLOSE, HOST, Asked, FakeModbusServer, by_unit, exception, right, silent
from fakes.taskless import TasklessModbusDriver

from drivers.base import Group, NotConnected, Reason, Scan
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection, Transport
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.framing import Rtu
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fakes.modbus_server import Script

ENTRIES = (0, 1, 2, 300, 301)
SCANS = 8

DRIVERS: list[type[ModbusDriver]] = [ModbusDriver]
"""The class that the test reads with."""


@pytest.fixture(autouse=True, params=[ModbusDriver, TasklessModbusDriver], ids=["with a task", "without a task"])
def _drivers(request: pytest.FixtureRequest) -> None:
    """Run each test with both ways to read."""
    DRIVERS[0] = request.param


class Case(NamedTuple):
    """A device, the options of its connection, and the reason of the points that stay bad; None if all are read."""

    report: str
    script: Callable[[], Script]
    options: dict[str, Any] = {}
    bad: Reason | None = None
    bad_entries: frozenset[int] = frozenset(ENTRIES)


def each(script: Script) -> Callable[[], Script]:
    return lambda: script


def every(n: int, odd: Script) -> Callable[[], Script]:
    """Answer every n-th request with this script, and the others as a device should."""

    def make() -> Script:
        count = 0

        def script(asked: Asked) -> Sequence[bytes | float]:
            nonlocal count
            count += 1
            return (odd if count % n == 0 else right)(asked)

        return script

    return make


def after_connecting(seconds: float, odd: Script) -> Callable[[], Script]:
    """Answer with this script for a while after the first request."""

    def make() -> Script:
        began = time.monotonic()

        def script(asked: Asked) -> Sequence[bytes | float]:
            return (odd if time.monotonic() - began < seconds else right)(asked)

        return script

    return make


def one_behind() -> Script:
    """Each response comes with the next request, as behind a line that lags."""
    waiting: list[bytes] = []

    def script(asked: Asked) -> Sequence[bytes]:
        waiting.append(asked.frame())
        return [waiting.pop(0)] if len(waiting) > 1 else []

    return script


def stale_queue() -> Script:
    """Responses to old requests come before the right response."""
    return lambda asked: [
        *(asked._replace(first=900).frame(transaction=n) for n in range(60000, 60005)),
        asked.frame(),
    ]


def too_soon(seconds: float) -> Callable[[], Script]:
    """Requests that follow another at once are lost on the line."""

    def make() -> Script:
        last = 0.0

        def script(asked: Asked) -> Sequence[bytes]:
            nonlocal last
            soon, last = time.monotonic() - last < seconds, time.monotonic()
            return [] if soon else right(asked)

        return script

    return make


def zeros_first() -> Script:
    """The first requests after a start are answered with zeros."""
    count = 0

    def script(asked: Asked) -> Sequence[bytes]:
        nonlocal count
        count += 1
        return [asked.frame(bytes((asked.data[0],)) + bytes(asked.data[0]))] if count <= 2 else right(asked)

    return script


CASES = {
    "an inverter's dongle swallows requests after a connect": Case(
        "home-assistant/core#50124, openhab-core#2926", after_connecting(0.25, silent), {"pause_after_connect": 0.3}
    ),
    "a response comes after its time-out, with the next request": Case(
        "pymodbus#538", one_behind, bad=Reason.NO_RESPONSE
    ),
    "responses are slower than the time-out all the time": Case(
        "grid-x/modbus#78", each(lambda asked: [0.15, asked.frame()]), {"timeout": 0.6}
    ),
    "a queue of old responses comes first": Case("0xAHA/Growatt_ModbusTCP#317", stale_queue),
    "a busy device is not a device that reads 0": Case(
        "home-assistant/core#51103", each(exception(6)), bad=Reason.REFUSED
    ),
    "a device that serves another client is busy for a moment": Case(
        "influxdata/telegraf#7271", every(2, exception(6))
    ),
    "a line needs a pause between two requests": Case("influxdata/telegraf#9253", too_soon(0.03), {"pause": 0.05}),
    "an inverter has unit 0": Case(
        "BiancoRoyal/node-red-contrib-modbus#188", lambda: by_unit({1: silent}), {"unit": 0}
    ),
    "a gateway of one device answers as unit 1": Case(
        "goburrow/modbus#54", each(lambda asked: [asked.frame(unit=1)]), {"unit": 3, "any_unit": True}
    ),
    "a gateway of one device answers as unit 1, and that is not accepted": Case(
        "goburrow/modbus#54", each(lambda asked: [asked.frame(unit=1)]), {"unit": 3}, Reason.BAD_ANSWER
    ),
    "now and then the transaction id is 0": Case(
        "pymodbus#2762", every(4, lambda asked: [asked.frame(transaction=0)])
    ),
    "a logger sends each response twice": Case("arendst/Tasmota#22223", each(lambda asked: [asked.frame()] * 2)),
    "a response comes byte by byte": Case(
        "pymodbus#394, nmodbus#54", each(lambda asked: [bytes((byte,)) for byte in asked.frame()])
    ),
    "several responses come in one segment": Case(
        "favalex/modbus-cli#25", each(right), {"in_flight": 4, "max_registers": 1, "max_gap": 0}
    ),
    "a server mixes up the responses of its clients": Case(
        "wlcrs/tmodbus#88", every(3, lambda asked: [asked._replace(first=700).frame(transaction=48)])
    ),
    "a wallbox that is not there has no registers": Case(
        "MeisterTR/ha-kostal-smartmeter#24",
        each(lambda asked: (exception(2) if asked.first + asked.count > 300 else right)(asked)),
        bad=Reason.REFUSED,
        bad_entries=frozenset({300, 301}),
    ),
    "a meter has no function 3 for unit 255": Case(
        "stephane/libmodbus#121", lambda: by_unit({255: silent}), {"unit": 255}, Reason.NO_RESPONSE
    ),
    "a device behind a gateway is off": Case(
        "yaacov/node-modbus-serial#545", each(exception(11)), bad=Reason.NO_RESPONSE
    ),
    "the connection is reset now and then": Case("evcc-io/evcc#14257", every(5, lambda _: [CLOSE])),
    "zeros come after a start": Case("home-assistant/core#54345", zeros_first, {"discard_after_connect": 1}),
    "blocks are refused that single registers are not": Case(
        "wills106/homeassistant-solax-modbus#1906",
        each(lambda asked: (exception(3) if asked.count > 2 else right)(asked)),
    ),
    "a checksum follows each frame": Case(
        "Modbus TCP of a serial bridge that forwards the CRC", each(lambda asked: [asked.frame() + b"\xde\xad"]),
        {"surplus": True},
    ),
}  # fmt: skip


def sources() -> tuple[ModbusSource, ...]:
    return tuple(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in ENTRIES)


async def scans_of(connection: ModbusConnection) -> list[Scan]:
    """Read as a worker does: every scan, and a connection again where it is lost."""
    group: Group = Group("m", connection, tuple(map(str, ENTRIES)), sources(), 1.0)
    driver = DRIVERS[0](connection.shared(), [group], Clock())
    scans = []
    try:
        await driver.connect()
        for _ in range(SCANS):
            try:
                scans.append(await driver.read(group))
            except NotConnected as error:
                scans.append(Scan.failed(group, 0, error.fault))
                with suppress(NotConnected):
                    await driver.connect()
    finally:
        await driver.close()
    return scans


@pytest.mark.parametrize("name", CASES)
async def test_a_reported_device_is_read_right_or_is_bad(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No value is invented in any scan, and the last scan has all that the device gives."""
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.0)
    monkeypatch.setattr("drivers.modbus.driver.FIRST", 0.0)
    case = CASES[name]
    async with FakeModbusServer(case.script()) as server:
        connection = ModbusConnection(host=HOST, port=server.port, **({"timeout": 0.1} | case.options))
        scans = await scans_of(connection)
    for scan in scans:
        for i, (entry, value) in enumerate(zip(ENTRIES, scan.values, strict=True)):
            assert value == entry or (value is None and i in scan.faults), scan
    last = scans[-1]
    bad = {ENTRIES[i] for i in last.faults}
    assert bad == (case.bad_entries if case.bad is not None else set()), last
    assert {fault.reason for fault in last.faults.values()} <= {case.bad}


# -- RTU frames over TCP --


RTU_CASES: dict[str, tuple[str, Callable[[bytes, bytes], bytes]]] = {
    "a zero byte comes before each response": ("minimalmodbus#61, libmodbus#304", lambda _, frame: b"\0" + frame),
    "zeros come after each response": ("home-assistant/core#69742", lambda _, frame: frame + b"\0\0\0"),
    "zeros come before and after": ("eModbus#40", lambda _, frame: b"\0\0" + frame + b"\0"),
    "the request is echoed": ("epics-modules/modbus#39", lambda request, frame: request + frame),
    "a foreign response comes first": (
        "mukaschultze/ha-must-inverter#112",
        lambda _, frame: Rtu().pack(0, 9, b"\x03\x02\xff\xff") + frame,
    ),
}


@pytest.mark.parametrize("name", RTU_CASES)
async def test_noise_around_rtu_frames_costs_no_value(name: str) -> None:
    """RS-485 lines float when their direction changes; converters forward the noise."""
    _, wrapped = RTU_CASES[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readexactly(8)
                first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
                data = b"".join(entry.to_bytes(2, "big") for entry in range(first, first + count))
                pdu = request[1:6] if request[1] == 8 else bytes((request[1], len(data))) + data
                writer.write(wrapped(request, Rtu().pack(0, request[0], pdu)))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = ModbusConnection(transport=Transport.RTU_TCP, host=HOST, port=port, timeout=0.3)
        scans = await scans_of(connection)
        await ended.wait()
    assert all(scan.values == list(ENTRIES) and not scan.faults for scan in scans)


async def test_a_device_that_gives_one_connection_is_read_beside_another_client() -> None:
    """The note of many inverters (evcc, SolarEdge): only one system may be connected at a time."""
    async with FakeModbusServer() as server:
        server.one_connection = 0.02
        connection = ModbusConnection(host=HOST, port=server.port, timeout=0.3, close_after_scan=True)
        first, second = await scans_of(connection), await scans_of(connection)
    assert all(scan.values == list(ENTRIES) for scan in (*first, *second))
