"""`lineside ingest` with real brokers and stores: records are stored once, and confirmed when they are safe."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from signal import SIGCONT, SIGHUP, SIGSTOP
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml
from edge import Edge
from fakes.gateway import ROOT, FakeGateway
from processes import LOOPBACK, Lineside, free_port, side_by_side, until, write_factory
from proxy import Proxy
from read_back import InfluxTarget, SqliteTarget, VictoriaMetricsTarget
from servers import Mosquitto, VictoriaMetrics
from stored import rows

from gateway.common.seq_ranges import SeqRanges
from gateway.model.metadata import MachineMeta
from gateway.publish.in_flight import ACCEPTED_TIMEOUT
from gateway.stores.victoria_metrics import read_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from read_back import Exactly, Target
    from servers import Influxd

BAR = {"pressure": ("float", "bar")}
KPA = {"pressure": ("float", "kPa")}


def factory(folder: Path, mosquitto: Mosquitto, *stores: dict[str, Any], **ingest: Any) -> Path:
    """Write a configuration for ingest alone; the machine in it is not part of the test."""
    name = str(ingest.get("id", "ingest"))
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    version = ingest.pop("version", "5")
    confirm = ingest.pop("confirm", "store")
    return write_factory(
        folder / f"{name}.yaml",
        gateway={"id": "edge-09", "confirm": confirm},
        broker={"url": mosquitto.url, "version": version},
        ingest={"folder": str(folder / name), **ingest},
        stores=list(stores) or [{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"other": {"area": "other", "machines": {"other-01": machine}}},
    )


async def ingest(folder: Path, mosquitto: Mosquitto, *stores: dict[str, Any], **keys: Any) -> Lineside:
    process = await Lineside.start("ingest", factory(folder, mosquitto, *stores, **keys))
    await process.logged("ingest.subscribed")
    return process


def expected(target: Target, gateway: FakeGateway) -> list[Exactly]:
    """Return the readings that the store must have of all records that were made."""
    scans = gateway.scans.values()
    return target.expected(one for path, meta, scan in scans for one in scan.readings(path, dict(meta.units)))


# -- poison --


async def test_poison_messages_occupy_no_slot_permanently(tmp_path: Path):
    """More of it than any broker sends at once: each is set aside, and a record behind them all is stored."""
    mosquitto = await Mosquitto.start(tmp_path)
    await ingest(tmp_path, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.raw(f"{ROOT}/enterprise/site/area/line/m-01/data", b"poison", 1001)
        await gateway.raw(f"{ROOT}/enterprise/site/area/line/m-01/meta", b'{"points": 5}', 3)
        await gateway.raw(f"{ROOT}/enterprise/site/area/line//data", gateway.sent[gateway.make("m-02", a=1)][1])
        await gateway.send("m-01", pressure=1.5)
        await until(lambda: 2 in gateway.ranges, "the record behind the poison is confirmed")
    letters = (tmp_path / "ingest" / "ingest.dead-letters.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum('"payload":"poison"' in line and "is not JSON" in line for line in letters) == 1001
    assert sum("is not metadata" in line for line in letters) == 3
    assert sum("no machine has this topic" in line for line in letters) == 1
    assert [row.value for row in rows(tmp_path / "readings.db")] == [1.5]


async def test_a_row_that_a_store_refuses_is_set_aside_and_the_rest_confirmed(
    tmp_path: Path, influxd: Influxd, influx_database: str
):
    """With the store's own words: somebody changed a type, and has to know of it."""
    mosquitto = await Mosquitto.start(tmp_path)
    await ingest(tmp_path, mosquitto, influxd.store(influx_database))
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", count=("int", ""), level=("float", ""))
        await gateway.send("m-01", count=1, level=0.5)
        await gateway.confirmed()
        await gateway.describe("m-01", count=("float", ""), level=("float", ""))
        await gateway.send("m-01", count=1.5, level=1.5)
        await gateway.confirmed()
        assert gateway.set_aside == {2: 1}
    [letter] = (tmp_path / "ingest" / "ingest.dead-letters.jsonl").read_text(encoding="utf-8").splitlines()
    assert "field type conflict" in letter
    assert "count=1.5" in letter
    held = {(one.reading.point, one.reading.value) for one in InfluxTarget(influxd, influx_database).held()}
    assert held == {("count", 1), ("level", 0.5), ("level", 1.5)}


