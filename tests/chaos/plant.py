"""The whole way of a reading as processes of their own, with a proxy in each link, for faults to happen to.

machines (this process) -> gateway -> [proxy] -> mosquitto -> [proxy] -> ingest -> SQLite
                                                                                -> [proxy] -> VictoriaMetrics
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import shutil
import subprocess
import time
from contextlib import AsyncExitStack
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any, Self

from processes import LOOPBACK, Lineside, until, write_factory
from proxy import Proxy
from servers import Mosquitto, VictoriaMetrics
from stored import report, rows

from chaos.machines import TEMPLATE, Machines
from chaos.oracle import Stored, Truth
from chaos.promised import accounted_twice, newest_spooled, newest_stored
from chaos.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from processes import Process

UNITS = 5

PATIENCE = 30
"""Seconds that the gateway waits for an answer of a machine: longer than it is ever frozen or kept from running, so
that no answer comes too late to be taken."""

START = 60.0
"""Seconds within which a process has started, whatever else this machine is busy with."""

SPOOL_SIZE = "4MiB"
"""Four minutes of readings, in which nothing need be dropped. In a smaller one long outages have to be."""

DISK = 48 * 2**20
"""Bytes of the file system that the spool is on, so that it can be filled."""


def micros() -> int:
    """Return the wall time in microseconds."""
    return time.time_ns() // 1000


class Plant:
    """The processes, the links between them, and what is known of what must be stored."""

    def __init__(self, folder: Path, *, spool: str = SPOOL_SIZE, victoria: bool = True, heard: bool = True) -> None:
        """Prepare; without `victoria` SQLite is the only store, and what is stored is confirmed at once.

        `heard` is whether somebody beside ingest listens to the records, to tell which of them are confirmed.
        """
        self._heard = heard
        self._spool = spool
        self.folder = folder
        self.store: VictoriaMetrics | None = None
        self._victoria = victoria
        self.disk = folder / "disk"
        self.database = folder / "readings.db"
        self.machines = Machines(UNITS)
        self.truth = Truth(self.machines.served)
        self._held_up: list[tuple[int, int]] = []
        self._running = AsyncExitStack()
        self._mounted = False

    async def __aenter__(self) -> Self:
        self.disk.mkdir()
        self._mount()
        (self.folder / "machines").mkdir()
        (self.folder / "machines" / "counter.yaml").write_text(TEMPLATE, encoding="utf-8")
        await self._running.enter_async_context(self.machines)
        # a broker as it comes, on a machine of its own: nothing kept, 1,000 messages queued
        self.broker = await Mosquitto.start(self.folder)
        enter = self._running.enter_async_context
        self.links = {
            "gateway-broker": await enter(Proxy(self.broker.port)),
            "broker-ingest": await enter(Proxy(self.broker.port)),
        }
        if self._victoria:
            self.store = await VictoriaMetrics.start(self.folder)
            self.links["ingest-store"] = await enter(Proxy(self.store.port))
        self.watch = await enter(Watch(self.broker.url, records=self._heard))
        self.ingest = Lineside("ingest", self._config("ingest", self.links["broker-ingest"]))
        await self.start_ingest()
        self.gateway = Lineside(
            "run", self._config("gateway", self.links["gateway-broker"]), "--report", str(self.folder / "run.json")
        )
        await self.start_gateway()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.kill()
        await self._running.aclose()
        shutil.copytree(self.disk / "spool", self.folder / "spool", dirs_exist_ok=True)
        if self._mounted:
            self._unmount()

    @property
    def processes(self) -> dict[str, Process]:
        """All processes by their names."""
        store = {"store": self.store} if self.store else {}
        return {"gateway": self.gateway, "ingest": self.ingest, "broker": self.broker, **store}

    def _config(self, name: str, broker: Proxy) -> Path:
        stores: list[dict[str, Any]] = [{"sqlite": {"path": str(self.database)}}]
        if self._victoria:
            url = f"http://{LOOPBACK}:{self.links['ingest-store'].port}"
            stores.append({"influxdb": {"url": url, "bucket": "telemetry"}})
        machines = {
            f"unit-{unit}": {
                "template": "counter",
                "connection": f"modbus+tcp://{LOOPBACK}:{self.machines.port}?unit={unit}&timeout={PATIENCE}",
            }
            for unit in self.machines.served
        }
        return write_factory(
            self.folder / f"{name}.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(self.disk / "spool"), "max_size": self._spool}},
            broker={"url": f"mqtt://{LOOPBACK}:{broker.port}", "keep_alive": "5s"},
            ingest={"folder": str(self.folder)},
            stores=stores,
            lines={"line": {"area": "area", "machines": machines}},
        )

    # -- starting, killing and freezing --

    async def start_gateway(self) -> None:
        """Start the gateway, and wait until it works."""
        await _start(self.gateway, "gateway.started")

    async def start_ingest(self) -> None:
        """Start ingest, and wait until it works."""
        await _start(self.ingest, "ingest.started")

    def kill_gateway(self) -> None:
        """Kill it, and note what it had on its disk; `start_gateway` starts it again."""
        self.gateway.kill()
        self.machines.hang_up()
        spooled = newest_spooled(self.disk / "spool", self.machines.served, self.folder / "dead")
        for unit in spooled:
            spooled[unit] = max(spooled[unit], newest_stored(self.database, unit))
        self.truth.died(micros(), spooled, self._held_up)

    @property
    def may_be_damaged(self) -> bool:
        """Whether nothing but what is damaged is lost where the spool of the dead gateway is damaged."""
        return accounted_twice(self.disk / "spool", "edge-01")

    async def freeze(self, name: str, seconds: float) -> None:
        """Stop a process for some time, with its connections open."""
        process, began = self.processes[name], micros()
        process.signal(SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.signal(SIGCONT)
            if name == "gateway":
                self._held_up.append((began, micros()))

    # -- the disk --

    def _mount(self) -> None:
        """Give the spool a small file system of its own, where we may; else its process gets a limit."""
        mount = shutil.which("mount")
        if mount and os.geteuid() == 0:
            done = subprocess.run(
                [mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", self.disk], check=False, capture_output=True
            )
            self._mounted = done.returncode == 0

    def _unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.disk], check=True)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let nothing more be written to the spool's disk."""
        began = micros()
        try:
            with self._no_room():
                yield
        finally:
            self._held_up.append((began, micros()))

    @contextlib.contextmanager
    def _no_room(self) -> Iterator[None]:
        if not self._mounted:
            limit = sum(file.stat().st_size for file in (self.disk / "spool").glob("*.db"))
            _, hard = resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, (limit, hard))
            try:
                yield
            finally:
                if self.gateway.running:
                    resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, (hard, hard))
            return
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        try:
            yield
        finally:
            filler.unlink()

    def spool_files(self) -> list[Path]:
        """Return the spool's file, and its write-ahead log where there is one."""
        return sorted(file for file in (self.disk / "spool").glob("*.spool.db*") if not file.name.endswith("-shm"))

    # -- what came of it --

    async def drained(self, seconds: float) -> float:
        """Let the machines be switched off, and wait until nothing is pending; returns how long that took."""
        began = time.monotonic()
        self.truth.off = micros()
        self.machines.switch_off()
        while not (self.watch.heard > began + 1 and self.watch.ledger["pending"] == 0):
            if time.monotonic() - began > seconds:
                return math.inf
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def fresh(self, seconds: float) -> float:
        """Wait until a reading that is taken from now on is stored; returns after how many seconds."""
        began, first = time.monotonic(), len(self.machines.served[1])
        while True:
            if newest_stored(self.database, 1) >= first:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                return math.inf
            await asyncio.sleep(0.05)

    def sqlite_readings(self) -> list[Stored]:
        """Return everything in the SQLite store."""
        return [
            Stored(int(row.machine.removeprefix("unit-")), row.point, row.time, row.value)
            for row in rows(self.database)
        ]

    def victoria_readings(self) -> list[Stored]:
        """Return every good reading in VictoriaMetrics; its times are in milliseconds."""
        assert self.store is not None
        found = []
        for series in self.store.export('{machine=~"unit-.+"}'):
            labels = series["metric"]
            point = labels["__name__"].removeprefix("counter_")
            if point in {"count", "check", "third"}:
                unit = int(labels["machine"].removeprefix("unit-"))
                found += [
                    Stored(unit, point, time * 1000, value)
                    for time, value in zip(series["timestamps"], series["values"], strict=True)
                ]
        return found

    def closing_report(self) -> dict[str, Any]:
        """Return the gateway's closing report, once it has stopped in order."""
        return report(self.folder / "run.json")


async def _start(process: Lineside, event: str) -> None:
    """Start a process, and wait until it logs an event."""
    before = process.log.stat().st_size if process.log.exists() else 0
    process.launch()

    def look() -> bool:
        assert process.running, f"{process.name} ended with {process.exit_code}:\n{process.last_words()}"
        with process.log.open("rb") as log:
            log.seek(before)
            return f'"event": "{event}"'.encode() in log.read()

    await until(look, f"{process.name} logs {event}", START)
