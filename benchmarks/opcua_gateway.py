"""What an OPC UA change costs the gateway: from the socket to a published record.

A server in another process (asyncua) changes its nodes ten times a second; a gateway in this one is subscribed to them,
spools, and publishes to a real mosquitto. Prints changes a second, the gateway's processor time a change, and whether
anything lagged behind or was lost: every node counts, so a gap in its values is a loss.

    python benchmarks/opcua_gateway.py [--nodes 1000] [--rate 10] [--seconds 15]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gateway.app import Gateway
from gateway.log import set_up
from gateway.settings.load import load_factory
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from drivers.base import Scan

NAMESPACE = "urn:lineside:benchmark"


def serve(port: int, nodes: int, rate: float) -> None:
    """Serve nodes that count."""
    from asyncua import Server, ua  # noqa: PLC0415 - this process's alone

    async def main() -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{LOOPBACK}:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        ids = [ua.NodeId(f"value_{i:04d}", index) for i in range(nodes)]
        for one in ids:
            await server.nodes.objects.add_variable(one, one.Identifier, ua.Variant(0.0, ua.VariantType.Double))
        async with server:
            due, turn = time.monotonic(), 0
            while True:
                turn += 1
                for one in ids:
                    value = ua.DataValue(ua.Variant(float(turn), ua.VariantType.Double))
                    value.SourceTimestamp = value.ServerTimestamp = _now()
                    await server.write_attribute_value(one, value)
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _now() -> Any:
        from datetime import UTC, datetime  # noqa: PLC0415 - this process's alone

        return datetime.now(UTC)

    asyncio.run(main())


def write_configuration(folder: Path, nodes: int, port: int, broker: int) -> Path:
    points = {f"value_{i:04d}": {"node": f"s=value_{i:04d}", "type": "float", "every": "100ms"} for i in range(nodes)}
    (folder / "machines").mkdir()
    (folder / "machines" / "bench.yaml").write_text(
        yaml.safe_dump({"format": 1, "protocol": "opcua", "points": points}), encoding="utf-8"
    )
    connection = f"opc.tcp://{LOOPBACK}:{port}?security=none&namespace={NAMESPACE}"
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "confirm": "broker", "spool": {"folder": str(folder / "spool")}},
        # 3.1.1 has no word for "nobody is subscribed", which would be no delivery
        "broker": {"url": f"mqtt://{LOOPBACK}:{broker}", "version": "3.1.1"},
        "lines": {"line": {"area": "a", "machines": {"m": {"template": "bench", "connection": connection}}}},
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False), encoding="utf-8")
    return file


class Watch:
    """Sees every scan on its way: counts changes, gaps in them, and how old they are."""

    def __init__(self, gateway: Gateway) -> None:
        self.changes = self.gaps = 0
        self.oldest = 0.0
        self.begun = asyncio.Event()
        self._last: dict[int, float] = {}
        self._deliver = gateway._acquisition.runners[0]._deliver  # noqa: SLF001 - a look at what passes
        gateway._acquisition.runners[0]._deliver = self.deliver  # noqa: SLF001 - as above

    async def deliver(self, scan: Scan) -> None:
        """Look at a scan, and pass it on."""
        if not scan.faults and scan.points is not None and scan.times:
            self.begun.set()
            self.changes += len(scan.values)
            self.oldest = max(self.oldest, time.time() - min(scan.times) / 1e6)
            for position, value in zip(scan.points, scan.values, strict=True):
                before = self._last.get(position)
                self.gaps += before is not None and value != before + 1  # type: ignore[operator] # all are floats
                self._last[position] = value  # type: ignore[assignment] # as above
        await self._deliver(scan)


async def run(file: Path, seconds: float) -> str:
    gateway = Gateway(load_factory(file))
    watch = Watch(gateway)
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await watch.begun.wait()
    await asyncio.sleep(3.0)
    watch.oldest = 0.0
    changes, began, used = watch.changes, time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    changes, took, used = watch.changes - changes, time.monotonic() - began, time.process_time() - used
    stop.set()
    await running
    return (f"{changes / took:,.0f} changes/s, {used / changes * 1e6:.2f} us of processor time a change "
            f"(what the watching takes included), {used / took:.2f} cores\n"
            f"{watch.gaps} changes missing, the oldest taken {watch.oldest * 1000:.0f} ms after its time; "
            f"{gateway.closing_report()['drivers']}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="changes of each node a second")
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    set_up(level="warning")
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    port, broker = free_port(), free_port()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(port, options.nodes, options.rate), daemon=True
    )
    server.start()
    (folder / "mosquitto.conf").write_text(f"listener {broker} {LOOPBACK}\nallow_anonymous true\n", encoding="utf-8")
    binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed; `make services` installs it")
    mosquitto = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        file = write_configuration(folder, options.nodes, port, broker)
        print(f"{options.nodes} nodes of Double, {options.rate:g} changes/s each")
        print(asyncio.run(run(file, options.seconds)))
    finally:
        mosquitto.terminate()
        mosquitto.wait()
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
