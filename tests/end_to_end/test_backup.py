"""A gateway is saved while it runs, lost with its disk, and put back: no reading is missing, and none is doubled."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import aiomqtt
import yaml
from chaos.machines import TEMPLATE, Machines
from forked import SELF_TEST_AFTER, with_constants
from processes import LOOPBACK, Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

from gateway.spool.files import SpoolFiles
from gateway.spool.inspect import inspect

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 90.0


def write(folder: Path, machines: Machines, broker: str) -> Path:
    """Write a factory of two files and a template, whose data is in a folder of its own."""
    (folder / "etc" / "machines").mkdir(parents=True)
    (folder / "etc" / "machines" / "counter.yaml").write_text(TEMPLATE)
    connection = f"modbus+tcp://{LOOPBACK}:{machines.port}?timeout=20&unit=1"
    machine = {"m-01": {"template": "counter", "connection": connection}}
    lines = {"format": 1, "lines": {"line": {"area": "area", "machines": machine}}}
    (folder / "etc" / "lines.yaml").write_text(yaml.safe_dump(lines))
    return write_factory(
        folder / "etc" / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "state")}},
        broker={"url": broker},
        ingest={"folder": str(folder / "ingest")},
        include=["lines.yaml"],
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
    )


def counts(folder: Path) -> list[int]:
    return [row.value for row in rows(folder / "readings.db", "m-01", "count") if row.value is not None]


async def test_a_gateway_that_is_saved_while_it_runs_and_restored_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Records wait at the backup, are delivered after it, and come again out of the archive: each is stored once."""
    mosquitto = await Mosquitto.start(tmp_path)
    archive = tmp_path / "edge-01.tar.gz"
    async with Machines(1) as machines:
        config = write(tmp_path, machines, mosquitto.url)
        gateway = await Lineside.start("run", config)
        await until(lambda: len(machines.served[1]) > 20, "readings wait in the spool", SECONDS)
        made = await lineside("backup", str(config), str(archive), "--format", "json")
        assert made.code == 0, made.error
        assert archive.stat().st_mode & 0o777 == 0o600
        (spool,) = json.loads(made.text)["spools"]
        assert spool["records"] > 0
        assert gateway.running

        ingest = await Lineside.start("ingest", config)
        saved = len(machines.served[1])
        await until(lambda: len(counts(tmp_path)) > saved + 10, "more is stored than the archive has", SECONDS)
        machines.switch_off()  # records in the spool are lost with its disk: let nothing wait
        await until(lambda: len(counts(tmp_path)) >= len(machines.served[1]), "all is stored", SECONDS)
        await until(lambda: inspect(SpoolFiles(tmp_path / "state", "edge-01")).state.records == 0, "all is confirmed")
        assert inspect(SpoolFiles(tmp_path / "state", "edge-01")).state.next > spool["next"]
        running = await lineside("restore", str(archive), "--yes", "--replace")
        assert running.code == 1
        assert "gateway edge-01 runs" in running.error
        gateway.kill()
        await ingest.stop()
        shutil.rmtree(tmp_path / "etc")
        shutil.rmtree(tmp_path / "state")

        restored = await lineside("restore", str(archive), "--yes", "--format", "json")
        assert restored.code == 0, restored.error
        state = inspect(SpoolFiles(tmp_path / "state", "edge-01")).state
        assert (state.records, state.next) == (spool["records"], spool["next"])
        assert state.spool != spool["spool"], "numbers of before the loss would be used again"
        before = len(machines.served[1])
        await machines.switch_on()
        gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
        await Lineside.start("ingest", config)
        await until(lambda: len(counts(tmp_path)) > before + 10, "the restored gateway goes on", SECONDS)
        machines.switch_off()
        await until(lambda: len(counts(tmp_path)) >= len(machines.served[1]), "every answer is stored", SECONDS)
        assert await gateway.stop() == 0
        closing = report(tmp_path / "run.json")
        assert closing["balanced"]
        assert closing["ledger"]["pending"] == 0
        assert counts(tmp_path) == list(range(len(machines.served[1]))), "each answer once"
        shown = await lineside("audit", "show", str(config), "--format", "json")
        actions = [json.loads(line)["action"] for line in shown.text.splitlines()]
        of_the_gateway = {"service-started", "self-test", "service-stopped"}  # after its restart
        assert [action for action in actions if action not in of_the_gateway][-1:] == ["backup-restored"]
        assert (await lineside("audit", "verify", str(config))).code == 0


async def test_a_decommissioned_gateway_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its files are gone from the box, its retained messages from the broker, and those of others are left."""
    mosquitto = await Mosquitto.start(tmp_path)
    other = "lineside/v1/enterprise/site/area/line/m-99/state"
    async with Machines(1) as machines, aiomqtt.Client(LOOPBACK, mosquitto.port) as client:
        await client.publish(
            other, b'{"state":"online","reason":"","since":1,"gateway":"edge-02"}', qos=1, retain=True
        )
        config = write(tmp_path, machines, mosquitto.url)
        gateway = await Lineside.start("run", config, environment=with_constants(**{SELF_TEST_AFTER: 0.1}))
        await gateway.logged("machine.online")
        await until(lambda: gateway.events("self_test.passed") or gateway.events("self_test.failed"), "a self-test")
        shown = json.loads((await lineside("status", str(config), "--format", "json")).text)
        assert shown["self_test"]["results"]["spool"] == "passed"
        refused = await lineside("decommission", str(config), "--yes")
        assert refused.code == 1
        assert "gateway edge-01 runs" in refused.error
        await gateway.stop()
        asked = await lineside("decommission", str(config))
        assert asked.code != 0
        assert "Remove" in asked.error
        assert (tmp_path / "state" / "edge-01.spool.db").exists()

        done = await lineside("decommission", str(config), "--retained", "--yes")
        assert done.code == 0, done.error
        assert "flash" in done.error
        left = [path.name for path in (tmp_path / "state").iterdir()]
        assert left == [], left
        assert config.exists()
        assert await retained(mosquitto.port) == {other}


async def retained(port: int) -> set[str]:
    """Return the topics of all retained messages; the last one marks the end."""
    found: set[str] = set()
    async with aiomqtt.Client(LOOPBACK, port) as client:
        await client.publish("zzz/end", b"x", qos=1, retain=True)
        await client.subscribe("lineside/#", qos=1)
        await client.subscribe("zzz/end", qos=1)
        async for message in client.messages:
            if str(message.topic) == "zzz/end":
                break
            found.add(str(message.topic))
    return found
