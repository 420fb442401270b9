"""A gateway with several workers: one gateway for all that look at it, whose parts can end and come back alone.

The machines count how often they were read, so every reading that should exist is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml
from chaos.machines import Machines
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows
from structlog.testing import capture_logs

from gateway.common.seq_ranges import SeqRanges
from gateway.spool.checkpoint import Checkpoint, encode_checkpoint, seal, unseal
from gateway.spool.files import SpoolFiles
from gateway.workers import process
from gateway.workers.process import Launch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 60.0
BASE = "lineside/v1/enterprise/site"


class Plant:
    """Devices of one machine each, and the files and processes of a gateway with workers that reads them."""

    def __init__(self, folder: Path, devices: list[Machines], broker: Mosquitto, workers: int = 2) -> None:
        self.folder = folder
        self.devices = dict(enumerate(devices, 1))
        self.read = {f"m-{number:02d}": number for number in self.devices}
        self.database = folder / "readings.db"
        self.config = folder / "factory.yaml"
        self.spool = folder / "spool"
        self.broker = broker
        self.workers = workers
        self.every = "100ms"
        self.gateway: dict[str, Any] = {}
        self.alarms: dict[str, dict[str, Any]] = {}
        (folder / "machines").mkdir(exist_ok=True)

    def write(self) -> None:
        """Write the configuration of gateway and ingest."""
        template = {
            "format": 1,
            "protocol": "modbus",
            "defaults": {"every": self.every},
            "points": {
                "count": {"address": "holding 0", "raw": "uint32", "total": True},
                "third": {"address": "holding 4", "raw": "float64"},
            },
            "alarms": self.alarms,
        }
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        urls = {name: f"modbus+tcp://{LOOPBACK}:{self.devices[number].port}" for name, number in self.read.items()}
        machines = {
            name: {"template": "counter", "connection": f"{url}?timeout=20&unit=1"} for name, url in urls.items()
        }
        write_factory(
            self.config,
            gateway={"id": "edge-01", "workers": self.workers, "spool": {"folder": str(self.spool)}} | self.gateway,
            broker={"url": self.broker.url},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": machines}},
        )

    async def start(self) -> Lineside:
        """Start the gateway, and wait until its workers run."""
        self.write()
        gateway = await Lineside.start("run", self.config, "--report", str(self.folder / "run.json"))
        await gateway.logged("gateway.started")
        return gateway

    async def ingest(self) -> Lineside:
        """Start ingest, and wait for rows of all machines."""
        ingest = await Lineside.start("ingest", self.config)
        for name in self.read:
            await self.more(name)
        return ingest

    def counts(self, machine: str) -> list[int]:
        """Return which answers of a machine are stored."""
        return [row.value for row in rows(self.database, machine, "count") if row.value is not None]

    async def more(self, machine: str, how_many: int = 3) -> None:
        """Wait until so many more answers of a machine are stored."""
        had = len(self.counts(machine))
        await until(lambda: len(self.counts(machine)) >= had + how_many, f"readings of {machine}", SECONDS)

    def assignment(self) -> dict[str, int]:
        """Return the worker of each machine."""
        written = json.loads((self.spool / "edge-01.workers.json").read_bytes())["machines"]
        return {path.rpartition("/")[2]: number for path, number in written.items()}

    def report(self) -> dict[str, Any]:
        """Return the closing report."""
        return report(self.folder / "run.json")


@asynccontextmanager
async def plant(folder: Path, devices: int, workers: int = 2) -> AsyncIterator[Plant]:
    """Serve so many devices, each with a port and so a connection of its own."""
    async with AsyncExitStack() as stack:
        machines = [await stack.enter_async_context(Machines(1)) for _ in range(devices)]
        yield Plant(folder, machines, await Mosquitto.start(folder), workers)


def workers_of(gateway: Lineside) -> dict[int, int]:
    """Return the process ids of the workers that run, by number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"--supervisor" in words and words[words.index(b"--supervisor") + 1] == str(gateway.pid).encode():
            found[int(words[words.index(b"--number") + 1])] = int(entry.name)
    return found


