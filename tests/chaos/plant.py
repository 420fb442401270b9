"""The whole way of a reading as processes of their own, with a proxy in each link, for faults to happen to.

machines (this process) -> gateway -> [proxy] -> mosquitto -> [proxy] -> ingest -> SQLite
                                                                                -> [proxy] -> VictoriaMetrics
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import time
from contextlib import AsyncExitStack
from signal import SIGCONT, SIGSTOP
from typing import TYPE_CHECKING, Any, Self

import aiomqtt
import orjson
from processes import LOOPBACK, Lineside, write_factory
from proxy import Proxy
from servers import Mosquitto, VictoriaMetrics
from stored import report, rows

from chaos.machines import TEMPLATE, Machines
from chaos.oracle import BEFORE_KILL, LATE, Stored, Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from processes import Process

UNITS = 5

SPOOL_SIZE = "256KiB"
"""Some seconds of readings: outages fill it, and what does not fit is counted as dropped."""

DISK = 4 * 2**20
"""Bytes of the file system that the spool is on, so that it can be filled."""


def micros() -> int:
    """Return the wall time in microseconds."""
    return time.time_ns() // 1000


class Plant:
    """The processes, the links between them, and the times in which answers may be lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.machines = Machines(UNITS)
        self.windows: list[Window] = []
        self.ledger: dict[str, Any] = {}
        self._running = AsyncExitStack()
        self._mounted = False
        self._killed: int | None = None

    async def __aenter__(self) -> Self:
        self.disk.mkdir()
        self._mount()
        (self.folder / "machines").mkdir()
        (self.folder / "machines" / "counter.yaml").write_text(TEMPLATE, encoding="utf-8")
        await self._running.enter_async_context(self.machines)
        # a broker as it comes, on a machine of its own: nothing kept, 1,000 messages queued
        self.broker = await Mosquitto.start(self.folder)
        self.store = await VictoriaMetrics.start(self.folder)
        enter = self._running.enter_async_context
        self.links = {
            "gateway-broker": await enter(Proxy(self.broker.port)),
            "broker-ingest": await enter(Proxy(self.broker.port)),
            "ingest-store": await enter(Proxy(self.store.port)),
        }
        self._watching = asyncio.create_task(self._watch_ledger(), name="watch the ledger")
        self.ingest = await Lineside.start("ingest", self._config("ingest", self.links["broker-ingest"]))
        self.gateway = Lineside(
            "run", self._config("gateway", self.links["gateway-broker"]), "--report", str(self.folder / "run.json")
        )
        await self.start_gateway()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watching.cancel()
        await asyncio.wait((self._watching,))
        for process in self.processes.values():
            process.kill()
        await self._running.aclose()
        if self._mounted:
            self._unmount()

    @property
    def processes(self) -> dict[str, Process]:
        """All processes by their names."""
        return {"gateway": self.gateway, "ingest": self.ingest, "broker": self.broker, "store": self.store}

    def _config(self, name: str, broker: Proxy) -> Path:
        store = f"http://{LOOPBACK}:{self.links['ingest-store'].port}"
        machines = {
            f"unit-{unit}": {
                "template": "counter",
                "connection": f"modbus+tcp://{LOOPBACK}:{self.machines.port}?unit={unit}&timeout=1",
            }
            for unit in self.machines.served
        }
        return write_factory(
            self.folder / f"{name}.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(self.disk / "spool"), "max_size": SPOOL_SIZE}},
            broker={"url": f"mqtt://{LOOPBACK}:{broker.port}", "keep_alive": "5s"},
            ingest={"folder": str(self.folder)},
            stores=[
                {"sqlite": {"path": str(self.folder / "readings.db")}},
                {"influxdb": {"url": store, "bucket": "telemetry"}},
            ],
            lines={"line": {"area": "area", "machines": machines}},
        )

    # -- the gateway, whose deaths excuse what had not reached its disk --

    async def start_gateway(self) -> None:
        """Start the gateway; until it reads, nothing has to be stored."""
        began = self._killed or micros()
        times = len(self.gateway.events("gateway.started")) if self.gateway.log.exists() else 0
        self.gateway.launch()
        await self.gateway.logged("gateway.started", times + 1, 30.0)
        self.windows.append(Window(began - BEFORE_KILL, micros() + LATE))
        self._killed = None

    def kill_gateway(self) -> None:
        """Kill it; `start_gateway` starts it again."""
        self._killed = micros()
        self.gateway.kill()

    async def freeze(self, name: str, seconds: float) -> None:
        """Stop a process for some time, with its connections open."""
        process, began = self.processes[name], micros()
        process.signal(SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.signal(SIGCONT)
            if name == "gateway":
                self.windows.append(Window(began - BEFORE_KILL, micros() + LATE))

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
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            filler.unlink()

    def spool_files(self) -> list[Path]:
        """Return the spool's file, and its write-ahead log where there is one."""
        return sorted(file for file in (self.disk / "spool").glob("*.spool.db*") if not file.name.endswith("-shm"))

    # -- what came of it --

    async def _watch_ledger(self) -> None:
        """Keep the newest ledger that the gateway publishes."""
        while True:
            try:
                async with aiomqtt.Client(LOOPBACK, self.broker.port) as client:
                    await client.subscribe("lineside/v1/+/+/_gateways/+/ledger")
                    async for message in client.messages:
                        self.ledger = orjson.loads(bytes(message.payload)) | {"heard": time.monotonic()}
            except aiomqtt.MqttError:
                await asyncio.sleep(0.2)

    async def drained(self, seconds: float) -> float:
        """Let the machines be switched off, and wait until nothing is pending; returns how long that took."""
        began, now = time.monotonic(), micros()
        # what is asked at this moment may be answered by nobody, and all points are bad from here on
        self.windows.append(Window(now - BEFORE_KILL, now + int((seconds + 60) * 1e6)))
        self.machines.switch_off()
        while not (self.ledger.get("heard", 0) > began + 1 and self.ledger["ledger"]["pending"] == 0):
            if time.monotonic() - began > seconds:
                raise AssertionError(f"after {seconds:g} s there is still pending: {self.ledger}")
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def fresh(self, seconds: float) -> float:
        """Wait until a reading that is taken from now on is stored; returns after how many seconds."""
        began, first = time.monotonic(), len(self.machines.served[1])
        while True:
            if any(row.value is not None and row.value >= first for row in newest_counts(self.folder)):
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise AssertionError(f"no fresh reading was stored within {seconds:g} s")
            await asyncio.sleep(0.05)

    def sqlite_readings(self) -> list[Stored]:
        """Return everything in the SQLite store."""
        return [
            Stored(int(row.machine.removeprefix("unit-")), row.point, row.time, row.value)
            for row in rows(self.folder / "readings.db")
        ]

    def victoria_readings(self) -> list[Stored]:
        """Return every good reading in VictoriaMetrics; its times are in milliseconds."""
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


def newest_counts(folder: Path) -> list[Any]:
    """Return the stored counts of the first unit."""
    return rows(folder / "readings.db", "unit-1", "count")[-5:]
