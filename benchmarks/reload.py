"""Measure a reload that changes one machine among many, and its effect on the others.

    python benchmarks/reload.py [--machines 1000] [--points 100] [--rounds 10]

The machines are read every second, over a connection each, and answer from memory in another process. There is no
broker, so the gateway spools. Each round changes the connection of one machine in the file and sends SIGHUP. Prints the
time from the signal to the change, missed scans, and the delay of scans with and without reloads.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from modbus_schedule import serve, write_configuration

from gateway.common.logging import configure_logging
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory
from gateway.settings.reload import outcome_file, read_outcome
from simulators.ports import free_port

PAUSE = 2.0
"""Seconds between two reloads."""


def schedule(gateway: GatewayService) -> dict[str, Any]:
    return dict(gateway.report()["schedule"])


async def reload(gateway: GatewayService, outcome: Path) -> float:
    """Return the seconds until the gateway has applied the file."""
    before, began = read_outcome(outcome)["time"], time.monotonic()
    gateway.reload.ask()
    while (result := read_outcome(outcome))["time"] == before:  # noqa: ASYNC110 - as lineside reload does
        await asyncio.sleep(0.005)
    if result["outcome"] != "taken_up" or len(result["changed"]) != 1:
        raise SystemExit(f"unexpected outcome: {result}")
    return time.monotonic() - began


async def run(file: Path, rounds: int) -> None:
    factory = load_factory(file)
    gateway = GatewayService(factory)
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await asyncio.sleep(10.0)
    print(f"before: {schedule(gateway)}")
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(5.0)
    print(f"{(time.process_time() - used) / (time.monotonic() - began):.2f} cores")
    text, took = file.read_text(), []
    for i in range(rounds):
        file.write_text(text.replace("timeout=1.000500", f"timeout=1.5{i:05d}"))
        took.append(await reload(gateway, outcome_file(factory.gateway)))
        await asyncio.sleep(PAUSE)
    print(f"{rounds} reloads: median {median(took):.3f} s, at most {max(took):.3f} s")
    stop.set()
    await running
    closing = gateway.closing_report()
    print(f"all in all: {closing['schedule']}, balanced: {closing['balanced']}")
    others = [one["schedule"] for path, one in closing["machines"].items() if not path.endswith("/m0500")]
    print(f"the {len(others)} that did not change: missed {sum(one['missed'] for one in others)} of "
          f"{sum(one['due'] for one in others)} cycles, at most {max(one['late_ms']['most'] for one in others):.0f} ms late")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    configure_logging(level="error")
    folder, port = Path(tempfile.mkdtemp(prefix="lineside-bench-")), free_port()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    server.start()
    time.sleep(1.0)
    try:
        url = f"modbus+tcp://127.0.0.1:{port}"
        # connections with different time-outs are different devices
        machines = {f"m{i:04d}": f"{url}?timeout={1 + i / 1e6:.6f}" for i in range(options.machines)}
        file = write_configuration(folder / "factory", machines, options.points)
        asyncio.run(run(file, options.rounds))
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