@pytest.mark.parametrize("publish", ["machine", "gateway"])
async def test_two_workers_are_one_gateway_and_every_reading_arrives_once(tmp_path: Path, publish: str):
    """One birth, one ledger, one report with all machines, one heartbeat; and two processes that read."""
    async with plant(tmp_path, 4) as here:
        here.gateway = {"publish": publish}
        gateway = await here.start()
        assert sorted(here.assignment().values()) == [1, 1, 2, 2]
        assert len(workers_of(gateway)) == 2
        ingest = await here.ingest()
        health = await lineside("health", str(here.spool))
        assert (health.code, "edge-01" in health.text, "@" in health.text) == (0, True, False)
        seen = await messages(here.broker, f"{BASE}/_gateways/edge-01/ledger")
        assert (seen["gateway"], len(seen["workers"]), seen["balanced"]) == ("edge-01", 2, True)
        birth = await messages(here.broker, f"{BASE}/_gateways/edge-01/state")
        assert (birth["state"], len(set(birth["spools"]))) == ("online", 2)
        state = await messages(here.broker, f"{BASE}/area/line/m-04/state")
        assert (state["state"], state["gateway"]) == ("online", "edge-01")
        assert await gateway.stop() == 0
        assert not workers_of(gateway)
        closing = here.report()
        assert closing["balanced"]
        assert closing["ledger"]["pending"] == 0
        assert closing["ledger"]["confirmed"] == closing["ledger"]["acquired"] == len(rows(here.database))
        for name, number in here.read.items():
            assert here.counts(name) == list(range(len(here.devices[number].served[1]))), "each answer once"
        assert await ingest.stop() == 0


async def test_a_worker_that_is_killed_comes_back_alone_and_loses_nothing(tmp_path: Path):
    """Its records are on the disk, the others read on, and its missed slots are counted."""
    async with plant(tmp_path, 4) as here:
        gateway = await here.start()
        ingest = await here.ingest()
        other = {name for name, number in here.assignment().items() if number == 1}
        connects = {number: device.connects for number, device in here.devices.items()}
        lost = next(name for name in here.read if name not in other)
        watched = asyncio.Event()
        watching = asyncio.create_task(states_until_online(here.broker, lost, watched))
        await watched.wait()
        os.kill(workers_of(gateway)[2], signal.SIGKILL)
        failed = await gateway.logged("worker.failed")
        assert (failed["worker"], failed["error"]) == (2, "killed by SIGKILL")
        await gateway.logged("worker.running")
        states = await watching
        assert (states[0], states[-1]) == (("offline", "worker_failed"), ("online", ""))
        for name in here.read:
            await here.more(name, 10)
        assert await gateway.stop() == 0
        closing = here.report()
        assert closing["balanced"]
        assert closing["ledger"]["pending"] == 0
        assert closing["ledger"]["confirmed"] == len(rows(here.database))
        schedule = closing["schedule"]
        assert schedule["due"] == schedule["taken"] + schedule["missed"]
        for name, number in here.read.items():
            counts, served = here.counts(name), len(here.devices[number].served[1])
            if name in other:
                assert counts == list(range(served)), "each answer once"
                assert here.devices[number].connects == connects[number]
            else:
                assert closing["machines"][f"enterprise/site/area/line/{name}"]["schedule"]["missed"] >= 4
                assert len(counts) == len(set(counts))
                unread = sorted(set(range(served)) - set(counts))
                assert unread == list(range(served))[unread[0] : unread[-1] + 1] if unread else True
                assert len(unread) <= 10, "only scans that were not in the spool when the worker was killed"
        [first, second] = closing["workers"]
        assert (first["restarts"], second["restarts"]) == (0, 1)
        assert len(gateway.events("worker.failed")) == 1
        assert await ingest.stop() == 0


