"""Run gateway and ingest for hours with outages, and look for growth and losses.

50 machines of 100 points are read every second: 5,000 values/s into SQLite and, if it is installed, InfluxDB. Broker,
ingest, InfluxDB and the machines are killed and started again in turn. Every 5 s memory, file descriptors, threads, the
size of the spool and the lag (the age of the newest stored reading) are sampled. At the end the growth between the
outages is printed with a verdict, and the ledger and the number of stored rows are compared. Exits with 1 if something
grows, is lost or stored twice.

    python benchmarks/soak.py [--for 1h] [--picture docs/pictures/soak.png] [--json FILE]
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from measure.experiments import machines_of, workplace
from measure.lineside import ROOT, Lineside, report, write_factory
from measure.pictures import draw_soak
from measure.plant import ModbusPlant
from measure.processes import Failed, Mosquitto, Process, end_on_sigterm, free_port, raise_file_limit
from measure.results import conditions, number, table
from measure.samples import Outage, Sample, Series

from gateway.common.setting_types import parse_duration
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from measure.processes import Helper

PLANT = ModbusPlant(50, 100)
EVERY = 5.0
"""Seconds between two samples."""

CYCLES = 12
"""Outages in a run, if they are far enough apart."""

NEAREST, FARTHEST = 20.0, 300.0
"""Seconds between the beginnings of two outages: at least, at most."""

DOWN = 0.25
"""The part of that time in which something is down."""

SETTLE = 10.0
"""Seconds after an outage that do not count for the growth: the backlog is drained."""

WARM_UP = 0.15
"""The part of the run at its beginning that does not count for the growth."""

MEGABYTE = 2**20
DRAIN = 60.0
"""Seconds within which the last backlog has to be stored."""


class Influx(Process):
    """InfluxDB 1.x, with its default durability."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.port = free_port()
        own = folder / "influxdb"
        own.mkdir()
        file = own / "influxdb.conf"
        file.write_text(
            f'reporting-disabled = true\nbind-address = "{LOOPBACK}:{free_port()}"\n'
            f'[meta]\ndir = "{own}/meta"\n[data]\ndir = "{own}/data"\nwal-dir = "{own}/wal"\nquery-log-enabled = false\n'
            f'[monitor]\nstore-enabled = false\n[http]\nbind-address = "{LOOPBACK}:{self.port}"\nlog-enabled = false\n'
            '[logging]\nlevel = "warn"\n',
            encoding="utf-8",
        )
        super().__init__("influxd", folder / "influxd.log", [binary, "-config", str(file)])

    def create(self) -> None:
        """Wait until it serves, and create the database."""
        self.wait_for(self._asked, "an answer to a query")

    def _asked(self) -> bool:
        query = urllib.parse.urlencode({"q": "create database soak"}).encode()
        try:
            urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/query", query, timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def section(self) -> dict[str, Any]:
        """Return its entry of the configuration."""
        return {"influxdb": {"url": f"http://{LOOPBACK}:{self.port}", "api": "v1", "database": "soak"}}


