"""Measure the cost of an OPC UA change in the gateway, from the socket to a published record, and the lag.

A server in another process changes its nodes at a given rate. The gateway, alone in its process, subscribes to them,
spools, and publishes to a real Mosquitto. A third process receives the records, and looks for missing changes (every node
counts) and their age. Prints changes per second, the gateway's processor time per change, and the age of the oldest
change in the first and in the last sixth of the time: if both are similar, no lag grows.

    python benchmarks/opcua_gateway.py [--nodes 1000] [--rate 10] [--seconds 15] [--machines 1] [--server replayed]
    python benchmarks/opcua_gateway.py --server asyncua --security Basic256Sha256
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import paho.mqtt.client as paho
import replayed_opcua
import yaml

from drivers.opcua.settings import OpcUaConnection
from gateway.common.logging import configure_logging
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory
from simulators.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event

NAMESPACE = "urn:lineside:benchmark"
STEADY = 5.0
"""Seconds before the measurement begins."""


def connection_of(port: int, security: str, pki: Path) -> dict[str, str]:
    return {
        "url": f"opc.tcp://{LOOPBACK}:{port}",
        "namespace": NAMESPACE,
        "security": security,
        "pki": str(pki),
    }


def serve_asyncua(port: int, rate: float, ready: Event, nodes: int, security: str, pki: Path) -> None:
    """Serve nodes that count, with a real server, which reaches some 14,000 changes a second."""
    from asyncua import Server, ua  # noqa: PLC0415 - only this process needs it

    from simulators.opcua.security import Credentials, requirements_of  # noqa: PLC0415

    async def main() -> None:
        server = Server()
        await server.init()
        connection = connection_of(port, security, pki)
        settings = OpcUaConnection.from_url(connection.pop("url"), connection)
        server.set_endpoint(settings.url)
        if security == "none":
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            credentials = Credentials([settings], pki)
            credentials.create()
            await credentials.secure(server, requirements_of([settings]))
        index = await server.register_namespace(NAMESPACE)
        ids = [ua.NodeId(f"value_{i:04d}", index) for i in range(nodes)]
        for one in ids:
            await server.nodes.objects.add_variable(one, one.Identifier, ua.Variant(0.0, ua.VariantType.Double))
        async with server:
            ready.set()
            due, turn = time.monotonic(), 0
            while True:
                turn += 1
                for one in ids:
                    value = ua.DataValue(ua.Variant(float(turn), ua.VariantType.Double))
                    value.SourceTimestamp = value.ServerTimestamp = datetime.now(UTC)
                    await server.write_attribute_value(one, value)
                due += 1 / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    asyncio.run(main())


class Seen:
    """The received records: the arrival time, changes and age of the oldest change of each; and the counts seen."""

    def __init__(self) -> None:
        self.records: list[tuple[float, int, float]] = []
        self._turns: dict[str, int] = {}  # by machine and point, a bit each
        self.doubled = 0

    def take(self, machine: str, scans: list[dict[str, Any]]) -> None:
        """Add a record."""
        now, changes, oldest = time.time(), 0, 2**62
        for scan in scans:
            oldest = min(oldest, scan["t"], *scan.get("times", {}).values())
            changes += len(scan["values"])
            for point, value in scan["values"].items():
                bit, name = 1 << int(value), machine + point
                turns = self._turns.get(name, 0)
                self.doubled += bool(turns & bit)
                self._turns[name] = turns | bit
        self.records.append((now, changes, now - oldest / 1e6))

    def missing(self) -> tuple[int, int]:
        """Return the number of changes missing between the first and the last of each point, and the number of points."""
        gaps = [turns.bit_length() - first - turns.bit_count()
                for turns in self._turns.values() for first in [(turns & -turns).bit_length() - 1]]  # fmt: skip
        return sum(gaps), sum(map(bool, gaps))


def watch(broker: int, ready: Event, requests: Connection) -> None:
    """Receive published records, and send the result on request."""
    seen = Seen()

    def on_message(_: object, __: object, message: paho.MQTTMessage) -> None:
        seen.take(message.topic.split("/")[-2], orjson.loads(message.payload)["scans"])

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "watch")
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("lineside/v1/+/+/+/+/+/data", 1)
    client.on_subscribe = lambda *_: ready.set()
    client.connect(LOOPBACK, broker)
    client.loop_start()
    requests.recv()
    client.loop_stop()
    requests.send(seen)


def write_configuration(folder: Path, nodes: int, machines: int, connection: dict[str, str], broker: int) -> Path:
    (folder / "machines").mkdir()
    listed: dict[str, Any] = {}
    for machine in range(machines):
        points = {
            f"value_{i:04d}": {"node": f"s=value_{i:04d}", "type": "float", "every": "100ms"}
            for i in range(machine, nodes, machines)
        }
        (folder / "machines" / f"bench-{machine}.yaml").write_text(
            yaml.safe_dump({"format": 1, "protocol": "opcua", "points": points}), encoding="utf-8"
        )
        listed[f"m{machine}"] = {"template": f"bench-{machine}", "connection": connection}
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "confirm": "broker", "spool": {"folder": str(folder / "spool")}},
        # MQTT 3.1.1 has no reason code for "no matching subscribers", which would not be delivery
        "broker": {"url": f"mqtt://{LOOPBACK}:{broker}", "version": "3.1.1"},
        "lines": {"line": {"area": "a", "machines": listed}},
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False), encoding="utf-8")
    return file


async def run(file: Path, seconds: float) -> tuple[float, float, float, dict[str, int]]:
    """Run the gateway; return the start of the measurement, wall and processor seconds, and the drivers' counters."""
    gateway = GatewayService(load_factory(file))
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await asyncio.sleep(STEADY)
    if not gateway.spool.ledger.acquired:
        raise SystemExit("nothing came")
    began, used = time.time(), time.process_time()
    await asyncio.sleep(seconds)
    took, used = time.time() - began, time.process_time() - used
    stop.set()
    await running
    return began, took, used, gateway.closing_report()["drivers"]


