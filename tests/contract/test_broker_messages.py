"""What any client may publish to a gateway, and what a broker may deny it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import psutil
import pytest
from aiomqtt import MqttError
from edge import CONFIRMED, ROOT, SECONDS, STATE, Consumer, Edge
from fakes.malformed import MALFORMED, publish_malformed
from fakes.mqtt_broker import FakeBroker
from processes import LOOPBACK, until
from servers import Mosquitto
from structlog.testing import capture_logs

from gateway.common.tasks import cancel_and_wait
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.mqtt import session
from gateway.mqtt.client import MqttClient
from gateway.mqtt.messages import parse_metadata
from gateway.settings.sections import BrokerSection

if TYPE_CHECKING:
    from pathlib import Path

WANTED, METADATA = f"{ROOT}/_gateways/edge-01/wanted", f"{ROOT}/_gateways/edge-01/metadata"
INGEST = f"{ROOT}/_ingests/ingest-edge-01/state"
NOT_AUTHORIZED = 0x87

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def publish(port: int, topic: str, *payloads: bytes | str, retain: bool = False) -> None:
    async with aiomqtt.Client(LOOPBACK, port) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=1, retain=retain)


def confirmation(spool: str, ranges: Any, **more: Any) -> str:
    return json.dumps({"spool": spool, "ranges": ranges} | more)


# -- confirmations --


async def test_a_confirmation_that_can_not_be_true_frees_nothing_and_ends_nothing(tmp_path: Path):
    """A 64-bit number used to end the gateway, and a negative number to unbalance its ledger."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Consumer(mosquitto.port) as consumer, Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(3):
            edge.take()
        await consumer.got(1, 2, 3)
        wrong: list[Any] = [
            [[1, 18446744073709551615]], [[1, 2**63]], [[1, 9]], [[1, 1e300]], [[0, 1]], [[2, 1]], [[1, True]],
            [["1", "2"]],
        ]  # fmt: skip
        with capture_logs() as logs:
            await publish(mosquitto.port, CONFIRMED, *(confirmation(edge.spool.id, ranges) for ranges in wrong))
            for more in ({"set_aside": {"1": -5}}, {"set_aside": {"9": 1}}, {"taken": [[1, 2**40]], "instance": "x"}):
                await publish(mosquitto.port, CONFIRMED, confirmation(edge.spool.id, [[1, 1]], **more))
            await publish(mosquitto.port, CONFIRMED, confirmation(edge.spool.id, [[1, 1]], set_aside={"1": 1}))
            await consumer.confirm(1, set_aside={1: 1})
            await edge.freed(pending=2)
        assert edge.spool.ledger.dropped == {"rejected_by_store": 1}
        assert [event["event"] for event in logs].count("mqtt.message_ignored") == 1, "the first of many is logged"
        await consumer.confirm(2, 3)
        await edge.freed()


async def test_a_retained_confirmation_is_ignored_and_cleared(tmp_path: Path):
    """It would come again at every start: one up to 1e300 kept a gateway down, start after start."""
    mosquitto = await Mosquitto.start(tmp_path)
    await publish(mosquitto.port, CONFIRMED, '{"spool":"x","ranges":[[1,1e300]]}', retain=True)
    with capture_logs() as logs:
        async with Consumer(mosquitto.port, confirming=True), Edge(tmp_path, {"url": mosquitto.url}) as edge:
            edge.take()
            await edge.freed()
        async with aiomqtt.Client(LOOPBACK, mosquitto.port) as late, asyncio.timeout(SECONDS):
            await late.subscribe(CONFIRMED)
            await publish(mosquitto.port, CONFIRMED, "after")
            assert (await anext(aiter(late.messages))).payload == b"after", "nothing is retained"
    assert [event["topic"] for event in logs if event["event"] == "mqtt.retained_ignored"] == [CONFIRMED]


# -- descriptions that ingest lacks --


async def ask(client: aiomqtt.Client, wanted: dict[str, Any]) -> None:
    """Ask again and again, as ingest does: the gateway may not have subscribed yet."""
    while True:
        await client.publish(WANTED, json.dumps(wanted), qos=1)
        await asyncio.sleep(0.1)


@VERSIONS
async def test_a_gateway_answers_which_descriptions_it_knows(tmp_path: Path, version: str):
    """So that no record waits without limit for the description that it names."""
    mosquitto = await Mosquitto.start(tmp_path)
    path, meta = (
        MachinePath("enterprise", "site", "area", "line", "m-01"),
        MachineMeta("press", {"p": "int"}, {"p": "bar"}),
    )
    async with Edge(tmp_path, {"url": mosquitto.url, "version": version}) as edge:
        edge.known[meta.id] = path, meta
        async with aiomqtt.Client(LOOPBACK, mosquitto.port) as client, asyncio.timeout(SECONDS):
            await client.subscribe(METADATA)
            asking = asyncio.create_task(ask(client, {"v": 1, "ids": [meta.id, "0a"]}))
            message = await anext(aiter(client.messages))
            await cancel_and_wait(asking)
            assert not message.retain
            answer = parse_metadata(bytes(message.payload))
    assert {key: (known.machine, known.meta) for key, known in answer.known.items()} == {meta.id: (path, meta)}
    assert answer.unknown == ("0a",)