class Plant:
    """The processes of the run, each of which can be killed and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.database = folder / "readings.db"
        self._port = free_port()
        self._machines: Helper = stack.enter_context(machines_of(PLANT, self._port))
        stack.callback(lambda: self._machines.__exit__(None, None, None))
        self._broker = stack.enter_context(Mosquitto(folder))
        stores: list[dict[str, Any]] = [{"sqlite": {"path": str(self.database)}}]
        binary = shutil.which("influxd")
        self._influx: Influx | None = None
        if binary is not None:
            self._influx = stack.enter_context(Influx(folder, binary))
            self._influx.create()
            stores.append(self._influx.section())
        sections = {"ingest": {"folder": str(folder)}, "stores": stores}
        self.file = write_factory(folder, PLANT, self._port, self._broker.port, sections)
        self.ingest = Lineside().ingest(folder, self.file)
        stack.callback(self.ingest.stop)
        self.run = Lineside().gateway(folder, self.file)
        stack.callback(self.run.stop)
        self.parts: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "broker": (self._broker.kill, self._broker.start),
            "ingest": (self.ingest.kill, self.ingest.start),
            "machines": (lambda: self._machines.__exit__(None, None, None), self._start_machines),
        }
        if self._influx is not None:
            self.parts["store"] = self._influx.kill, self._influx.start

    def _start_machines(self) -> None:
        self._machines = machines_of(PLANT, self._port).__enter__()

    def spool_bytes(self) -> int:
        """Return the size of the spool's database and its log."""
        return sum(file.stat().st_size for file in (self.folder / "spool").glob("*.spool.db*"))

    def newest(self) -> float | None:
        """Return the time of the newest stored reading, in seconds since the epoch, None if there is none."""
        found = self._ask("select max(time) from samples")
        return None if found is None else found / 1e6

    def rows(self) -> int:
        """Return the number of stored readings."""
        return self._ask("select count(*) from samples") or 0

    def _ask(self, query: str) -> int | None:
        if not self.database.exists():
            return None
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
                return db.execute(query).fetchone()[0]
        except sqlite3.OperationalError:  # ingest is creating it
            return None


class Log:
    """The series of a run, and its outages."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.began = time.monotonic()
        self.outages: list[Outage] = []
        services = {"gateway": plant.run, "ingest": plant.ingest}
        self._services = services
        self.memory = {name: Series(name, "MiB", 2.0) for name in services}
        self.files = {name: Series(name, "file descriptors", 3.0) for name in services}
        self.threads = {name: Series(name, "threads", 3.0) for name in services}
        self.spool = Series("spool", "MiB", None)  # a file of SQLite keeps its size when records are deleted
        self.lag = Series("lag", "s", 1.0)

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.began

    def sample(self) -> None:
        """Add a sample of every quantity whose process runs."""
        now = self.now()
        for name, service in self._services.items():
            if not service.running:
                continue
            try:
                used = service.usage()
            except Failed:  # it was killed meanwhile
                continue
            self.memory[name].samples.append(Sample(now, service.pid, used.memory / MEGABYTE))
            self.files[name].samples.append(Sample(now, service.pid, used.files))
            self.threads[name].samples.append(Sample(now, service.pid, used.threads))
        self.spool.samples.append(Sample(now, 0, self._plant.spool_bytes() / MEGABYTE))
        if (newest := self._plant.newest()) is not None:
            self.lag.samples.append(Sample(now, 0, time.time() - newest))

    def sample_for(self, seconds: float) -> None:
        """Sample every `EVERY` seconds, for a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sample()
            time.sleep(min(EVERY, left))

    def every(self) -> list[tuple[str, Series]]:
        """Return all series with their names."""
        named = [
            (f"{kind} of {name}", series)
            for kind, by_name in (
                ("memory", self.memory),
                ("file descriptors", self.files),
                ("threads", self.threads),
            )
            for name, series in by_name.items()
        ]
        return [*named, ("spool", self.spool), ("lag", self.lag)]


def soak(plant: Plant, seconds: float) -> Log:
    """Run with outages in turn, and return the samples."""
    plant.ingest.wait_for_log("ingest.started")
    plant.run.wait_for_log("gateway.started")
    log = Log(plant)
    period = min(max(seconds / CYCLES, NEAREST), FARTHEST)
    names = list(plant.parts)
    log.sample_for(period)
    while log.now() + period <= seconds:
        name = names[len(log.outages) % len(names)]
        kill, start = plant.parts[name]
        began = log.now()
        kill()
        log.sample_for(period * DOWN)
        start()
        log.outages.append(Outage(name, began, log.now()))
        print(f"{log.now():6.0f} s  {name} was down for {period * DOWN:.0f} s", file=sys.stderr, flush=True)
        log.sample_for(period * (1 - DOWN))
    log.sample_for(max(0.0, seconds - log.now()))
    return log


def settle(plant: Plant) -> None:
    """Wait until fresh readings are stored again, and stop the gateway and ingest in the order of the flow."""
    deadline = time.monotonic() + DRAIN
    while time.monotonic() < deadline:
        newest = plant.newest()
        if newest is not None and time.time() - newest < 2 * PLANT.period:
            break
        time.sleep(0.2)
    time.sleep(SETTLE)  # the backlog has less than the newest readings
    plant.run.stop()
    plant.ingest.stop()


