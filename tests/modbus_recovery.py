"""A Modbus device in memory that is in trouble for a while, and how long its driver needs to read as before.

Time is virtual: `fakes.virtual_time` jumps to the next event.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from fakes.modbus_server import CLOSE, Asked, exception, right, silent
from fakes.virtual_time import run

from drivers.base import Group, NotConnected, ReadFailed
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.source import ModbusSource, Raw
from gateway.common.backoff import Backoff

if TYPE_CHECKING:
    from drivers.modbus.transport import TransportProtocol

HEALTHY, TROUBLE = 10.0, 60.0
"""Seconds before the trouble, and of the trouble."""

PERIOD, TIMEOUT = 1.0, 0.4
"""Seconds between two scans, and until a request counts as not answered."""

LONGEST = 120
"""Periods after which a driver counts as not recovered."""

ENOUGH = 2
"""Scans in a row that are as before the trouble; a single scan might be an accident."""

Trouble = Callable[[Asked], Sequence[bytes | float]]


def touching(entries: set[int], answer: Trouble) -> Trouble:
    return lambda asked: (answer if entries & set(range(asked.first, asked.first + asked.count)) else right)(asked)


def some(answer: Trouble, part: float) -> Trouble:
    """Answer so at random, in a part of all requests."""
    dice = random.Random(1)  # noqa: S311 - the same in every run

    def script(asked: Asked) -> Sequence[bytes | float]:
        return (answer if dice.random() < part else right)(asked)

    return script


def _truncated(asked: Asked) -> Sequence[bytes]:
    return [asked._replace(count=min(asked.count, 8)).frame()]


TROUBLES: dict[str, Trouble] = {
    "silence": silent,
    "silence at some registers": touching({3, 40, 505}, silent),
    "half of the requests get no response": some(silent, 0.5),
    "exception 2 everywhere": exception(2),
    "exception 2 at some registers": touching({3, 40, 505}, exception(2)),
    "exception 4 now and then": some(exception(4), 0.5),
    "exception 6 everywhere": exception(6),
    "exception 11 everywhere": exception(11),
    "truncated responses": _truncated,
    "connections are closed at each request": lambda _: [CLOSE],
    "connections are closed at some registers": touching({3, 40, 505}, lambda _: [CLOSE]),
    "garbage": lambda _: [b"\xa5\x5a" * 20],
    "responses are late": lambda asked: [0.6, asked.frame()],
    "connections are refused": lambda _: [CLOSE],
}
"""Name -> the answers of the device while the trouble lasts."""

REFUSED = "connections are refused"


class Recovery(NamedTuple):
    """Requests of a scan before the trouble, the most in a scan after it, and periods until all was as before."""

    requests: int
    most: int
    periods: int


class _Device(asyncio.Transport):
    """The device's side of a connection. It serves one request after the other."""

    def __init__(self, bench: _Bench, protocol: TransportProtocol) -> None:
        super().__init__()
        self._bench, self._protocol = bench, protocol
        self._free_at = 0.0
        self._open = True

    def write(self, data: Any) -> None:
        asked = Asked(*struct.unpack(">H4xBBHH", data[:12]))
        self._bench.asked += 1
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._free_at) + 0.002
        for piece in self._bench.answers(asked):
            if isinstance(piece, float):
                at += piece
            elif piece == CLOSE:
                loop.call_at(at, self._close)
            else:
                loop.call_at(at, self._send, piece)
        self._free_at = at

    def _send(self, data: bytes) -> None:
        if self._open:
            self._protocol.data_received(data)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._protocol.connection_lost(None)

    def abort(self) -> None:
        self._open = False

    def is_closing(self) -> bool:
        return not self._open


class _Bench:
    """The device, healthy but for the time of its trouble."""

    def __init__(self, name: str) -> None:
        self.asked = 0
        self._trouble = TROUBLES[name]
        self._refuses = name == REFUSED

    def in_trouble(self) -> bool:
        return HEALTHY <= asyncio.get_running_loop().time() < HEALTHY + TROUBLE

    def answers(self, asked: Asked) -> Sequence[bytes | float]:
        return self._trouble(asked) if self.in_trouble() and asked.unit == 1 else right(asked)

    async def open(self, _: ModbusConnection, make: Callable[[], TransportProtocol], __: int) -> asyncio.Transport:
        if self._refuses and self.in_trouble():
            raise NotConnected("connection refused")
        return _Device(self, make())


def sources() -> tuple[ModbusSource, ...]:
    holding = (*range(100), *range(500, 520))
    coils = tuple(ModbusSource(address=Address(Table.COIL, entry), raw=Raw.BOOL) for entry in range(16))
    return (*coils, *(ModbusSource(address=Address(Table.HOLDING, entry)) for entry in holding))


def recovery(name: str, units: int = 1) -> Recovery:
    """Return how the driver of a device with a trouble reads afterwards; the first of its units is in trouble."""
    return run(_recovery(name, units))


async def _recovery(name: str, units: int) -> Recovery:
    bench = _Bench(name)
    points = sources()
    groups: list[Group] = [
        Group(
            f"m{unit}",
            ModbusConnection(host="device", unit=unit, timeout=TIMEOUT),
            tuple(f"p{i}" for i in range(len(points))),
            points,
            PERIOD,
        )
        for unit in range(1, units + 1)
    ]
    driver = ModbusDriver(groups[0].connection.shared(), groups, lambda: 1)
    with mock.patch("drivers.modbus.client.open_transport", bench.open):
        try:
            return await _read_on(bench, driver, groups)
        finally:
            await driver.close()


async def _read_on(bench: _Bench, driver: ModbusDriver, groups: Sequence[Group]) -> Recovery:
    """Read every period as a worker does, and connect again with its back-off."""
    loop = asyncio.get_running_loop()
    backoff = Backoff(0.5, 5.0)
    connected = False
    before = most = good = 0
    for period in range(int((HEALTHY + TROUBLE) / PERIOD) + LONGEST):
        due = period * PERIOD
        await asyncio.sleep(max(0.0, due - loop.time()))
        asked = bench.asked
        faults = True
        try:
            if not connected:
                await driver.connect()
                connected = True
                backoff.reset()
            faults = any([(await driver.read(group)).faults for group in groups])
        except ReadFailed:
            pass
        except NotConnected:
            connected = False
            await driver.close()
            await backoff.wait()
        sent = bench.asked - asked
        if due < HEALTHY:
            before = sent
        elif due >= HEALTHY + TROUBLE:
            most = max(most, sent)
            good = good + 1 if not faults and sent == before else 0
            if good == ENOUGH:
                return Recovery(before, most, round((due - HEALTHY - TROUBLE) / PERIOD) - 1)
    return Recovery(before, most, LONGEST)
