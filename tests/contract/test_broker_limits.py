"""Limits, refusals and messages of brokers: each is respected, and logged once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from edge import ROOT, SECONDS, STATE, Consumer, Edge
from fakes.mqtt_broker import MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, SERVER_KEEP_ALIVE, FakeBroker
from processes import until
from proxy import Proxy
from servers import Mosquitto
from structlog.testing import capture_logs

from gateway.mqtt import client as client_module
from gateway.mqtt import constants, session
from gateway.mqtt.client import Message, MqttClient
from gateway.publish import in_flight as window
from gateway.publish import topic_backoff
from gateway.settings.sections import BrokerSection
from gateway.spool import spool

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.files import Spooled

NOT_AUTHORIZED, TAKEN_OVER = 0x87, 0x8E


@pytest.fixture(autouse=True)
def _confirmations_wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let confirmations wait for a commit of other records for a tenth of a second, and not for one."""
    monkeypatch.setattr(spool, "CONFIRM_DELAY", 0.1)


def data(machine: str) -> str:
    return f"{ROOT}/area/line/{machine}/data"


async def test_never_more_is_unacknowledged_than_the_broker_takes(tmp_path: Path):
    """One message more is a protocol error (MQTT 5, 4.9), for which the broker hangs up; states count as well."""
    async with FakeBroker(properties={RECEIVE_MAXIMUM: 5}) as broker:
        broker.holding = True
        edge = Edge(tmp_path, {"url": broker.url})
        edge.metas |= {f"{ROOT}/area/line/m-{i}/meta": b"{}" for i in range(20)}
        async with edge:
            await until(lambda: broker.owed, "the birth", SECONDS)
            broker.answer_held()
            await until(lambda: len(broker.published) >= 21, "the metas", SECONDS)
            broker.holding = True
            for _ in range(30):
                edge.take()
            await until(lambda: broker.owed == 5, "as many as it takes", SECONDS)
            broker.answer_held()
            await until(lambda: broker.published.count(data("m-01")) == 30, "all records", SECONDS)
        assert broker.most_owed == 5


@pytest.mark.parametrize("qos", [0, 1])
async def test_messages_that_wait_to_be_received_have_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qos: int
):
    """A broker bounds how many are unacknowledged, not their size, and QoS 0 not at all: the rest waits there."""
    monkeypatch.setattr(client_module, "INBOX_SIZE", 2**20)
    mosquitto = await Mosquitto.start(tmp_path, "max_queued_messages 0", "max_inflight_messages 0")
    broker = BrokerSection(url=mosquitto.url)
    async with MqttClient(broker, "receiver") as receiver, MqttClient(broker, "sender") as sender:
        await receiver.subscribe_to("flood", qos=qos)
        for number in range(200):
            await sender.publish("flood", str(number).encode().ljust(100_000), qos=1)
        await until(lambda: receiver.waiting() >= 10, "the inbox is full", SECONDS)
        received = []
        async with asyncio.timeout(SECONDS):
            for _ in range(200):
                assert receiver.waiting() <= 12
                message = await receiver.receive()
                receiver.acknowledge(message)
                received.append(int(message.payload))
    assert received == list(range(200))


async def test_the_broker_is_asked_within_the_keep_alive_that_it_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It hangs up after 1.5 times its own keep-alive (MQTT 5, 3.2.2.3.14), whatever the configuration says."""
    monkeypatch.setattr(client_module, "MISC_EVERY", 0.2)
    async with (
        FakeBroker(properties={SERVER_KEEP_ALIVE: 1}) as broker,
        Edge(tmp_path, {"url": broker.url, "keep_alive": "1h"}),
    ):
        await until(lambda: broker.pings >= 3, "it asks", SECONDS)
        assert broker.connects == 1


async def test_a_silent_connection_is_given_up_within_the_keep_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A cable that is pulled says nothing; the broker itself waits 1.5 times as long."""
    monkeypatch.setattr(client_module, "MISC_EVERY", 0.2)
    mosquitto = await Mosquitto.start(tmp_path)
    async with Proxy(mosquitto.port) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with (
            Consumer(mosquitto.port, confirming=True),
            Edge(tmp_path, {"url": url, "keep_alive": "1s"}) as edge,
        ):
            edge.take()
            await edge.freed()
            with capture_logs() as logs:
                proxy.drop()
                edge.take()
                await until(lambda: any(log["event"] == "mqtt.not_connected" for log in logs), "it shows", SECONDS)
                await proxy.heal()
                await edge.freed()