# -- batches --


def spans(gateway: FakeGateway) -> list[int]:
    """Return how many records each answer confirms."""
    return [sum(last - first + 1 for first, last in answer["ranges"]) for answer in gateway.answers]


async def test_a_batch_has_no_more_records_than_configured(tmp_path: Path):
    """Some stores take no more at once."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto, batch_records=3)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        process.signal(SIGSTOP)
        await gateway.publish(*[gateway.make("m-01", pressure=float(number)) for number in range(15)])
        process.signal(SIGCONT)
        await gateway.confirmed()
        assert max(spans(gateway)) == 3


async def test_the_first_record_of_a_batch_waits_for_others_as_configured(tmp_path: Path):
    """Few large writes cost a store less than many small writes."""
    mosquitto = await Mosquitto.start(tmp_path)
    await ingest(tmp_path, mosquitto, batch_wait="5s")
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        for number in range(10):
            await gateway.send("m-01", pressure=float(number))
        await gateway.confirmed()
        assert spans(gateway) == [10]


# -- several --


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_ingests_of_one_share_name_divide_the_work(tmp_path: Path, version: str):
    """Each record goes to one of them; together they confirm all, also when one of them dies."""
    mosquitto = await Mosquitto.start(tmp_path)
    keys = {"version": version, "share": "workers"}
    first = await ingest(tmp_path, mosquitto, id="one", **keys)
    await ingest(tmp_path, mosquitto, id="two", **keys)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.publish(*[gateway.make("m-01", pressure=number / 2) for number in range(300)])
        await gateway.confirmed()
        assert {answer["by"] for answer in gateway.answers} == {"workers"}
        spans = [span for answer in gateway.answers for span in answer["ranges"]]
        assert sum(last - first + 1 for first, last in spans) == 300
        first.kill()
        late = [gateway.make("m-01", pressure=float(number)) for number in range(100)]
        while gateway.unconfirmed:  # records on their way to the dead ingest are sent again, as by a gateway
            await gateway.publish(*gateway.unconfirmed)
            await until(lambda: set(late) - set(gateway.unconfirmed), "the other ingest takes over")
    target = SqliteTarget(tmp_path / "readings.db")
    assert target.held() == expected(target, gateway)


async def test_an_ingest_that_does_not_confirm_is_silent_beside_another(tmp_path: Path):
    """Two with stores of their own would each say that all is stored, when half of it is."""
    mosquitto = await Mosquitto.start(tmp_path)
    copy = {"sqlite": {"path": str(tmp_path / "copy.db")}}
    await ingest(tmp_path, mosquitto, copy, id="copy", confirms=False)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=1.5)
        await until(lambda: rows(tmp_path / "copy.db"), "the copy has it")
        await ingest(tmp_path, mosquitto)
        await gateway.publish(1)
        await gateway.confirmed()
        assert [answer["by"] for answer in gateway.answers] == ["ingest"]


# -- descriptions --


async def test_a_record_keeps_the_unit_that_it_was_acquired_in(tmp_path: Path):
    """It waited in a spool while the unit of the point was changed: 3 bar are not 3 kPa."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=2.0)
        await gateway.confirmed()
        late = gateway.make("m-01", pressure=3.0)
        await gateway.describe("m-01", **KPA)
        await gateway.send("m-01", pressure=400.0)
        await until(lambda: 3 in gateway.ranges, "the record with the new unit")
        await process.stop()
        process.launch()  # its folder has the old description; the broker has only the new description
        await gateway.publish(late)
        await gateway.confirmed()
    assert [(row.value, row.unit) for row in rows(tmp_path / "readings.db")] == [
        (2.0, "bar"), (3.0, "bar"), (400.0, "kPa"),
    ]  # fmt: skip


