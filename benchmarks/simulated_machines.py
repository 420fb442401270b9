"""Measure simulated machines: 1,000 Modbus machines of 100 points, each read every second by a small client.

python benchmarks/simulated_machines.py [--machines 1000] [--points 100] [--seconds 20]
python benchmarks/simulated_machines.py --opcua --machines 100   # behind one OPC UA server, subscribed to at 1 s
    --each 10           # one session for 10 machines, in place of one for each
python benchmarks/simulated_machines.py --steps     # the cost of a simulated hour of the bundled plants
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import yaml

from drivers.base import NotConnected
from gateway.acquisition.groups import groups_of
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.machines.plant import Plant
from simulators.servers import raise_file_limit

WARM_UP = 5.0


def write_configuration(folder: Path, machines: int, points: int, *, opcua: bool = False) -> Path:
    """Write machines with a quarter of floats, the rest scaled words, a host each; over OPC UA floats, a namespace each."""
    template = {"format": 1, "protocol": "opcua" if opcua else "modbus", "points": {}}
    units = ("Cel", "bar", "kW", "r/min", "%", "mm")
    for i in range(points):
        unit = units[i % len(units)]
        if opcua:
            point = {"node": f"s=Group{i // 10}.Value{i}", "type": "float", "unit": unit, "range": [0, 400]}
            template["points"][f"value_{i:03d}"] = point
            continue
        floats = points // 4
        at, kind = (2 * i, "float32") if i < floats else (floats + i, "uint16")
        point = {"address": f"holding {at}", "raw": kind, "unit": unit, "range": [0, 400]}
        template["points"][f"value_{i:03d}"] = point | ({} if kind == "float32" else {"scale": 0.1})
    (folder / "machines").mkdir()
    (folder / "machines" / "bench.yaml").write_text(yaml.safe_dump(template))
    hosts = {f"m{i:04d}": f"modbus+tcp://10.9.{i // 200}.{i % 200 + 1}:502" for i in range(machines)}
    if opcua:
        hosts = {name: f"opc.tcp://10.9.0.1?security=none&namespace=urn:bench:{name}" for name in hosts}
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench"},
        "broker": {"url": "mqtt://127.0.0.1"},
        "lines": {
            "line": {
                "area": "area",
                "machines": {name: {"template": "bench", "connection": url} for name, url in hosts.items()},
            }
        },
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False))
    return file


class Reader(asyncio.Protocol):
    """Reads 125 registers on request; counts complete responses and their delay."""

    def __init__(self, registers: int, late: list[float]) -> None:
        self._request = bytes((0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, registers))
        self._whole, self._got, self._late = 9 + 2 * registers, 0, late
        self._asked = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def ask(self) -> None:
        self._asked, self._got = time.perf_counter(), 0
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += len(data)
        if self._got == self._whole:
            self._late.append(time.perf_counter() - self._asked)


async def read(ports: list[int], registers: int, seconds: float, late: list[float]) -> int:
    """Send a request to each port once a second, spread over the second; return the number of requests."""
    loop = asyncio.get_running_loop()
    readers = [
        (await loop.create_connection(lambda: Reader(registers, late), "127.0.0.1", port))[1] for port in ports
    ]
    began, asked = loop.time(), 0
    while loop.time() < began + seconds:
        due = int((loop.time() - began) * len(readers))
        while asked < due:
            readers[asked % len(readers)].ask()
            asked += 1
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.5)
    return asked


def serve(machines: int, points: int, seconds: float, folder: Path) -> None:
    file, moved = write_configuration(folder, machines, points), folder / "moved.yaml"
    began = time.perf_counter()
    command = [sys.executable, "-m", "gateway", "simulate", str(file), "--ports", "auto", "--write", str(moved)]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log) as simulator:
        while not moved.exists():
            time.sleep(0.05)
        started = time.perf_counter() - began
        lines = yaml.load(moved.read_text(), yaml.CSafeLoader)["lines"]["line"]["machines"]
        ports = [urlsplit(one["connection"]).port or 0 for one in lines.values()]
        registers = points + points // 4
        raise_file_limit(2 * machines)
        asyncio.run(read(ports, registers, WARM_UP, []))
        late: list[float] = []
        process = psutil.Process(simulator.pid)
        before = sum(process.cpu_times()[:2])
        asked = asyncio.run(read(ports, registers, seconds, late))
        cores = (sum(process.cpu_times()[:2]) - before) / seconds
        memory = process.memory_info().rss / 2**20
        simulator.send_signal(signal.SIGTERM)
    late.sort()
    print(
        f"{machines} machines x {points} points at 1 s: {cores:.2f} cores, {memory:.0f} MB, started in {started:.1f} s"
    )
    print(
        f"answers {len(late)} of {asked}, p50 {late[len(late) // 2] * 1e3:.1f} ms, p99 {late[-len(late) // 100] * 1e3:.1f} ms"
    )


async def subscribe(file: Path, seconds: float, process: psutil.Process, each: int) -> tuple[float, float, int]:
    """Subscribe at 1 s, with `each` machines in a session; return the server's cores, the client's cores, and values."""
    machines, came = load_factory(file).machines, 0
    drivers = []
    for first in range(0, len(machines), each):
        machine = machines[first]
        groups = [group for one in machines[first : first + each] for group, _ in groups_of(one)]
        while True:
            driver = machine.protocol.driver(machine.connection.shared(), groups, lambda: time.time_ns() // 1000)
            try:
                await driver.connect()
                break
            except NotConnected:
                await driver.close()
                await asyncio.sleep(0.2)
        drivers.append(driver)

    async def take(driver: object) -> None:
        nonlocal came
        while True:
            scan = await driver.receive()
            came += len(scan.values)  # after the wait, because another task may have counted

    tasks = [asyncio.create_task(take(driver)) for driver in drivers]
    await asyncio.sleep(WARM_UP)
    before, ours, came = sum(process.cpu_times()[:2]), time.process_time(), 0
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    values, lasted = came, time.perf_counter() - began
    cores = (sum(process.cpu_times()[:2]) - before) / lasted
    ours = (time.process_time() - ours) / lasted
    for task in tasks:
        task.cancel()
    for driver in drivers:
        await driver.close()
    return cores, ours, round(values / lasted)


def serve_opcua(machines: int, points: int, seconds: float, folder: Path, each: int) -> None:
    file, moved = write_configuration(folder, machines, points, opcua=True), folder / "moved.yaml"
    raise_file_limit(2 * machines + 100)
    command = [sys.executable, "-m", "gateway", "simulate", str(file), "--ports", "auto", "--write", str(moved)]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log) as simulator:
        process = psutil.Process(simulator.pid)
        while not moved.exists():
            time.sleep(0.05)
        port = urlsplit(next(iter(load_factory(moved).machines)).connection.url).port
        while not _listens(port):
            time.sleep(0.1)
        started = sum(process.cpu_times()[:2])
        time.sleep(WARM_UP)
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        alone = (sum(process.cpu_times()[:2]) - before) / seconds
        cores, ours, values = asyncio.run(subscribe(moved, seconds, process, each))
        memory = process.memory_info().rss / 2**20
        simulator.send_signal(signal.SIGTERM)
    print(f"{machines} OPC UA machines x {points} points in one server: {started:.1f} s of processor time to start")
    print(
        f"{alone:.2f} cores while nobody looks, {cores:.2f} cores with {values} values/s read, {memory:.0f} MB; "
        f"who read them used {ours:.2f} cores"
    )


def _listens(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port or 0), 1.0).close()
    except OSError:
        return False
    return True


def steps() -> None:
    for name in ("tire-plant", "appliance-plant"):
        plant = Plant(load_factory(bundled_config() / f"{name}.yaml"), "1")
        for speed, dt in ((1, 0.2), (60, 12.0)):
            count = 600 if speed == 1 else 300
            began = time.process_time()
            for _ in range(count):
                plant.step(dt)
            each = (time.process_time() - began) / count
            print(f"{name} at {speed}x: {each * 1e3:.2f} ms a step, {each / 0.2:.3f} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--opcua", action="store_true")
    parser.add_argument("--each", type=int, default=1)
    options = parser.parse_args()
    if options.steps:
        steps()
        return
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as folder:
        if options.opcua:
            serve_opcua(options.machines, options.points, options.seconds, Path(folder), options.each)
            return
        serve(options.machines, options.points, options.seconds, Path(folder))


if __name__ == "__main__":
    main()