# -- malformed messages --


def memory() -> int:
    """Return how many bytes this process has in memory."""
    found: int = psutil.Process().memory_info().rss
    return found


@pytest.mark.timeout(300 + MALFORMED // 50)
async def test_malformed_messages_on_every_topic_end_stall_and_leak_nothing(tmp_path: Path):
    """Every client with a right to publish may send them, and a failing box sends them all night."""
    mosquitto = await Mosquitto.start(tmp_path, "max_queued_messages 0")
    gone = f"{ROOT}/area/line/gone/state"
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "states.json").write_text(json.dumps({"states": [gone], "gone": {}}))
    with capture_logs() as logs:
        async with (
            Consumer(mosquitto.port, confirming=True) as consumer,
            Edge(tmp_path, {"url": mosquitto.url}) as edge,
        ):
            edge.take()
            await edge.freed()
            before = memory()
            await publish_malformed(mosquitto.port, CONFIRMED, WANTED, STATE, INGEST, gone)
            edge.take()
            await consumer.got(2)
            await edge.freed()
            assert edge.spool.ledger.balanced
            assert memory() - before < 50 * 2**20
            assert len(edge.publisher._wanted) <= 1_000  # noqa: SLF001 - answers are too slow to show it
    events = [event["event"] for event in logs]
    assert "mqtt.session_failed" not in events
    assert events.count("mqtt.connected") <= 2, "another gateway of the name is believed at most"
    assert len(events) < 60, "repeats are counted"


# -- rights --


@pytest.mark.parametrize(("version", "reason"), [("5", NOT_AUTHORIZED), ("3.1.1", 0x80)])
@pytest.mark.parametrize("denied", ["confirmed", "wanted", "edge-01/state", "_ingests"])
async def test_a_denied_subscription_is_logged_once_and_tried_again(
    tmp_path: Path, denied: str, version: str, reason: int, monkeypatch: pytest.MonkeyPatch
):
    """EMQX, HiveMQ and Mosquitto answer with a reason code when the right is missing, and let the client stay."""
    monkeypatch.setattr(session, "SUBSCRIBE_AGAIN_FIRST", 0.05)
    monkeypatch.setattr(session, "SUBSCRIBE_AGAIN_MAX", 0.05)
    rights = {"given": False}

    def granted(topic: str) -> int:
        return reason if denied in topic and not rights["given"] else 1

    async with FakeBroker(granted=granted) as broker:
        with capture_logs() as logs:
            async with Edge(tmp_path, {"url": broker.url, "version": version}) as edge:
                edge.take()
                tried = lambda: sum(denied in topic for topic in broker.subscribed)  # noqa: E731
                await until(lambda: tried() > 3, "it is tried again", SECONDS)
                sent = f"{ROOT}/area/line/m-01/data"
                if denied == "confirmed":
                    assert sent not in broker.published, "nobody could confirm it"
                else:
                    await until(lambda: sent in broker.published, "records go", SECONDS)
                rights["given"] = True
                subscribed = lambda: "mqtt.subscribed" in [event["event"] for event in logs]  # noqa: E731
                await until(subscribed, "it is granted", SECONDS)
                await until(lambda: sent in broker.published, "records go", SECONDS)
    [event] = [event for event in logs if event["event"] == "mqtt.subscribe_denied"]
    assert denied in event["topic"]
    assert event["reason"] == hex(reason)
    assert event["hint"] == f"grant client lineside-edge-01 the right to subscribe to {event['topic']}"
    assert [event["event"] for event in logs].count("mqtt.subscribed") == 1


async def test_a_message_that_may_wait_leaves_with_others_in_its_time_or_at_the_end(tmp_path: Path):
    """The report of a gateway needs no system call of its own, and none is lost."""
    mosquitto = await Mosquitto.start(tmp_path)
    broker = BrokerSection(url=mosquitto.url)
    async with MqttClient(broker, "receiver") as receiver, asyncio.timeout(SECONDS):
        await receiver.subscribe_to("t/#")

        async def following(*expected: str) -> None:
            assert [(await receiver.receive()).topic for _ in expected] == list(expected)

        async with MqttClient(broker, "sender") as sender:
            sender.send_unacknowledged("t/waits", b"", patience=3600.0)
            sender.send("t/goes", b"", lambda _: None)
            await following("t/waits", "t/goes")
            sender.send_unacknowledged("t/alone", b"", patience=0.01)
            sender.send_unacknowledged("t/too", b"", patience=3600.0)
            await following("t/alone", "t/too")
            sender.send_unacknowledged("t/last", b"", patience=3600.0)
        await following("t/last")


async def test_a_message_that_waits_while_the_connection_is_lost_is_lost_with_it():
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with FakeBroker() as broker, MqttClient(BrokerSection(url=broker.url), "sender") as sender:
        broker.say_goodbye(0)
        sender.send_unacknowledged("t/waits", b"", patience=0.05)
        with pytest.raises(MqttError):
            await sender.lost()
        await asyncio.sleep(0.1)  # for longer than it may wait
        sender.send_unacknowledged("t/waits", b"", patience=0.05)
    assert not errors
