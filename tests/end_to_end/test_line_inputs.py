"""Derived points with inputs of another machine of the line, from two machines to the store.

Each machine counts how often it was read, so what each derived reading should be is known from those of the counts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from chaos.machines import Machines
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from pathlib import Path

    from stored import Row

SECONDS = 60.0

TOGETHER = 5_000
"""Microseconds within which two scans may reach the calculation in another order than that of their times."""

DERIVE = {
    "ahead": {"expression": 'count - line["m-02"].count'},
    "total": {"expression": 'total(line["m-02"].count % 50, 50)'},
    "same": {"expression": 'line["m-02"].double - line["m-02"].count * 2'},
}


class Line:
    """Two machines at two connections, a gateway and ingest."""

    def __init__(self, folder: Path, broker: Mosquitto, machines: tuple[Machines, Machines], workers: int) -> None:
        self.folder, self.broker, self.machines, self.workers = folder, broker, machines, workers
        self.database, self.config = folder / "readings.db", folder / "factory.yaml"
        (folder / "machines").mkdir()

    def write(self, derive: dict[str, Any], **second: Any) -> None:
        points = {
            "count": {"address": "holding 0", "raw": "uint32", "every": "100ms"},
            "third": {"address": "holding 4", "raw": "float64", "every": "100ms"},
        }
        template = {"format": 1, "protocol": "modbus", "points": points}
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        urls = [f"modbus+tcp://127.0.0.1:{one.port}?timeout=20&unit=1" for one in self.machines]
        first = {"template": "counter", "connection": urls[0], "derive": derive}
        other = {"template": "counter", "connection": urls[1], "derive": {"double": {"expression": "count * 2"}}}
        write_factory(
            self.config,
            gateway={"id": "edge-01", "workers": self.workers, "spool": {"folder": str(self.folder / "spool")}},
            broker={"url": self.broker.url},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": {"m-01": first, "m-02": other | second}}},
        )

    def rows(self, machine: str, point: str) -> list[Row]:
        return rows(self.database, machine, point)

    async def more(self, point: str, number: int = 5, quality: str = "good") -> None:
        """Wait until so many more readings of a derived point are stored."""

        def stored() -> int:
            return sum(row.quality == quality for row in self.rows("m-01", point))

        before = stored()
        await until(lambda: stored() >= before + number, f"{quality} readings of {point}", SECONDS)

    def candidates(self, machine: str, time: int) -> set[int]:
        """Return the counts of a machine that a reading of this time may have used."""
        found = [(row.time, row.value) for row in self.rows(machine, "count") if row.value is not None]
        latest = [value for at, value in found if at <= time][-1:]
        return {*latest, *(value for at, value in found if abs(at - time) <= TOGETHER)} | {
            before for (_, before), (at, _) in pairwise(found) if abs(at - time) <= TOGETHER
        }


@pytest.mark.parametrize("workers", [1, 2])
async def test_derived_readings_follow_both_machines_over_an_outage_and_a_kill(tmp_path: Path, workers: int):
    """Each is right, none is missing, and sums go on; while a machine is off, its name is in the fault."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as one, Machines(1) as two:
        line = Line(tmp_path, broker, (one, two), workers)
        line.write(DERIVE)
        ingest = await Lineside.start("ingest", line.config)
        gateway = await Lineside.start("run", line.config, "--report", str(tmp_path / "run.json"))
        await line.more("ahead", 10)
        two.switch_off()
        await line.more("ahead", 1, "bad")  # the same fault again is not sent
        shown = await lineside("query", str(line.config), "*/m-01/ahead", "--last", "1h")
        await two.switch_on()
        await line.more("ahead")
        gateway.kill()
        gateway.launch()
        await line.more("total", 10)
        await gateway.stop()
        await ingest.stop()
    assert "m-02.count" in shown.text
    assert {row.reason for row in line.rows("m-01", "ahead") if row.quality == "bad"} == {"bad_input"}
    good = [row for row in line.rows("m-01", "ahead") if row.quality == "good"]
    for row in good:
        first, second = (line.candidates(machine, row.time) for machine in ("m-01", "m-02"))
        assert row.value in {a - b for a in first for b in second}
    assert {row.value for row in line.rows("m-01", "same") if row.quality == "good"} == {0}
    counts = [row for row in line.rows("m-02", "count") if row.quality == "good"]
    totals = [row for row in line.rows("m-01", "total") if row.quality == "good"]
    assert [row.value - totals[0].value for row in totals] == [row.value - counts[0].value for row in counts]
    assert all(abs(total.time - count.time) <= TOGETHER for total, count in zip(totals, counts, strict=True))
    ledger = report(tmp_path / "run.json")
    assert ledger["balanced"]
    assert ledger["never_good"] == []


async def test_a_reload_connects_and_disconnects_machines(tmp_path: Path):
    """States go on while their meaning is the same, also of machines that did not change themselves."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as one, Machines(1) as two:
        line = Line(tmp_path, broker, (one, two), 2)
        line.write({})
        ingest = await Lineside.start("ingest", line.config)
        gateway = await Lineside.start("run", line.config)
        await until(lambda: line.rows("m-01", "count") and line.rows("m-02", "count"), "readings", SECONDS)
        line.write(DERIVE)  # machines of two workers belong together from now on
        assert (await lineside("reload", str(line.config))).code == 0
        await line.more("total")
        line.write(DERIVE, points={"count": {"deadband": 0.5}})
        assert (await lineside("reload", str(line.config))).code == 0
        await line.more("total")
        assert not gateway.events("calculation.state_reset")
        totals = [row.value for row in line.rows("m-01", "total")]
        line.write(DERIVE, points={"count": {"unit": "bar"}})
        assert (await lineside("reload", str(line.config))).code == 1  # `ahead` has two units
        line.write({"total": DERIVE["total"]}, points={"count": {"unit": "bar"}})
        assert (await lineside("reload", str(line.config))).code == 0
        event = await gateway.logged("calculation.state_reset")
        await line.more("total")
        line.write({})
        assert (await lineside("reload", str(line.config))).code == 0
        last = len(line.rows("m-01", "count"))
        await until(lambda: len(line.rows("m-01", "count")) > last + 3, "readings", SECONDS)
        await gateway.stop()
        await ingest.stop()
    assert event["parts"] == ["total"]
    assert totals == sorted(totals)
    units = [row.unit for row in line.rows("m-01", "total")]
    assert set(units) == {"", "bar"}
