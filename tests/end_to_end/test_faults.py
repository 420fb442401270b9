"""Faults of a plant, each with real processes, a real broker and real machines' protocols.

The machine counts tenths of a second, so every reading that should exist is known.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from processes import Lineside, free_port, until, write_factory
from servers import Influxd, Mosquitto
from stored import readings_of, report, rows, spooled

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """
format: 1
protocol: modbus
defaults: {every: 100ms}
points:
  count: {address: input 0}
  level: {address: holding 0, raw: float32, unit: Cel, range: [0, 100]}
  running: {address: coil 0}
  badge: {address: holding 2, raw: string, length: 8, on_change: true}
"""


class Plant:
    """A factory of one machine, in a folder, with its processes."""

    def __init__(self, folder: Path, broker: str, **sections: Any) -> None:
        self.folder = folder
        self.database = folder / "readings.db"
        self.spool = folder / "spool"
        (folder / "machines").mkdir(exist_ok=True)
        (folder / "machines" / "counter.yaml").write_text(TEMPLATE)
        # a late answer of a busy machine is not what any of this is about
        connection = f"modbus+tcp://127.0.0.1:{free_port()}?unit=1&timeout=10"
        usual: dict[str, Any] = {
            "gateway": {"id": "edge-01", "spool": {"folder": str(self.spool)}},
            "broker": {"url": broker},
            "ingest": {"folder": str(folder)},
            "stores": [{"sqlite": {"path": str(self.database)}}],
            "lines": {
                "line": {"area": "area", "machines": {"m-01": {"template": "counter", "connection": connection}}}
            },
        }
        self.config = write_factory(folder / "factory.yaml", **(usual | sections))

    async def start(self, command: str, *arguments: str) -> Lineside:
        return await Lineside.start(command, self.config, *arguments)

    async def simulate(self) -> Lineside:
        """Serve the machine, and wait until it is served: a gateway that starts now finds it."""
        simulator = await self.start("simulate")
        await simulator.logged("simulation.started")
        return simulator

    async def run(self) -> Lineside:
        return await self.start("run", "--report", str(self.folder / "run.json"))

    def stored(self, point: str = "count") -> list[Any]:
        return rows(self.database, point=point)

    async def stored_good(self, count: int, since: int = 0) -> None:
        """Wait until so many good counts that were acquired after `since` are stored."""
        await until(
            lambda: sum(row.quality == "good" and row.time > since for row in self.stored()) >= count,
            f"{count} stored readings",
        )

    def report(self) -> dict[str, Any]:
        """Return the gateway's closing report, after the checks that every report must pass."""
        closing = report(self.folder / "run.json")
        ledger, schedule = closing["ledger"], closing["schedule"]
        dropped = sum(ledger["dropped"].values())
        assert ledger["acquired"] == ledger["unchanged"] + dropped + ledger["pending"] + ledger["confirmed"]
        assert closing["balanced"]
        assert schedule["due"] == schedule["taken"] + schedule["missed"]
        return closing


def now() -> int:
    return time.time_ns() // 1000


async def test_all_processes_stop_within_five_seconds_and_lose_nothing(tmp_path: Path):
    """An update of the box is a SIGTERM: acquired readings must be stored or on disk, and counted."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    simulator, ingest, gateway = await plant.simulate(), await plant.start("ingest"), await plant.run()
    await plant.stored_good(10)
    for process in (gateway, ingest, simulator):
        assert await process.stop(5.0) == 0
    closing = plant.report()
    assert closing["ledger"]["pending"] == 0
    assert closing["ledger"]["confirmed"] == len(rows(plant.database))
    assert closing["never_good"] == []
    assert closing["drivers"]["connects"] == 1
    assert closing["drivers"]["requests"] >= closing["schedule"]["taken"]
    assert closing["drivers"]["discarded_answers"] == closing["drivers"]["timeouts"] == 0


async def test_a_port_that_is_in_use_ends_the_simulator_with_its_name(tmp_path: Path):
    """A user who starts two simulators of one configuration must see which port is in use."""
    plant = Plant(tmp_path, "mqtt://127.0.0.1:1")
    port = int(plant.config.read_text().split("127.0.0.1:")[-1].split("?")[0])
    with socket.create_server(("127.0.0.1", port)):
        simulator = await plant.start("simulate")
        assert await simulator.ended() == 1
    assert f"port {port} of 127.0.0.1 is in use" in simulator.last_words()


async def test_a_machine_that_is_not_there_at_start_is_read_when_it_appears(tmp_path: Path):
    """Boxes boot faster than machines; nobody will restart the gateway for that."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.start("ingest")
    gateway = await plant.run()
    await gateway.logged("driver.not_connected")
    await until(plant.stored, "the outage is stored")
    await plant.simulate()
    await gateway.logged("machine.online")
    await plant.stored_good(5)
    first = plant.stored()[0]
    assert (first.value, first.quality, first.reason) == (None, "bad", "not_connected")
    await gateway.stop()
    assert plant.report()["schedule"]["missed"] > 0


