"""Ingest and `tail` at a broker that denies them a right: it is logged, and the right is used once it is granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes.gateway import FakeGateway
from fakes.mqtt_broker import FakeBroker
from processes import Lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

if TYPE_CHECKING:
    from pathlib import Path

NOT_AUTHORIZED = 0x87
SECONDS = 60.0


def factory(folder: Path, **broker: Any) -> Path:
    return write_factory(
        folder / "factory.yaml",
        broker=broker,
        ingest={"folder": str(folder / "ingest")},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}},
            }
        },
    )


@pytest.mark.parametrize(("version", "reason"), [("5", NOT_AUTHORIZED), ("3.1.1", 0x80)])
async def test_ingest_says_that_it_is_not_subscribed_and_is_once_it_may(tmp_path: Path, version: str, reason: int):
    """It used to log that it had subscribed, and to wait for records without limit."""
    rights = {"given": False}

    def granted(topic: str) -> int:
        return reason if topic.endswith("/data") and not rights["given"] else 1

    async with FakeBroker(granted=granted) as broker:
        ingest = await Lineside.start("ingest", factory(tmp_path, url=broker.url, version=version))
        event = await ingest.logged("mqtt.subscribe_denied")
        assert event["topic"] == "lineside/v1/+/+/+/+/+/data"
        assert event["reason"] == hex(reason)
        assert "grant client lineside-ingest-edge-01 the right to subscribe" in event["hint"]
        assert not ingest.events("ingest.subscribed")
        rights["given"] = True
        await ingest.logged("ingest.subscribed", seconds=SECONDS)
        assert len(ingest.events("mqtt.subscribe_denied")) == 1
        await ingest.stop()


async def test_tail_says_that_it_may_not_subscribe(tmp_path: Path):
    """A person looks at an empty terminal."""
    async with FakeBroker(granted=lambda _: NOT_AUTHORIZED) as broker:
        tail = await Lineside.start("tail", factory(tmp_path, url=broker.url))
        event = await tail.logged("mqtt.subscribe_denied")
        assert event["topic"].endswith("/meta")
        await tail.stop()


async def test_confirmations_that_the_broker_refuses_are_logged_once_and_counted(tmp_path: Path):
    """Its gateways send everything again and again, and nobody would know why."""
    acl = tmp_path / "acl"
    acl.write_text("topic deny lineside/v1/enterprise/site/_gateways/edge-01/confirmed\ntopic readwrite #\n")
    acl.chmod(0o644)
    mosquitto = await Mosquitto.start(tmp_path, f"acl_file {acl}")
    file = tmp_path / "ingest.json"
    ingest = await Lineside.start("ingest", factory(tmp_path, url=mosquitto.url), "--report", str(file))
    await ingest.logged("ingest.subscribed")
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", pressure=("float", "bar"))
        for number in range(20):
            await gateway.send("m-01", pressure=float(number))
            await until(lambda: ingest.events("mqtt.publish_denied"), "it is logged", SECONDS)
        await until(lambda: len(rows(tmp_path / "readings.db")) == 20, "all is stored", SECONDS)
    assert len(ingest.events("mqtt.publish_denied")) == 1
    await ingest.stop()
    assert report(file)["confirmations_denied"] >= 1