async def test_a_topic_that_is_refused_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A machine that was added before its right to publish was is one line in the log, and waits."""
    monkeypatch.setattr(topic_backoff, "RETRY_FIRST", 0.3)
    monkeypatch.setattr(topic_backoff, "RETRY_MAX", 0.3)
    allowed = {data("m-02")}

    def reason(topic: str) -> int:
        return 0 if topic in allowed or not topic.endswith("/data") else NOT_AUTHORIZED

    async with FakeBroker(reason) as broker, Edge(tmp_path, {"url": broker.url}, {"confirm": "broker"}) as edge:
        with capture_logs() as logs:
            for _ in range(1000):
                edge.take("m-01")
                edge.take("m-02")
            await edge.freed(pending=1000)
            refusals = broker.published.count(data("m-01"))
            assert refusals < window.IN_FLIGHT
            allowed.add(data("m-01"))
            edge.take("m-01")
            await edge.freed()
        assert [log["topic"] for log in logs if log["event"] == "mqtt.publish_denied"] == [data("m-01")]
        assert [log["topic"] for log in logs if log["event"] == "mqtt.publish_resumed"] == [data("m-01")]


async def test_a_broker_that_never_acknowledges_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It answers pings, so nothing else would show; records in flight are sent again over another connection."""
    monkeypatch.setattr(window, "ANSWER_TIMEOUT", 0.5)
    async with (
        FakeBroker(lambda topic: None if topic.endswith("/data") else 0) as broker,
        Edge(tmp_path, {"url": broker.url}) as edge,
    ):
        edge.take()
        await until(lambda: broker.connects >= 2, "another connection", SECONDS)
        await until(lambda: broker.published.count(data("m-01")) >= 2, "the record again", SECONDS)


async def test_a_connection_that_is_lost_before_it_has_subscribed_is_left_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A broker that dies in this moment would else be waited for, however soon it is back."""
    monkeypatch.setattr(constants, "CONNECT_TIMEOUT", 2 * SECONDS)
    async with FakeBroker() as broker:
        broker.hangs_up = True
        async with Edge(tmp_path, {"url": broker.url}):
            await until(lambda: STATE in broker.published, "a birth over the next connection", SECONDS)
            assert broker.connects == 2


async def test_a_gateway_that_is_disconnected_logs_the_reason_once_and_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """MQTT 5, 4.13: reason 0x8E says that another client has our identifier."""
    monkeypatch.setattr(session, "STAND_BACK_FIRST", 0.3)
    async with FakeBroker() as broker:
        with capture_logs() as logs:
            async with Edge(tmp_path, {"url": broker.url}):
                for times in range(1, 4):
                    await until(lambda times=times: broker.published.count(STATE) >= times, "a birth", SECONDS)
                    broker.say_goodbye(TAKEN_OVER)
                    assert broker.connects == times
        [event] = [log for log in logs if log["event"] == "gateway.id_in_use"]
        assert event["gateway"] == "edge-01"
        assert event["log_level"] == "error"


# -- size --


async def test_a_record_of_the_spool_that_the_broker_does_not_take_is_cut(tmp_path: Path):
    """A broker may be replaced by one with a smaller limit while records wait."""
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}) as edge:
        edge.take(readings=3000)
        edge.take("m-02")
    async with FakeBroker(properties={MAXIMUM_PACKET_SIZE: 4000}) as broker:
        async with Edge(tmp_path, {"url": broker.url}, {"confirm": "broker"}) as edge:
            await edge.freed()
            assert edge.spool.ledger.confirmed == 3001
        assert broker.largest <= 4000
        assert broker.connects == 1


async def test_a_reading_that_is_larger_than_a_message_may_be_is_set_aside_and_counted(tmp_path: Path):
    """It can't arrive, must not hold up the others, and must not vanish."""
    mosquitto = await Mosquitto.start(tmp_path, "max_packet_size 5000")
    async with Consumer(mosquitto.port, confirming=True) as consumer, Edge(tmp_path, {"url": mosquitto.url}) as edge:
        with capture_logs() as logs:
            edge.take(text="x" * 20_000)
            edge.take(readings=2)
            await edge.freed()
        ledger = edge.spool.ledger
        assert (ledger.confirmed, dict(ledger.dropped)) == (2, {"too_large": 1})
        assert sum(record.readings for record in consumer.records) == 2
        assert "xxxxx" in edge.letters.read_text()
        [event] = [log for log in logs if log["event"] == "record.too_large"]
        assert event["set_aside"] == 1