async def test_a_gateway_describes_a_point_as_it_was_before_its_configuration_changed(tmp_path: Path):
    """From the spool of the outage in which somebody changed the unit, to a store that never knew the old unit."""
    mosquitto = Mosquitto(tmp_path)
    template = tmp_path / "machines" / "oven.yaml"
    template.parent.mkdir()
    text = (
        "format: 1\nprotocol: modbus\npoints: {level: {address: holding 0, raw: float32, unit: Cel, every: 100ms}}\n"
    )
    template.write_text(text, encoding="utf-8")
    machine = {"template": "oven", "connection": f"modbus+tcp://127.0.0.1:{free_port()}?unit=1"}
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path / "ingest")},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )
    simulator = await Lineside.start("simulate", config)
    await simulator.logged("simulation.started")
    gateway = await Lineside.start("run", config)
    await gateway.logged("machine.online")
    await gateway.stop()
    changed = time.time_ns() // 1000
    template.write_text(text.replace("Cel", "K"), encoding="utf-8")
    await mosquitto.up()
    await Lineside.start("ingest", config)
    gateway.launch()

    def units() -> set[str]:
        return {row.unit for row in rows(tmp_path / "readings.db", point="level")}

    await until(lambda: units() == {"Cel", "K"}, "readings from before and after the change are stored")
    assert {(row.time > changed, row.unit) for row in rows(tmp_path / "readings.db", point="level")} == {
        (False, "Cel"), (True, "K"),
    }  # fmt: skip


async def test_a_description_contains_the_earlier_descriptions_of_the_machine(tmp_path: Path):
    """An ingest on a new server has to store a backlog from before the change."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with FakeGateway(mosquitto.port) as gateway:
        bar = await gateway.describe("m-01", publish=False, **BAR)
        gateway.make("m-01", pressure=3.0)
        await gateway.describe("m-01", earlier=(bar,), **KPA)
        gateway.make("m-01", pressure=400.0)
        await ingest(tmp_path, mosquitto)
        await gateway.publish(1, 2)
        await gateway.confirmed()
    assert [(row.value, row.unit) for row in rows(tmp_path / "readings.db")] == [(3.0, "bar"), (400.0, "kPa")]


async def test_a_record_waits_for_its_description(tmp_path: Path, influxd: Influxd, influx_database: str):
    """Stored without its unit it would be another series, and be there twice when it comes again."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto, influxd.store(influx_database))
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", publish=False, **BAR)
        await gateway.send("m-01", pressure=1.5)
        await process.logged("meta.unknown")
        await gateway.describe("m-02", **KPA)
        await gateway.send("m-02", pressure=2.5)
        await until(lambda: 2 in gateway.ranges, "another machine's record")
        assert 1 not in gateway.ranges
        assert 1 in gateway.taken  # so that nothing behind it waits
        await gateway.describe("m-01", **BAR)
        await gateway.confirmed()
        target = InfluxTarget(influxd, influx_database)
        assert target.held() == expected(target, gateway)


