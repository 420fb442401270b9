"""A configuration that changes while the gateway reads: unchanged machines notice nothing of it.

The machines count how often they were read, so every reading that should exist is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml
from chaos.machines import Machines
from opcua_peer import MACHINE, NodeOpcUa
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from processes import Ran

SECONDS = 30.0

MORE = [("Double", "float"), ("Float", "float"), ("Int32", "int"), ("Byte", "int")]
"""Nodes of the OPC UA machine that become points, one after the other, and their types."""


class Plant:
    """Machines, and the files and processes of a gateway that reads them."""

    def __init__(self, folder: Path, machines: Machines, broker: Mosquitto, **gateway: Any) -> None:
        self.folder = folder
        self.machines = machines
        self.database = folder / "readings.db"
        self.config = folder / "factory.yaml"
        self.units = {"m-01": 1, "m-02": 2}
        self.also: dict[str, Any] = {}
        self.every, self.unit, self.broker = "100ms", "Cel", broker.url
        self.gateway = {"id": "edge-01", "spool": {"folder": str(folder / "spool")}} | gateway
        (folder / "machines").mkdir()

    def write(self) -> None:
        """Write the configuration of the gateway."""
        template = {
            "format": 1,
            "protocol": "modbus",
            "defaults": {"every": self.every},
            "points": {
                "count": {"address": "holding 0", "raw": "uint32"},
                "third": {"address": "holding 4", "raw": "float64", "unit": self.unit},
            },
        }
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        # an answer that comes too late for a busy gateway would not be stored
        url = f"modbus+tcp://127.0.0.1:{self.machines.port}?timeout=20&unit="
        machines = {name: {"template": "counter", "connection": f"{url}{unit}"} for name, unit in self.units.items()}
        write_factory(
            self.config,
            gateway=self.gateway,
            broker={"url": self.broker},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": machines | self.also}},
        )

    async def start(self) -> Lineside:
        """Start gateway and ingest, and wait for the first rows."""
        self.write()
        self.ingest = await Lineside.start("ingest", self.config)
        gateway = await Lineside.start("run", self.config, "--report", str(self.folder / "run.json"))
        for machine in self.units:
            await until(lambda machine=machine: self.counts(machine), f"readings of {machine}", SECONDS)
        return gateway

    async def reload(self) -> Ran:
        """Do as a user does."""
        return await lineside("reload", str(self.config))

    def counts(self, machine: str) -> list[int]:
        """Return which answers of a machine are stored."""
        return [row.value for row in rows(self.database, machine, "count") if row.value is not None]

    async def more(self, machine: str, how_many: int = 3) -> None:
        """Wait until so many more answers of a machine are stored."""
        had = len(self.counts(machine))
        await until(lambda: len(self.counts(machine)) >= had + how_many, f"readings of {machine}", SECONDS)


def outcome(plant: Plant) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((plant.folder / "spool" / "edge-01.configuration.json").read_bytes())
    return found


async def retained(broker: Mosquitto, topics: str, enough: Callable[[dict[str, bytes]], bool]) -> dict[str, bytes]:
    """Return the retained messages of topics, once they are enough."""
    found: dict[str, bytes] = {}
    async with asyncio.timeout(SECONDS), aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe(topics, 1)
        async for message in client.messages:
            found[str(message.topic)] = bytes(message.payload)
            if enough(found):
                break
    return found


async def test_machines_come_go_and_move_and_the_others_notice_nothing(tmp_path: Path):
    """All behind one connection, which stays: each answer of an untouched machine is stored once, none missed."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(4) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        plant.every = "2s"  # in which a busy machine answers, too
        gateway = await plant.start()
        plant.units = {"m-01": 1, "m-02": 3, "m-04": 4}
        plant.write()
        result = await plant.reload()
        assert (result.code, result.error) == (0, "")
        assert "1 machines added, 1 machines changed, 0 machines removed" in result.text
        await asyncio.gather(plant.more("m-04", 1), plant.more("m-02", 2))
        old = len(machines.served[2])
        assert plant.counts("m-02")[: old + 2] == [*range(old), 0, 1], "all of the old unit, then of the new unit"
        plant.units = {"m-01": 1}
        plant.write()
        result = await plant.reload()
        assert "0 machines added, 0 machines changed, 2 machines removed" in result.text
        valid = await lineside("validate", str(plant.config))
        assert result.text.strip().endswith(valid.text.split()[-1])
        await plant.more("m-01", 1)
        assert await gateway.stop() == 0
        counts = plant.counts("m-01")
        assert counts == list(range(len(machines.served[1]))), "each answer once, in order"
        assert machines.connects == 1
        closing = report(tmp_path / "run.json")
        assert list(closing["machines"]) == ["enterprise/site/area/line/m-01"]
        [untouched] = closing["machines"].values()
        assert untouched["schedule"]["missed"] == 0
        assert closing["schedule"]["missed"] == 0
        assert closing["schedule"]["due"] > untouched["schedule"]["due"], "removed machines still count"
        assert closing["balanced"]
        assert closing["ledger"]["acquired"] == 2 * sum(len(served) for served in machines.served.values())


