"""A store compared with the truth, reading by reading: from simulated machines through all of Lineside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processes import Lineside, until, write_factory
from servers import Mosquitto
from simulated import simulated
from stored import rows

from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from stored import Row

PRESS = "modbus+tcp://10.20.1.11:502?unit="
DRUM = "opc.tcp://10.20.2.21:4840?security=none&namespace=urn:test:tbm-01"


async def test_every_stored_value_was_shown_at_its_time(tmp_path: Path):
    """Nothing is invented, swapped or late: also while a sensor is broken, and a value is stuck."""
    mosquitto = await Mosquitto.start(tmp_path)
    database, truth_file = tmp_path / "readings.db", tmp_path / "truth.jsonl"
    machines = {
        "press-01": {"template": "curing-press", "connection": f"{PRESS}1"},
        "press-02": {"template": "curing-press", "connection": f"{PRESS}2"},
        "tbm-01": {"template": "tire-building-machine", "connection": DRUM},
    }
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path)},
        stores=[{"sqlite": {"path": str(database)}}],
        lines={"line": {"area": "area", "machines": machines}},
    )
    faults = ("press-01.clamp_force:sensor_break@1s", "press-02.mould_position:stuck@1s")
    async with simulated(tmp_path, config, truth=truth_file, faults=faults) as factory:
        ingest = await Lineside.start("ingest", factory.file)
        gateway = await Lineside.start("run", factory.file)

        def enough() -> bool:
            found = rows(database)
            each = [sum(row.machine == name for row in found) for name in machines]
            return min(each) > 100 and len({row.time // 1_000_000 for row in found}) > 5

        await until(enough, "readings of some seconds are stored", 60)
        assert await gateway.stop() == 0
        assert await ingest.stop() == 0
    compare(truth_file, rows(database), set(machines))


def compare(file: Path, found: list[Row], machines: set[str]) -> None:
    truth = Truth(file)
    good = [row for row in found if row.quality == "good"]
    assert len(good) > 250
    assert {row.machine for row in good} == machines
    wrong = []
    for row in good:
        held = truth.held(f"area/line/{row.machine}", row.point, row.time - 1_500_000, row.time + 1_500_000)
        # the embedded store keeps booleans as 0 and 1
        alike = [int(one) if isinstance(one, bool) else one for one in held]
        if not any(one is not None and _same(one, row.value) for one in alike):
            wrong.append((row, held))
    assert wrong == []
    broken = [row for row in found if row.machine == "press-01" and row.point == "clamp_force"]
    assert any(row.quality == "bad" and row.value is None for row in broken)


def _same(truth: float | str, value: float | str) -> bool:
    if isinstance(truth, str) or isinstance(value, str):
        return truth == value
    return abs(truth - value) <= 1e-9 * max(1.0, abs(truth))
