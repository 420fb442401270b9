"""Values of meters and inverters, from their registers to the store, and over a restart of the gateway."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import yaml
from fakes.modbus_server import Asked, FakeModbusServer
from processes import until, write_factory
from servers import Mosquitto
from stored import rows

from gateway.gateway_service import GatewayService
from gateway.ingest_service import IngestService
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

SECONDS = 60.0

TEMPLATE = {
    "format": 1,
    "protocol": "modbus",
    "defaults": {"every": "100ms", "not_available": "sunspec", "zone": "Europe/Berlin"},
    "points": {
        "voltage": {"address": "holding 0", "raw": "float32", "unit": "V"},
        "scaled": {"address": "holding 0", "raw": "float32", "scale": 0.1, "unit": "dV"},
        "power": {"address": "holding 2", "raw": "int16", "scale_register": "holding 3", "unit": "W"},
        "energy": {"address": "holding 4", "raw": "uint16", "total": True, "scale": 0.1, "unit": "kW.h"},
        "absent": {"address": "holding 5", "raw": "int16"},
        "begun": {"address": "holding 6", "raw": "datetime", "layout": "[year/month, day/hour, minute/second]"},
        "door": {"address": "coil 0", "type": "string", "labels": {0: "closed", 1: "open"}, "invert": True},
        "serial": {"address": "identification product_code"},
    },
}


class Inverter:
    """The device: its energy counter wraps, and the factor of its power moves with every request."""

    def __init__(self) -> None:
        self.energy = 65000
        self._requests = 0

    def script(self, asked: Asked) -> Sequence[bytes]:
        match asked.function:
            case 1:
                return [asked.frame(b"\x01\x00")]
            case 43:
                return [asked.frame(bytes((14, 1, 1, 0, 0, 1, 1, 4)) + b"X-42")]
        self._requests += 1
        power = (6553, 0xFFFF) if self._requests % 2 else (655, 0)
        registers = [*struct.unpack(">2H", struct.pack(">f", 230.1)), *power, self.energy, 0x8000]
        registers += [26 << 8 | 7, 1 << 8 | 12, 30 << 8 | 15]
        data = struct.pack(f">{asked.count}H", *registers[asked.first : asked.first + asked.count])
        return [asked.frame(bytes((len(data),)) + data)]


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[GatewayService]:
    factory, stop = load_factory(config), asyncio.Event()
    gateway, ingest = GatewayService(factory), IngestService(factory)
    tasks = [asyncio.create_task(gateway.run(stop)), asyncio.create_task(ingest.run(stop))]
    try:
        yield gateway
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_the_values_that_a_device_means_are_stored(tmp_path: Path):
    """Digits, factors, totals, times and names; and a total goes on after the gateway was not running."""
    mosquitto, inverter = await Mosquitto.start(tmp_path), Inverter()
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "inverter.yaml").write_text(yaml.safe_dump(TEMPLATE))
    database = tmp_path / "readings.db"

    def stored(point: str) -> set[Any]:
        return {row.value for row in rows(database) if row.point == point and row.value is not None}

    async with FakeModbusServer(inverter.script) as server:
        config = write_factory(
            tmp_path / "factory.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
            broker={"url": mosquitto.url},
            ingest={"folder": str(tmp_path)},
            stores=[{"sqlite": {"path": str(database)}}],
            lines={
                "line": {
                    "area": "area",
                    "machines": {
                        "m": {"template": "inverter", "connection": f"modbus+tcp://127.0.0.1:{server.port}"}
                    },
                }
            },
        )
        async with running(config):
            await until(lambda: {655.0, 655.3} <= stored("power"), "both factors were read", SECONDS)
            inverter.energy = 500
            await until(lambda: 6603.6 in stored("energy"), "the counter has wrapped", SECONDS)
        inverter.energy = 65100
        async with running(config):
            await until(lambda: 13063.6 in stored("energy"), "the total goes on after the restart", SECONDS)
            inverter.energy = 7
            await until(lambda: 13107.9 in stored("energy"), "and wraps again", SECONDS)
    assert stored("voltage") == {230.1}
    assert stored("scaled") == {23.01}
    assert stored("power") == {655.0, 655.3}
    assert stored("absent") == set()
    assert stored("begun") == {"2026-07-01T10:30:15Z"}
    assert stored("door") == {"open"}
    assert stored("serial") == {"X-42"}
    assert {row.reason for row in rows(database) if row.point == "absent"} == {"not_available"}
