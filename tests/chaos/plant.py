"""The whole way of a reading as processes of their own, with a proxy in each link, for faults to happen to.

machines (this process) -> gateway -> [proxy] -> mosquitto -> [proxy] -> ingest -> SQLite
                                                                                -> [proxy] -> VictoriaMetrics

The gateway and ingest each have a wall clock of their own, and small disks: of the spool, and of dead letters.
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
from dataclasses import dataclass, field
from signal import SIGCONT, SIGHUP, SIGSTOP
from typing import TYPE_CHECKING, Any, Self

from forked import Forked
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from proxy import Proxy
from servers import Mosquitto, VictoriaMetrics
from stored import report, rows

from chaos.clock import SteppedClock, preloaded
from chaos.machines import TEMPLATE, Machines, unit_of
from chaos.oracle import Stored, Truth
from chaos.promised import accounted_twice, newest_spooled, newest_stored
from chaos.watch import Watch
from gateway.model.ledger import Ledger
from gateway.spool.files import SpoolFiles
from gateway.spool.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from processes import Process

UNITS = 5

PATIENCE = 30
"""Seconds that the gateway waits for an answer of a machine: longer than it is ever frozen or kept from running, so
that no answer comes too late to be accepted."""

START = 60.0
"""Seconds within which a process has started, whatever else this machine is busy with."""

SPOOL_SIZE = "4MiB"
"""Four minutes of readings, in which none need be dropped. A smaller spool has to drop readings in long outages."""

DISK = 48 * 2**20
"""Bytes of the file system that the spool is on, so that it can be filled."""


LETTERS_DISK = 2**20
"""Bytes of the file system that ingest's dead letters are on."""

ROOTS = ("lineside/v1", "plant/v1")

IDS = ("edge-01", "edge-02")

RIGHTS = {
    "all": "topic readwrite #",
    "no records": "topic readwrite #\ntopic deny +/+/+/+/+/+/+/data",
    "no confirmations": "topic readwrite #\ntopic deny +/+/+/+/_gateways/+/confirmed",
    "nothing": "topic read none/at/all",
}
"""The rights that the broker grants its clients: lines of its access control list."""


def micros() -> int:
    """Return the wall time in microseconds."""
    return time.time_ns() // 1000


@dataclass
class Configuration:
    """What of the configuration faults change. `names` are the machines' names by their units."""

    root: str = ROOTS[0]
    gateway: str = IDS[0]
    unit: str = ""
    names: dict[int, str] = field(default_factory=lambda: {unit: f"unit-{unit}" for unit in range(1, UNITS + 1)})