async def test_a_wrong_file_is_refused_with_its_errors_and_nothing_changes(tmp_path: Path):
    """The old configuration stays in use, and a later configuration without errors is applied."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(2) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        gateway = await plant.start()
        right = plant.config.read_text()
        before = outcome(plant)["config"]
        wrong = right.replace("template: counter", "template: conuter")
        plant.config.write_text(wrong)
        result = await plant.reload()
        assert result.code == 1
        line = 1 + wrong[: wrong.index("conuter")].count("\n")
        assert f"factory.yaml:{line}:" in result.error
        assert "did you mean 'counter'?" in result.error
        gateway.signal(signal.SIGHUP)
        refused = await gateway.logged("configuration.refused")
        assert f"factory.yaml:{line}:" in refused["problems"][0]
        await plant.more("m-01")
        plant.config.write_text(right.replace("id: edge-01", "id: edge-01\n  max_record: 32KiB"))
        result = await plant.reload()
        assert result.code == 1
        assert "gateway.max_record: can't change while the gateway runs; restart it" in result.error
        assert "factory.yaml:" in result.error
        assert outcome(plant)["config"] == before
        plant.config.write_text(right)
        result = await plant.reload()
        assert (result.code, result.error) == (0, "")
        assert "nothing has changed" in result.text
        assert await gateway.stop() == 0
        assert plant.counts("m-01") == list(range(len(machines.served[1])))


async def test_a_gateway_that_does_not_run_can_not_reload(tmp_path: Path):
    """Also where one ran, and was killed."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(2) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        plant.write()
        for _ in range(2):
            ran = await plant.reload()
            assert ran.code == 3
            assert f"no gateway edge-01 works in {tmp_path / 'spool'}; it is started with: lineside run" in ran.error
            gateway = await Lineside.start("run", plant.config)
            await until((tmp_path / "spool" / "edge-01.configuration.json").exists, "the outcome")
            gateway.kill()


async def test_changed_files_are_applied_automatically_where_that_is_configured(tmp_path: Path):
    """A template counts like the file that names it; readings keep the unit that they were acquired in."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(2) as machines:
        plant = Plant(tmp_path, machines, mosquitto, reload_on_change=True)
        gateway = await plant.start()
        plant.unit = "K"
        plant.write()
        applied = await gateway.logged("configuration.applied", seconds=SECONDS)
        assert (applied["added"], applied["changed"], applied["removed"]) == (0, 2, 0)
        await plant.more("m-02")
        assert await gateway.stop() == 0
        units = [row.unit for row in rows(plant.database, "m-01", "third") if row.value is not None]
        assert set(units) == {"Cel", "K"}
        assert units == sorted(units), "first the old unit, then the new unit"
        assert plant.counts("m-01") == list(range(len(machines.served[1])))


async def test_a_machine_that_is_removed_is_cleared_at_the_broker(tmp_path: Path):
    """Every screen would go on to show it as online; and the gateway publishes which configuration it runs."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(2) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        gateway = await plant.start()
        base = "lineside/v1/enterprise/site"
        gone = [f"{base}/area/line/m-02/{leaf}" for leaf in ("state", "meta")]
        await retained(mosquitto, f"{base}/area/#", lambda found: set(gone) <= found.keys())
        plant.units = {"m-01": 1}
        plant.write()
        assert (await plant.reload()).code == 0
        await gateway.logged("machine.cleared")
        there = await retained(mosquitto, f"{base}/area/#", lambda found: f"{base}/area/line/m-01/state" in found)
        assert not set(gone) & there.keys()
        state = await retained(mosquitto, f"{base}/_gateways/edge-01/state", bool)
        assert json.loads(next(iter(state.values())))["config"] == outcome(plant)["config"]
        config = outcome(plant)["config"].encode()
        await retained(
            mosquitto, f"{base}/_gateways/edge-01/ledger", lambda found: config in next(iter(found.values()))
        )
        assert await gateway.stop() == 0


