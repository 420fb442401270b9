"""Measure whether schedules are kept: many small machines, and a silent unit among others.

    python benchmarks/modbus_schedule.py [--seconds 20]

First 1,000 machines of 10 points, with a connection each, are read every second. Then 20 units behind one connection are
read every second, and one of them never answers. Prints scans due, acquired and missed. The machines answer from
memory, in another process. There is no broker, so the gateway spools.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from gateway.common.logging import configure_logging
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory
from simulators.ports import free_port

DEAD = 7


class Answers(asyncio.Protocol):
    """Answers every register read at once, except for one unit."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), 12):
            transaction, _, _, unit, function, _, count = struct.unpack_from(">HHHBBHH", data, at)
            if unit != DEAD:
                head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
                self.transport.write(head + b"\0\x2a" * count)


def serve(port: int) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", port, backlog=2000)
        await server.serve_forever()

    asyncio.run(main())


def write_configuration(folder: Path, connections: dict[str, str], points: int) -> Path:
    folder.mkdir()
    (folder / "machines").mkdir()
    entries = {f"value_{i}": {"address": f"holding {i}"} for i in range(points)}
    (folder / "machines" / "bench.yaml").write_text(
        yaml.safe_dump({"format": 1, "protocol": "modbus", "points": entries})
    )
    machines = {name: {"template": "bench", "connection": url} for name, url in connections.items()}
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "spool": {"folder": str(folder / "spool"), "max_size": "64MiB"}},
        "broker": {"url": "mqtt://127.0.0.1:1"},
        "lines": {"line": {"area": "area", "machines": machines}},
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False))
    return file


async def run(file: Path, seconds: float) -> tuple[dict[str, Any], float]:
    gateway = GatewayService(load_factory(file))
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cores = (time.process_time() - used) / (time.monotonic() - began)
    stop.set()
    await running
    return gateway.closing_report(), cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    configure_logging(level="error")
    folder, port = Path(tempfile.mkdtemp(prefix="lineside-bench-")), free_port()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    server.start()
    time.sleep(1.0)
    try:
        # all of 127.0.0.0/8 is this machine, so a thousand addresses are a thousand devices
        many = {f"m{i:04d}": f"modbus+tcp://127.0.0.1:{port}?timeout={1 + i / 1e6:.6f}" for i in range(1000)}
        report, cores = asyncio.run(run(write_configuration(folder / "many", many, 10), seconds))
        print(f"1,000 machines x 10 points at 1 s: {report['schedule']}, {cores:.2f} cores")
        behind = {f"unit-{i:02d}": f"modbus+tcp://127.0.0.1:{port}?unit={i}&timeout=0.5" for i in range(1, 21)}
        report, cores = asyncio.run(run(write_configuration(folder / "units", behind, 10), seconds))
        living = [machine for path, machine in report["machines"].items() if not path.endswith(f"unit-{DEAD:02d}")]
        missed = sum(machine["schedule"]["missed"] for machine in living)
        most = max(machine["schedule"]["late_ms"]["most"] for machine in living)
        print(f"20 units behind one connection, one of them dead: the 19 others missed {missed} of "
              f"{sum(machine['schedule']['due'] for machine in living)} cycles, at most {most:.0f} ms late")  # fmt: skip
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
