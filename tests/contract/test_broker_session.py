"""The loop that connects and serves: nothing but its caller ends it, and it logs each state once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiomqtt import MqttError
from edge import SECONDS
from fakes.gateway import FakeGateway
from fakes.mqtt_broker import FakeBroker
from processes import LOOPBACK, until, write_factory
from servers import Mosquitto
from structlog.testing import capture_logs

from drivers.secret import MissingSecret
from gateway.common import state_log
from gateway.common.state_log import CHANGES
from gateway.common.tasks import cancel_and_wait
from gateway.ingest.tail import follow
from gateway.mqtt import session as mqtt_session
from gateway.mqtt.client import MqttClient
from gateway.mqtt.session import Presence, Session
from gateway.settings.load import load_factory
from gateway.settings.sections import BrokerSection

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.reading import Reading

TOPIC = "root/_gateways/edge-01/state"


def session(broker: FakeBroker) -> Session:
    return Session(BrokerSection(url=broker.url), "client", presence=Presence(TOPIC, "edge-01"))


async def test_a_defect_costs_the_connection_and_not_the_service():
    """It is logged once with its trace, and a new connection is made."""
    served = 0

    async def serve(link: MqttClient) -> None:
        nonlocal served
        served += 1
        if served < 4:
            raise ZeroDivisionError("a defect")
        await link.lost()

    async with FakeBroker() as broker:
        with capture_logs() as logs:
            running = asyncio.create_task(session(broker).run(serve))
            await until(lambda: served == 4, "it serves again", SECONDS)
            await cancel_and_wait(running)
    failed = [log for log in logs if log["event"] == "mqtt.session_failed"]
    assert len(failed) <= 3
    assert isinstance(failed[0]["exc_info"], ZeroDivisionError)


async def test_a_report_that_waits_for_others_leaves_before_the_death():
    """After it, the report would be one of a gateway that has stopped."""

    async def serve(link: MqttClient) -> None:
        link.send_unacknowledged("root/report", b"1", patience=3600.0)

    async with FakeBroker() as broker:
        running = asyncio.create_task(session(broker).run(serve))
        await until(lambda: TOPIC in broker.published, "the death", SECONDS)
        assert broker.published[:2] == ["root/report", TOPIC]
        await cancel_and_wait(running)


async def test_a_defect_in_the_handling_of_an_answer_is_logged_with_its_trace():
    """It is an error in Lineside, and must not look like a broker that is away."""

    def broken(_reason: int) -> None:
        raise ZeroDivisionError("a defect")

    served = 0

    async def serve(link: MqttClient) -> None:
        nonlocal served
        served += 1
        if served == 1:
            link.send("root/a", b"1", broken)
        await link.lost()

    async with FakeBroker() as broker:
        with capture_logs() as logs:
            running = asyncio.create_task(session(broker).run(serve))
            await until(lambda: served == 2, "it serves again", SECONDS)
            await cancel_and_wait(running)
    assert "mqtt.not_connected" not in [log["event"] for log in logs]
    failed = next(log for log in logs if log["event"] == "mqtt.session_failed")
    assert isinstance(failed["exc_info"].__cause__, ZeroDivisionError)


async def test_it_ends_when_its_caller_is_done_with_a_death_on_its_topic():
    """As `tail` with a number of readings."""

    async def serve(link: MqttClient) -> None:
        assert link.address

    async with FakeBroker() as broker:
        await asyncio.wait_for(session(broker).run(serve), SECONDS)
        assert broker.published == [TOPIC]


async def test_a_secret_that_is_missing_at_the_start_ends_it():
    """A configuration that can't be read does not get better by waiting."""
    section = BrokerSection.model_validate(
        {"url": "mqtt://127.0.0.1:1", "username": "edge", "password": {"secret": "there-is-none"}}
    )

    async def serve(_: MqttClient) -> None:
        pytest.fail("there is no connection")

    with pytest.raises(MissingSecret):
        await Session(section, "client").run(serve)


async def test_a_connection_that_flaps_is_logged_a_few_times_and_then_once_a_minute(monkeypatch: pytest.MonkeyPatch):
    """It used to be two lines each time, for weeks."""
    monkeypatch.setattr(state_log, "WINDOW", 3.0)
    monkeypatch.setattr(mqtt_session, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(mqtt_session, "RETRY_MAX", 0.05)
    served = 0

    async def serve(_: MqttClient) -> None:
        nonlocal served
        served += 1
        raise MqttError("lost")

    async with FakeBroker() as broker:
        with capture_logs() as logs:
            running = asyncio.create_task(session(broker).run(serve))
            await until(lambda: any(log["event"] == "mqtt.unstable" for log in logs), "a summary", SECONDS)
            await cancel_and_wait(running)
    before = [log["event"] for log in logs][: CHANGES + 1]
    assert before == ["mqtt.connected", "mqtt.not_connected"] * (CHANGES // 2) + ["mqtt.unstable"]
    assert served > CHANGES // 2


async def test_a_pipe_that_nobody_reads_any_more_ends_tail(tmp_path: Path):
    """`lineside tail | head -1` must not look for the broker again."""
    mosquitto = await Mosquitto.start(tmp_path)
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    lines = {"line": {"area": "area", "machines": {"x-01": machine}}}
    factory = load_factory(write_factory(tmp_path / "factory.yaml", broker={"url": mosquitto.url}, lines=lines))

    def show(_: Reading) -> None:
        raise BrokenPipeError

    following = asyncio.create_task(follow(factory, ["*"], asyncio.Event(), show, 0, print))
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", pressure=("float", "bar"))

        async def send() -> None:
            while not following.done():
                await gateway.raw("lineside/v1/enterprise/site/area/line/m-01/data", b"junk", 3)
                await gateway.send("m-01", pressure=1.0)
                await asyncio.sleep(0.1)

        sending = asyncio.create_task(send())
        with capture_logs() as logs, pytest.raises(BrokenPipeError):
            await asyncio.wait_for(following, SECONDS)
        await cancel_and_wait(sending)
    assert len([log for log in logs if log["event"] == "message.unreadable"]) <= 1


async def test_a_connection_that_is_lost_in_the_moment_of_its_answer_is_noticed():
    """Its receiver would else wait for a message without end."""

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00")
        writer.close()

    server = await asyncio.start_server(answer_and_close, LOOPBACK, 0)
    url = f"mqtt://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    for _ in range(50):
        with pytest.raises(MqttError):
            async with MqttClient(BrokerSection(url=url), "client") as link, asyncio.timeout(SECONDS):
                await link.receive()
    server.close()
    await server.wait_closed()