async def test_ingest_asks_the_gateway_for_metadata_that_no_broker_retains(tmp_path: Path):
    """A box was commissioned, and changed, before its server existed."""
    mosquitto = await Mosquitto.start(tmp_path)
    await ingest(tmp_path, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        bar = await gateway.describe("m-01", publish=False, **BAR)
        await gateway.send("m-01", pressure=1.5)
        await until(lambda: bar.id in gateway.wanted, "ingest asks")
        assert not gateway.ranges
        await gateway.answer(bar.id)
        await gateway.confirmed()
    assert [(row.value, row.unit) for row in rows(tmp_path / "readings.db")] == [(1.5, "bar")]


async def test_a_record_that_nobody_can_describe_is_set_aside_with_its_values(tmp_path: Path):
    """It never blocks the records behind it, and a person may still put it right."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        lost = await gateway.describe("m-01", publish=False, **BAR)
        await gateway.publish(*[gateway.make("m-01", pressure=number / 2) for number in range(901)])
        await gateway.describe("m-02", **KPA)
        await gateway.send("m-02", pressure=400.0)
        await until(lambda: 902 in gateway.ranges, "a record behind them")
        await until(lambda: lost.id in gateway.wanted, "ingest asks")
        await gateway.answer(unknown=[lost.id])
        await gateway.confirmed()
        assert gateway.set_aside == dict.fromkeys(range(1, 902), 1)
    letters = (tmp_path / "ingest" / "ingest.dead-letters.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(letters) == 901
    assert lost.id in json.loads(letters[0])["reason"]
    assert '"pressure":450.0' in json.loads(letters[900])["payload"]
    assert len(process.events("message.set_aside")) == 1


@pytest.mark.parametrize("store", ["silent", "hung"])
async def test_a_stop_waits_for_no_store(tmp_path: Path, store: str):
    """Its batch was not confirmed, so it comes again; ten seconds of a silent store were too long for systemd."""
    mosquitto = await Mosquitto.start(tmp_path)
    listening = socket.socket()
    listening.bind((LOOPBACK, 0))
    listening.listen(50)
    url = f"http://{LOOPBACK}:{listening.getsockname()[1]}"
    entry = {"influxdb": {"url": url, "bucket": "b", "timeout": "60s" if store == "hung" else "10s"}}
    process = await Lineside.start("ingest", factory(tmp_path, mosquitto, entry))
    await process.logged("ingest.subscribed")
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=1.5)
        began = time.monotonic()
        await process.stop()
        assert time.monotonic() - began < 5
        assert not gateway.ranges
    listening.close()


async def test_a_foreign_publisher_needs_no_description(tmp_path: Path):
    """Its records name none: they are stored, without units, as they always were."""
    mosquitto = await Mosquitto.start(tmp_path)
    await ingest(tmp_path, mosquitto)
    async with FakeGateway(mosquitto.port, "foreign") as gateway:
        await gateway.send("m-01", pressure=1.5, state=3)
        await gateway.confirmed()
    assert [(row.point, row.value, row.unit) for row in rows(tmp_path / "readings.db")] == [
        ("pressure", 1.5, ""), ("state", 3, ""),
    ]  # fmt: skip


# -- a store that answers before it is safe --


async def grown(server: VictoriaMetrics) -> None:
    """Wait until the server is old enough to be identified: records that come before that are written twice."""

    def old() -> bool:
        process = read_metrics(server.request("GET", "/metrics").decode())
        return process is not None and not process.young

    await until(old, "the server is old enough")


async def written_and_lost(gateway: FakeGateway, server: VictoriaMetrics, since: int) -> None:
    """Let VictoriaMetrics accept records, and kill it before it has written them to disk."""
    await gateway.publish(*[gateway.make("m-01", pressure=number / 2) for number in range(since, since + 100)])
    await until(
        lambda: not set(gateway.sent) - {s for a, b in gateway.taken for s in range(a, b + 1)}, "all are accepted"
    )
    server.kill()


async def readings_that_a_killed_victoria_metrics_loses_are_sent_again(folder: Path, enterprise: str) -> None:
    """It answers seconds before it writes to disk: nothing may be confirmed that a kill can take away."""
    mosquitto, server = await Mosquitto.start(folder), await VictoriaMetrics.start(folder)
    process = await ingest(folder, mosquitto, server.store())
    now = time.time_ns() // 1000 - 3_600_000_000
    async with FakeGateway(mosquitto.port, enterprise=enterprise, since=now) as gateway:
        await gateway.describe("m-01", **BAR)
        for times in (1, 2):
            await written_and_lost(gateway, server, 100 * times)
            assert not gateway.ranges
            await server.restart()
            await process.logged("records.requested_again", times=times)
            await until(lambda: set(gateway.sent) <= gateway.asked_for, "all are asked for again")
            await gateway.publish(*sorted(gateway.asked_for))
            gateway.lost = SeqRanges()
        await gateway.confirmed(60.0)
        server.kill()  # confirmed readings survive that
        await server.restart()
        target = VictoriaMetricsTarget(server, enterprise, "press")
        assert target.held() == expected(target, gateway)
        confirmed = [seq for answer in gateway.answers for a, b in answer["ranges"] for seq in range(a, b + 1)]
        assert sorted(confirmed) == sorted(gateway.sent)


async def with_confirm_broker_the_broker_sends_again_the_records_that_a_store_has_lost(
    folder: Path, enterprise: str
) -> None:
    """No gateway has them: ingest connects again, and the broker sends unacknowledged records again."""
    mosquitto, server = await Mosquitto.start(folder), await VictoriaMetrics.start(folder)
    process = await ingest(folder, mosquitto, server.store(), confirm="broker")
    now = time.time_ns() // 1000 - 3_600_000_000
    async with FakeGateway(mosquitto.port, enterprise=enterprise, since=now) as gateway:
        await gateway.describe("m-01", **BAR)
        await written_and_lost(gateway, server, 0)
        await server.restart()
        await process.logged("records.requested_again")
        await gateway.confirmed(60.0)
        target = VictoriaMetricsTarget(server, enterprise, "press")
        assert target.held() == expected(target, gateway)
    assert len(process.events("ingest.subscribed")) == 2


async def with_confirm_broker_nothing_is_acknowledged_before_it_is_safe(folder: Path, enterprise: str) -> None:
    """Nobody would send it again: the broker has to, and so must keep it, when ingest and store die together."""
    mosquitto, server = await Mosquitto.start(folder), await VictoriaMetrics.start(folder)
    process = await ingest(folder, mosquitto, server.store(), confirm="broker")
    now = time.time_ns() // 1000 - 3_600_000_000
    async with FakeGateway(mosquitto.port, enterprise=enterprise, since=now) as gateway:
        await gateway.describe("m-01", **BAR)
        await written_and_lost(gateway, server, 0)
        process.kill()
        await server.restart()
        await grown(server)
        process.launch()
        await gateway.confirmed(60.0)
        target = VictoriaMetricsTarget(server, enterprise, "press")
        assert target.held() == expected(target, gateway)


async def records_that_a_dead_ingest_had_not_confirmed_are_sent_to_the_next_ingest(folder: Path) -> None:
    """VictoriaMetrics has it and may lose it, and nobody else would write it again."""
    mosquitto = await Mosquitto.start(folder)
    server = await VictoriaMetrics.start(folder)
    await grown(server)
    process = await ingest(folder, mosquitto, server.store())
    async with Edge(folder / "edge", {"url": mosquitto.url}) as edge:
        edge.metas[f"{ROOT}/enterprise/site/area/line/m-01/meta"] = b'{"template": "t", "points": {}}'
        for _ in range(20):
            edge.take()
        await until(lambda: edge.window.accepted_records == 20, "a store has them")
        process.kill()
        began = time.monotonic()
        process.launch()
        await edge.freed()
        assert edge.window.counts["again"] >= 20
        assert time.monotonic() - began < ACCEPTED_TIMEOUT / 2
    assert edge.spool.ledger.confirmed == 20


async def a_store_that_is_killed_gets_thousands_of_records_again_from_the_spool(folder: Path) -> None:
    """Ingest keeps only numbers. More records wait than the gateway could have had in flight, many times over."""
    mosquitto, server = await Mosquitto.start(folder), await VictoriaMetrics.start(folder)
    process = await ingest(folder, mosquitto, server.store())
    async with Edge(folder / "edge", {"url": mosquitto.url}) as edge:
        for machine in range(500):
            edge.metas[f"{ROOT}/enterprise/site/area/line/m-{machine}/meta"] = b'{"template": "t", "points": {}}'
        for count in range(1, 5_001):
            edge.take(f"m-{count % 500}", 3)
            if count % 500 == 0:
                await until(lambda: edge.window.accepted_records == count, "a store has them")  # noqa: B023 - awaited here
        server.kill()
        edge.take("m-501", 3)
        await server.restart()
        event = await process.logged("records.requested_again")
        assert event["records"] >= 5_000
        began = time.monotonic()
        await edge.freed()
        assert edge.window.counts["again"] >= 5_000
        assert time.monotonic() - began < ACCEPTED_TIMEOUT / 2
        server.kill()  # confirmed readings survive that
        await server.restart()
        series = server.export('{site="site"}')
        assert [len(one["values"]) for one in series] == [len(set(one["timestamps"])) for one in series]
    assert edge.spool.ledger.confirmed == 3 * 5_001
    assert sum(len(one["values"]) for one in series) == 3 * 5_001


async def test_records_that_a_store_or_an_ingest_loses_are_sent_again(tmp_path: Path, enterprise: str):
    """Each part has its own servers. They run side by side, since each waits up to three times for 15 seconds."""
    parts = [
        readings_that_a_killed_victoria_metrics_loses_are_sent_again(tmp_path / "1", enterprise),
        with_confirm_broker_the_broker_sends_again_the_records_that_a_store_has_lost(tmp_path / "2", enterprise),
        with_confirm_broker_nothing_is_acknowledged_before_it_is_safe(tmp_path / "3", enterprise),
        records_that_a_dead_ingest_had_not_confirmed_are_sent_to_the_next_ingest(tmp_path / "4"),
        a_store_that_is_killed_gets_thousands_of_records_again_from_the_spool(tmp_path / "5"),
    ]
    await side_by_side(parts)


async def test_a_missing_database_is_reported_at_the_start(tmp_path: Path, influxd: Influxd):
    """And not with the first reading, in the night when the line starts."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto, influxd.store("missing"))
    event = await process.logged("store.unavailable")
    assert "database not found" in event["error"]


@pytest.mark.parametrize("section", ["broker", "store"])
async def test_a_missing_secret_ends_ingest_at_its_start(tmp_path: Path, section: str):
    """A person who starts it reads why; an ingest that goes on without it would never work."""
    mosquitto = await Mosquitto.start(tmp_path)
    nowhere = {"file": str(tmp_path / "nowhere")}
    store = {"influxdb": {"url": "http://127.0.0.1:1", "org": "o", "bucket": "b", "token": nowhere}}
    file = factory(tmp_path, mosquitto, *([store] if section == "store" else []))
    if section == "broker":
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings["broker"] |= {"username": "u", "password": nowhere}
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    process = await Lineside.start("ingest", file)
    assert await process.ended() == 1
    assert f"the secret in {nowhere['file']} can't be read" in process.last_words()


async def one_of(first: Lineside, second: Lineside, name: str) -> dict[str, Any]:
    """Wait until either has logged an event."""
    return (await until(lambda: first.events(name) + second.events(name), f"either logs {name}"))[0]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_second_ingest_of_one_id_is_reported(tmp_path: Path, version: str):
    """Else they disconnect each other without end, and nobody knows why nothing arrives."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto, version=version)
    config = tmp_path / "ingest.yaml"
    twin = await Lineside.start("ingest", config)
    event = await one_of(process, twin, "ingest.id_in_use")
    assert "ingest.id" in event["hint"]
    other = await Lineside.start("ingest", config, "--id", "second")
    await other.logged("ingest.subscribed")


async def test_an_ingest_that_is_disconnected_in_quick_succession_comes_back_each_time(tmp_path: Path):
    """No other ingest has its id: it must not wait for an ingest that is not there."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Proxy(mosquitto.port) as proxy:
        config = factory(tmp_path, mosquitto)
        config.write_text(config.read_text().replace(f":{mosquitto.port}", f":{proxy.port}"))
        process = await Lineside.start("ingest", config)
        for times in range(1, 6):
            await process.logged("ingest.subscribed", times)
            await proxy.cut()
            await proxy.heal()
        await process.logged("ingest.subscribed", 6)
    assert not process.events("ingest.id_in_use")


async def test_a_hang_up_ends_no_ingest(tmp_path: Path):
    """It reloads a gateway; a user who sends it to all services of a box means no harm."""
    mosquitto = await Mosquitto.start(tmp_path)
    process = await ingest(tmp_path, mosquitto)
    process.signal(SIGHUP)
    await process.logged("ingest.restart_to_reload")
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=1.0)
        await gateway.confirmed()


