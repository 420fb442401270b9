"""Alarms from a machine to the store: over a kill of the gateway, with commands of operators, and after a reload."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from base64 import b64encode
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
import yaml
from chaos.machines import Machines
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto
from stored import report

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60.0

ALARMS: dict[str, dict[str, Any]] = {
    "few": {"point": "count", "low": 1e9, "priority": "high", "message": "Only {count} parts", "class": "production"},
    "many": {"point": "count", "high": 10, "priority": "low"},
    "silent": {"point": "count", "stale": "1h"},
}


class Plant:
    """One machine that counts how often it is read, a gateway with alarms, and ingest."""

    def __init__(self, folder: Path, broker: Mosquitto, machines: Machines) -> None:
        self.folder, self.broker, self.machines = folder, broker, machines
        self.database, self.config = folder / "readings.db", folder / "factory.yaml"
        (folder / "machines").mkdir()

    def write(self, alarms: dict[str, Any], **commands: Any) -> None:
        points = {
            "count": {"address": "holding 0", "raw": "uint32", "every": "200ms"},
            "third": {"address": "holding 4", "raw": "float64", "every": "200ms"},
        }
        template = {"format": 1, "protocol": "modbus", "points": points, "alarms": alarms}
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        url = f"modbus+tcp://127.0.0.1:{self.machines.port}?timeout=20&unit=1"
        write_factory(
            self.config,
            gateway={"id": "edge-01", "spool": {"folder": str(self.folder / "spool")}, "commands": commands},
            broker={"url": self.broker.url},
            ingest={"folder": str(self.folder)},
            stores=[{"sqlite": {"path": str(self.database)}}],
            lines={"line": {"area": "area", "machines": {"m-01": {"template": "counter", "connection": url}}}},
        )

    def transitions(self) -> list[tuple[str, str, str]]:
        """Return the transitions in the store: alarm, state, and who."""
        if not self.database.exists():
            return []
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self.database)) as db:  # it is being made
            return list(db.execute("select alarm, state, who from alarms order by time"))
        return []

    async def has(self, states: dict[str, str]) -> None:
        """Wait until the broker retains alarms with these states, and no others."""
        found: dict[str, str] = {}
        for _ in range(round(SECONDS / 0.1)):
            found = {name: one["state"] for name, one in (await self.retained()).items()}
            if found == states:
                return
            await asyncio.sleep(0.1)
        assert found == states

    async def retained(self) -> dict[str, dict[str, Any]]:
        """Return the retained messages of alarms at the broker."""
        found: dict[str, dict[str, Any]] = {}
        async with aiomqtt.Client("127.0.0.1", self.broker.port) as client:
            await client.subscribe("lineside/v1/+/+/+/+/+/alarm/+", qos=1)
            await client.subscribe("end", qos=1)
            await client.publish("end", b"", qos=1)
            async for message in client.messages:
                if str(message.topic) == "end":
                    return found
                assert isinstance(message.payload, bytes)
                name = str(message.topic).rpartition("/")[2]
                if message.payload:
                    found[name] = json.loads(message.payload)
                else:  # it is cleared meanwhile
                    found.pop(name, None)
        return found


async def shown(config: Path, *options: str) -> Any:
    return json.loads((await lineside("alarms", str(config), "--format", "json", *options)).text)


async def test_alarms_are_stored_kept_over_a_kill_and_commanded(tmp_path: Path):
    """Each transition is a row, an acknowledged alarm stays so, and a removed alarm leaves nothing at the broker."""
    broker = await Mosquitto.start(tmp_path)
    async with Machines(1) as machines:
        plant = Plant(tmp_path, broker, machines)
        plant.write(ALARMS, unsigned_alarms=True)
        ingest = await Lineside.start("ingest", plant.config)
        gateway = await Lineside.start("run", plant.config)
        await until(lambda: len(plant.transitions()) == 2, "both alarms in the store", SECONDS)
        live = await shown(plant.config)
        assert [(one["alarm"], one["priority"], one["state"]) for one in live["alarms"]] == [
            ("few", "high", "unacknowledged"), ("many", "low", "unacknowledged")
        ]  # fmt: skip
        assert live["alarms"][0]["message"].startswith("Only ")
        done = await lineside("alarms", "acknowledge", str(plant.config), "m-01", "few", "--user", "anna",
                              "--reason", "known")  # fmt: skip
        assert (done.code, done.text) == (0, "done\n")
        again = await lineside("alarms", "acknowledge", str(plant.config), "m-01", "few")
        assert again.code == 1
        assert "is acknowledged" in again.text
        await until(lambda: ("few", "acknowledged", "anna") in plant.transitions(), "the acknowledgement", SECONDS)
        gateway.kill()
        gateway = await Lineside.start("run", plant.config, "--report", tmp_path / "run.json")
        await gateway.logged("mqtt.connected")
        shelve = ("alarms", "shelve", str(plant.config), "m-01", "many", "--for", "1h", "--user", "ben")
        done = await lineside(*shelve)
        if done.code == 3:  # it was sent before the gateway subscribed
            done = await lineside(*shelve)
        assert done.text == "done\n"
        await until(lambda: ("many", "shelved", "ben") in plant.transitions(), "the shelf", SECONDS)
        await plant.has({"few": "acknowledged", "many": "shelved"})
        plant.write({"many": ALARMS["many"]}, unsigned_alarms=True)
        assert (await lineside("reload", str(plant.config))).code == 0
        await plant.has({"many": "shelved"})
        await gateway.stop()
        await ingest.stop()
    assert plant.transitions() == [
        ("few", "unacknowledged", ""), ("many", "unacknowledged", ""), ("few", "acknowledged", "anna"),
        ("many", "shelved", "ben"),
    ]  # fmt: skip
    assert report(tmp_path / "run.json")["balanced"]
    history = await shown(plant.config, "--history", "--last", "1h")
    assert [(one["alarm"], one["state"]) for one in history["transitions"]] == [
        (alarm, state) for alarm, state, _ in plant.transitions()
    ]
    figures = await shown(plant.config, "--report", "--last", "1h")
    assert (figures["annunciations"], figures["by_priority"]["high"], figures["shelved"]) == (2, 1, 1)
    entries = await lineside("audit", "show", str(plant.config))
    assert "command.acknowledge" in entries.text
    assert "command.shelve" in entries.text


async def test_a_gateway_with_keys_takes_signed_commands_alone(tmp_path: Path):
    """Anyone may publish on the topic; a signature of a key that is not known, and none, are refused."""
    broker = await Mosquitto.start(tmp_path)
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    files = []
    for name, private in (("key.pem", key), ("other.pem", other)):
        files.append(tmp_path / name)
        files[-1].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with Machines(1) as machines:
        plant = Plant(tmp_path, broker, machines)
        plant.write({"few": ALARMS["few"]}, keys={"control-room": {"key": public, "people": ["anna"]}})
        ingest = await Lineside.start("ingest", plant.config)
        gateway = await Lineside.start("run", plant.config)
        await until(lambda: len(plant.transitions()) >= 1, "the alarm in the store", 20.0)
        command = ("alarms", "acknowledge", str(plant.config), "m-01", "few")
        signed = ("--key", "control-room", "--key-file")
        assert (await lineside(*command)).text == "refused: it is not signed\n"
        assert (await lineside(*command, *signed, str(files[1]))).text == "refused: its signature is wrong\n"
        assert (await lineside(*command, "--key", "odd", "--key-file", str(files[0]))).text == (
            "refused: its key is not known here\n"
        )
        named = (*command, *signed, str(files[0]), "--user")
        assert (await lineside(*named, "ben")).text == "refused: the key control-room does not speak for ben\n"
        assert (await lineside(*named, "anna")).text == "done\n"
        await until(lambda: len(plant.transitions()) == 2, "the acknowledgement", SECONDS)
        await gateway.stop()
        await ingest.stop()
        entries = (
            await lineside("audit", "show", str(plant.config), "--action", "command.*", "--format", "json")
        ).text.splitlines()
        said = [(entry["who"], entry["outcome"]) for entry in map(json.loads, entries)]
    assert said[-2:] == [("ben", "refused the key control-room does not speak for ben"), ("anna", "done")]
