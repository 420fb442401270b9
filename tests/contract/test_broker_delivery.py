"""Records that the gateway sends, frees and sends again, with a real Mosquitto in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from edge import DATA, ROOT, SECONDS, Consumer, Edge
from processes import until
from proxy import Proxy
from servers import Mosquitto
from structlog.testing import capture_logs

from gateway.publish import in_flight as window
from gateway.publish import topic_backoff
from gateway.spool import spool

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture(autouse=True)
def _confirmations_wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let confirmations wait for a commit of other records for a tenth of a second, and not for one."""
    monkeypatch.setattr(spool, "CONFIRM_DELAY", 0.1)


async def test_confirmed_records_and_no_others_are_freed(tmp_path: Path):
    """A range that is freed one too wide is a hole in the store that nobody notices."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Consumer(mosquitto.port) as consumer, Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(10):
            edge.take()
        await consumer.got(*range(1, 11))
        await consumer.confirm(2, 3, 4, 9)
        await edge.freed(pending=6)
        await consumer.confirm(4, 9, 1, 5, 6, 7, 8, 10)
        await edge.freed()
        assert edge.spool.ledger.confirmed == 10


@pytest.mark.parametrize("confirm", ["store", "broker"])
async def test_with_the_broker_off_nothing_counts_as_delivered(tmp_path: Path, confirm: str):
    """An output that reports success without a consumer loses the readings of a shift without a message."""
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}, {"confirm": confirm}) as edge:
        with capture_logs() as logs:
            for _ in range(10):
                edge.take()
            await until(lambda: edge.spool.size, "all is on disk", SECONDS)
            await until(lambda: any(one["event"] == "mqtt.not_connected" for one in logs), "it is logged", SECONDS)
        ledger = edge.spool.ledger
        assert (ledger.acquired, ledger.pending, ledger.confirmed, dict(ledger.dropped)) == (10, 10, 0, {})
        assert ledger.balanced


@VERSIONS
async def test_unconfirmed_records_and_no_others_are_sent_again_after_a_reconnect(tmp_path: Path, version: str):
    """The MQTT library sends messages in flight again when it reconnects: that must not make a second copy."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with (
        Proxy(mosquitto.port) as proxy,
        Consumer(mosquitto.port) as consumer,
        Edge(tmp_path, {"url": f"mqtt://127.0.0.1:{proxy.port}", "version": version}) as edge,
    ):
        for _ in range(6):
            edge.take()
        await consumer.got(*range(1, 7))
        await consumer.confirm(1, 2, 5)
        await edge.freed(pending=3)
        await proxy.cut()
        await proxy.heal()
        await until(lambda: consumer.seqs.count(6) == 2, "the last record comes again", SECONDS)
        edge.take()
        await consumer.got(7)
        assert sorted(consumer.seqs) == [1, 2, 3, 3, 4, 4, 5, 6, 6, 7]
        await consumer.confirm(3, 4, 6, 7)
        await edge.freed()


async def test_a_broker_that_is_killed_with_messages_in_its_queue_loses_nothing(tmp_path: Path):
    """Without persistence, which is Mosquitto's default, all that it has acknowledged is gone."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Consumer(mosquitto.port, session="ingest"):
        pass  # from now on the broker queues for it
    async with Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(50):
            edge.take()
        await until(lambda: len(edge.window) == 50 and edge.window.room(0) == 20, "the broker has them all", SECONDS)
        mosquitto.kill()
        await mosquitto.restart()
        async with Consumer(mosquitto.port, confirming=True, session="ingest") as consumer:
            await edge.freed()
            assert sorted(set(consumer.seqs)) == list(range(1, 51))


async def test_records_that_a_broker_drops_at_the_limit_of_its_queue_arrive_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Mosquitto acknowledges messages, and then drops those beyond the limit of its queue without an error."""
    monkeypatch.setattr(window, "OVERTAKEN", 0.2)
    monkeypatch.setattr(window, "PROBE_FIRST", 1.0)
    mosquitto = await Mosquitto.start(tmp_path, "max_queued_messages 20")
    async with Consumer(mosquitto.port, session="ingest"):
        pass
    async with Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(100):
            edge.take()
        await until(lambda: len(edge.window) == 100, "all have left", SECONDS)
        async with Consumer(mosquitto.port, confirming=True, session="ingest") as consumer:
            await consumer.got(1)
            assert len(set(consumer.seqs)) < 100
            edge.take()  # a record that arrives later shows which were lost
            await edge.freed()
            assert sorted(set(consumer.seqs)) == list(range(1, 102))