async def states_until_online(broker: Mosquitto, machine: str, watched: asyncio.Event) -> list[tuple[str, str]]:
    """Return the states and reasons of a machine, from those after the retained state on, until it is online."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(SECONDS), aiomqtt.Client(LOOPBACK, broker.port) as client:
        await client.subscribe(f"{BASE}/area/line/{machine}/state", 1)
        async for message in client.messages:
            state = json.loads(bytes(message.payload))
            if message.retain:
                watched.set()
            else:
                found.append((state["state"], state["reason"]))
                if state["state"] == "online":
                    break
    return found


async def test_a_supervisor_that_is_killed_leaves_no_worker_and_the_next_start_works(tmp_path: Path):
    """The kernel ends the workers, also one that hangs."""
    async with plant(tmp_path, 2) as here:
        gateway = await here.start()
        ingest = await here.ingest()
        left = workers_of(gateway)
        os.kill(left[2], signal.SIGSTOP)
        gateway.kill()
        await until(lambda: not any(is_running(one) for one in left.values()), "the workers end", SECONDS)
        gateway.launch()
        await gateway.logged("gateway.started", 2)
        for name in here.read:
            await here.more(name)
        assert await gateway.stop() == 0
        assert here.report()["balanced"]
        assert await ingest.stop() == 0


def is_running(number: int) -> bool:
    """Return whether a process runs; a dead process that nobody has waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


async def test_a_second_gateway_of_the_folder_does_not_start(tmp_path: Path):
    """Two would send each record twice; with workers and without."""
    async with plant(tmp_path, 2) as here:
        gateway = await here.start()
        second = await lineside("run", str(here.config))
        assert (second.code, "is in use by another gateway" in second.error) == (1, True)
        here.workers = 1
        here.write()
        third = await lineside("run", str(here.config))
        assert (third.code, "is in use by another gateway" in third.error) == (1, True)
        assert await gateway.stop() == 0


async def test_a_reload_adds_removes_and_moves_machines(tmp_path: Path):
    """The others notice nothing. A total goes on when its machine moves, and no retained state is lost."""
    async with plant(tmp_path, 5) as here:
        here.read = {f"m-{number:02d}": number for number in range(1, 5)}
        gateway = await here.start()
        ingest = await here.ingest()
        before = here.assignment()
        stays, other = (next(name for name, worker in before.items() if worker == number) for number in (1, 2))
        removed = next(name for name, worker in before.items() if worker == 2 and name != other)
        moves = next(name for name, worker in before.items() if worker == 1 and name != stays)
        base = here.counts(moves)[-1]
        here.read[moves] = here.read[other]  # behind the connection that the other worker has
        del here.read[removed]
        here.read["m-05"] = 5
        here.write()
        applied = await lineside("reload", str(here.config))
        assert (applied.code, applied.error) == (0, "")
        assert "1 machines added, 1 machines changed, 1 machines removed" in applied.text
        await here.more("m-05")
        await here.more(moves, 10)
        after = here.assignment()
        assert after == {name: before[name] for name in (stays, other)} | {moves: 2, "m-05": after["m-05"]}
        await gateway.logged("machine.cleared")
        assert [event["topic"] for event in gateway.events("machine.cleared")] == [
            f"{BASE}/area/line/{removed}/state"
        ]
        state = await messages(here.broker, f"{BASE}/area/line/{moves}/state")
        assert state["state"] == "online"
        assert await gateway.stop() == 0
        totals = here.counts(moves)
        assert totals == sorted(totals), "a total never falls"
        assert totals[-1] > base
        assert here.counts(stays) == list(range(len(here.devices[here.read[stays]].served[1])))
        closing = here.report()
        assert closing["balanced"]
        assert closing["ledger"]["confirmed"] == len(rows(here.database))
        assert set(closing["machines"]) == {f"enterprise/site/area/line/{name}" for name in here.read}
        assert await ingest.stop() == 0


ALARMS: dict[str, dict[str, Any]] = {
    "few": {"point": "count", "low": 1e9, "priority": "high"},
    "many": {"point": "count", "high": 10, "deadband": 5},
}


