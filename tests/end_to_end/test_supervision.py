"""A gateway whose drivers, disk and clock fail in ways that nobody foresaw: it reads on, and stops in time."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import until, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


STOP_SECONDS = 5.0

DRIVER = '''
"""Devices that are only here: the URL of each says what it does, as in odd://read:IndexError."""

import asyncio, itertools, time
from typing import Any, ClassVar
from drivers.base import Connection, Cost, Driver, Protocol, Scan, Source

class OddConnection(Connection):
    schemes: ClassVar[tuple[str, ...]] = ("odd",)
    of_url: ClassVar[tuple[str, ...]] = ("url",)
    url: str

    @classmethod
    def from_url(cls, url: str, options: dict[str, Any]) -> "OddConnection":
        return cls.model_validate(options | {"url": url})

    def __str__(self) -> str:
        return self.url

class OddSource(Source):
    n: int

class OddDriver(Driver):
    counter = itertools.count()

    async def _do(self, method: str) -> None:
        at, _, what = self.connection.url.removeprefix("odd://").partition(":")
        if at != method:
            return
        if what == "hang":
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    pass
        if what == "slow":
            await asyncio.sleep(1.0)
        elif next(self.counter) % 10 == 9 or method != "read":
            raise {"IndexError": IndexError, "Cancelled": asyncio.CancelledError, "TypeError": TypeError}[what]("odd")

    async def connect(self) -> None:
        await self._do("connect")

    async def read(self, group):
        await self._do("read")
        return Scan(group, self.clock(), [time.time_ns() % 1000000 for _ in group.names])

    async def close(self) -> None:
        await self._do("close")

