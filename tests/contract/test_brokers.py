"""Brokers other than Mosquitto, as plants have them: NATS with JetStream, and RabbitMQ with its MQTT plugin.

Both speak MQTT 3.1.1. A feature that they lack is noticed, and logged with a hint.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from edge import ROOT, SECONDS, STATE, Consumer, Edge
from processes import LOOPBACK, lineside, until, write_factory
from servers import Mosquitto, Nats, RabbitMq, Server
from structlog.testing import capture_logs

from gateway.mqtt import broker_support
from gateway.mqtt.broker_support import check_shared_subscription
from gateway.settings.sections import BrokerSection
from gateway.spool import spool

if TYPE_CHECKING:
    from pathlib import Path

SHARE = f"{ROOT}/_ingests/ingest-edge-01/share"

SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _confirmations_wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let confirmations wait for a commit of other records for a tenth of a second, and not for one."""
    monkeypatch.setattr(spool, "CONFIRM_DELAY", 0.1)


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> RabbitMq:
    """One RabbitMQ for all tests: it starts in ten seconds, or in forty on a busy machine."""
    server = RabbitMq(tmp_path_factory.mktemp("rabbitmq"), scope="module")
    server.up_and_wait()
    return server


@pytest.fixture(params=[pytest.param("nats"), pytest.param("rabbitmq", marks=SLOW)])
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    if request.param == "nats":
        return await Nats.start(tmp_path)
    server: RabbitMq = request.getfixturevalue("rabbitmq")
    return server


def section(server: Server, **more: Any) -> dict[str, Any]:
    return {"url": f"mqtt://{LOOPBACK}:{server.port}", "version": "3.1.1"} | more


async def state_of(server: Server) -> dict[str, Any]:
    """Return the state that is retained of the gateway."""
    async with aiomqtt.Client(LOOPBACK, server.port) as client, asyncio.timeout(SECONDS):
        await client.subscribe(STATE, qos=1)
        found: dict[str, Any] = json.loads((await anext(aiter(client.messages))).payload)
        return found


async def test_a_broker_of_another_make_loses_and_doubles_nothing(broker: Server, tmp_path: Path):
    """Births, records, confirmations, descriptions on request, and all again after it was killed."""
    async with Edge(tmp_path, section(broker)) as edge:
        for number in range(300):
            edge.take(f"m-0{1 + number % 3}")
        async with Consumer(broker.port, confirming=True) as consumer:
            await edge.freed()
            assert sorted(set(consumer.seqs)) == list(range(1, 301))
        assert (await state_of(broker))["state"] == "online"
        broker.kill()
        for _ in range(50):
            edge.take()
        await broker.restart()
        async with Consumer(broker.port, confirming=True) as consumer:
            edge.take()
            await edge.freed()
        assert edge.spool.ledger.confirmed == 351
    died = await state_of(broker)
    assert (died["state"], died["reason"]) == ("offline", "stopped")


async def test_in_strict_order_a_broker_of_another_make_keeps_the_order(broker: Server, tmp_path: Path):
    """Each record waits for the confirmation of the record before it."""
    strict = {"order": "strict"}
    async with Consumer(broker.port, confirming=True) as consumer, Edge(tmp_path, section(broker), strict) as edge:
        for number in range(60):
            edge.take(f"m-0{1 + number % 3}")
        await edge.freed()
    for machine in ("m-01", "m-02", "m-03"):
        seqs = [record.seq for record in consumer.records if record.machine == machine]
        assert seqs == sorted(seqs)


async def test_features_that_a_broker_lacks_are_named(
    broker: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It accepts a shared subscription and delivers nothing, refuses MQTT 5, and a dot ends in nothing."""
    monkeypatch.setattr(broker_support, "DELIVERED_WITHIN", 2.0)
    with capture_logs() as logs:
        assert await check_shared_subscription(BrokerSection.model_validate(section(broker)), "check", SHARE) is False
        async with Edge(tmp_path, section(broker, version="5")):
            await until(lambda: any(log["event"] == "mqtt.not_connected" for log in logs), "it is refused", SECONDS)
    [unsupported] = [log for log in logs if log["event"] == "mqtt.shared_subscriptions_unsupported"]
    assert "remove ingest.share" in unsupported["hint"]
    [refused] = [log for log in logs if log["event"] == "mqtt.not_connected"]
    assert 'set broker.version to "3.1.1"' in refused["error"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_shared_subscriptions_of_mosquitto_are_not_doubted(tmp_path: Path, version: str):
    """A false alarm would be as bad as none."""
    mosquitto = await Mosquitto.start(tmp_path)
    section = BrokerSection.model_validate({"url": mosquitto.url, "version": version})
    with capture_logs() as logs:
        assert await check_shared_subscription(section, "check", SHARE) is True
    assert not logs


async def test_a_check_without_a_result_is_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A broker that is away, or gives no right to the topic of the check, says nothing about shared subscriptions."""
    monkeypatch.setattr(broker_support, "DELIVERED_WITHIN", 0.5)  # twice: nothing comes back
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o644)
    mosquitto = await Mosquitto.start(tmp_path, f"acl_file {acl}")
    with capture_logs() as logs:
        for url in (mosquitto.url, "mqtt://127.0.0.1:1"):
            section = BrokerSection.model_validate({"url": url, "version": "3.1.1"})
            assert await check_shared_subscription(section, "check", SHARE) is None
    assert not logs


async def test_validate_warns_of_a_dot_in_a_name(tmp_path: Path):
    """NATS and RabbitMQ accept such topics, and deliver nothing there."""
    template = "format: 1\nprotocol: modbus\npoints:\n  count: {address: input 0, every: 1s}\n"
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "counter.yaml").write_text(template)
    file = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge.01"},
        broker={"url": "mqtt://127.0.0.1:1", "root": "plant.v1"},
        lines={
            "line": {
                "area": "area",
                "machines": {
                    "press.1": {"template": "counter", "connection": "modbus+tcp://127.0.0.1:1"},
                    "press-2": {"template": "counter", "connection": "modbus+tcp://127.0.0.1:2"},
                },
            }
        },
    )
    ran = await lineside("validate", str(file), "--format", "json")
    assert ran.code == 0
    warned = {problem["path"]: problem for problem in json.loads(ran.text)["problems"]}
    assert set(warned) == {"gateway.id", "broker.root", "lines.line.machines.press.1"}
    assert warned["lines.line.machines.press.1"]["severity"] == "warning"
    assert "contains a dot" in warned["gateway.id"]["message"]