class Heard:
    """All messages of alarms and answers at the broker, from the start of the test on."""

    def __init__(self) -> None:
        self.alarms: list[tuple[str, str, str]] = []  # machine, alarm, and state; no state in a cleared message
        self.answers: list[tuple[str, str]] = []  # outcome, and machine
        self._ready = asyncio.Event()

    async def follow(self, broker: Mosquitto) -> None:
        """Collect messages until cancelled."""
        async with aiomqtt.Client(LOOPBACK, broker.port) as client:
            await client.subscribe([(f"{BASE}/area/line/+/alarm/+", 1), (f"{BASE}/_gateways/edge-01/answer", 1)])
            self._ready.set()
            async for message in client.messages:
                content = json.loads(bytes(message.payload) or b"{}")
                if message.topic.matches(f"{BASE}/area/line/+/alarm/+"):
                    machine, _, alarm = str(message.topic).split("/")[-3:]
                    self.alarms.append((machine, alarm, content.get("state", "")))
                else:
                    self.answers.append((content["outcome"], content["target"]["machine"].rpartition("/")[2]))

    async def ready(self) -> None:
        """Wait for the subscription."""
        await self._ready.wait()

    def last(self) -> dict[tuple[str, str], str]:
        """Return the last state of each alarm."""
        return {(machine, alarm): state for machine, alarm, state in self.alarms}


@asynccontextmanager
async def alarmed_plant(folder: Path, devices: int) -> AsyncIterator[tuple[Plant, Heard]]:
    """Serve a plant whose machines have two alarms each, which become active soon after the start, and stay so."""
    async with plant(folder, devices) as here:
        here.alarms, here.gateway = dict(ALARMS), {"commands": {"unsigned_alarms": True}}
        heard = Heard()
        listening = asyncio.create_task(heard.follow(here.broker))
        await heard.ready()
        try:
            yield here, heard
        finally:
            listening.cancel()


