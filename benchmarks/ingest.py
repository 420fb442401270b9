"""Measure the cost of ingest: decoding records and writing them to a store, in rows/s and processor time per row.

Each store is measured alone: SQLite in this process, with its commits on this machine's disk; InfluxDB and
VictoriaMetrics, if they are installed, as servers with a processor time of their own. Each batch is decoded before it
is written, as in ingest, so that no more objects live than there. With a rate, `lineside ingest` itself is measured: a
gateway without machines (`replayed_gateway.py`) sends records at this rate through Mosquitto, and the readings that
wait in it, and those that a store has accepted and not yet on its disk, are printed over time.

    python benchmarks/ingest.py [--readings 1000000] [--points 100] [--batch 500]
    python benchmarks/ingest.py --rate 200000 [--points 100] [--seconds 30] [--stores sqlite influxd victoria-metrics]
        [--ingests 2] [--gateways 2]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson
import psutil
import yaml
from replayed_gateway import types

from gateway.codecs import CODECS
from gateway.ingest.batch import Batch
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.metadata_registry import MetadataRegistry
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.status import IngestStatus
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.topics import Topics
from gateway.stores import store_kind
from gateway.trial.processes import Service

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import Influxd, Mosquitto, VictoriaMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import HttpServer

    from gateway.stores.base import Store

MACHINES = 100
TOPICS = Topics("lineside/v1")


class Cost(NamedTuple):
    """Wall time and processor time, in seconds."""

    wall: float
    processor: float

    def show(self, name: str, rows: int, beside: str = "") -> None:
        each = self.processor / rows * 1e6
        print(f"{name:<18} {rows / self.wall:12,.0f} rows/s   {each:6.2f} us a row   {self.wall:6.2f} s{beside}")


def records(readings: int, points: int) -> tuple[MachineMeta, list[ReceivedMessage]]:
    """Return messages as a broker delivers them: one scan each, of mixed types, from each machine in turn."""
    kinds = types(points)
    meta = MachineMeta("bench", kinds, {name: "bar" if i % 2 else "Cel" for i, name in enumerate(kinds)})
    made = []
    for seq in range(readings // points):
        values = {
            name: seq % 97 / 7 + i if kind == "float" else seq + i if kind == "int" else bool(seq & 1)
            for i, (name, kind) in enumerate(kinds.items())
        }
        path = MachinePath("bench", "site", "area", "line", f"m-{seq % MACHINES:03d}")
        scan = NamedScan(time.time_ns() // 1000 - 3_600_000_000 + seq // MACHINES * 1_000_000, values)
        payload = CODECS["json"].encode(Record("edge-01", "a1b2", seq + 1, [scan], meta.id))
        made.append(ReceivedMessage(TOPICS.data(path), payload))
    return meta, made


def measured(meta: MachineMeta, messages: list[ReceivedMessage], batch_records: int, store: Store) -> list[Cost]:
    """Return the cost of decoding and of writing, without the first batch, in which the store gets to know all points."""
    metas = MetadataRegistry()
    metas.add(MachinePath("bench", "site", "area", "line", "m-000"), [meta])
    requests = MetadataRequests(time.monotonic)
    decoder = MessageDecoder(TOPICS, metas, requests, IngestStatus(), gateway_resends=True)
    gc.freeze()  # the messages are not part of ingest
    costs = [Cost(0.0, 0.0), Cost(0.0, 0.0)]
    with store:
        store.check()
        for start in range(0, len(messages), batch_records):
            batch = Batch(cast("Any", None))
            times = [(time.perf_counter(), time.process_time())]
            for message in messages[start : start + batch_records]:
                decoder.add(batch, message)
            times.append((time.perf_counter(), time.process_time()))
            store.write(batch.scans)
            times.append((time.perf_counter(), time.process_time()))
            if start:
                costs = [
                    Cost(cost.wall + after[0] - before[0], cost.processor + after[1] - before[1])
                    for cost, before, after in zip(costs, times, times[1:], strict=False)
                ]
    gc.unfreeze()
    return costs


def stores(folder: Path) -> Iterator[tuple[str, Store, HttpServer | None]]:
    """Yield a store of each installed kind, and its server."""
    kind = store_kind("sqlite")
    yield "sqlite", kind.make(kind.settings.model_validate({"path": str(folder / "readings.db")})), None
    kind = store_kind("influxdb")
    for server_class, program in ((Influxd, "influxd"), (VictoriaMetrics, "victoria-metrics")):
        if shutil.which(program) is None:
            print(f"{program} is not installed")
            continue
        server = server_class(folder)
        asyncio.run(server.up())
        if isinstance(server, Influxd):
            server.create("bench")
            settings = server.store("bench")["influxdb"]
        else:
            settings = server.store()["influxdb"]
        yield program, kind.make(kind.settings.model_validate(settings)), server
        server.kill()


# -- `lineside ingest` at a rate --


async def started(name: str, folder: Path) -> tuple[dict[str, Any], HttpServer | None]:
    """Start the server of a store; return the entry under `stores`, and the server."""
    if name == "sqlite":
        return {"sqlite": {"path": str(folder / "readings.db")}}, None
    server: HttpServer = await {"influxd": Influxd, "victoria-metrics": VictoriaMetrics}[name].start(folder)
    if isinstance(server, Influxd):
        server.create("bench")
        return server.store("bench"), server
    return cast("VictoriaMetrics", server).store(), server


async def identified(store: dict[str, Any]) -> None:
    """Wait until the server of a store is old enough: it gets all that it was given before once more."""
    [(name, settings)] = store.items()
    kind = store_kind(name)
    opened = kind.make(kind.settings.model_validate(settings))
    await asyncio.to_thread(opened.open)
    while await asyncio.to_thread(opened.instance) is None:  # noqa: ASYNC110 - another process is asked
        await asyncio.sleep(0.5)
    opened.close()


def write_configuration(folder: Path, broker: str, store: dict[str, Any], number: int, ingests: int) -> Path:
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    share = {"share": "bench"} if ingests > 1 else {}
    factory = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "none", "spool": {"folder": str(folder / "spool")}},
        "broker": {"url": broker},
        "ingest": {"id": f"ingest-{number}", "folder": str(folder / f"ingest-{number}")} | share,
        "stores": [store],
        "lines": {"none": {"area": "none", "machines": {"none": machine}}},
    }
    file = folder / f"ingest-{number}.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False))
    return file


def processor(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def gateway(port: int, number: int, options: argparse.Namespace) -> asyncio.subprocess.Process:
    rate, script = options.rate / options.gateways, Path(__file__).parent / "replayed_gateway.py"
    return await asyncio.create_subprocess_exec(
        sys.executable, str(script), "--port", str(port), "--name", f"edge-{number:02d}", "--rate", str(rate),
        "--points", str(options.points), "--seconds", str(options.seconds), stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


async def states(process: asyncio.subprocess.Process, seen: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(b"{"):
            seen.append(orjson.loads(line))
        else:
            print(line.decode().rstrip())


async def sustained(name: str, options: argparse.Namespace, folder: Path) -> None:
    """Print readings that wait over time, the rate of stored readings, and the processor time of each process."""
    mosquitto = await Mosquitto.start(folder)
    store, server = await started(name, folder)
    if server is not None:
        await identified(store)
    ingests = [
        Service(
            f"ingest {number}", folder / f"{number}.log", "ingest",
            str(write_configuration(folder, mosquitto.url, store, number, options.ingests)),
            "--report", str(folder / f"{number}.json"),
        )
        for number in range(options.ingests)
    ]  # fmt: skip
    async with AsyncExitStack() as stack:
        for ingest in ingests:
            await stack.enter_async_context(ingest)
        while not all(b"ingest.subscribed" in ingest.log.read_bytes() for ingest in ingests):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
        gateways = [await gateway(mosquitto.port, number, options) for number in range(options.gateways)]
        seen: list[list[dict[str, Any]]] = [[] for _ in gateways]
        following = [asyncio.create_task(states(*pair)) for pair in zip(gateways, seen, strict=True)]
        pids = {
            "ingest": [ingest.pid for ingest in ingests], "broker": [mosquitto.pid],
            "gateway": [process.pid for process in gateways],
        } | ({"server": [server.pid]} if server else {})  # fmt: skip
        while not all(len(one) > 1 for one in seen):  # the first seconds are a start
            await asyncio.sleep(0.05)
            if any(task.done() for task in following):
                raise SystemExit("a replayed gateway has ended, see above")
        first, used, began = [one[-1] for one in seen], {k: processor(v) for k, v in pids.items()}, time.monotonic()
        await asyncio.wait(following, timeout=options.seconds - 4)
        lasted, last = time.monotonic() - began, [one[-1] for one in seen]
        cores = {name: (processor(v) - used[name]) / lasted for name, v in pids.items()}
        await asyncio.gather(*following)
        for process in gateways:
            await process.wait()
    for running in (mosquitto, server):
        if running is not None:
            running.kill()
    show_sustained(name, options, seen, (first, last), cores)
    for number in range(options.ingests):
        report = orjson.loads((folder / f"{number}.json").read_bytes())
        print(
            f"ingest {number}   {report['stored_readings']:,} readings, scan to stored row {report['latency_ms']} ms"
        )


def show_sustained(
    name: str,
    options: argparse.Namespace,
    seen: list[list[dict[str, Any]]],
    between: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    cores: dict[str, float],
) -> None:
    def total(states: list[dict[str, Any]], *keys: str) -> int:
        return sum(state[key] for state in states for key in keys)

    first, last = between
    written = total(last, "confirmed", "accepted") - total(first, "confirmed", "accepted")
    rate = written / (last[0]["seconds"] - first[0]["seconds"])
    steps = range(0, min(map(len, seen)), max(1, min(map(len, seen)) // 10))
    moments = [[one[step] for one in seen] for step in steps]
    pending = [total(states, "acquired") - total(states, "confirmed", "accepted") for states in moments]
    accepted = [total(states, "accepted") for states in moments]
    print(f"{name}: {options.rate:,.0f} readings/s in records of {options.points}, "
          f"{options.gateways} gateways, {options.ingests} ingests")  # fmt: skip
    print(f"written    {rate:,.0f} readings/s; records sent again: {total(last, 'again')}")
    print(f"pending    thousand readings over time: {', '.join(f'{count / 1000:.0f}' for count in pending)}")
    print(f"accepted   not yet durable, thousand:   {', '.join(f'{count / 1000:.0f}' for count in accepted)}")
    print("cores      " + ", ".join(f"{part} {used:.2f}" for part, used in cores.items()))
    print("us each    " + ", ".join(f"{part} {used / max(1.0, rate) * 1e6:.2f}" for part, used in cores.items()))


def steps(options: argparse.Namespace, folder: Path) -> None:
    """Print the cost of decoding and of writing to each store."""
    meta, messages = records(options.readings, options.points)
    rows = (len(messages) - options.batch) * options.points
    print(f"{rows:,} readings in records of {options.points}, {options.batch} records a batch")
    for name, store, server in stores(folder):
        before = sum(psutil.Process(server.pid).cpu_times()[:2]) if server else 0.0
        decoding, writing = measured(meta, messages, options.batch, store)
        used = sum(psutil.Process(server.pid).cpu_times()[:2]) - before if server else 0.0
        decoding.show("decode", rows)
        writing.show(f"write {name}", rows, f"   server {used / rows * 1e6:.2f} us a row" if server else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.0, help="readings a second through `lineside ingest`")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "influxd", "victoria-metrics"])
    parser.add_argument("--ingests", type=int, default=1)
    parser.add_argument("--gateways", type=int, default=1)
    options = parser.parse_args()
    if not options.rate:
        run_in_folder(lambda folder: steps(options, folder))
        return
    for name in options.stores:
        if name == "sqlite" or shutil.which(name):
            run_in_folder(lambda folder, name=name: asyncio.run(sustained(name, options, folder)))
        else:
            print(f"{name} is not installed")


def run_in_folder(run: Callable[[Path], None]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    try:
        run(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