@pytest.mark.parametrize("comes_back", [False, True])
async def test_another_broker_is_connected_to_and_nothing_is_lost(tmp_path: Path, *, comes_back: bool):
    """Also where the old broker was dead: pending records go to the new broker."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = await Mosquitto.start(tmp_path / "old"), await Mosquitto.start(tmp_path / "new")
    async with Machines(2) as machines:
        plant = Plant(tmp_path, machines, old)
        gateway = await plant.start()
        if not comes_back:
            old.kill()
            await gateway.logged("mqtt.not_connected")
        plant.broker = new.url
        plant.write()
        assert (await plant.reload()).code == 0
        await plant.ingest.restart()
        await plant.more("m-01", 10)
        assert await gateway.stop() == 0
        await until(lambda: len(plant.counts("m-01")) == len(machines.served[1]), "all are stored")
        assert plant.counts("m-01") == list(range(len(machines.served[1])))
        assert len(machines.served[1]) > 10


async def test_one_machine_of_many_changes_and_the_others_miss_no_cycle(tmp_path: Path):
    """Forty units behind one connection, and an OPC UA machine whose points change: one session before and after."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "peer").mkdir()
    peer = await NodeOpcUa.start(tmp_path / "peer")
    async with Machines(40) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        plant.every, plant.units = "2s", {f"m-{unit:02d}": unit for unit in machines.served}
        drum = tmp_path / "machines" / "drum.yaml"
        points = {"setpoint": {"node": "s=Setpoint", "type": "float", "every": "100ms"}}
        plant.also = {"drum": {"template": "drum", "connection": f"{peer.url}?security=none&namespace={MACHINE}"}}
        for round_ in range(4):
            drum.write_text(yaml.safe_dump({"format": 1, "protocol": "opcua", "points": points}))
            if round_ == 0:
                gateway = await plant.start()
            else:
                plant.units["m-40"] = 40 - round_  # which another machine has, too: it is not affected
                plant.write()
                result = await plant.reload()
                assert (result.code, result.error) == (0, "")
                assert "0 machines added, 2 machines changed, 0 machines removed" in result.text
            await until(lambda: {row.point for row in rows(plant.database, "drum")} == points.keys(), "its points")
            await peer.has(sessions=1, items=len(points))
            node, kind = MORE[round_]
            points[node.lower()] = {"node": f"s=Scalar.{node}", "type": kind, "every": "100ms"}
        await plant.more("m-01", 1)
        assert await gateway.stop() == 0
        assert machines.connects == 1
        untouched = {name: unit for name, unit in plant.units.items() if unit < 37}
        closing = report(tmp_path / "run.json")
        for name, unit in untouched.items():
            assert plant.counts(name) == list(range(len(machines.served[unit]))), "each answer once, in order"
            schedule = closing["machines"][f"enterprise/site/area/line/{name}"]["schedule"]
            assert (schedule["missed"], schedule["due"]) == (0, schedule["taken"])
        assert closing["balanced"]


async def test_a_box_that_is_commissioned_before_its_server_exists_loses_no_reading(tmp_path: Path):
    """Its units change more often than a description can list, and all of its readings wait in the spool."""
    units = ["Cel", "K", "bar", "mbar", "Pa", "kPa", "MPa", "V", "A"]
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        plant = Plant(tmp_path, machines, mosquitto)
        plant.units = {"m-01": 1}
        plant.write()
        gateway = await Lineside.start("run", plant.config, "--report", str(tmp_path / "run.json"))
        await gateway.logged("machine.online", seconds=SECONDS)
        for number, plant.unit in enumerate(units[1:], 1):
            served = len(machines.served[1])
            await until(lambda served=served: len(machines.served[1]) > served + 2, "it is read", SECONDS)
            plant.write()
            gateway.signal(signal.SIGHUP)
            await gateway.logged("configuration.applied", number, SECONDS)
        await Lineside.start("ingest", plant.config)
        await until(
            lambda: {row.unit for row in rows(plant.database, "m-01", "third")} == set(units),
            "readings of every description are stored",
            90.0,
        )
        assert await gateway.stop() == 0
        closing = report(tmp_path / "run.json")
        assert closing["balanced"]
        await until(
            lambda: plant.counts("m-01") == list(range(len(machines.served[1]))), "every reading is stored", SECONDS
        )


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_keeps_its_variables_and_values_of_the_command_line(tmp_path: Path, workers: int):
    """One file for all boxes: a reload must not turn a box into another box."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Machines(3) as machines:
        plant = Plant(tmp_path, machines, mosquitto, id="${EDGE:-unset}")
        plant.write()
        values = ["--set", f"gateway.spool.folder={tmp_path / 'other'}", "--set", f"gateway.workers={workers}"]
        environment = {"EDGE": "edge-07"}
        plant.ingest = await Lineside.start("ingest", plant.config)
        gateway = await Lineside.start("run", plant.config, *values, environment=environment)
        saved = tmp_path / "other" / "edge-07.configuration.json"
        await until(saved.exists, "all workers have started", SECONDS)
        await until(lambda: plant.counts("m-01"), "readings of m-01", SECONDS)
        plant.units["m-03"] = 3
        plant.write()
        assert (await plant.reload()).code == 3, "another gateway is meant without its variables and values"
        result = await lineside("reload", str(plant.config), *values, environment=os.environ | environment)
        assert (result.code, result.error) == (0, "")
        assert "1 machines added, 0 machines changed, 0 machines removed" in result.text
        await plant.more("m-03")
        valid = await lineside("validate", str(plant.config), *values, environment=os.environ | environment)
        found = json.loads(saved.read_bytes())
        assert valid.text.strip().endswith(f"configuration {found['config']}")
        assert await gateway.stop() == 0
        assert not (tmp_path / "spool").exists()
