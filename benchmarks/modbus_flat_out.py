"""Measure how fast one gateway process reads Modbus: from the socket to a published record, without a schedule.

A small server in another process answers requests for 100-point machines from memory. The gateway's own steps run as in
`lineside run`, but each scan begins as soon as the previous scan was delivered. The broker is a real Mosquitto. Prints
values per second and processor time per value.

    python benchmarks/modbus_flat_out.py [--machines 20] [--seconds 10] [--in-flight 4] [--changing]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import struct
import tempfile
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory
from simulators.ports import free_port

if TYPE_CHECKING:
    from drivers.base import Scan

POINTS = 100

CHANGES = 61
"""Different responses of a machine whose values change."""


class Answers(asyncio.Protocol):
    """Answers every register read at once, and several in one segment if they arrived in one."""

    def __init__(self, *, changing: bool) -> None:
        scans = CHANGES if changing else 1
        numbers = [[20.0 + i * 0.137 + scan * 0.0317 for i in range(125)] for scan in range(scans)]
        self._blocks = cycle([struct.pack(">125f", *scan) for scan in numbers])

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        answers = []
        for at in range(0, len(data), 12):
            transaction, _, _, unit, function, _, count = struct.unpack_from(">HHHBBHH", data, at)
            answers.append(struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count))
            answers.append(next(self._blocks)[: 2 * count])
        self.transport.write(b"".join(answers))


def host(machine: int) -> str:
    """Return the address of a machine: one connection for each."""
    return f"127.0.{1 + machine // 250}.{1 + machine % 250}"


def serve(port: int, machines: int, changing: bool) -> None:  # noqa: FBT001 - in another process
    async def main() -> None:
        hosts = [host(i) for i in range(machines)]
        server = await asyncio.get_running_loop().create_server(partial(Answers, changing=changing), hosts, port)
        await server.serve_forever()

    asyncio.run(main())


def write_configuration(folder: Path, machines: int, port: int, broker: int, in_flight: int) -> Path:
    points = {
        f"value_{i:03d}": {"address": f"holding {2 * i}", "raw": "float32", "unit": "Cel"} for i in range(POINTS)
    }
    (folder / "machines").mkdir()
    (folder / "machines" / "bench.yaml").write_text(
        yaml.safe_dump({"format": 1, "protocol": "modbus", "points": points})
    )
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "confirm": "broker", "spool": {"folder": str(folder / "spool")}},
        # MQTT 3.1.1 has no reason code for "no matching subscribers", which would not be delivery
        "broker": {"url": f"mqtt://127.0.0.1:{broker}", "version": "3.1.1"},
        "lines": {
            "line": {
                "area": "area",
                "machines": {
                    f"m{i:03d}": {
                        "template": "bench",
                        "connection": f"modbus+tcp://{host(i)}:{port}?in_flight={in_flight}",
                    }
                    for i in range(machines)
                },
            }
        },
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False))
    return file


async def flat_out(gateway: GatewayService, seconds: float) -> tuple[int, int, float, float]:
    """Run the gateway's steps without its schedule; return values read and confirmed, seconds, and processor seconds."""
    values = 0
    for runner in gateway._devices.workers:  # noqa: SLF001 - without the schedule
        runner._poll = without_schedule(runner)  # type: ignore[method-assign] # noqa: SLF001 - as above
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await asyncio.sleep(2.0)
    ledger = gateway.spool.ledger
    values, sent, began, used = ledger.acquired, ledger.confirmed, time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    result = ledger.acquired - values, ledger.confirmed - sent, time.monotonic() - began, time.process_time() - used
    stop.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return result


def without_schedule(runner: Any) -> Any:
    async def poll(driver: Any, group: Any, timer: Any) -> None:
        del timer
        while True:
            scan: Scan = await driver.read(group)
            await runner._deliver(scan)  # noqa: SLF001 - as above

    return poll


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--in-flight", type=int, default=2)
    parser.add_argument("--changing", action="store_true", help="every value changes with every response")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    port, broker = free_port(), free_port()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(port, options.machines, options.changing), daemon=True
    )
    server.start()
    (folder / "mosquitto.conf").write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\n")
    binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed; `make services` installs it")
    import subprocess  # noqa: PLC0415 - a script

    mosquitto = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        file = write_configuration(folder, options.machines, port, broker, options.in_flight)

        async def run() -> tuple[int, int, float, float]:
            return await flat_out(GatewayService(load_factory(file)), options.seconds)

        values, sent, seconds, used = asyncio.run(run())
        print(f"{options.machines} machines x {POINTS} float32 points, {options.in_flight} requests in flight")
        print(f"{values / seconds:,.0f} values/s read, {sent / seconds:,.0f} acknowledged by the broker, {used / values * 1e6:.2f} us of processor time a value, "
              f"{used / seconds:.2f} cores")  # fmt: skip
    finally:
        mosquitto.terminate()
        mosquitto.wait()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
