"""`lineside status` and `lineside fleet` beside real services: as they run, change, hang and die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
from fakes.mqtt_broker import FakeBroker
from forked import with_constants
from processes import LOOPBACK, PATIENCE, Lineside, Ran, free_port, lineside, until, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 120.0

REST = 0.5
"""Seconds between two commands that ask: each takes a quarter of a second of a processor."""

OFTEN = with_constants(
    **{
        "gateway.common.status_file.WRITE_EVERY": 0.5,
        "gateway.publish.identity.RETAIN_EVERY": 1.0,
        "gateway.ingest.periodic_report.REPORT_EVERY": 1.0,
    }
)
"""The services report ten times as often as usual: a test waits for a change, not for the next report."""

NOT_AUTHORIZED = 0x87


class Plant:
    """A simulated machine, a broker, a gateway, and an ingest with SQLite."""

    def __init__(self, folder: Path, broker: Mosquitto | FakeBroker, **gateway: Any) -> None:
        self.folder = folder
        self.broker = broker
        self.config = folder / "factory.yaml"
        machine = {"template": "packml-modbus", "connection": f"modbus+tcp://{LOOPBACK}:{free_port()}?timeout=1"}
        write_factory(
            self.config,
            gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}} | gateway,
            broker={"url": broker.url},
            ingest={"folder": str(folder / "ingest")},
            stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
            lines={"line": {"area": "area", "machines": {"m-01": machine}}},
        )

    async def start(self) -> tuple[Lineside, Lineside, Lineside]:
        """Start the machine, the gateway and ingest, and wait for a stored reading."""
        machine = await Lineside.start("simulate", self.config)
        await machine.logged("simulation.started")
        gateway = await Lineside.start("run", self.config, environment=OFTEN)
        ingest = await Lineside.start("ingest", self.config, environment=OFTEN)
        await until(lambda: rows(self.folder / "readings.db", point="state"), "a reading is stored", SECONDS)
        return machine, gateway, ingest

    async def run(self, *command: str) -> Ran:
        return await lineside(*command[:1], str(self.config), *command[1:], folder=self.folder)

    async def status(
        self, code: int, *abouts: str, ready: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """Ask until the status has this exit code, and findings about exactly this; returns it.

        `ready` is the state to wait for: the services write their status from time to time.
        """
        deadline = time.monotonic() + SECONDS
        while True:
            ran = await self.run("status", "--format", "json")
            assert ran.error == ""
            report = json.loads(ran.text)
            found = {finding["about"] for finding in report["findings"]}
            if (ran.code, found) == (code, set(abouts)) and ready(report):
                return report
            assert time.monotonic() < deadline, (ran.code, report["findings"], report["gateway"])
            await asyncio.sleep(REST)


def is_stored(report: dict[str, Any]) -> bool:
    """Return whether the machine is online, its scans are counted, and ingest has written a reading of it."""
    gateway, [ingest] = report["gateway"], report["ingest"]
    counted = (gateway.get("schedule") or {}).get("due")
    return bool(gateway["machines"].get("online") and counted and ingest.get("readings"))


async def test_status_follows_the_services_of_a_box_through_their_lives(tmp_path: Path):
    """A person on the box asks once, and knows what to do; also when nothing else answers."""
    plant = Plant(tmp_path, await Mosquitto.start(tmp_path))
    nothing = await plant.status(3, "gateway")
    assert (nothing["gateway"]["state"], nothing["ledger"], nothing["spools"]) == ("absent", None, [])
    machine, gateway, ingest = await plant.start()

    fine = await plant.status(0, ready=is_stored)
    own = fine["gateway"]
    assert (own["state"], own["pid"], own["machines"]) == ("running", gateway.pid, {"configured": 1, "online": 1})
    assert (own["broker"][0]["connected"], own["clock"]["trusted"], own["workers"]) == (True, True, 1)
    assert own["schedule"]["due"] > 0
    assert fine["configuration"]["running"] == fine["configuration"]["config"]
    assert (fine["ledger"]["balanced"], fine["spools"][0]["damage"]) == (True, "")
    [there] = fine["ingest"]
    assert (there["state"], there["pid"], there["stores"][0]["state"]) == ("running", ingest.pid, "available")
    assert there["readings"] > 0
    assert 0 <= there["lag_ms"] < 60_000
    text = await plant.run("status")
    assert (text.code, text.error) == (0, "")
    assert text.text.endswith("nothing to act on\n")

    with plant.config.open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    changed = await plant.status(1, "configuration")
    assert "lineside reload" in changed["findings"][0]["hint"]
    assert (await plant.run("reload")).code == 0
    await ingest.stop()
    stopped = await plant.status(3, "ingest")
    assert (stopped["ingest"][0]["state"], stopped["gateway"]["state"]) == ("stopped", "running")
    await ingest.restart()
    await plant.status(0)

    machine.kill()
    broken = await plant.status(1, "machines")
    [unwell] = broken["gateway"]["not_online"]
    assert (unwell["state"], unwell["reason"]) == ("offline", "not_connected")
    plant.broker.kill()
    away = await plant.status(1, "machines", "broker", ready=lambda found: found["gateway"]["broker"][0]["error"])
    assert away["gateway"]["broker"][0]["error"]
    ingest.kill()
    gateway.kill()
    long_ago = time.time() - 100
    os.utime(tmp_path / "ingest/ingest.alive", (long_ago, long_ago))  # in place of 15 s of waiting
    dead = await plant.status(3, "gateway", "ingest")
    assert (dead["gateway"]["state"], dead["gateway"]["pid"], dead["gateway"]["version"]) == (
        "dead", None, fine["version"],
    )  # fmt: skip
    assert dead["ledger"]["acquired"] >= fine["ledger"]["acquired"]
    assert dead["gateway"]["since"]
    text = await plant.run("status")
    assert "edge-01 is DEAD, last seen" in text.text


async def test_status_shows_a_gateway_with_workers_as_one(tmp_path: Path):
    """Each worker writes a file of its own."""
    plant = Plant(tmp_path, await Mosquitto.start(tmp_path), workers=2)
    _, gateway, _ = await plant.start()
    there = (await plant.status(0, ready=is_stored))["gateway"]
    assert (there["state"], there["pid"], there["machines"]["online"]) == ("running", gateway.pid, 1)
    await gateway.stop()
    assert (await plant.status(3, "gateway"))["gateway"]["state"] == "stopped"


async def test_a_service_that_hangs_is_not_taken_for_a_running_service(tmp_path: Path):
    """Its process is there, its lock is locked, and nothing moves."""
    plant = Plant(tmp_path, await Mosquitto.start(tmp_path))
    _, gateway, ingest = await plant.start()
    await plant.status(0)
    long_ago = time.time() - 100
    for process, alive in ((gateway, tmp_path / "spool/edge-01.alive"), (ingest, tmp_path / "ingest/ingest.alive")):
        process.signal(signal.SIGSTOP)
        os.utime(alive, (long_ago, long_ago))  # in place of 15 s of waiting
    hangs = await plant.status(3, "gateway", "ingest")
    assert (hangs["gateway"]["state"], hangs["ingest"][0]["state"]) == ("hangs", "hangs")
    assert "no sign of life for 1" in hangs["findings"][0]["text"]


# -- the fleet --


async def fleet(plant: Plant, code: int, *findings: str) -> dict[str, Any]:
    """Ask until the fleet has this exit code, and findings that contain exactly these texts."""
    deadline = time.monotonic() + SECONDS
    while True:
        ran = await plant.run("fleet", "--format", "json")
        assert ran.error == ""
        report = json.loads(ran.text)
        found = report["findings"]
        fits = len(found) == len(findings) and all(any(part in line for line in found) for part in findings)
        if ran.code == code and fits:
            return report
        assert time.monotonic() < deadline, (ran.code, report)
        await asyncio.sleep(REST)


async def test_fleet_shows_all_members_of_a_broker_and_how_they_ended(tmp_path: Path):
    """A hundred boxes are looked at from one desk."""
    plant = Plant(tmp_path, await Mosquitto.start(tmp_path))
    _, gateway, ingest = await plant.start()
    fine = await fleet(plant, 0)
    [box], [there] = fine["gateways"], fine["ingests"]
    assert (box["id"], box["site"], box["state"], box["balanced"], box["clock_trusted"]) == (
        "edge-01", "site", "online", True, True,
    )  # fmt: skip
    assert box["version"]
    assert box["since"] >= box["started"]
    assert box["ledger"]["acquired"] > 0
    assert box["config"] == there["config"]
    assert (there["id"], there["state"], there["stores"][0]["state"]) == ("ingest-edge-01", "online", "available")
    text = await plant.run("fleet")
    assert (text.code, text.error) == (0, "")
    assert "site/edge-01" in text.text

    first = await retained_ledger(plant)
    async with asyncio.timeout(PATIENCE):  # a later ledger is retained
        while True:
            await asyncio.sleep(REST)
            if await retained_ledger(plant) != first:
                break
    gateway.kill()
    await ingest.stop()
    ended = await fleet(
        plant, 1, "gateway site/edge-01: offline, last seen", "ingest site/ingest-edge-01: offline since"
    )
    [box], [there] = ended["gateways"], ended["ingests"]
    assert (box["reason"], box["since"], there["reason"]) == ("connection lost", None, "stopped")
    assert box["last_seen"] >= box["started"] if box["started"] else box["last_seen"]
    assert box["ledger"]["acquired"] > 0
    assert there["since"] > fine["ingests"][0]["since"]


async def retained_ledger(plant: Plant) -> bytes:
    """Return the ledger of the gateway that the broker has retained."""
    async with aiomqtt.Client(LOOPBACK, plant.broker.port) as client:
        await client.subscribe("lineside/v1/enterprise/site/_gateways/edge-01/ledger", qos=1)
        async for message in client.messages:
            if message.retain:
                assert isinstance(message.payload, bytes)
                return message.payload
    raise AssertionError("the broker has closed the connection")


HOSTILE = [
    ("{root}/_gateways/edge-02/state", b"{}"),
    ("{root}/_gateways/edge-03/state", b"[" * 100_000),
    ("{root}/_gateways/edge-04/state", b'{"state": "online", "instance": "\\u001b[2J"}'),
    ("{root}/_gateways/edge-05/ledger", b'{"balanced": true, "spool_bytes": 1e400}'),
    ("{root}/_ingests/in-1/state", b'{"state": "online", "instance": "x", "since": -1}'),
    ("{root}/_ingests/in-1/report", b'{"lag_ms": NaN}'),
    ("{root}/_gateways/edge-06/state", b"\xff\xfe"),
]


async def test_fleet_leaves_hostile_messages_out_and_counts_them(tmp_path: Path):
    """Any client with the right to publish there may publish anything."""
    broker = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, broker)
    async with aiomqtt.Client(LOOPBACK, broker.port) as client:
        for topic, payload in HOSTILE:
            await client.publish(topic.format(root="lineside/v1/e/s"), payload, qos=1, retain=True)
        good = {"state": "offline", "instance": "x", "reason": "stopped"}  # of an earlier version
        await client.publish("lineside/v1/e/s/_gateways/old/state", json.dumps(good), qos=1, retain=True)
        ran = await plant.run("fleet", "--format", "json")
        report = json.loads(ran.text)
        assert (ran.code, ran.error) == (1, "")
        assert [(one["id"], one["state"], one["version"], one["since"]) for one in report["gateways"]] == [
            ("old", "offline", "", None)
        ]
        assert report["ingests"] == []
        assert report["ignored_messages"] == len(HOSTILE)
        text = await plant.run("fleet")
        assert "\x1b" not in text.text


async def test_fleet_ends_in_time_without_a_broker(tmp_path: Path):
    """Its port is closed, or the listener never answers."""
    plants = []
    for name in ("mute", "away"):
        (tmp_path / name).mkdir()
        plants.append(Plant(tmp_path / name, Mosquitto(tmp_path / name)))  # no server is started
    began = time.monotonic()
    with socket.create_server((LOOPBACK, plants[0].broker.port)):
        mute, away = await asyncio.gather(*(plant.run("fleet") for plant in plants))
    assert time.monotonic() - began < 25
    assert (mute.code, mute.text, mute.error.count("\n")) == (3, "", 1)
    assert (away.code, away.text, away.error.count("\n")) == (3, "", 1)
    assert "refused" in away.error


async def test_fleet_says_that_the_broker_denies_it_the_states(tmp_path: Path):
    """A user with few rights would see an empty fleet otherwise."""
    async with FakeBroker(granted=lambda topic: NOT_AUTHORIZED if topic.endswith("/state") else 0) as broker:
        ran = await Plant(tmp_path, broker).run("fleet")
        assert (ran.code, ran.text, ran.error.count("\n")) == (3, "", 1)
        assert "grant the user of CONFIG the right" in ran.error


async def test_fleet_without_the_right_to_reports_shows_the_states_and_says_so(tmp_path: Path):
    """States are worth more than nothing."""
    async with FakeBroker(granted=lambda topic: NOT_AUTHORIZED if topic.endswith("/ledger") else 0) as broker:
        ran = await Plant(tmp_path, broker).run("fleet")
        assert (ran.code, ran.error) == (1, "")
        assert "denies the subscription to lineside/v1/+/+/_gateways/+/ledger: grant" in ran.text


async def test_fleet_watches_until_it_is_stopped_also_while_the_broker_is_away(tmp_path: Path):
    """A screen on the wall runs for weeks."""
    broker = await Mosquitto.start(tmp_path)
    plant = Plant(tmp_path, broker)
    watch = await Lineside.start("fleet", plant.config, "--watch", "--every", "200ms", "--format", "json")

    def pictures() -> list[dict[str, Any]]:
        lines = watch.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"time"') and line.endswith("}")]

    await until(lambda: [one for one in pictures() if one["connected"]], "a picture", SECONDS)
    broker.kill()
    await until(lambda: not pictures()[-1]["connected"], "the broker is away", SECONDS)
    await broker.restart()
    await until(lambda: pictures()[-1]["connected"], "the broker is back", SECONDS)
    watch.signal(signal.SIGINT)
    assert await watch.ended() in {0, 1}