async def test_an_ingest_publishes_its_birth_and_its_death(tmp_path: Path):
    """By its births gateways know that the records in the memory of the process before it are lost."""
    mosquitto = await Mosquitto.start(tmp_path)
    states: list[dict[str, Any]] = []
    async with aiomqtt.Client(LOOPBACK, mosquitto.port) as client:
        await client.subscribe(f"{ROOT}/enterprise/site/_ingests/ingest-edge-09/state", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                payload = json.loads(message.payload)
                states.append(payload)

        listening = asyncio.create_task(listen())
        process = await ingest(tmp_path, mosquitto)
        await until(lambda: len(states) == 1, "a birth")
        process.kill()
        await until(lambda: len(states) == 2, "the last will")
        process.launch()
        await until(lambda: len(states) == 3, "the birth of the next")
        await process.stop()
        await until(lambda: len(states) == 4, "a graceful death")
        listening.cancel()
    assert [one["state"] for one in states] == ["online", "offline", "online", "offline"]
    assert [one.get("reason") for one in states] == [None, "connection lost", None, "stopped"]
    first, second = states[0]["instance"], states[2]["instance"]
    assert [one["instance"] for one in states] == [first, first, second, second]
    assert first != second


def test_equal_descriptions_have_one_id():
    """Whatever the order of the points: an id that changed by itself would keep all versions permanently."""
    one = MachineMeta("t", {"a": "int", "b": "float"}, {"a": "", "b": "bar"})
    assert one.id == MachineMeta("t", {"b": "float", "a": "int"}, {"b": "bar", "a": ""}).id
    assert (
        len({one.id, MachineMeta("u", one.types, one.units).id, MachineMeta("t", one.types, {"a": "", "b": "Pa"}).id})
        == 3
    )