PROTOCOL = Protocol("odd", OddConnection, OddSource, OddDriver, lambda group: Cost(1, 1, 0.01, []))
'''


class Box:
    """A gateway with odd devices, a broker, and a store. It logs into `log`."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.broker = broker
        self.database = folder / "readings.db"
        self.spool = folder / "spool"
        self.report = folder / "report.json"
        self.log = folder / "gateway.log"
        self.processes: list[asyncio.subprocess.Process] = []
        installed = folder / "installed"
        (installed / "odd-1.0.dist-info").mkdir(parents=True)
        (installed / "odd-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        (installed / "odd-1.0.dist-info" / "entry_points.txt").write_text("[lineside.drivers]\nodd = odd:PROTOCOL\n")
        (installed / "odd.py").write_text(DRIVER)
        self._environment = os.environ | {"PYTHONPATH": str(installed)}
        (folder / "machines").mkdir()
        (folder / "machines" / "odd.yaml").write_text(
            "format: 1\nprotocol: odd\npoints: {n: {n: 1, type: int, every: 100ms}}\n"
        )

    def configure(self, *urls: str) -> Path:
        machines = {f"m{i}": {"template": "odd", "connection": url} for i, url in enumerate(urls)}
        return write_factory(
            self.folder / "factory.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(self.spool)}},
            broker={"url": self.broker},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": machines}},
        )

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "--log", "json", *arguments,
                cwd=self.folder, env=self._environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return process

    async def run(self, *urls: str) -> asyncio.subprocess.Process:
        """Start ingest and the gateway, and wait until something is stored."""
        config = str(self.configure(*urls))
        await self.start("ingest", config)
        gateway = await self.start("run", config, "--report", str(self.report))
        await until(lambda: self.stored() or self.events("gateway.started"), "the gateway has started", 60.0)
        return gateway

    def stored(self, machine: str = "") -> list[Any]:
        found = rows(self.database, point="n") if self.database.exists() else []
        return [row for row in found if not machine or row.machine == machine]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [event for line in lines if line.startswith("{") and (event := json.loads(line))["event"] == name]

    async def read_on(self, machine: str, more: int = 10) -> None:
        """Wait until so many further good readings of a machine are stored."""
        before = self.good(machine)
        await until(lambda: self.good(machine) >= before + more, f"{machine} is read on", 60.0)

    def good(self, machine: str) -> int:
        return len([row for row in self.stored(machine) if row.quality == "good"])

    @staticmethod
    async def stop(process: asyncio.subprocess.Process) -> float:
        """Stop a process in order; returns the seconds that took."""
        began = time.monotonic()
        process.terminate()
        async with asyncio.timeout(60):
            await process.wait()
        return time.monotonic() - began


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    mosquitto = await Mosquitto.start(tmp_path)
    made = Box(tmp_path, mosquitto.url)
    yield made
    for process in made.processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("fault", ["read:IndexError", "read:Cancelled", "connect:TypeError"])
async def test_a_fault_of_one_driver_costs_its_device_alone(box: Box, fault: str):
    """Its points are bad with a reason of their own, and the others know nothing of it."""
    gateway = await box.run("odd://fine", f"odd://{fault}")
    await until(
        lambda: {row.reason for row in box.stored("m1") if row.quality == "bad"} == {"driver_fault"},
        "the points of the faulty driver are bad",
        60.0,
    )
    await box.read_on("m0")
    if fault.startswith("read"):
        await box.read_on("m1")
    assert await box.stop(gateway) < STOP_SECONDS
    assert gateway.returncode == 0
    assert {row.quality for row in box.stored("m0")} == {"good"}
    [logged] = box.events("driver.fault")
    assert logged["device"] == f"odd://{fault}"
    assert "Traceback" in logged["exception"]
    report = json.loads(box.report.read_bytes())
    assert report["balanced"]
    schedule = report["machines"]["enterprise/site/area/line/m0"]["schedule"]
    most = max(1, 0.05 * schedule["due"])
    assert schedule["missed"] <= most, "a busy machine may miss one, a shared fault costs most"


@pytest.mark.parametrize("fault", ["read:hang", "close:hang", "connect:hang"])
async def test_a_driver_that_never_returns_does_not_hold_up_the_stop(box: Box, fault: str):
    """Five seconds are promised to whatever supervises the service."""
    gateway = await box.run("odd://fine", f"odd://{fault}")
    await box.read_on("m0")
    assert await box.stop(gateway) < STOP_SECONDS + 0.5


async def test_readings_that_waited_while_the_process_was_stopped_are_stale(box: Box):
    """As in a virtual machine that is suspended: the data in sockets are old when they are read."""
    gateway = await box.run("odd://read:slow")
    await box.read_on("m0", 2)
    gateway.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.5)  # stopped in the middle of a scan, since each takes a second
    gateway.send_signal(signal.SIGCONT)
    await box.read_on("m0", 2)
    doubtful = [row for row in box.stored("m0") if row.quality == "uncertain"]
    assert {row.reason for row in doubtful} == {"stale"}
    assert 1 <= len(doubtful) <= 2
    assert await box.stop(gateway) < STOP_SECONDS


async def test_a_folder_that_is_removed_ends_nothing(box: Box):
    """Everything beside the spool's open database is lost, and the machines are read on."""
    gateway = await box.run("odd://fine")
    await box.read_on("m0")
    for file in box.spool.iterdir():
        if ".spool.db" not in file.name:
            file.unlink()
    await box.read_on("m0")
    shutil.rmtree(box.spool)
    gateway.send_signal(signal.SIGHUP)
    await box.read_on("m0")
    assert gateway.returncode is None
    await box.stop(gateway)


async def test_a_report_that_can_not_be_written_is_an_error_at_once(box: Box):
    """And not after the hours that it is about."""
    config = str(box.configure("odd://fine"))
    process = await box.start("run", config, "--report", str(box.folder / "nowhere" / "report.json"))
    async with asyncio.timeout(60):
        assert await process.wait() == 2
    assert "nowhere does not exist" in box.log.read_text()


async def test_a_report_that_can_not_be_written_any_more_is_an_error_at_the_end(box: Box):
    """The gateway has done its work all the same; its exit code says what is missing."""
    (box.folder / "reports").mkdir()
    box.report = box.folder / "reports" / "report.json"
    gateway = await box.run("odd://fine")
    await box.read_on("m0")
    (box.folder / "reports").rmdir()
    assert await box.stop(gateway) < STOP_SECONDS
    assert gateway.returncode == 4
    assert "report.json can't be written: No such file or directory" in box.log.read_text()


async def test_a_process_that_may_open_no_more_files_reads_on(box: Box):
    """A leak, or a limit of the service manager: heartbeat, reload and outcome fail, and nothing else."""
    gateway = await box.run("odd://fine")
    await box.read_on("m0")
    limits = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    gateway.send_signal(signal.SIGHUP)
    await until(lambda: box.events("configuration.refused"), "the configuration can't be read", 60.0)
    (box.spool / "edge-01.alive").unlink()
    await until(lambda: box.events("helper.failed"), "the heartbeat can't be written", 60.0)
    await box.read_on("m0", 30)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, limits)
    await until(lambda: box.events("helper.recovered"), "the heartbeat is written again", 60.0)
    assert await box.stop(gateway) < STOP_SECONDS
    assert gateway.returncode == 0