async def test_a_machine_that_dies_is_reported_once_and_read_again_when_it_returns(tmp_path: Path):
    """The gap must be seen in the store: not filled with old values, and not flooded with bad readings."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.start("ingest")
    simulator, gateway = await plant.simulate(), await plant.run()
    await plant.stored_good(5)
    simulator.kill()
    await gateway.logged("machine.offline")
    died = now()
    await until(lambda: plant.stored()[-1].quality == "bad", "the outage is stored")
    simulator.launch()
    await gateway.logged("machine.online", times=2)
    await plant.stored_good(5, since=died)
    await gateway.stop()
    outage = [row for row in plant.stored() if row.quality == "bad"]
    assert [row.reason for row in outage] == ["not_connected"]
    assert len(gateway.events("driver.not_connected")) == 1
    closing = plant.report()
    assert closing["schedule"]["missed"] > 0
    assert closing["ledger"]["pending"] == 0


async def test_readings_acquired_before_the_broker_was_there_arrive_with_their_times(tmp_path: Path):
    """The broker is often another team's machine: its absence may cost nothing but time."""
    mosquitto = Mosquitto(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    simulator, ingest, gateway = await plant.simulate(), await plant.start("ingest"), await plant.run()
    await gateway.logged("machine.online")
    await gateway.logged("mqtt.not_connected")
    await until(lambda: plant.spool.exists() and len(spooled_now(plant)) >= 10, "ten records in the spool")
    came = now()
    await mosquitto.up()
    await plant.stored_good(10, since=came)
    await until(lambda: sum(row.time < came for row in plant.stored()) >= 10, "the backlog, behind fresh readings")
    for process in (gateway, ingest, simulator):
        await process.stop()
    assert_every_slot_is_there(plant)


async def test_readings_of_a_broker_outage_arrive_once_each(tmp_path: Path):
    """Mosquitto forgets everything when it is killed; the spool does not."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.simulate()
    await plant.start("ingest")
    gateway = await plant.run()
    await plant.stored_good(5)
    mosquitto.kill()
    await gateway.logged("mqtt.not_connected")
    lost = now()
    await until(lambda: len(acquired_after(lost, spooled_now(plant))) >= 10, "ten records in the spool")
    await mosquitto.restart()
    back = now()
    await plant.stored_good(10, since=back)
    await until(
        lambda: [row for row in plant.stored() if lost < row.time < back], "the backlog, behind fresh readings"
    )
    await gateway.stop()
    assert_every_slot_is_there(plant)


async def test_a_store_that_is_away_holds_ingest_back_and_loses_nothing(tmp_path: Path):
    """To acknowledge records that are not stored is the classic way to lose a shift."""
    mosquitto = await Mosquitto.start(tmp_path)
    influxd = Influxd(tmp_path)
    plant = Plant(tmp_path, mosquitto.url, stores=[influxd.store("plant")])
    await plant.simulate()
    ingest, gateway = await plant.start("ingest"), await plant.run()
    await ingest.logged("store.unavailable")
    await until(lambda: len(spooled_now(plant)) >= 20, "twenty records in the spool")
    came = now()
    await influxd.up()
    influxd.create("plant")
    query = "select count(count) from counter"
    await until(lambda: influxd.query("plant", f"{query} where time > {came}u"), "fresh readings in the store")
    await gateway.stop()
    closing = plant.report()
    assert closing["ledger"]["pending"] == 0
    [row] = influxd.query("plant", query)
    assert row["count"] == closing["schedule"]["taken"]


async def test_a_gateway_killed_while_the_broker_was_away_sends_its_spooled_records(tmp_path: Path):
    """A power cut during an outage is the worst hour of an edge box; durable records must arrive, once."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.simulate()
    await plant.start("ingest")
    gateway = await plant.run()
    await plant.stored_good(3)
    mosquitto.kill()
    await gateway.logged("mqtt.not_connected")
    await until(lambda: len(spooled_now(plant)) >= 15, "records in the spool")
    gateway.kill()
    durable = readings_of(spooled(plant.spool))
    assert durable
    await mosquitto.restart()
    gateway.launch()
    await plant.stored_good(5, since=now())
    await gateway.stop()
    found = [(row.point, row.time) for row in rows(plant.database)]
    assert durable <= set(found)
    assert len(found) == len(set(found))
    assert plant.report()["ledger"]["pending"] == 0
    assert plant.report()["ledger"]["confirmed"] == len(found)


async def test_messages_that_are_not_records_are_set_aside_and_do_not_stop_the_flow(tmp_path: Path):
    """More of them than a broker sends at once: a poison message must not hold a place permanently."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.simulate()
    await plant.start("ingest", "--report", str(tmp_path / "ingest.json"))
    gateway = await plant.run()
    await plant.stored_good(3)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for number in range(60):
            topic = "lineside/v1/enterprise/site/area/line/m-01/data"
            await client.publish(topic, f"poison {number}", qos=1)
    await plant.stored_good(5, since=now())
    letters = (tmp_path / "ingest.dead-letters.jsonl").read_text().splitlines()
    assert len(letters) == 60
    assert "poison 17" in letters[17]
    assert "is not JSON" in letters[17]
    await gateway.stop()
    assert plant.report()["ledger"]["pending"] == 0


async def test_a_second_gateway_on_one_spool_is_refused(tmp_path: Path):
    """Two senders of one spool would send everything twice."""
    plant = Plant(tmp_path, "mqtt://127.0.0.1:1")
    gateway = await plant.run()
    await gateway.logged("gateway.started")
    second = await plant.run()
    assert await second.ended() == 1
    assert "in use by another gateway" in second.last_words()
    assert gateway.running


@pytest.mark.parametrize("style", ["text", "json"])
async def test_tail_and_query_show_readings_with_unit_and_quality(tmp_path: Path, style: str):
    """The first thing that anybody does with a new line is to look."""
    mosquitto = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, mosquitto.url)
    await plant.simulate()
    await plant.start("ingest")
    await plant.run()
    tail = Lineside("tail", plant.config)
    tail.arguments = ["tail", "m-01/level", "-c", str(plant.config), "--format", style, "--count", "3"]
    tail.launch()
    assert await tail.ended() == 0
    lines = [line for line in tail.last_words().splitlines() if "m-01" in line]
    assert len(lines) == 3
    assert all("Cel" in line and "good" in line for line in lines)
    await plant.stored_good(3)
    query = Lineside("query", plant.config)
    query.arguments = ["query", "level", "-c", str(plant.config), "--format", style, "--last", "1m"]
    query.launch()
    assert await query.ended() == 0
    assert len([line for line in query.last_words().splitlines() if "Cel" in line]) >= 3


def spooled_now(plant: Plant) -> list[dict[str, Any]]:
    """Return the records that wait in a running gateway's spool, none where there is no spool yet."""
    return spooled(plant.spool) if list(plant.spool.glob("*.spool.db")) else []


def acquired_after(moment: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records whose readings were acquired after a moment."""
    return [record for record in records if record["scans"][0]["t"] > moment]


def assert_every_slot_is_there(plant: Plant) -> None:
    """Every scan that the gateway acquired must be stored, once: it counted them, and so does the store."""
    closing = plant.report()
    good = [row.time for row in plant.stored() if row.quality == "good"]
    assert closing["ledger"]["pending"] == 0
    assert closing["ledger"]["confirmed"] == len(rows(plant.database))
    assert len(good) == len(set(good)) == closing["schedule"]["taken"]
