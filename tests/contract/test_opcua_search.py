"""Points that only the server knows: all variables below a node that fit a pattern."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asyncua import ua
from processes import free_port, until, write_factory
from servers import Mosquitto
from stored import rows

from drivers.base import DiscoveredPoint, Group, ReadFailed, ValueType
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock
from gateway.gateway_service import GatewayService
from gateway.ingest_service import IngestService
from gateway.settings.load import load_factory
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncua import Server

URI = "urn:test:line"
SECONDS = 30.0
ZONES = {
    "Zone1/Temperature": 181.5,
    "Zone1/SetPoint": 180.0,
    "Zone2/Temperature": 182.5,
    "Zone2/Heater/Temperature": 300.25,
    "Zone2/Name": "middle",
    "Zone2/Cycles": 12,
}


class Line:
    """A server with a folder of variables, to which more can come."""

    def __init__(self, server: Server, index: int) -> None:
        self._server = server
        self._index = index
        self._folders: dict[str, Any] = {}

    async def add(self, path: str, value: Any) -> None:
        *folders, name = ("Zones", *path.split("/"))
        parent, way = self._server.nodes.objects, ""
        for folder in folders:
            way += f"/{folder}"
            if way not in self._folders:
                self._folders[way] = await parent.add_folder(ua.NodeId(way, self._index), f"{self._index}:{folder}")
            parent = self._folders[way]
        await parent.add_variable(ua.NodeId(f"{way}/{name}", self._index), f"{self._index}:{name}", value)


@asynccontextmanager
async def served(port: int) -> AsyncIterator[Line]:
    server = new_server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    line = Line(server, await server.register_namespace(URI))
    for path, value in ZONES.items():
        await line.add(path, value)
    async with server:
        yield line


async def found(port: int, keys: dict[str, Any]) -> list[DiscoveredPoint]:
    """Return the points that a search finds."""
    options = {"security": "none", "namespace": URI}
    connection = OpcUaConnection.from_url(f"opc.tcp://127.0.0.1:{port}", options)
    group = Group("m", connection, ("zones",), (OpcUaSource.model_validate(keys),), 1.0, search=True)
    async with asyncio.timeout(SECONDS), OpcUaDriver(connection, [group], Clock()) as driver:
        return list(await driver.search(group, 0))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["zone1_set_point", "zone1_temperature", "zone2_cycles", "zone2_heater_temperature", "zone2_name",
               "zone2_temperature"]),
        ("Temperature", ["zone1_temperature", "zone2_heater_temperature", "zone2_temperature"]),
        ("Zone?/Temperature", ["zone1_temperature", "zone2_temperature"]),
        ("Zone2/*", ["zone2_cycles", "zone2_heater_temperature", "zone2_name", "zone2_temperature"]),
        ("Pressure", []),
    ],
)  # fmt: skip
async def test_a_pattern_finds_variables_by_their_way(pattern: str, names: list[str]):
    """The whole way below the node, or the end of it; names stay the same whatever else is there."""
    port = free_port()
    async with served(port):
        matches = await found(port, {"node": "/Zones", "match": pattern})
    assert [one.name for one in matches] == names


async def test_found_points_are_written_as_a_user_would_write_them():
    """With the keys of the search, and with the type that the server declares."""
    port = free_port()
    async with served(port):
        matches = await found(port, {"node": "s=/Zones/Zone2", "match": "*", "queue": 5, "mode": "poll"})
    assert matches == [
        DiscoveredPoint("cycles", ValueType.INT, {"mode": "poll", "queue": 5, "node": "s=/Zones/Zone2/Cycles"}),
        DiscoveredPoint(
            "heater_temperature",
            ValueType.FLOAT,
            {"mode": "poll", "queue": 5, "node": "s=/Zones/Zone2/Heater/Temperature"},
        ),
        DiscoveredPoint("name", ValueType.STRING, {"mode": "poll", "queue": 5, "node": "s=/Zones/Zone2/Name"}),
        DiscoveredPoint(
            "temperature", ValueType.FLOAT, {"mode": "poll", "queue": 5, "node": "s=/Zones/Zone2/Temperature"}
        ),
    ]


async def test_a_missing_node_is_reported_with_the_nodes_that_are_there():
    """A folder may come later, with the program of the machine."""
    port = free_port()
    async with served(port):
        with pytest.raises(ReadFailed, match=r"has no Lines; it has .*Zones"):
            await found(port, {"node": "/Lines", "match": "*"})


def configure(folder: Path, port: int, broker: str) -> Path:
    (folder / "machines").mkdir()
    points = {
        "zones": {"node": "/Zones", "match": "Temperature", "type": "float", "every": "100ms", "unit": "Cel"},
        "zones_zone1_temperature_set": {"node": "s=/Zones/Zone1/SetPoint", "type": "float"},
        "none": {"node": "/Zones", "match": "*Pressure", "type": "float"},
    }
    template = {"format": 1, "protocol": "opcua", "points": points}
    (folder / "machines" / "line.yaml").write_text(yaml.safe_dump(template))
    connection = f"opc.tcp://127.0.0.1:{port}?security=none&namespace={URI}&keep_alive=1"
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": broker},
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m": {"template": "line", "connection": connection}}}},
    )


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


async def test_found_points_are_read_and_those_that_come_later_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And without the server it is known from before: it is bad, not unknown."""
    monkeypatch.setattr("gateway.acquisition.device_worker.SEARCH_EVERY", 0.2)
    mosquitto, port = await Mosquitto.start(tmp_path), free_port()
    config, database = configure(tmp_path, port, mosquitto.url), tmp_path / "readings.db"

    def stored() -> dict[str, Any]:
        return {row.point: (row.value, row.unit) for row in rows(database) if row.value is not None}

    expected: dict[str, Any] = {
        "zones_zone1_temperature": (181.5, "Cel"),
        "zones_zone2_temperature": (182.5, "Cel"),
        "zones_zone2_heater_temperature": (300.25, "Cel"),
        "zones_zone1_temperature_set": (180.0, ""),
    }
    async with served(port) as line, running(config) as gateway:
        await until(lambda: stored() == expected, "the found points are stored", SECONDS)
        await line.add("Zone3/Temperature", 183.5)
        expected["zones_zone3_temperature"] = (183.5, "Cel")
        await until(lambda: stored() == expected, "the later point is stored", SECONDS)
        assert gateway.states.points()["configured"] == 5
    async with running(config) as gateway:
        assert gateway.states.points()["configured"] == 5
        await until(lambda: gateway.states.points()["bad"] == 5, "all are bad", SECONDS)
        assert len(gateway.closing_report()["never_good"]) == 5


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff"])
async def test_a_damaged_file_of_found_points_stops_nothing(tmp_path: Path, content: bytes):
    """It is found again."""
    config = configure(tmp_path, free_port(), "mqtt://127.0.0.1:1")
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "edge-01.found.json").write_bytes(content)
    gateway = GatewayService(load_factory(config))
    assert gateway.states.points()["configured"] == 1
