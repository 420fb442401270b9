"""Measure 100 Modbus machines of 100 points, read every second, from the machines to the store.

Prints the processor time of the gateway and ingest, the number of missed scans, and the time from scan to stored row.
Every reading is sent: no deadband, no report by exception.

    python benchmarks/modbus_100x100.py [--machines 100] [--points 100] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import orjson
import psutil
import yaml

from gateway.trial.broker import embedded_broker
from gateway.trial.processes import Service

WARM_UP = 8.0


def write_configuration(folder: Path, machines: int, points: int, port: int, version: str) -> Path:
    """Write a factory of machines with a quarter of 32-bit floats and the rest scaled 16-bit words: 125 registers."""
    template = {"format": 1, "protocol": "modbus", "points": {}}
    for i in range(points):
        floats = points // 4
        at, kind = (2 * i, "float32") if i < floats else (floats + i, "uint16")
        point = {"address": f"holding {at}", "raw": kind, "unit": "Cel", "range": [0, 400]}
        template["points"][f"value_{i:03d}"] = point | ({} if kind == "float32" else {"scale": 0.1})
    (folder / "machines").mkdir()
    (folder / "machines" / "bench.yaml").write_text(yaml.safe_dump(template))
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "spool": {"folder": str(folder / "spool")}},
        "broker": {"url": f"mqtt://127.0.0.1:{port}", "version": version},
        "ingest": {"folder": str(folder)},
        "stores": [{"sqlite": {"path": str(folder / "readings.db")}}],
        "lines": {
            "line": {
                "area": "area",
                "machines": {
                    f"m{i:04d}": {
                        "template": "bench",
                        "connection": f"modbus+tcp://10.9.{i // 200}.{i % 200 + 1}:502",
                    }
                    for i in range(machines)
                },
            }
        },
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False))
    return file


async def measure(machines: int, points: int, seconds: float, folder: Path) -> None:
    async with embedded_broker() as embedded:
        port, mosquitto = embedded, None
        binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if binary:
            port = embedded + 1 if embedded < 65000 else embedded - 1
            (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
            mosquitto = await asyncio.create_subprocess_exec(
                binary, "-c", str(folder / "mosquitto.conf"), stderr=asyncio.subprocess.DEVNULL
            )
        file = write_configuration(folder, machines, points, port, "5" if binary else "3.1.1")
        moved = folder / "moved.yaml"
        simulate = Service(
            "simulate", folder / "sim.log", "simulate", str(file), "--ports", "auto", "--write", str(moved)
        )
        ingest = Service("ingest", folder / "ing.log", "ingest", str(moved), "--report", str(folder / "ing.json"))
        run = Service("run", folder / "run.log", "run", str(moved), "--report", str(folder / "run.json"))
        async with simulate:
            while not moved.exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
            async with ingest, run:
                await asyncio.sleep(WARM_UP)
                used = {service.name: cpu(service.pid) for service in (run, ingest, simulate)}
                began = time.monotonic()
                await asyncio.sleep(seconds)
                lasted = time.monotonic() - began
                cores = {s.name: (cpu(s.pid) - used[s.name]) / lasted for s in (run, ingest, simulate)}
                memory = psutil.Process(run.pid).memory_info().rss / 2**20
                await run.stop()
        if mosquitto is not None:
            mosquitto.terminate()
            await mosquitto.wait()
    report = orjson.loads((folder / "run.json").read_bytes())
    stored = orjson.loads((folder / "ing.json").read_bytes())
    values = machines * points
    print(
        f"{machines} machines x {points} points at 1 s = {values} values/s, broker {binary or 'embedded'}, {lasted:.0f} s"
    )
    print(f"gateway   {cores['run']:.3f} cores, {cores['run'] / values * 1e6:.2f} us/value, {memory:.0f} MB")
    print(f"ingest    {cores['ingest']:.3f} cores (SQLite)      simulator {cores['simulate']:.3f} cores")
    print(f"scans     {report['schedule']}")
    print(f"ledger    {report['ledger']} balanced: {report['balanced']}")
    print(f"latency   scan to stored row {stored['latency_ms']} ms")


def cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    try:
        asyncio.run(measure(options.machines, options.points, options.seconds, folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
