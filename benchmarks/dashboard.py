"""The cost of the page: processor time and memory of `lineside dashboard` by the number of its viewers, and the age of values.

    python benchmarks/dashboard.py [--seconds 20] [--machines 100] [--points 100] [--viewers 0,1,20]

One gateway reads simulated machines every second. Each viewer is a WebSocket, as a page opens it, that shows one machine:
its first 100 points, and the rows of all machines. The age of a value is the time from its acquisition to its arrival at a
viewer, in the same run.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

import orjson
from measure.experiments import machines_of, sleep_between_scans, workplace
from measure.lineside import ROOT, Lineside
from measure.plant import ModbusPlant
from measure.processes import Failed, Mosquitto, Process, end_on_sigterm, free_port, raise_file_limit
from measure.results import conditions
from websockets.sync.client import connect

from gateway.dashboard.security.link import links_in
from gateway.settings.load import load_factory
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 30.0
"""Seconds in which the page has its link."""

VISIBLE = 100
"""Points of a machine that a viewer shows."""


class Viewer:
    """One page that shows a machine. `ages` are milliseconds from acquisition to arrival, of good readings."""

    def __init__(self, port: int, path: str, session: str) -> None:
        self.ages: list[float] = []
        self.bytes = 0
        self._socket = connect(
            f"ws://{LOOPBACK}:{port}/api/live", compression=None, max_size=None,
            additional_headers={"Cookie": session},
        )  # fmt: skip
        self._open(1, "overview", {})
        self._open(2, "machine", {"path": path, "visible": list(range(VISIBLE))})
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _open(self, number: int, feed: str, arguments: dict[str, Any]) -> None:
        self._socket.send(orjson.dumps({"open": number, "feed": feed, "arguments": arguments}).decode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        self._thread.join()

    def _run(self) -> None:
        for message in self._socket:
            now = time.time_ns() // 1000
            self.bytes += len(message)
            for number, changes in orjson.loads(message)["feeds"]:
                if number == 2 and "points" not in changes:
                    self.ages += [(now - time_) / 1000 for _, _, time_, *_ in changes.get("readings", ())]


def dashboard(folder: Path, config: Path, port: int) -> Process:
    """Start the page of a configuration."""
    command = [sys.executable, "-m", "gateway", "--log", "json", "dashboard", str(config)]
    command += ["--listen", f"{LOOPBACK}:{port}", "--with-stdin"]
    process = Process("lineside dashboard", folder / "dashboard.log", command, {"PYTHONPATH": str(ROOT)}).start()
    process.wait_for_port(port)
    return process


def session_of(config: Path, port: int) -> str:
    """Return the cookie of a session at the page, which has no users: its link begins it."""
    deadline = time.monotonic() + START_SECONDS
    while not (links := links_in(load_factory(config).gateway.spool.folder)):
        if time.monotonic() > deadline:
            raise Failed("the page has no link")
        time.sleep(0.1)
    connection = HTTPConnection(LOOPBACK, port, timeout=START_SECONDS)
    connection.request("GET", links[0].partition(f":{port}")[2])
    return (connection.getresponse().getheader("Set-Cookie") or "").partition(";")[0]


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--viewers", default="0,1,20", help="numbers of viewers, one measurement each")
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    plant = ModbusPlant(options.machines, options.points)
    rows = []
    with workplace() as (folder, stack):
        port, page_port = free_port(), free_port()
        stack.enter_context(machines_of(plant, port))
        broker = stack.enter_context(Mosquitto(folder))
        gateway = Lineside().start(folder, plant, port, broker.port, {})
        stack.callback(gateway.stop)
        config = folder / "bench.yaml"
        page = dashboard(folder, config, page_port)
        stack.callback(page.stop)
        session = session_of(config, page_port)
        paths = _paths(page_port, session)
        for number in map(int, options.viewers.split(",")):
            viewers = [
                stack.enter_context(Viewer(page_port, paths[at % len(paths)], session)) for at in range(number)
            ]
            sleep_between_scans(5.0)
            for viewer in viewers:
                viewer.ages.clear()
                viewer.bytes = 0
            before, began = page.usage(), time.monotonic()
            sleep_between_scans(options.seconds)
            after, seconds = page.usage(), time.monotonic() - began
            ages = [age for viewer in viewers for age in viewer.ages]
            if number and not ages:
                raise Failed("no viewer received a reading")
            rows.append((
                number, (after.processor - before.processor) / seconds, after.memory / 1e6,
                sum(viewer.bytes for viewer in viewers) / max(1, number) / seconds / 1e3,
                percentile(ages, 0.5), percentile(ages, 0.99),
            ))  # fmt: skip
            print(f"{number} viewers: {rows[-1]}", flush=True)
            for viewer in viewers:
                viewer.__exit__()
    print(f"\n{plant.rate:,.0f} values/s of {options.machines} machines; {conditions(ROOT, 1, options.seconds)}\n")
    print("| viewers | cores | MB | kB/s a viewer | age p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for number, cores, memory, rate, middle, worst in rows:
        print(f"| {number} | {cores:.3f} | {memory:.0f} | {rate:.1f} | {middle:.0f} | {worst:.0f} |")


def _paths(port: int, session: str) -> list[str]:
    """Return the machines that the page knows."""
    cookie = {"Cookie": session}
    with connect(f"ws://{LOOPBACK}:{port}/api/live", max_size=None, additional_headers=cookie) as socket:
        socket.send('{"open": 1, "feed": "overview"}')
        for message in socket:
            for _, changes in orjson.loads(message)["feeds"]:
                return [row["path"] for row in changes["machines"]]
    raise Failed("the page was closed")


if __name__ == "__main__":
    main()
