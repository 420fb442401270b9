"""A gateway whose wall clock is set while it runs: a box without a battery, a wrong time server, an operator.

libfaketime shows the process another time, out of a file that is read at each look; its monotonic clock is true.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chaos.machines import TEMPLATE, Machines
from processes import LOOPBACK, Lineside, need, until, write_factory
from servers import Mosquitto
from stored import report, rows

from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from stored import Row

HOUR = 3600
YEAR_1971 = 31_536_000_000_000
"""Microseconds since the epoch."""

PERIOD = 0.1
"""Seconds between two scans."""

LIBRARIES = ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1")


class WallClock:
    """The clock that a process sees, which is off by some seconds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.off = 0
        need("faketime")
        library = next(found for pattern in LIBRARIES for found in Path("/usr/lib").glob(pattern))
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # with it a thread spins while another has the interpreter
        }

    def set(self, off: int) -> None:
        """Set it so many seconds beside the true time, between one look and the next."""
        self.off = off
        new = self._file.with_suffix(".new")
        new.write_text(f"{off:+d}s\n")
        new.replace(self._file)

    def now(self) -> int:
        """Return its time, in microseconds."""
        return time.time_ns() // 1000 + self.off * 1_000_000


class Box:
    """A machine that is read ten times a second, a gateway with a clock of its own, and what is stored."""

    def __init__(self, folder: Path, machines: Machines, broker: str) -> None:
        self.clock = WallClock(folder / "clock")
        self.machines = machines
        self.database = folder / "readings.db"
        self.report = folder / "run.json"
        (folder / "machines").mkdir()
        (folder / "machines" / "counter.yaml").write_text(TEMPLATE)
        connection = f"modbus+tcp://{LOOPBACK}:{machines.port}?unit=1&timeout=30"
        self.config = write_factory(
            folder / "factory.yaml",
            gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
            broker={"url": broker},
            ingest={"folder": str(folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={
                "line": {"area": "area", "machines": {"unit-1": {"template": "counter", "connection": connection}}}
            },
        )

    async def start(self) -> Lineside:
        await Lineside.start("ingest", self.config)
        return await Lineside.start(
            "run", self.config, "--report", str(self.report), environment=self.clock.environment
        )

    def stored(self) -> list[Row]:
        """Return the counts that are stored, in the order of their times."""
        return rows(self.database, point="count")

    def prune(self) -> None:
        """Remove readings that are too old from the store, as ingest does every minute."""
        with SqliteStore(SqliteSettings(path=self.database)) as store:
            store.prune()

    async def read_on(self, answers: int = 10) -> list[Row]:
        """Wait until so many answers that come from now on are stored; returns those."""
        first = len(self.machines.served[1]) + 1  # one may be under way, and stamped before

        def look() -> list[Row]:
            found = [row for row in self.stored() if row.value >= first]
            return found if len(found) >= answers else []

        return await until(look, f"{answers} readings", 60.0)


def trusted(found: list[Row]) -> bool:
    """Whether no time is doubted; a busy machine may have paused, and libfaketime moves all clocks but one."""
    return {row.reason for row in found} <= {None, "stale"}


async def test_a_clock_that_is_set_neither_stops_the_schedule_nor_stays_wrong(tmp_path: Path):
    """An hour back must not cost an hour, an hour forward no 36,000 missed scans, and what is doubtful is marked."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        box = Box(tmp_path, machines, mosquitto.url)
        box.clock.set(60 - int(time.time()))  # it boots in 1970
        gateway = await box.start()

        before = await box.read_on()
        assert {(row.quality, row.reason) for row in before} == {("uncertain", "clock")}
        assert all(row.time < YEAR_1971 for row in before)

        box.clock.set(8 * HOUR)  # the hardware clock runs in local time, and is read as UTC
        ahead = await box.read_on()
        assert trusted(ahead), "nobody can know"

        box.clock.set(0)  # the network is there
        right = await box.read_on()
        assert trusted(right)
        assert all(abs(row.time - box.clock.now()) < 60e6 for row in right), "at once, and without a restart"

        box.clock.set(-2)
        again = await box.read_on(10 + round(2 / PERIOD))
        assert all(abs(row.time - box.clock.now()) < 60e6 for row in again)
        doubtful = [row.value for row in again if (row.quality, row.reason) == ("uncertain", "clock")]
        assert doubtful, "these times were used"
        assert trusted(again[-1:])

        box.clock.set(HOUR)
        forward = await box.read_on()
        assert trusted(forward)
        assert all(abs(row.time - box.clock.now()) < 60e6 for row in forward)

        await gateway.stop(30.0)
        closing = report(box.report)
        box.prune()
        stored = box.stored()
        assert sorted(row.value for row in stored) == list(range(len(stored)))
        assert len({row.time for row in stored}) == len(stored)
        assert len(stored) == len(machines.served[1]) == closing["schedule"]["taken"]
        assert closing["schedule"]["due"] <= closing["seconds"] / PERIOD + 1, "it runs by the monotonic clock"
        assert closing["ledger"]["pending"] == 0
        assert closing["clock"]["steps"] == 4
    sizes = [event["seconds"] for event in gateway.events("clock.stepped")]
    assert sizes[1:] == pytest.approx([-8 * HOUR, -2, HOUR + 2], abs=0.1)
