"""Retained messages at the broker: descriptions and states, births and deaths, in both versions of MQTT."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from processes import Lineside, free_port, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "lineside/v1/enterprise/site"
SECONDS = 20.0


def factory(folder: Path, broker: dict[str, Any]) -> Path:
    machine = {"template": "curing-press", "connection": f"modbus+tcp://127.0.0.1:{free_port()}?unit=1"}
    return write_factory(
        folder / "factory.yaml",
        broker=broker,
        lines={"curing-1": {"area": "curing", "machines": {"press-01": machine}}},
    )


async def retained(mosquitto: Mosquitto, topic: str) -> dict[str, Any]:
    """Return the message of a topic that a new client gets."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client, asyncio.timeout(SECONDS):
        await client.subscribe(topic)
        message = await anext(aiter(client.messages))
        assert message.retain
        found: dict[str, Any] = json.loads(message.payload)
        return found


async def retained_with(mosquitto: Mosquitto, topic: str, key: str, value: str) -> dict[str, Any]:
    """Wait until a topic has a message with a value, and check that a new client gets the same."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client, asyncio.timeout(SECONDS):
        await client.subscribe(topic)
        async for message in client.messages:
            if json.loads(message.payload).get(key) == value:
                break
    found = await retained(mosquitto, topic)
    assert found[key] == value
    return found


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_descriptions_and_states_of_machines_are_retained(tmp_path: Path, version: str):
    """A dashboard that connects a day later must know units and states at once."""
    mosquitto = await Mosquitto.start(tmp_path)
    config = factory(tmp_path, {"url": mosquitto.url, "version": version})
    simulator = await Lineside.start("simulate", config)
    await Lineside.start("run", config)
    state = await retained_with(mosquitto, f"{ROOT}/curing/curing-1/press-01/state", "state", "online")
    assert state["reason"] == ""
    meta = await retained(mosquitto, f"{ROOT}/curing/curing-1/press-01/meta")
    assert meta["template"] == "curing-press"
    assert meta["points"]["bladder_pressure_left"]["unit"] == "bar"
    assert meta["points"]["bladder_pressure_left"]["type"] == "float"
    assert meta["points"]["state"]["labels"]["6"] == "execute"
    simulator.kill()
    state = await retained_with(mosquitto, f"{ROOT}/curing/curing-1/press-01/state", "state", "offline")
    assert state["reason"] == "not_connected"


async def test_a_gateway_publishes_its_birth_and_both_kinds_of_death(tmp_path: Path):
    """A stop and a crash are different news for a person on call."""
    mosquitto = await Mosquitto.start(tmp_path)
    gateway = await Lineside.start("run", factory(tmp_path, {"url": mosquitto.url}))
    topic = f"{ROOT}/_gateways/edge-01/state"
    assert (await retained_with(mosquitto, topic, "state", "online"))["spool"]
    await gateway.stop()
    assert (await retained_with(mosquitto, topic, "state", "offline"))["reason"] == "stopped"
    gateway.launch()
    await retained_with(mosquitto, topic, "state", "online")
    gateway.kill()
    assert (await retained_with(mosquitto, topic, "state", "offline"))["reason"] == "connection lost"


async def test_user_and_password_come_from_a_secret_that_is_never_shown(tmp_path: Path):
    """The password is in no file of the configuration and in no log."""
    passwords = tmp_path / "passwords"
    passwords.write_text("edge:" + hashed("s3cret-of-the-broker") + "\n")
    passwords.chmod(0o600)
    mosquitto = Mosquitto(tmp_path, f"password_file {passwords}")
    mosquitto.lines.remove("allow_anonymous true")
    await mosquitto.up()
    broker = {"url": mosquitto.url, "username": "edge", "password": {"secret": "broker_password"}}
    environment = {"LINESIDE_SECRET_BROKER_PASSWORD": "s3cret-of-the-broker"}
    gateway = await Lineside.start("run", factory(tmp_path, broker), environment=environment)
    await gateway.logged("mqtt.connected")
    await gateway.stop()
    wrong = await Lineside.start(
        "run", factory(tmp_path, broker), environment={"LINESIDE_SECRET_BROKER_PASSWORD": "no"}
    )
    event = await wrong.logged("mqtt.not_connected")
    assert "not authorized" in event["error"].lower()
    assert "s3cret" not in gateway.log.read_text() + wrong.log.read_text()


async def test_a_missing_secret_ends_the_gateway_and_says_where_it_belongs(tmp_path: Path):
    """It is the first thing that goes wrong on a new box."""
    broker = {"url": "mqtt://127.0.0.1:1", "username": "edge", "password": {"secret": "broker_password"}}
    gateway = await Lineside.start("run", factory(tmp_path, broker))
    assert await gateway.ended() == 1
    assert "LINESIDE_SECRET_BROKER_PASSWORD" in gateway.last_words()
    await until(lambda: "Traceback" not in gateway.last_words(), "no traceback")


def hashed(password: str) -> str:
    """Return a password as mosquitto's own tool hashes it (PBKDF2 with SHA-512)."""
    import base64
    import os

    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
