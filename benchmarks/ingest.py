"""Measure the cost of ingest: decoding records and writing them to a store, in rows/s and processor time per row.

Each store is measured alone: SQLite in this process, with its commits on this machine's disk; InfluxDB and
VictoriaMetrics, if they are installed, as servers with a processor time of their own.

    python benchmarks/ingest.py [--readings 1000000] [--points 100] [--batch 500]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psutil
from paho.mqtt.client import MQTTMessage

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
from gateway.mqtt.topics import Topics
from gateway.stores import store_kind

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import Influxd, VictoriaMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def records(readings: int, points: int) -> tuple[MachineMeta, list[MQTTMessage]]:
    """Return messages as a broker delivers them: one scan each, of mixed types, from each machine in turn."""
    kinds = {f"value_{i:03d}": ("float", "float", "float", "int", "bool")[i % 5] for i in range(points)}
    meta = MachineMeta("bench", kinds, {name: "bar" if i % 2 else "Cel" for i, name in enumerate(kinds)})
    made = []
    for seq in range(readings // points):
        values = {
            name: seq % 97 / 7 + i if kind == "float" else seq + i if kind == "int" else bool(seq & 1)
            for i, (name, kind) in enumerate(kinds.items())
        }
        path = MachinePath("bench", "site", "area", "line", f"m-{seq % MACHINES:03d}")
        scan = NamedScan(time.time_ns() // 1000 - 3_600_000_000 + seq // MACHINES * 1_000_000, values)
        message = MQTTMessage(1, TOPICS.data(path).encode())
        message.payload = CODECS["json"].encode(Record("edge-01", "a1b2", seq + 1, [scan], meta.id))
        made.append(message)
    return meta, made


def decoded(meta: MachineMeta, messages: list[MQTTMessage], batch_records: int) -> tuple[list[Batch], Cost]:
    metas = MetadataRegistry()
    metas.add(MachinePath("bench", "site", "area", "line", "m-000"), [meta])
    status = IngestStatus()
    requests = MetadataRequests(time.monotonic)
    decoder = MessageDecoder(TOPICS, metas, requests, status, gateway_resends=True)
    batches = []
    began, used = time.perf_counter(), time.process_time()
    for start in range(0, len(messages), batch_records):
        batch = Batch(cast("Any", None))
        for message in messages[start : start + batch_records]:
            decoder.add(batch, message)
        batches.append(batch)
    return batches, Cost(time.perf_counter() - began, time.process_time() - used)


def written(store: Store, batches: list[Batch]) -> Cost:
    with store:
        store.check()
        began, used = time.perf_counter(), time.process_time()
        for batch in batches:
            store.write(batch.scans)
        return Cost(time.perf_counter() - began, time.process_time() - used)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-"))
    try:
        meta, messages = records(options.readings, options.points)
        rows = len(messages) * options.points
        print(f"{rows:,} readings in records of {options.points}, {options.batch} records a batch")
        batches, cost = decoded(meta, messages, options.batch)
        cost.show("decode", rows)
        for name, store, server in stores(folder):
            before = sum(psutil.Process(server.pid).cpu_times()[:2]) if server else 0.0
            cost = written(store, batches)
            used = sum(psutil.Process(server.pid).cpu_times()[:2]) - before if server else 0.0
            cost.show(f"write {name}", rows, f"   server {used / rows * 1e6:.2f} us a row" if server else "")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
