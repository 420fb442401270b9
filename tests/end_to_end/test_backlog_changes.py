"""A backlog that outlives the configuration that it was made with: it is delivered all the same, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from chaos.machines import Machines
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 90.0
UNITS = ["bar", "kPa", "Pa", "mbar", "hPa", "V", "A", "W"]


def write(folder: Path, machines: Machines, broker: dict[str, Any], unit: str = "bar", **gateway: Any) -> Path:
    template = {
        "format": 1,
        "protocol": "modbus",
        "defaults": {"every": "100ms"},
        "points": {
            "count": {"address": "holding 0", "raw": "uint32"},
            "third": {"address": "holding 4", "raw": "float64", "unit": unit},
        },
    }
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
    # an answer that comes too late for a busy gateway would not be stored
    connection = f"modbus+tcp://{LOOPBACK}:{machines.port}?timeout=20&unit=1"
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}} | gateway,
        broker=broker,
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": {"template": "counter", "connection": connection}}}},
    )


def counts(folder: Path) -> list[int]:
    return [row.value for row in rows(folder / "readings.db", "m-01", "count") if row.value is not None]


async def all_is_stored(folder: Path, machines: Machines, gateway: Lineside) -> None:
    """Stop the gateway when ingest has caught up, and compare with the answers of the machine."""
    waiting = len(machines.served[1])
    await until(lambda: len(counts(folder)) > waiting, "the backlog, and fresh readings, are stored", SECONDS)
    machines.switch_off()  # a stop delivers for a few seconds only, in which a busy machine would not keep up
    await until(lambda: len(counts(folder)) >= len(machines.served[1]), "every answer is stored", SECONDS)
    assert await gateway.stop() == 0
    closing = report(folder / "run.json")
    assert closing["balanced"]
    assert closing["ledger"]["pending"] == 0
    assert counts(folder) == list(range(len(machines.served[1]))), "each answer once"


@pytest.mark.parametrize("order", ["fresh", "strict"])
async def test_a_box_that_was_commissioned_before_its_server_existed_loses_no_description(tmp_path: Path, order: str):
    """Seven changes of a unit before ingest first starts: once, records of the three oldest units were stuck."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        config = write(tmp_path, machines, {"url": mosquitto.url}, order=order)
        gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
        for unit in UNITS:
            if unit != UNITS[0]:
                write(tmp_path, machines, {"url": mosquitto.url}, unit, order=order)
                result = await lineside("reload", str(config))
                assert result.code == 0, result.error
            had = len(machines.served[1])
            await until(lambda had=had: len(machines.served[1]) > had + 3, "readings", SECONDS)
        await Lineside.start("ingest", config)
        await all_is_stored(tmp_path, machines, gateway)
        units = [row.unit for row in rows(tmp_path / "readings.db", "m-01", "third")]
        assert list(dict.fromkeys(units)) == UNITS


@pytest.mark.parametrize("order", ["fresh", "strict"])
async def test_a_changed_root_delivers_the_backlog_and_fresh_readings(tmp_path: Path, order: str):
    """The broker's answer "no subscribers" for the old topics used to stop everything."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        config = write(tmp_path, machines, {"url": mosquitto.url}, order=order)
        gateway = await Lineside.start("run", config)
        await until(lambda: len(machines.served[1]) > 20, "readings", SECONDS)
        assert await gateway.stop() == 0
        write(tmp_path, machines, {"url": mosquitto.url, "root": "plant/v1"}, order=order)
        gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
        await Lineside.start("ingest", config)
        await all_is_stored(tmp_path, machines, gateway)