def transitions(here: Plant) -> list[tuple[str, str, str]]:
    """Return the transitions in the store: machine, alarm and state."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(here.database)) as db:
        return sorted(db.execute("select machine, alarm, state from alarms"))
    return []


def both(machine: str, few: str = "unacknowledged") -> dict[tuple[str, str], str]:
    """Return the states of the alarms of a machine."""
    return {(machine, "few"): few, (machine, "many"): "unacknowledged"}


async def test_a_command_has_one_answer_whichever_worker_has_its_machine(tmp_path: Path):
    """The supervisor checks, journals and answers it; the worker of the machine carries it out."""
    async with alarmed_plant(tmp_path, 2) as (here, heard):
        gateway = await here.start()
        ingest = await here.ingest()
        assert sorted(here.assignment().values()) == [1, 2]
        await until(lambda: heard.last() == both("m-01") | both("m-02"), "all alarms", SECONDS)
        for name in here.read:
            done = await lineside("alarms", "acknowledge", str(here.config), name, "few", "--user", "anna")
            assert (done.code, done.text) == (0, "done\n")
        again = await lineside("alarms", "acknowledge", str(here.config), "m-02", "few")
        assert (again.code, "the alarm is acknowledged" in again.text) == (1, True)
        acknowledged = both("m-01", "acknowledged") | both("m-02", "acknowledged")
        await until(lambda: heard.last() == acknowledged, "both are acknowledged", SECONDS)
        await commanded(here.broker, machine="m-09")
        await commanded(here.broker, issued=0)
        await until(lambda: len(heard.answers) >= 5, "all answers", SECONDS)
        os.kill(workers_of(gateway)[2], signal.SIGSTOP)
        await commanded(here.broker, machine="m-02")
        await until(lambda: len(heard.answers) >= 6, "an answer for a worker that hangs", SECONDS)
        assert await gateway.stop() == 0
        assert heard.answers == [
            ("done", "m-01"), ("done", "m-02"), ("failed", "m-02"), ("failed", "m-09"), ("refused", "m-01"),
            ("failed", "m-02"),
        ]  # fmt: skip
        shown = (await lineside("audit", "show", str(here.config), "--format", "json")).text
        entries = [json.loads(line) for line in shown.splitlines()]
        outcomes = [one["outcome"].split()[0] for one in entries if one["action"] == "command.acknowledge"]
        assert sorted(outcomes) == ["done", "done", "failed", "failed", "failed", "refused"]
        assert await ingest.stop() == 0


async def commanded(broker: Mosquitto, machine: str = "m-01", issued: int | None = None) -> None:
    """Publish a command for an alarm."""
    now = time.time_ns() // 1000 if issued is None else issued
    command = {
        "v": 1, "gateway": "edge-01", "id": secrets.token_hex(8), "issued": now, "expires": now + 30_000_000,
        "user": "ben", "action": "acknowledge",
        "target": {"machine": f"enterprise/site/area/line/{machine}", "alarm": "many"},
    }  # fmt: skip
    async with aiomqtt.Client(LOOPBACK, broker.port) as client:
        await client.publish(f"{BASE}/_gateways/edge-01/command", json.dumps(command), qos=1)


async def test_alarms_survive_a_killed_worker_and_a_move_between_workers(tmp_path: Path):
    """Each transition is stored once; no retained message of an active alarm is cleared, not for a moment."""
    async with alarmed_plant(tmp_path, 4) as (here, heard):
        gateway = await here.start()
        ingest = await here.ingest()
        before = here.assignment()
        states = {key: state for name in here.read for key, state in both(name).items()}
        await until(lambda: heard.last() == states, "all alarms", SECONDS)
        moves = next(name for name, worker in before.items() if worker == 1)
        other = next(name for name, worker in before.items() if worker == 2)
        states |= both(moves, "acknowledged") | both(other, "acknowledged")
        for name in (moves, other):
            assert (await lineside("alarms", "acknowledge", str(here.config), name, "few")).code == 0
        await until(lambda: heard.last() == states, "the acknowledgements", SECONDS)
        os.kill(workers_of(gateway)[2], signal.SIGKILL)
        await gateway.logged("worker.running")
        await here.more(other, 10)
        here.read[moves] = here.read[other]  # behind the connection that the other worker has
        here.write()
        assert (await lineside("reload", str(here.config))).code == 0
        assert here.assignment()[moves] == 2
        await here.more(moves, 10)
        shelved = await lineside("alarms", "shelve", str(here.config), moves, "many", "--for", "1h")
        assert shelved.text == "done\n", "the worker that has the machine now carries it out"
        await until(lambda: (moves, "many", "shelved") in heard.alarms, "the shelf", SECONDS)
        os.kill(workers_of(gateway)[1], signal.SIGKILL)  # its file has the topics of the machine
        await gateway.logged("worker.failed", 2)
        await gateway.logged("worker.running", 2)
        assert await gateway.stop() == 0
        gateway = await here.start()
        for name in here.read:
            await here.more(name, 10)
        assert await gateway.stop() == 0
        assert here.report()["balanced"]
        assert "" not in {state for _, _, state in heard.alarms}, "none was cleared"
        assert heard.last() == states | {(moves, "many"): "shelved"}
        expected = [(name, alarm, "unacknowledged") for name in here.read for alarm in ALARMS]
        expected += [(moves, "few", "acknowledged"), (other, "few", "acknowledged"), (moves, "many", "shelved")]
        assert transitions(here) == sorted(expected)
        del here.alarms["many"]
        del here.read[other]
        gateway = await here.start()
        states = {(name, "few"): heard.last()[name, "few"] for name in here.read}
        await until(
            lambda: {key for key, state in heard.last().items() if state} == states.keys(), "the rest", SECONDS
        )
        assert await gateway.stop() == 0
        assert await ingest.stop() == 0


async def test_fewer_workers_deliver_the_backlog_of_those_that_were_there_before(tmp_path: Path):
    """From three to one while nothing could be delivered; the ledger counts all of it, before and after."""
    async with plant(tmp_path, 3, workers=3) as here:
        gateway = await here.start()
        await until(lambda: all(len(one.served[1]) > 10 for one in here.devices.values()), "readings wait", SECONDS)
        assert await gateway.stop() == 0
        first = here.report()["ledger"]
        assert first["pending"] == first["acquired"] > 0
        here.workers = 1
        gateway = await here.start()
        ingest = await here.ingest()
        drained = [await gateway.logged("worker.drained", times) for times in (1, 2)]
        assert {event["worker"] for event in drained} == {2, 3}
        assert await gateway.stop() == 0
        second = here.report()
        assert second["balanced"]
        assert second["ledger"]["pending"] == 0
        assert second["ledger"]["confirmed"] == len(rows(here.database))
        for name, number in here.read.items():
            assert here.counts(name) == list(range(len(here.devices[number].served[1]))), "each answer once"
        assert not (here.spool / "edge-01.workers.json").exists()
        await gateway.restart()
        await gateway.logged("gateway.started", 2)
        assert not workers_of(gateway), "one process, as without the key"
        for name in here.read:
            await here.more(name)
        assert await gateway.stop() == 0
        third = here.report()
        assert third["balanced"]
        assert third["ledger"]["confirmed"] == len(rows(here.database)), "the former spools count"
        everything = await lineside("ledger", str(here.config), "--format", "json")
        assert json.loads(everything.text)["confirmed"] == third["ledger"]["confirmed"]
        assert await ingest.stop() == 0


async def test_workers_that_are_turned_on_keep_the_backlog_and_the_totals(tmp_path: Path):
    """The first worker has the files of the gateway that had none."""
    async with plant(tmp_path, 4, workers=1) as here:
        gateway = await here.start()
        await until(lambda: all(len(one.served[1]) > 10 for one in here.devices.values()), "readings wait", SECONDS)
        assert await gateway.stop() == 0
        here.workers = 2
        gateway = await here.start()
        ingest = await here.ingest()
        assert await gateway.stop() == 0
        for name, number in here.read.items():
            assert here.counts(name) == list(range(len(here.devices[number].served[1]))), "each answer once"
        assert here.report()["ledger"]["confirmed"] == len(rows(here.database))
        assert await ingest.stop() == 0


async def test_metadata_that_one_worker_does_not_know_is_not_given_up(tmp_path: Path):
    """Ingest that has lost its files asks for it: the worker that knows it answers, and no other says unknown."""
    async with plant(tmp_path, 2) as here:
        gateway = await here.start()
        await until(lambda: all(len(one.served[1]) > 3 for one in here.devices.values()), "readings wait", SECONDS)
        metas = {}
        async with aiomqtt.Client(LOOPBACK, here.broker.port) as client:
            for name in here.read:
                metas[name] = await messages(here.broker, f"{BASE}/area/line/{name}/meta")
            await client.subscribe(f"{BASE}/_gateways/edge-01/metadata", 1)
            ids = [*{meta["id"] for meta in metas.values()}, "0123456789ab"]
            request = json.dumps({"v": 1, "ids": ids})
            await client.publish(f"{BASE}/_gateways/edge-01/wanted", request, qos=1)
            known: set[str] = set()
            unknown: list[str] = []
            async with asyncio.timeout(SECONDS):
                async for message in client.messages:
                    answer = json.loads(bytes(message.payload))
                    known |= answer["known"].keys()
                    unknown += answer["unknown"]
                    if len(known) + len(unknown) >= len(ids):
                        break
        assert (known, unknown) == (set(ids[:-1]), ["0123456789ab"])
        assert await gateway.stop() == 0


async def test_a_copied_box_with_workers_is_logged_and_one_of_the_two_works_on(tmp_path: Path):
    """The workers of the gateway that waits stay away from the broker with it."""
    (tmp_path / "two").mkdir()
    async with plant(tmp_path, 2) as here:
        one = await here.start()
        ingest = await here.ingest()
        copy = Plant(tmp_path / "two", list(here.devices.values()), here.broker)
        two = await copy.start()
        event = "gateway.id_in_use"
        found = await until(lambda: one.events(event) or two.events(event), "the mistake is logged", SECONDS)
        assert found[0]["gateway"] == "edge-01"
        await until(lambda: away(one) or away(two), "one of them stays away", SECONDS)
        await here.more("m-01", 20)
        await here.more("m-02", 20)
        for gateway in (one, two):
            assert len(gateway.events(event)) <= 1
            gateway.kill()
        assert await ingest.stop() == 0


def away(gateway: Lineside) -> bool:
    """Return whether the workers of a gateway have been paused."""
    return {event["worker"] for event in gateway.events("worker.paused")} == {1, 2}


async def test_a_stop_takes_at_most_five_seconds_whatever_a_worker_does(tmp_path: Path):
    """A worker that hangs is killed, and the report has its last counts."""
    async with plant(tmp_path, 2) as here:
        gateway = await here.start()
        ingest = await here.ingest()
        await until(lambda: all(len(one.served[1]) > 20 for one in here.devices.values()), "both are read", SECONDS)
        os.kill(workers_of(gateway)[2], signal.SIGSTOP)
        assert await gateway.stop() == 0
        assert not workers_of(gateway)
        [began], [ended] = (gateway.events(f"gateway.{event}") for event in ("stopping", "stopped"))
        seconds = datetime.fromisoformat(ended["time"]) - datetime.fromisoformat(began["time"])
        assert seconds.total_seconds() < 5
        closing = here.report()
        assert closing["balanced"]
        assert list(closing["machines"]) == ["enterprise/site/area/line/m-01"]
        assert [one["worker"] for one in closing["workers"]] == [1, 2]
        assert await ingest.stop() == 0


class Unresponsive(Launch):
    """Starts a process that never sends a message."""

    def command(self, number: int, channel: int) -> list[str]:
        del number, channel
        return [sys.executable, "-c", "import time; time.sleep(1000)"]


async def test_a_worker_without_a_sign_of_life_is_killed_and_started_again(monkeypatch: pytest.MonkeyPatch):
    """A worker that hangs must not stop the others, or the supervisor."""
    monkeypatch.setattr(process, "SILENT_AT_START", 0)
    monkeypatch.setattr(process, "APPLY_SECONDS", 0.1)
    ended: list[int] = []

    async def on_end(number: int) -> None:
        ended.append(number)

    worker = process.WorkerProcess(2, Unresponsive([]), on_end)
    worker.configure(b"", {})
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run())
        await until(lambda: worker.restarts > 1, "it is started again", SECONDS)
        assert worker.settled.is_set()
        assert await worker.reconfigure(b"", {}) == {}
        assert await worker.known(["id"]) is None
        worker.kill()
        async with asyncio.timeout(SECONDS):
            await running
    assert [(event["event"], event["worker"], event["error"]) for event in logs] == [
        ("worker.failed", 2, "no sign of life for 1 s")
    ]
    assert set(ended) == {2}


async def test_workers_that_can_not_start_end_the_gateway_with_the_reason(tmp_path: Path):
    """As a gateway without workers does: a person has to mend the configuration, or the disk."""
    async with plant(tmp_path, 2) as here:
        here.write()
        files = SpoolFiles(here.spool, "edge-01@2")
        here.spool.mkdir(parents=True)
        newer = (unseal(encode_checkpoint(Checkpoint("9f2c81aa"), SeqRanges())) or b"").replace(b'"v":1', b'"v":2')
        files.slots.write_bytes(seal(newer))
        refused = await lineside("run", str(here.config))
        assert refused.code == 1
        assert "lineside: " in refused.error
        assert "written by a newer Lineside" in refused.error


async def messages(broker: Mosquitto, topic: str) -> dict[str, Any]:
    """Return the next message of a topic, or the retained message."""
    async with asyncio.timeout(SECONDS), aiomqtt.Client(LOOPBACK, broker.port) as client:
        await client.subscribe(topic, 1)
        async for message in client.messages:
            found: dict[str, Any] = json.loads(bytes(message.payload))
            return found
    raise AssertionError