def judged(log: Log, seconds: float) -> tuple[str, list[str]]:
    """Return the table of growth, and the complaints."""
    rows, complaints = [], []
    for name, series in log.every():
        growth = series.growth(log.outages, seconds * WARM_UP, SETTLE)
        if growth is None:
            rows.append([name, series.unit, "-", "-", "-", "-", "too few samples"])
            continue
        verdict = "-" if growth.permitted is None else "flat" if growth.is_flat else "GROWS"
        if not growth.is_flat:
            complaints.append(f"{name} grows by {number(growth.over_run)} {series.unit} over the run")
        figures = (growth.median, growth.per_hour, growth.over_run, growth.permitted)
        rows.append([name, series.unit, *map(number, figures), verdict])
    header = ["quantity", "unit", "median", "growth per hour", "growth in the run", "permitted", "verdict"]
    return table(header, rows), complaints


def balance(plant: Plant) -> tuple[str, list[str]]:
    """Return the ledger and the rows as text, and the complaints."""
    closing_report = report(plant.folder, "run")
    ledger, rows = closing_report["ledger"], plant.rows()
    lost = ledger["acquired"] - ledger["unchanged"] - ledger["pending"] - rows
    complaints = []
    if not closing_report["balanced"]:
        complaints.append("the ledger does not balance")
    if ledger["dropped"]:
        complaints.append(f"readings were dropped: {ledger['dropped']}")
    if lost > 0:
        complaints.append(f"{lost:,} readings are neither stored nor pending")
    if rows > ledger["acquired"]:
        complaints.append(f"{rows - ledger['acquired']:,} readings are stored twice")
    schedule = closing_report["schedule"]
    text = (
        f"acquired {ledger['acquired']:,}, confirmed {ledger['confirmed']:,}, pending {ledger['pending']:,}, "
        f"dropped {sum(ledger['dropped'].values()):,}; rows in SQLite {rows:,}\n"
        f"scans due {schedule['due']:,}, read {schedule['taken']:,}, missed {schedule['missed']:,} "
        "(those due while the machines were down)"
    )
    return text, complaints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="seconds", type=lambda text: float(str(parse_duration(text))), default=3600.0)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "pictures" / "soak.png")
    parser.add_argument("--json", type=Path, help="write the result and all samples to this file")
    options = parser.parse_args()
    raise_file_limit()
    end_on_sigterm()
    where = conditions(ROOT, 1, options.seconds)
    with workplace() as (folder, stack):
        plant = Plant(folder, stack)
        if "store" not in plant.parts:
            print("influxd is not installed, so no store is killed; `make services` installs it", file=sys.stderr)
        log = soak(plant, options.seconds)
        settle(plant)
        growth, complaints = judged(log, options.seconds)
        text, more = balance(plant)
    complaints += more
    verdict = "; ".join(complaints) or "nothing grows, nothing is lost"
    print(
        f"{options.seconds / 60:g} minutes at {PLANT.rate:,.0f} values/s, {len(log.outages)} outages, {where['commit']}\n"
    )
    print(f"{growth}\n\n{text}\n{verdict}")
    panels = {
        "Resident memory, MiB": [*log.memory.values()],
        "File descriptors": [*log.files.values()],
        "Threads": [*log.threads.values()],
        "Spool on disk, MiB": [log.spool],
        "Lag: age of the newest stored reading, s": [log.lag],
    }
    heading = f"{options.seconds / 60:g} minutes at {PLANT.rate:,.0f} values/s with {len(log.outages)} outages"
    draw_soak(panels, log.outages, heading, options.picture)
    print(f"picture: {options.picture}")
    if options.json:
        samples = {name: [(one.time, one.value) for one in series.samples] for name, series in log.every()}
        options.json.write_bytes(
            orjson.dumps(
                where | {"verdict": verdict, "outages": [list(one) for one in log.outages], "samples": samples}
            )
        )
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
