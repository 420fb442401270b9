"""The OPC UA driver as tests use it: on nodes of the peer's machine, connected again as the runner does."""

from __future__ import annotations

import asyncio
from typing import Any

from opcua_peer import MACHINE
from processes import LOOPBACK

from drivers.base import Driver, Group, NotConnected, Scan
from drivers.opcua import PROTOCOL
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

KEEP_ALIVE = 1.0
"""The shortest valid keep-alive; a connection is lost after three of them without a sign of life."""

START = 50.0
"""The first value of `opcua_node` and of Setpoint."""

SECONDS = 90.0
"""The time limit of every step. A silent server is noticed in a tenth of it."""


def driver_of(
    port: int, *nodes: str, mode: str = "subscribe", keep_alive: float = KEEP_ALIVE, timeout: float = 4.0
) -> Driver:
    """Return a driver of one group, whose points are nodes of the peer's machine."""
    options = {"security": "none", "namespace": MACHINE, "keep_alive": keep_alive, "timeout": timeout}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", options)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}", "mode": mode}) for node in nodes)
    group = Group("machine", connection, nodes, sources, 0.1, pushed=mode == "subscribe")
    return PROTOCOL.driver(connection.shared(), [group], Clock())


def named(scan: Scan) -> dict[str, Any]:
    """Return the values of a scan by the names of their points."""
    names = scan.group.names
    positions = scan.points if scan.points is not None else range(len(names))
    return {names[position]: value for position, value in zip(positions, scan.values, strict=True)}


def faults(scan: Scan) -> dict[str, Any]:
    """Return the faults of a scan by the names of their points."""
    positions = scan.points if scan.points is not None else range(len(scan.group.names))
    return {scan.group.names[positions[place]]: fault for place, fault in scan.faults.items()}


async def taken(driver: Driver) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the newest value, and fault, of every point as soon as each point has been read once."""
    [group] = driver.groups
    values: dict[str, Any] = {}
    wrong: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while len(values) < len(group.names):
            scan = await (driver.receive() if group.pushed else driver.read(group))
            values |= named(scan)
            wrong |= faults(scan)
    return values, wrong


async def received(driver: Driver, node: str, value: object) -> Scan:
    """Receive until a node has a value, and return the scan that said so."""
    async with asyncio.timeout(SECONDS):
        while True:
            scan = await driver.receive()
            if node in named(scan) and named(scan)[node] == value:
                return scan


async def lost(driver: Driver) -> None:
    """Receive until the connection is lost."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await driver.receive()
            except NotConnected:
                return


async def connect(driver: Driver) -> None:
    """Connect as the runner does: again, and again, until it works."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await driver.connect()
            except NotConnected:
                await asyncio.sleep(0.05)
