"""Derived points from a machine to the store: over kills of the gateway, an outage of the broker, and a reload.

The machine counts how often it was read, so each derived reading that should exist is known from those of the count.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import yaml
from chaos.machines import Machines
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from pathlib import Path

    from stored import Row

SECONDS = 60.0

DERIVE = {
    "double": {"expression": "count * 2"},
    "step": {"expression": "difference(count)"},
    "total": {"expression": "total(count % 50, 50)"},
    "odd": {"expression": "edges(count % 2 == 1)"},
    "even": {"expression": "count % 2 == 0", "description": "An even count"},
}


class Plant:
    """One machine, a gateway and ingest."""

    def __init__(self, folder: Path, broker: Mosquitto, machines: Machines) -> None:
        self.folder, self.broker, self.machines = folder, broker, machines
        self.database, self.config = folder / "readings.db", folder / "factory.yaml"
        (folder / "machines").mkdir()

    def write(self, derive: dict[str, Any]) -> None:
        points = {
            "count": {"address": "holding 0", "raw": "uint32", "every": "200ms"},
            "third": {"address": "holding 4", "raw": "float64", "every": "200ms"},
        }
        template = {"format": 1, "protocol": "modbus", "points": points, "derive": derive}
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        url = f"modbus+tcp://127.0.0.1:{self.machines.port}?timeout=20&unit=1"
        write_factory(
            self.config,
            gateway={"id": "edge-01", "spool": {"folder": str(self.folder / "spool")}},
            broker={"url": self.broker.url},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": {"m-01": {"template": "counter", "connection": url}}}},
        )

    def rows(self, point: str) -> list[Row]:
        return sorted(rows(self.database, "m-01", point), key=lambda row: row.time)

    async def more(self, point: str, number: int = 5) -> None:
        """Wait until so many more readings of a point are stored."""
        before = len(self.rows(point)) if self.database.exists() else 0
        await until(lambda: len(self.rows(point)) >= before + number, f"readings of {point}", SECONDS)


def by_time(found: list[Row]) -> dict[int, Any]:
    return {row.time: row.value for row in found}


async def test_derived_readings_go_on_after_kills_as_if_nothing_had_happened(tmp_path: Path):
    """Each stored count has its derived readings, and sums over them have no gap and nothing twice."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        plant = Plant(tmp_path, broker, machines)
        plant.write(DERIVE)
        ingest = await Lineside.start("ingest", plant.config)
        gateway = await Lineside.start("run", plant.config, "--report", str(tmp_path / "run.json"))
        await plant.more("step")
        gateway.kill()
        gateway.launch()
        await plant.more("step")
        broker.kill()  # the line to the centre is cut: readings that are derived meanwhile are stored later
        await asyncio.sleep(1.0)
        gateway.kill()
        gateway.launch()
        await asyncio.sleep(1.0)
        await broker.restart()
        await plant.more("step")
        await gateway.stop()
        await ingest.stop()
    counts = by_time(plant.rows("count"))
    found = {name: by_time(plant.rows(name)) for name in DERIVE}
    assert found["double"] == {time: 2 * count for time, count in counts.items()}
    assert found["even"] == {time: count % 2 == 0 for time, count in counts.items()}
    first = min(counts)
    assert found["step"].keys() == counts.keys() - {first}
    assert counts[first] + sum(found["step"].values()) == counts[max(counts)]
    for (before, at), (now, then) in pairwise(sorted(counts.items())):
        assert found["step"][now] == then - at
        assert found["total"][now] - found["total"][before] == then - at
    assert 0 <= found["odd"][max(counts)] <= len(counts)
    assert list(found["odd"].values()) == sorted(found["odd"].values())
    ledger = report(tmp_path / "run.json")
    assert ledger["balanced"]
    assert ledger["never_good"] == []
    shown = await lineside("query", str(plant.config), "*/double", "--last", "1h")
    assert str(2 * counts[first]) in shown.text


async def test_a_reload_changes_derived_points_and_keeps_other_states(tmp_path: Path):
    """An expression that changed begins again, and says so; a point that is new is described before its readings."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        plant = Plant(tmp_path, broker, machines)
        plant.write({})
        ingest = await Lineside.start("ingest", plant.config)
        gateway = await Lineside.start("run", plant.config)
        await plant.more("count")
        plant.write({"step": DERIVE["step"], "odd": DERIVE["odd"]})
        assert (await lineside("reload", str(plant.config))).code == 0
        await plant.more("odd")
        plant.write({"step": DERIVE["step"], "odd": {"expression": "edges(count % 2 == 1 && count > 0)"}})
        assert (await lineside("reload", str(plant.config))).code == 0
        event = await gateway.logged("calculation.state_reset")
        await plant.more("step")
        plant.write({"step": DERIVE["step"]})
        assert (await lineside("reload", str(plant.config))).code == 0
        last = max(by_time(plant.rows("odd")), default=0)
        await plant.more("step")
        await gateway.stop()
        await ingest.stop()
    assert event["parts"] == ["odd"]
    counts, steps = by_time(plant.rows("count")), by_time(plant.rows("step"))
    some = sorted(time for time in counts if time >= min(steps))
    assert sum(steps[time] for time in some[1:]) == counts[some[-1]] - counts[some[0]]
    assert max(by_time(plant.rows("odd"))) <= max(last, some[-1])
    assert {row.unit for row in plant.rows("step")} == {""}