def report(seen: Seen, began: float, took: float, used: float, drivers: dict[str, int]) -> None:
    within = [one for one in seen.records if began <= one[0] < began + took]
    changes = sum(one[1] for one in within)
    print(f"{changes / took:,.0f} changes/s published, in records of {changes / len(within):,.0f}; "
          f"{used / changes * 1e6:.2f} us of processor time each, {used / took:.2f} cores")  # fmt: skip
    first = max(one[2] for one in within if one[0] < began + took / 6)
    last = max(one[2] for one in within if one[0] >= began + took * 5 / 6)
    missing, points = seen.missing()
    print(f"{missing} changes of {points} nodes missing, {seen.doubled} doubled; when published the oldest was "
          f"{first * 1000:.0f} ms old in the first sixth of {took:.0f} s, {last * 1000:.0f} ms in the last; {drivers}")  # fmt: skip


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="changes of each node a second")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--machines", type=int, default=1, help="behind the server; nodes are assigned in turn")
    parser.add_argument("--server", choices=["replayed", "asyncua"], default="replayed")
    parser.add_argument("--security", default="none", help="a policy of the real server")
    parser.add_argument("--core", type=int, help="the only core of the gateway; other processes use the other cores")
    parser.add_argument("--profile", type=Path, help="file for a profile, which itself costs time")
    options = parser.parse_args()
    if options.security != "none" and options.server != "asyncua":
        parser.error("the replaying server has no security; use --server asyncua")
    return options


def start_mosquitto(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a broker with an unlimited queue, so that no change is lost there."""
    (folder / "mosquitto.conf").write_text(
        f"listener {port} {LOOPBACK}\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n",
        encoding="utf-8",
    )
    binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed; `make services` installs it")
    return subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)


def main() -> None:
    options = options_of()
    configure_logging(level="error")
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    port, broker = free_port(), free_port()
    if options.core is not None:
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {options.core})
    context = multiprocessing.get_context("spawn")
    ready, watching, lost = context.Event(), context.Event(), context.Value("q", 0)
    ours, theirs = context.Pipe()
    serving = (
        (replayed_opcua.serve, (port, NAMESPACE, options.rate, ready, lost))
        if options.server == "replayed"
        else (serve_asyncua, (port, options.rate, ready, options.nodes, options.security, folder / "pki"))
    )
    mosquitto = start_mosquitto(folder, broker)
    processes = [context.Process(target=serving[0], args=serving[1], daemon=True)]  # type: ignore[arg-type] # either
    processes.append(context.Process(target=watch, args=(broker, watching, theirs), daemon=True))
    try:
        for process in processes:
            process.start()
        if not ready.wait(60) or not watching.wait(60):
            raise SystemExit("server or watcher did not come up")
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        connection = connection_of(port, options.security, folder / "pki")
        file = write_configuration(folder, options.nodes, options.machines, connection, broker)
        print(f"{options.nodes} nodes of Double on {options.machines} machines of one server ({options.server}), "
              f"{options.rate:g} changes/s each, security: {options.security}")  # fmt: skip
        if options.profile:
            import cProfile  # noqa: PLC0415 - rarely used

            profile = cProfile.Profile()
            found = profile.runcall(lambda: asyncio.run(run(file, options.seconds)))
            profile.dump_stats(options.profile)
        else:
            found = asyncio.run(run(file, options.seconds))
        ours.send("enough")
        report(ours.recv(), *found)
        if options.server == "replayed":
            print(f"for {lost.value} changes the server had no room while nobody asked for them")
    finally:
        mosquitto.terminate()
        mosquitto.wait()
        for process in processes:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
