"""Measure how many values a second a gateway with 1 and with 2 workers reads, and the processor time of each.

The machines of `modbus_flat_out.py` are due much more often than the gateway can read them, so it reads as fast as it
can; the rest of the slots is missed. The broker is a real Mosquitto, and its acknowledgement confirms the records.

The load generator and the broker use the same processors as the gateway. With fewer processors than workers, one for
the generator and one for the broker, the values a second show that the machine is full, and not how workers scale.

    python benchmarks/workers.py [--machines 20] [--seconds 10] [--every 4ms] [--workers 1 2]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import psutil
import yaml
from modbus_flat_out import POINTS, serve, write_configuration

from simulators.ports import free_port

WARM_UP = 4.0


class Sample(NamedTuple):
    time: float
    acquired: int
    confirmed: int
    processor: float
    others: float


async def sample(broker: int, gateway: psutil.Process, others: list[psutil.Process]) -> Sample:
    """Return the next report of the gateway, and the processor time that all of its processes have used by then."""
    async with aiomqtt.Client("127.0.0.1", broker) as client:
        await client.subscribe("lineside/v1/bench/here/_gateways/edge-bench/ledger")
        async for message in client.messages:
            ledger: dict[str, Any] = json.loads(bytes(message.payload))["ledger"]
            own = [gateway, *gateway.children(recursive=True)]
            return Sample(time.monotonic(), ledger["acquired"], ledger["confirmed"], used(own), used(others))
    raise AssertionError


def used(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def configure(folder: Path, machines: int, port: int, broker: int, every: str, workers: int) -> Path:
    file = write_configuration(folder, machines, port, broker, in_flight=2)
    data = yaml.safe_load(file.read_text())
    data["gateway"]["workers"] = workers
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    template = folder / "machines" / "bench.yaml"
    points = yaml.safe_load(template.read_text()) | {"defaults": {"every": every}}
    template.write_text(yaml.safe_dump(points))
    return file


async def measure(
    options: argparse.Namespace, workers: int, port: int, broker: int, others: list[psutil.Process]
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    file = configure(folder, options.machines, port, broker, options.every, workers)
    command = [
        sys.executable,
        "-m",
        "gateway",
        "--log",
        "json",
        "run",
        str(file),
        "--report",
        str(folder / "run.json"),
    ]
    with (folder / "run.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        gateway = psutil.Process(process.pid)
        await asyncio.sleep(WARM_UP)
        first = await sample(broker, gateway, others)
        await asyncio.sleep(options.seconds)
        last = await sample(broker, gateway, others)
        memory = sum(one.memory_info().rss for one in [gateway, *gateway.children(recursive=True)]) / 2**20
    finally:
        process.terminate()
        await process.wait()
    report = json.loads((folder / "run.json").read_bytes())
    shutil.rmtree(folder, ignore_errors=True)
    seconds, values = last.time - first.time, last.acquired - first.acquired
    processor, other = last.processor - first.processor, last.others - first.others
    schedule = report["schedule"]
    print(
        f"{workers} workers: {values / seconds:,.0f} values/s read, {(last.confirmed - first.confirmed) / seconds:,.0f} "
        f"confirmed, {processor / values * 1e6:.2f} us of processor time a value, {processor / seconds:.2f} cores, "
        f"generator and broker {other / seconds:.2f} cores, {memory:.0f} MB, "
        f"{schedule['missed'] / max(1, schedule['due']):.0%} of the slots missed, "
        f"ledger {'balanced' if report['balanced'] else 'NOT BALANCED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--every", default="4ms")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    port, broker = free_port(), free_port()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(port, options.machines, False), daemon=True
    )
    server.start()
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    (folder / "mosquitto.conf").write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\n")
    binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed; `make services` installs it")
    mosquitto = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        others = [psutil.Process(pid) for pid in (server.pid, mosquitto.pid) if pid is not None]
        print(f"{options.machines} machines x {POINTS} float32 points every {options.every}, "
              f"{len(os.sched_getaffinity(0))} processors")  # fmt: skip
        for workers in options.workers:
            asyncio.run(measure(options, workers, port, broker, others))
    finally:
        mosquitto.terminate()
        mosquitto.wait()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
