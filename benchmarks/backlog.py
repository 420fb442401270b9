"""Measure an outage of the broker and the drain of the backlog: gateway, Mosquitto, ingest and SQLite.

Machines are read every second without a broker until the spool contains the backlog. Then the broker starts. Prints the
growth of the gateway's memory, the rate at which the backlog reaches the store, the time of fresh readings to their
stored row in the meantime, and the processor time of each process.

    python benchmarks/backlog.py [--readings 1000000] [--machines 100] [--points 100] [--order fresh]
    python benchmarks/backlog.py --readings 18000000 --machines 500    # an hour at 5,000 values/s, in six minutes
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sqlite3
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt
import orjson
import psutil
from measure.experiments import machines_of
from measure.lineside import write_factory
from measure.plant import ModbusPlant
from measure.processes import processor_time, raise_file_limit

from gateway.trial.processes import Service
from simulators.ports import free_port

POLL = 0.01
WINDOW = 10_000_000
"""Microseconds. A fresh reading that needs longer is counted, but not timed."""

NEW_TIMES = """
with recursive found(t) as (
    select min(time) from samples where time > :since
    union all select (select min(time) from samples where time > t) from found where t is not null
)
select t from found where t is not null
"""
"""The times of the stored scans, from the index alone."""


class Broker:
    """A Mosquitto with default settings that starts late."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.pid = 0

    async def start(self) -> None:
        (self._folder / "mosquitto.conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        binary = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        self._process = await asyncio.create_subprocess_exec(
            binary, "-c", str(self._folder / "mosquitto.conf"), stderr=asyncio.subprocess.DEVNULL
        )
        self.pid = self._process.pid
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(POLL)
            else:
                writer.close()
                return

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()


class Fresh:
    """Seconds from acquisition to stored row, for readings from now on."""

    def __init__(self, database: Path) -> None:
        self.seconds: list[float] = []
        self._db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self._began = time.time_ns() // 1000
        self._seen: set[int] = set()

    def look(self) -> None:
        now = time.time_ns() // 1000
        since = max(self._began, now - WINDOW)
        for (when,) in self._db.execute(NEW_TIMES, {"since": since}).fetchall():
            if when not in self._seen:
                self._seen.add(when)
                self.seconds.append((now - when) / 1e6)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def megabytes(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


async def outage(run: Service, seconds: float) -> list[tuple[float, float]]:
    """Wait for the backlog, and return the gateway's memory over time: seconds, MB."""
    began = time.monotonic()
    seen = []
    while (lasted := time.monotonic() - began) < seconds:
        seen.append((lasted, megabytes(run.pid)))
        await asyncio.sleep(min(2.0, seconds / 20))
    return seen


def slope(seen: list[tuple[float, float]]) -> float:
    """Return MB a minute over the second half, by least squares."""
    late = seen[len(seen) // 2 :]
    t0, m0 = (sum(column) / len(late) for column in zip(*late, strict=True))
    return 60 * sum((t - t0) * (m - m0) for t, m in late) / sum((t - t0) ** 2 for t, _ in late)


def spread(seen: list[tuple[float, float]]) -> float:
    """Return the largest relative deviation of the memory from its middle, after the first tenth of the time."""
    sizes = [size for _, size in seen[len(seen) // 10 :]]
    return (max(sizes) - min(sizes)) / (max(sizes) + min(sizes))


async def connected(*logs: Path) -> None:
    """Wait until all services are connected to the broker: they try every 2 s at the latest."""
    while not all(b"mqtt.connected" in log.read_bytes() for log in logs):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(POLL)


async def drain(port: int, database: Path, rate: float) -> tuple[float, int, int, Fresh]:
    """Wait until only fresh readings are pending; return seconds, and readings pending before and after."""
    began, first, last = 0.0, 0, 0
    fresh = Fresh(database)
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("lineside/v1/+/+/_gateways/+/ledger")
        pending: asyncio.Queue[int] = asyncio.Queue()

        async def listen() -> None:
            async for message in client.messages:
                await pending.put(orjson.loads(message.payload)["ledger"]["pending"])

        listening = asyncio.create_task(listen())
        while True:
            if not pending.empty():
                last = pending.get_nowait()
                if not first:
                    first, began = last, time.monotonic()
                if last < rate:
                    listening.cancel()
                    return time.monotonic() - began, first, last, fresh
            fresh.look()
            await asyncio.sleep(POLL)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    broker = Broker(folder)
    plant, port = ModbusPlant(options.machines, options.points), free_port()
    sections = {
        "gateway": {"order": options.order},
        "ingest": {"folder": str(folder)},
        "stores": [{"sqlite": {"path": str(folder / "readings.db")}}],
    }
    file = write_factory(folder, plant, port, broker.port, sections)
    ingest = Service("ingest", folder / "ing.log", "ingest", str(file), "--report", str(folder / "ing.json"))
    run = Service("run", folder / "run.log", "run", str(file), "--report", str(folder / "run.json"))
    rate = options.machines * options.points
    async with AsyncExitStack() as stack:
        stack.enter_context(machines_of(plant, port))
        await stack.enter_async_context(ingest)
        await stack.enter_async_context(run)
        seen = await outage(run, options.readings / rate)
        spool = sum(part.stat().st_size for part in (folder / "spool").glob("*.spool.db*")) / 2**20
        print(f"outage    {seen[-1][0]:.0f} s at {rate} readings/s; spool {spool:.0f} MB")
        tenths = ", ".join(f"{seen[min(len(seen) - 1, len(seen) * tenth // 10)][1]:.0f}" for tenth in range(11))
        print(f"memory    MB after each tenth: {tenths}; {slope(seen):+.2f} MB a minute over the second half, "
              f"±{spread(seen):.1%} after the first tenth", flush=True)  # fmt: skip
        await broker.start()
        services = {"gateway": run.pid, "ingest": ingest.pid, "broker": broker.pid}
        begun = time.monotonic()
        await connected(run.log, ingest.log)
        print(f"back      gateway and ingest have found the broker after {time.monotonic() - begun:.1f} s")
        used = {name: processor_time(pid) for name, pid in services.items()}
        seconds, before, after, fresh = await drain(broker.port, folder / "readings.db", rate)
        cost = {name: processor_time(pid) - used[name] for name, pid in services.items()}
        most = megabytes(run.pid)
        await run.stop()
        await ingest.stop()
        await broker.stop()
    stored = before - after + rate * seconds
    print(f"drain     {before} readings in {seconds:.1f} s: {(before - after) / seconds:,.0f} of the backlog/s, "
          f"{stored / seconds:,.0f} readings/s with the fresh readings")  # fmt: skip
    print(f"fresh     p50 {fresh.percentile(0.5) * 1000:.0f} ms, p99 {fresh.percentile(0.99) * 1000:.0f} ms, "
          f"most {max(fresh.seconds) * 1000:.0f} ms to the stored row, of {len(fresh.seconds)} scans")  # fmt: skip
    print("cores     " + ", ".join(f"{name} {spent / seconds:.2f}" for name, spent in cost.items()))
    print("µs each   " + ", ".join(f"{name} {spent / stored * 1e6:.2f}" for name, spent in cost.items()))
    report = orjson.loads((folder / "run.json").read_bytes())
    print(f"gateway   {most:.0f} MB after the drain; ledger {report['ledger']} balanced: {report['balanced']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--order", choices=["fresh", "strict"], default="fresh")
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    options = parser.parse_args()
    raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="lineside-backlog-"))
    try:
        asyncio.run(measure(options, folder))
    finally:
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
