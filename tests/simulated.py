"""Simulated machines in the test's own event loop, and reading all of them with the drivers.

async with simulated(tmp_path, {"press": TEMPLATE}, {"m1": {"template": "press", "connection": URL}}) as factory:
    readings = await read_all(factory)
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from asyncua import Client
from processes import write_factory

from drivers.base import NotConnected
from gateway.acquisition.groups import groups_of
from gateway.pipeline.normalize import Normalizer
from gateway.settings.load import load_factory
from simulators.app import Options, Simulation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from drivers.base import Driver, Fault, Group, Scan, Value
    from gateway.settings.factory import Factory, Machine

PATIENCE = 120.0
"""Seconds in which a server starts, or a value comes."""


class Reading(NamedTuple):
    """One point's reading; `time` is in microseconds since the epoch."""

    value: Value | None
    fault: Fault | None
    time: int


Readings = dict[str, dict[str, Reading]]
"""Machine -> point -> reading."""


def configure(folder: Path, templates: dict[str, Any], machines: dict[str, Any], area: str = "area") -> Path:
    """Write a factory of one line, with its templates."""
    (folder / "machines").mkdir(exist_ok=True)
    for name, template in templates.items():
        text = template if isinstance(template, str) else yaml.safe_dump({"format": 1} | template, sort_keys=False)
        (folder / "machines" / f"{name}.yaml").write_text(text)
    lines = {"line": {"area": area, "machines": machines}}
    return write_factory(folder / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=lines)


@asynccontextmanager
async def simulated(folder: Path, config: Path, **options: Any) -> AsyncIterator[Factory]:
    """Serve a configuration on free ports; yield the same configuration with these ports."""
    moved = folder / "moved.yaml"
    free_ports = options.pop("free_ports", True)
    simulation = Simulation(load_factory(config), "1", free_ports=free_ports, options=Options(**options))
    stop = asyncio.Event()
    task = asyncio.create_task(simulation.run(stop, moved), name="simulation")
    started = asyncio.create_task(simulation.started.wait(), name="started")
    try:
        await asyncio.wait([task, started], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield await asyncio.to_thread(load_factory, moved)
    finally:
        started.cancel()
        stop.set()
        await asyncio.wait([task])
    task.result()


async def read_all(factory: Factory) -> Readings:
    """Read every point of every machine once."""
    return {machine.path.machine: await read_machine(machine) for machine in factory.machines}


async def read_machine(machine: Machine, *, patient: bool = True) -> dict[str, Reading]:
    """Read every point of one machine once, as the gateway does; `patient` waits for its server."""
    groups = list(groups_of(machine))
    readings: dict[str, Reading] = {}
    normalizers = {group: Normalizer(points) for group, points in groups}
    every = [group for group, _ in groups]
    async with asyncio.timeout(PATIENCE), connected(machine, every, patient=patient) as driver:
        wanted = {point.name for point in machine.points}
        for group, _ in groups:
            if not group.pushed:
                take(await driver.read(group), normalizers[group], readings)
        while wanted - readings.keys():
            scan = await driver.receive()
            take(scan, normalizers[scan.group], readings)
    return readings


def take(scan: Scan, normalizer: Normalizer, readings: dict[str, Reading]) -> None:
    """Put a scan's readings where they belong."""
    normalizer.apply(scan)
    for i, value in enumerate(scan.values):
        name = scan.group.names[i if scan.points is None else scan.points[i]]
        at = scan.time if scan.times is None else scan.times[i]
        readings[name] = Reading(value, scan.faults.get(i), at)


@asynccontextmanager
async def connected(machine: Machine, groups: list[Group], *, patient: bool = True) -> AsyncIterator[Driver]:
    """Connect a driver to one machine: again and again until its server is up, where we are patient."""
    while True:
        driver = machine.protocol.driver(machine.connection.shared(), groups, lambda: time.time_ns() // 1000)
        try:
            await driver.connect()
            break
        except NotConnected:
            await driver.close()
            if not patient:
                raise
            await asyncio.sleep(0.05)
    try:
        yield driver
    finally:
        await driver.close()


async def client_of(machine: Machine, seconds: float = 60.0) -> Client:
    """Connect a client of another make than ours to an OPC UA machine, as soon as its server is up.

    It waits so many seconds for an answer; a server that ends takes requests that it never answers.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        # its watchdog would give up a server that is silent, or busy, for a second
        client = Client(machine.connection.url, timeout=seconds, watchdog_intervall=PATIENCE)  # type: ignore[attr-defined]
        try:
            await client.connect()
        except (OSError, TimeoutError):
            assert time.monotonic() < deadline, "the server does not come up"
            await asyncio.sleep(0.1)
        else:
            return client