class Plant:
    """The processes, the network connections between them, and the truth that the stores are judged by."""

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
        self._mounted: list[Path] = []
        self.configuration = Configuration()
        self.letters = folder / "ingest"
        self._rights = folder / "rights.acl"
        self.clocks: dict[str, SteppedClock] = {}

    async def __aenter__(self) -> Self:
        self._mount(self.disk, DISK)
        self._mount(self.letters, LETTERS_DISK)
        (self.folder / "machines").mkdir()
        self._rights.write_text(RIGHTS["all"] + "\n", encoding="utf-8")
        if self._running.enter_context(preloaded()):
            self.clocks = {name: SteppedClock(self.folder / f"{name}.clock") for name in ("gateway", "ingest")}
        await self._running.enter_async_context(self.machines)
        # a broker as it comes, on a machine of its own: nothing kept, 1,000 messages queued
        self.broker = await Mosquitto.start(self.folder, f"acl_file {self._rights}")
        enter = self._running.enter_async_context
        self.links = {
            "gateway-broker": await enter(Proxy(self.broker.port)),
            "broker-ingest": await enter(Proxy(self.broker.port)),
        }
        if self._victoria:
            self.store = await VictoriaMetrics.start(self.folder)
            self.links["ingest-store"] = await enter(Proxy(self.store.port))
        self.watch = await enter(Watch(self.broker.url, records=self._heard))
        self.write_configuration()
        self.ingest = Lineside("ingest", self.folder / "ingest.yaml", environment=self._environment("ingest"))
        await self.start_ingest()
        self.gateway = Lineside(
            "run",
            self.folder / "gateway.yaml",
            "--report",
            str(self.folder / "run.json"),
            environment=self._environment("gateway"),
        )
        await self.start_gateway()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.kill()
        await self._running.aclose()
        shutil.copytree(
            self.disk / "spool", self.folder / "spool", ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True
        )
        self._unmount()

    @property
    def processes(self) -> dict[str, Process]:
        """All processes by their names."""
        store = {"store": self.store} if self.store else {}
        return {"gateway": self.gateway, "ingest": self.ingest, "broker": self.broker, **store}

    def _environment(self, name: str) -> dict[str, str]:
        return self.clocks[name].environment if self.clocks else {}

    def write_configuration(self) -> None:
        """Write the files that the gateway and ingest read when they start."""
        template = TEMPLATE
        if self.configuration.unit:
            template = template.replace("raw: float64}", f"raw: float64, unit: {self.configuration.unit}}}")
        (self.folder / "machines" / "counter.yaml").write_text(template, encoding="utf-8")
        self._config("ingest", self.links["broker-ingest"])
        self._config("gateway", self.links["gateway-broker"])

    def _config(self, name: str, broker: Proxy) -> Path:
        stores: list[dict[str, Any]] = [{"sqlite": {"path": str(self.database)}}]
        if self._victoria:
            url = f"http://{LOOPBACK}:{self.links['ingest-store'].port}"
            stores.append({"influxdb": {"url": url, "bucket": "telemetry"}})
        machines = {
            machine: {
                "template": "counter",
                "connection": f"modbus+tcp://{LOOPBACK}:{self.machines.port}?unit={unit}&timeout={PATIENCE}",
            }
            for unit, machine in self.configuration.names.items()
        }
        return write_factory(
            self.folder / f"{name}.yaml",
            gateway={
                "id": self.configuration.gateway,
                "spool": {"folder": str(self.disk / "spool"), "max_size": self._spool},
            },
            broker={
                "url": f"mqtt://{LOOPBACK}:{broker.port}",
                "keep_alive": "5s",
                "root": self.configuration.root,
            },
            ingest={"folder": str(self.letters)},
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
        """Kill it, and note the records on its disk; `start_gateway` starts it again."""
        self.gateway.kill()
        self.machines.hang_up()
        spooled = newest_spooled(self.disk / "spool", self.machines.served, self.folder / "dead")
        for unit in spooled:
            spooled[unit] = max(spooled[unit], newest_stored(self.database, unit))
        self.truth.died(micros(), spooled, self._held_up)

    @property
    def may_be_damaged(self) -> bool:
        """Whether damage to the spool of the dead gateway loses only the damaged records."""
        return accounted_twice(self.disk / "spool", self.configuration.gateway)

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

    async def adopt(self, former: str, kill_after: float) -> bool:
        """Let the gateway, which is stopped, adopt the records of its former id.

        Kills the command after some seconds, then runs it to its end; returns whether it was killed.
        """
        command = ("spool", "adopt", str(self.folder / "gateway.yaml"), "--from", former)
        interrupted = Forked(command, self.folder, os.environ, self.folder / "adopt.log")
        await asyncio.sleep(kill_after)
        killed = interrupted.poll() is None
        interrupted.kill()
        interrupted.wait()
        ran = await lineside(*command, seconds=START)
        assert ran.code == 0, ran.error
        return killed

    # -- the disk --

    def _mount(self, disk: Path, size: int) -> None:
        """Give a folder a small file system of its own, where we may."""
        disk.mkdir()
        mount = shutil.which("mount")
        if mount and os.geteuid() == 0:
            done = subprocess.run(
                [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False, capture_output=True
            )
            self._mounted += [disk] if done.returncode == 0 else []

    def _unmount(self) -> None:
        for disk in self._mounted:
            subprocess.run(["umount", "--lazy", disk], check=True)

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
        if self.disk not in self._mounted:
            limit = sum(file.stat().st_size for file in (self.disk / "spool").glob("*.db"))
            _, hard = resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, (limit, hard))
            try:
                yield
            finally:
                if self.gateway.running:
                    resource.prlimit(self.gateway.pid, resource.RLIMIT_FSIZE, (hard, hard))
            return
        with _filled(self.disk):
            yield

    @contextlib.contextmanager
    def full_letters(self) -> Iterator[None]:
        """Let nothing more be written to the disk of ingest's dead letters, where it has one of its own."""
        with _filled(self.letters) if self.letters in self._mounted else contextlib.nullcontext():
            yield

    # -- the broker's rights --

    async def allow(self, rights: str) -> None:
        """Change the rights of the broker's clients: one of `RIGHTS`."""
        self._rights.write_text(RIGHTS[rights] + "\n", encoding="utf-8")
        # the signal would end a broker that another fault has started a moment ago
        await until(lambda: not self.broker.running or self.broker.catches(SIGHUP), "the broker reloads", START)
        if self.broker.running:
            self.broker.signal(SIGHUP)

    # -- the clocks --

    @contextlib.contextmanager
    def stepped(self, name: str, ahead: int) -> Iterator[None]:
        """Let the clock of the gateway or of ingest be off by some seconds."""
        began = micros()
        step = [began, math.inf, ahead * 1_000_000]
        if name == "gateway":
            self.truth.steps.append(step)
        self.clocks[name].step(ahead)
        try:
            yield
        finally:
            self.clocks[name].step(0)
            step[1] = micros()

    def spool_files(self) -> list[Path]:
        """Return the spool's file, and its write-ahead log where there is one."""
        found = (self.disk / "spool").glob(f"{self.configuration.gateway}.spool.db*")
        return sorted(file for file in found if not file.name.endswith("-shm"))

    # -- results --

    async def drained(self, seconds: float) -> float:
        """Let the machines be switched off, and wait until nothing is pending; returns how long that took."""
        began = time.monotonic()
        self.truth.off = micros()
        self.machines.switch_off()
        while not self._nothing_pending(began + 1):
            if time.monotonic() - began > seconds:
                return math.inf
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    def _nothing_pending(self, since: float) -> bool:
        """Return whether a ledger of the gateway that came after a time says that nothing is pending."""
        ledger, heard = self.watch.ledgers.get(self.configuration.gateway, ({}, 0.0))
        return heard > since and ledger["pending"] == 0

    async def fresh(self, seconds: float) -> float:
        """Wait until a reading that is acquired from now on is stored; returns after how many seconds."""
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
            Stored(unit, row.point, row.time, row.value, row.quality == "uncertain")
            for row in rows(self.database)
            if (unit := unit_of(row.machine)) is not None
        ]

    def victoria_readings(self) -> list[Stored]:
        """Return every good reading in VictoriaMetrics; its times are in milliseconds."""
        assert self.store is not None
        found = []
        for series in self.store.export('{machine=~"unit-.+"}'):
            labels = series["metric"]
            point = labels["__name__"].removeprefix("counter_")
            if point in {"count", "check", "third"}:
                unit = unit_of(labels["machine"])
                assert unit is not None, labels
                found += [
                    Stored(unit, point, time * 1000, value)
                    for time, value in zip(series["timestamps"], series["values"], strict=True)
                ]
        return found

    def closing_report(self) -> dict[str, Any]:
        """Return the gateway's closing report, once it has stopped in order."""
        return report(self.folder / "run.json")

    def former_ledgers(self) -> list[Ledger]:
        """Return the ledgers that the gateway left under ids that it had before, once it has stopped."""
        spools = [SpoolFiles(self.disk / "spool", name) for name in IDS if name != self.configuration.gateway]
        states = [inspect(files).state for files in spools if files.db.exists()]
        return [Ledger.of(state.counts, state.readings) for state in states]


@contextlib.contextmanager
def _filled(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    try:
        yield
    finally:
        filler.unlink()


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