async def test_a_broker_that_takes_no_record_is_not_connected(tmp_path: Path):
    """A limit with a digit too few had the backlog of an outage set aside, record by record."""
    async with FakeBroker(properties={MAXIMUM_PACKET_SIZE: 60}) as broker:
        with capture_logs() as logs:
            async with Edge(tmp_path, {"url": broker.url}, {"confirm": "broker"}) as edge:
                edge.take(readings=3)
                await until(lambda: broker.connects >= 3, "several attempts", SECONDS)
                assert (edge.pending, dict(edge.spool.ledger.dropped)) == (3, {})
        [refused] = [log for log in logs if log["event"] == "mqtt.not_connected"]
        assert "takes messages of 60 bytes at most: raise its limit to 1024 bytes or more" in refused["error"]
        broker.properties[MAXIMUM_PACKET_SIZE] = 4000
        async with Edge(tmp_path, {"url": broker.url}, {"confirm": "broker"}) as edge:
            await edge.freed()
            assert edge.spool.ledger.confirmed == 3


async def test_a_broker_that_closes_the_connection_at_large_records_gets_smaller_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In MQTT 3.1.1 it can't say how much it accepts: it closes the connection, every time."""
    monkeypatch.setattr(session, "RETRY_FIRST", 0.1)
    monkeypatch.setattr(session, "RETRY_MAX", 0.3)
    mosquitto = await Mosquitto.start(tmp_path, "max_packet_size 20000")
    broker = {"url": mosquitto.url, "version": "3.1.1"}
    async with Consumer(mosquitto.port, confirming=True) as consumer, Edge(tmp_path, broker) as edge:
        edge.take(readings=3000)
        for _ in range(5):
            edge.take("m-02", readings=2)
        await edge.freed()
        assert edge.spool.ledger.confirmed == 3010
        assert edge.spool.ledger.dropped == {}
        assert {record.machine for record in consumer.records} == {"m-01", "m-02"}


async def test_no_record_is_made_larger_than_configured(tmp_path: Path):
    """So that nothing need be cut later, and memory is bounded."""
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}, {"max_record": "2KiB"}) as edge:
        for _ in range(20):
            edge.spool.put(edge.outbox("m-01"), edge.scan(400), 400)
        edge.spool.ledger.acquired += 8000
        records: list[Spooled] = []
        while sum(record.readings for record in records) < 8000:
            await edge.spool.sendable()
            records += await edge.spool.lease_in_order(10_000)
        assert max(len(record.payload) for record in records) <= 2048
        assert len({record.seq for record in records}) == len(records)


async def test_refused_retained_messages_are_reported_and_delay_no_others(tmp_path: Path):
    """The right to publish to one of the topics is often forgotten."""
    async with FakeBroker(lambda topic: NOT_AUTHORIZED if "m-02" in topic else 0) as broker:
        edge = Edge(tmp_path, {"url": broker.url})
        link = MqttClient(edge.factory.broker, "test")
        async with link:
            messages = [Message(f"{ROOT}/area/line/m-0{i}/meta", b"{}") for i in (1, 2, 3)]
            assert await link.deliver(messages) == {messages[1].topic: NOT_AUTHORIZED}
