"""Measure the spool on this machine's disk: durable puts, draining, memory, a backlog, an unconfirmed topic.

    .venv/bin/python benchmarks/spool.py [FOLDER]

Records have 100 readings each, as from a machine with 100 points. They are committed in groups, each group synced.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from gateway.codecs import CODECS
from gateway.model.reading import NamedScan
from gateway.model.record import Record
from gateway.settings.sections import SpoolSection, Sync, WhenFull
from gateway.spool.batch import Batch
from gateway.spool.database import SpoolDatabase
from gateway.spool.files import Spooled, SpoolFiles
from gateway.spool.record_builder import RecordBuilder
from gateway.spool.spool import Spool

READINGS, MACHINES = 100, 600
SECONDS = 5.0
BACKLOG = 1_000_000
"""Readings."""

SCAN = NamedScan(1_764_000_000_123_456, {f"value_{i:03d}": 42.03937911987305 + i for i in range(READINGS)})
PAYLOAD = CODECS["json"].encode(Record("edge-bench", "9f2c81aa", 48_211, [SCAN], "0123abcd"))


def memory() -> float:
    return psutil.Process().memory_info().rss / 1e6


def on_disk(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("*.db*")) / 1e6


async def put(spool: Spool, enough: int | None) -> tuple[int, float]:
    """Put records of many machines in turn; return the number of durable records and the seconds."""
    builders = [
        RecordBuilder[None](f"lineside/v1/plant/site/area/line/m-{i:04d}/data", lambda _, __: PAYLOAD)
        for i in range(MACHINES)
    ]
    began, made = time.perf_counter(), 0
    while made < enough if enough is not None else time.perf_counter() - began < SECONDS:
        for builder in builders:
            spool.ledger.acquired += READINGS
            spool.put(builder, None, READINGS)
        made += len(builders)
        await durable(spool)  # so that each put becomes a record of its own
    return made, time.perf_counter() - began


async def durable(spool: Spool) -> None:
    """Wait until every record is committed."""
    before = spool.size
    while spool.size == before:  # noqa: ASYNC110 - the spool has no event for it
        await asyncio.sleep(0.001)


async def drain(spool: Spool) -> tuple[int, float]:
    """Lease and confirm all records, some hundred at a time, as the publisher does."""
    began, done = time.perf_counter(), 0
    while spool.ledger.pending:
        records = spool.lease_fresh(100) or await spool.lease_backlog(100)
        done += len(records)
        spool.confirm((record.seq, record.seq) for record in records)
        if not records:
            await asyncio.sleep(0.001)
    return done, time.perf_counter() - began


async def bench(folder: Path) -> None:
    settings = SpoolSection(folder=folder, max_size=4 * 2**30)
    print(f"{len(PAYLOAD)} bytes a record of {READINGS} readings")
    async with Spool(settings, "edge") as spool:
        running = asyncio.create_task(spool.run())
        made, took = await put(spool, None)
        cpu = time.process_time()
        print(f"put, durable       {made / took:8,.0f} records/s   {made * READINGS / took:12,.0f} readings/s")
        spool.release([(1, made)])
        done, took = await drain(spool)
        cpu = (time.process_time() - cpu) / done * 1e6
        print(
            f"lease and confirm  {done / took:8,.0f} records/s   {done * READINGS / took:12,.0f} readings/s   {cpu:.0f} us of processor time a record"
        )
        before = memory()
        made, took = await put(spool, BACKLOG // READINGS)
        print(
            f"backlog of {made * READINGS:,} readings: {memory():.0f} MB of memory, {before:.0f} before; {on_disk(folder):.0f} MB on disk"
        )
        made += (await put(spool, 4 * BACKLOG // READINGS))[0]
        print(
            f"backlog of {made * READINGS:,} readings: {memory():.0f} MB of memory; {on_disk(folder):.0f} MB on disk"
        )
        running.cancel()
    began = time.perf_counter()
    async with Spool(settings, "edge") as spool:
        print(f"start with that backlog: {time.perf_counter() - began:.2f} s, every record's head checked")
        running = asyncio.create_task(spool.run())
        done, took = await drain(spool)
        print(
            f"drained from disk  {done / took:8,.0f} records/s   {done * READINGS / took:12,.0f} readings/s; {memory():.0f} MB of memory"
        )
        running.cancel()
        assert spool.ledger.balanced
        assert spool.ledger.acquired == spool.ledger.confirmed
    print(f"drained: {on_disk(folder):.0f} MB on disk")


def silent_topic(folder: Path) -> None:
    """Commit while one topic of a hundred is never confirmed: each of its records is a gap among the others."""
    for hours in (0, 1, 24, 72):
        database = SpoolDatabase(SpoolFiles(folder, f"edge-{hours}"), 4 * 2**30, WhenFull.DROP_OLDEST, Sync.NORMAL)
        database.open()
        gaps = range(100, 100 * 3600 * hours + 1, 100)
        for start in range(0, len(gaps), 5000):
            part = [Spooled(seq, "silent", b"", 1) for seq in gaps[start : start + 5000]]
            database.write(Batch(part, [], {}, [], Counter(acquired=start + len(part)), part[-1].seq + 1))
        seq = database.state.next
        cpu, commits = time.process_time(), 200
        for _ in range(commits):
            puts = [Spooled(seq + number, "others", PAYLOAD, READINGS) for number in range(4)]
            confirms = [(seq - 4, seq - 1)]
            seq += 4
            database.write(Batch(puts, confirms, {}, [], Counter(acquired=seq), seq))
        cpu = (time.process_time() - cpu) / commits * 1e6
        print(
            f"commit of 4 records while one topic of 100 is unconfirmed for {hours:2} h: {cpu:5.0f} us of processor time"
        )
        database.close()


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="lineside-bench-", dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        asyncio.run(bench(folder))
        silent_topic(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
