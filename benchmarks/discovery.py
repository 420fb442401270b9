"""Measure how long discovery on many machines blocks the event loop of a gateway."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import structlog

from drivers.base import DiscoveredPoint, ValueType
from gateway.acquisition.device_worker import DeviceWorker
from gateway.acquisition.groups import searches_of
from gateway.common.logging import configure_logging
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory

TEMPLATE = """format: 1
protocol: opcua
points:
  temps: {node: "ns=2;s=Machine", match: "*", type: float}
"""


def factory(folder: Path, machines: int) -> Path:
    (folder / "machines").mkdir()
    (folder / "machines" / "s.yaml").write_text(TEMPLATE)
    config = folder / "f.yaml"
    config.write_text(f"""format: 1
factory: {{enterprise: acme, site: north}}
gateway: {{id: g, spool: {{folder: {folder}}}}}
broker: {{url: "mqtt://127.0.0.1:1"}}
lines:
  l:
    area: a
    machines:
      "m-{{0001..{machines:04}}}": {{template: s, connection: "opc.tcp://127.0.0.1:{{n+20000}}?security=none"}}
""")
    return config


async def idle(_: DeviceWorker) -> None:
    """Read nothing: what connecting costs is measured elsewhere."""
    await asyncio.get_running_loop().create_future()


async def worst_gap(stop: asyncio.Event) -> list[float]:
    """Return the processor time of the loop's thread between two turns, so that a busy machine does not count."""
    gaps, before = [], time.thread_time()
    while not stop.is_set():
        await asyncio.sleep(0.001)
        now = time.thread_time()
        gaps.append(now - before)
        before = now
    return sorted(gaps)


async def main(machines: int, points: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        DeviceWorker.run = idle  # type: ignore[method-assign]
        gateway = GatewayService(load_factory(factory(Path(folder), machines)))
        stop, done = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(gateway.run(stop))
        await asyncio.sleep(5.0)
        watching = asyncio.create_task(worst_gap(done))
        began = time.perf_counter()
        learn = gateway._discovery.learn  # noqa: SLF001 - what a driver finds
        for machine in gateway._devices.machines:  # noqa: SLF001 - as above
            [(group, _)] = searches_of(machine)
            found = [
                DiscoveredPoint(f"sensor_{i}", ValueType.FLOAT, {"node": f"ns=2;s=Machine.Area.Sensor_{i}.Value"})
                for i in range(points)
            ]
            learn(group, 0, found)
            await asyncio.sleep(0)
        while gateway.states.points()["configured"] < machines * points:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.2)
        took = time.perf_counter() - began
        done.set()
        gaps = await watching
        print(f"{machines} machines, {points} points each: all read after {took:.1f} s")
        print(f"event loop: longest turn {gaps[-1] * 1e3:.0f} ms, next {[round(g * 1e3) for g in gaps[-9:-1]]}")
        stop.set()
        await running


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=400)
    parser.add_argument("--points", type=int, default=100)
    options = parser.parse_args()
    configure_logging("json", "error")
    structlog.get_logger()
    asyncio.run(main(options.machines, options.points))