async def test_a_broker_without_subscribers_is_not_flooded(tmp_path: Path):
    """Success without matching subscribers (MQTT 5, reason 0x10) is neither delivery nor a reason to send all day."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(300):
            edge.take()
        nobody = edge.window.counts
        await until(lambda: nobody["nobody"] and not len(edge.window), "no subscribers", SECONDS)
        before = nobody["nobody"]
        await until(lambda: nobody["nobody"] >= before + 2, "it is tried again", SECONDS)
        assert nobody["nobody"] < before + 10
        assert edge.pending == 300
        async with Consumer(mosquitto.port, confirming=True):
            await edge.freed()


async def test_the_acknowledgement_frees_where_the_broker_confirms_but_not_that_of_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With `confirm: broker` a machine that nobody has subscribed to waits, and the others do not."""
    monkeypatch.setattr(topic_backoff, "RETRY_FIRST", 0.3)
    monkeypatch.setattr(topic_backoff, "RETRY_MAX", 0.3)
    mosquitto = await Mosquitto.start(tmp_path)
    topic = "lineside/v1/enterprise/site/area/line/m-02/data"
    async with Consumer(mosquitto.port, topic=topic) as consumer:
        async with Edge(tmp_path, {"url": mosquitto.url}, {"confirm": "broker"}) as edge:
            for _ in range(20):
                edge.take("m-01")
                edge.take("m-02")
            await edge.freed(pending=20)
            assert {record.machine for record in consumer.records} == {"m-02"}
            async with Consumer(mosquitto.port) as other:
                edge.take("m-01")
                await edge.freed()
                assert len({record.seq for record in other.records}) == 21
        assert consumer.seqs == list(range(2, 41, 2))


async def test_a_machine_without_subscribers_does_not_stop_the_others(tmp_path: Path):
    """MQTT 5, reason 0x10, says something of one topic: a topic under a former root used to stop everything."""
    mosquitto = await Mosquitto.start(tmp_path)
    topic = f"{ROOT}/area/line/m-02/data"
    async with Consumer(mosquitto.port, topic=topic, confirming=True), Edge(tmp_path, {"url": mosquitto.url}) as edge:
        for _ in range(100):
            edge.take("m-01")
            edge.take("m-02")
        await edge.freed(pending=100)
        async with Consumer(mosquitto.port, confirming=True) as other:
            await edge.freed()
        assert {record.machine for record in other.records} == {"m-01"}


@VERSIONS
@pytest.mark.parametrize("order", ["fresh", "strict"])
async def test_a_backlog_is_delivered_under_the_root_that_is_configured_now(tmp_path: Path, version: str, order: str):
    """Ingest subscribes to the new root alone: records under the old root would wait without limit."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}, {"order": order}) as edge:
        for number in range(300):
            edge.take(f"m-0{1 + number % 3}")
    broker = {"url": mosquitto.url, "version": version, "root": "plant/v2"}
    topic = DATA.replace("lineside/v1", "plant/v2")
    async with (
        Consumer(mosquitto.port, confirming=True, topic=topic) as consumer,
        Edge(tmp_path, broker, {"order": order}) as edge,
    ):
        for _ in range(20):
            edge.take("m-01")
        await edge.freed()
        assert set(consumer.seqs) == set(range(1, 321))
        if order == "strict":
            first = [record.seq for record in consumer.records if record.machine == "m-01"]
            assert sorted(set(first)) == list(dict.fromkeys(first))


async def test_fresh_readings_overtake_the_backlog(tmp_path: Path):
    """After a night without a broker the present state of the line is wanted first."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}) as edge:
        for _ in range(3000):
            edge.take(readings=20)
        await until(lambda: edge.spool.size > 0, "a backlog", SECONDS)
    async with Consumer(mosquitto.port, confirming=True) as consumer, Edge(tmp_path, {"url": mosquitto.url}) as edge:
        await consumer.got(100)
        edge.take("m-02")
        await consumer.got(3001)
        assert len(set(consumer.seqs)) < 2900
        await edge.freed()
        assert sorted(set(consumer.seqs)) == list(range(1, 3002))


@VERSIONS
async def test_in_strict_order_the_records_of_a_machine_arrive_in_their_order(tmp_path: Path, version: str):
    """Also across lost connections and a backlog, whatever has to be sent again."""
    mosquitto = await Mosquitto.start(tmp_path)
    strict = {"order": "strict"}
    async with Edge(tmp_path, {"url": "mqtt://127.0.0.1:1"}, strict) as edge:
        for number in range(60):
            edge.take(f"m-0{1 + number % 3}")
    async with (
        Proxy(mosquitto.port) as proxy,
        Consumer(mosquitto.port, confirming=True) as consumer,
        Edge(tmp_path, {"url": f"mqtt://127.0.0.1:{proxy.port}", "version": version}, strict) as edge,
    ):
        for number in range(240):
            edge.take(f"m-0{1 + number % 3}")
            if number % 60 == 30:
                await consumer.got(edge.spool.next_seq // 3)
                await proxy.cut()
                await proxy.heal()
        await edge.freed()
        for machine in ("m-01", "m-02", "m-03"):
            first = list(dict.fromkeys(record.seq for record in consumer.records if record.machine == machine))
            assert first == sorted(first)
            assert len(first) == 100
