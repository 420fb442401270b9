"""Which broker the gateway connects to, how it identifies itself, and how it meets another gateway of its name."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from aiomqtt import MqttError
from edge import ROOT, SECONDS, STATE, Consumer, Edge
from fakes.authority import Authority, Pair
from processes import LOOPBACK, free_port, until
from servers import Mosquitto
from structlog.testing import capture_logs

from gateway.mqtt import constants, session
from gateway.mqtt.client import ConnectionRefused, MqttClient
from gateway.pipeline.machine_status import State
from gateway.settings.sections import BrokerSection
from gateway.spool import spool

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    Logs = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def _confirmations_wait_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let confirmations wait for a commit of other records for a tenth of a second, and not for one."""
    monkeypatch.setattr(spool, "CONFIRM_DELAY", 0.1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


async def tls_mosquitto(folder: Path, shown: Pair, *lines: str) -> tuple[Mosquitto, dict[str, Any]]:
    """Start one that also listens with TLS; returns it with the settings of a client that trusts nobody yet."""
    port = free_port()
    listener = [f"listener {port} {LOOPBACK}", f"certfile {shown.certificate}", f"keyfile {shown.key}", *lines]
    return await Mosquitto.start(folder, *listener), {"url": f"mqtts://{LOOPBACK}:{port}"}


async def refusal(folder: Path, broker: dict[str, Any]) -> str:
    """Return the error that is logged of a broker that the gateway is not connected to."""
    with capture_logs() as logs:
        async with Edge(folder, broker):
            [event] = await until(lambda: events(logs, "mqtt.not_connected"), "it is logged", SECONDS)
    assert not events(logs, "mqtt.connected")
    error: str = event["error"]
    return error


def events(logs: Logs, name: str) -> Logs:
    return [event for event in logs if event["event"] == name]


# -- TLS --


async def test_a_broker_is_trusted_by_our_own_ca_and_by_no_other(tmp_path: Path, authority: Authority):
    """An unknown CA, another host's certificate, one that has ended: nothing is sent, and the log says why."""
    mosquitto, broker = await tls_mosquitto(tmp_path, authority.pair("broker", LOOPBACK))
    known = {"ca": authority.file}
    async with Consumer(mosquitto.port, confirming=True), Edge(tmp_path, broker | known) as edge:
        edge.take()
        await edge.freed()
    assert "certificate verify failed" in await refusal(tmp_path, broker)  # by the system's CAs
    assert "certificate verify failed" in await refusal(tmp_path, broker | {"ca": Authority(tmp_path, "other").file})
    _, other = await tls_mosquitto(tmp_path, authority.pair("another", "10.1.2.3"))
    assert "IP address mismatch" in await refusal(tmp_path, other | known)
    _, old = await tls_mosquitto(tmp_path, authority.pair("old", LOOPBACK, days=-1))
    assert "certificate has expired" in await refusal(tmp_path, old | known)


async def test_a_broker_that_demands_a_certificate_gets_ours(tmp_path: Path, authority: Authority):
    """Many plants give each box a certificate in place of a password."""
    demands = (f"cafile {authority.file}", "require_certificate true", "use_identity_as_username true")
    mosquitto, broker = await tls_mosquitto(tmp_path, authority.pair("broker", LOOPBACK), *demands)
    ours, broker = authority.pair("edge-01"), broker | {"ca": authority.file}
    async with (
        Consumer(mosquitto.port, confirming=True),
        Edge(tmp_path, broker | {"certificate": ours.certificate, "key": ours.key}) as edge,
    ):
        edge.take()
        await edge.freed()
    assert await refusal(tmp_path, broker)


async def test_files_that_can_not_be_read_are_reported_with_their_key(tmp_path: Path, authority: Authority):
    """And a key with a password must not make the gateway wait at a terminal."""
    nowhere, locked = tmp_path / "none.pem", authority.pair("locked", password=b"secret")
    broker = {"url": f"mqtts://{LOOPBACK}:1"}
    assert f"broker.ca ({nowhere}): No such file" in await refusal(tmp_path, broker | {"ca": nowhere})
    pair = {"certificate": locked.certificate, "key": locked.key}
    assert f"broker.key ({locked.key}): it is locked with a password" in await refusal(tmp_path, broker | pair)


async def test_a_certificate_that_was_renewed_is_used_from_the_next_connection_on(
    tmp_path: Path, authority: Authority
):
    """They last for weeks, and gateways run for years."""
    mosquitto, broker = await tls_mosquitto(tmp_path, authority.pair("broker", LOOPBACK))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path, "before").file.read_bytes())
    with capture_logs() as logs:
        async with Consumer(mosquitto.port, confirming=True), Edge(tmp_path, broker | {"ca": ca}) as edge:
            await until(lambda: events(logs, "mqtt.not_connected"), "it is not trusted", SECONDS)
            ca.write_bytes(authority.file.read_bytes())
            edge.take()
            await edge.freed()


async def test_a_revoked_broker_is_refused_until_its_certificate_is_renewed(tmp_path: Path, authority: Authority):
    """The list is read at each connection: the gateway connects once a list without the broker is there."""
    broker_pair = authority.pair("broker", LOOPBACK)
    mosquitto, broker = await tls_mosquitto(tmp_path, broker_pair)
    crl = tmp_path / "plant.crl.pem"
    known = broker | {"ca": authority.file, "crl": crl}
    crl.write_bytes(authority.revocations(hours=-1))
    assert f"the revocation list in {crl} has expired" in await refusal(tmp_path, known)
    crl.write_bytes(authority.revocations(broker_pair))
    with capture_logs() as logs:
        async with Consumer(mosquitto.port, confirming=True), Edge(tmp_path, known) as edge:
            [event] = await until(lambda: events(logs, "mqtt.not_connected"), "it is revoked", SECONDS)
            assert "its certificate was revoked by its authority" in event["error"]
            crl.write_bytes(authority.revocations())
            edge.take()
            await edge.freed()


async def test_a_locked_key_is_opened_by_its_password_alone(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
):
    """A wrong password is an outage that names the key, and never the password."""
    demands = (f"cafile {authority.file}", "require_certificate true", "use_identity_as_username true")
    mosquitto, broker = await tls_mosquitto(tmp_path, authority.pair("broker", LOOPBACK), *demands)
    ours = authority.pair("edge-01", password=b"hunter2-of-the-key")
    broker |= {"ca": authority.file, "certificate": ours.certificate, "key": ours.key}
    locked = broker | {"key_password": {"secret": "edge_key"}}
    monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", "a-wrong-password")
    error = await refusal(tmp_path, locked)
    assert "the secret of broker.key_password is not its password" in error
    assert "a-wrong-password" not in error
    monkeypatch.setenv("LINESIDE_SECRET_EDGE_KEY", "hunter2-of-the-key")
    async with Consumer(mosquitto.port, confirming=True), Edge(tmp_path, locked) as edge:
        edge.take()
        await edge.freed()


# -- addresses --


async def test_the_backup_is_used_while_the_first_address_is_dead_and_left_when_it_dies(tmp_path: Path):
    """Brokers come in pairs; a gateway needs no load balancer for that."""
    first, backup = Mosquitto(tmp_path), await Mosquitto.start(tmp_path)
    broker = {"url": first.url, "backup": [f"mqtt://{LOOPBACK}:1", backup.url]}
    with capture_logs() as logs:
        async with Edge(tmp_path, broker) as edge:
            async with Consumer(backup.port, confirming=True):
                edge.take()
                await edge.freed()
                await first.up()
                backup.kill()
            async with Consumer(first.port, confirming=True):
                edge.take()
                await edge.freed()
    assert [event["broker"] for event in events(logs, "mqtt.connected")] == [backup.url, first.url]


async def test_the_error_of_every_address_is_logged(tmp_path: Path):
    """One is down, the other refuses: a person who repairs it must see both errors."""
    second = free_port()
    error = await refusal(tmp_path, {"url": f"mqtt://{LOOPBACK}:1", "backup": f"mqtt://{LOOPBACK}:{second}"})
    assert f"mqtt://{LOOPBACK}:1: " in error
    assert f"mqtt://{LOOPBACK}:{second}: " in error


async def test_a_broker_that_refuses_is_distinguished_from_a_broker_that_is_away(tmp_path: Path):
    """Each attempt costs the first some work; with a backup that is away there is a broker worth looking for."""
    mosquitto = Mosquitto(tmp_path)
    mosquitto.lines.remove("allow_anonymous true")
    await mosquitto.up()
    with pytest.raises(ConnectionRefused, match="Not authorized"):
        await MqttClient(BrokerSection(url=mosquitto.url), "edge").__aenter__()
    with pytest.raises(MqttError) as raised:
        await MqttClient(BrokerSection(url=mosquitto.url, backup=(f"mqtt://{LOOPBACK}:1",)), "edge").__aenter__()
    assert not isinstance(raised.value, ConnectionRefused)


async def test_an_address_that_accepts_connections_and_says_nothing_leaves_none_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A hanging broker behind a load balancer must not cost the gateway a file each time."""
    monkeypatch.setattr(constants, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(session, "RETRY_MAX", 0.3)
    open_now: set[asyncio.StreamWriter] = set()
    came = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        open_now.add(writer)
        while await reader.read(1000):
            pass
        open_now.discard(writer)
        writer.close()

    server = await asyncio.start_server(swallow, LOOPBACK, 0)
    async with Edge(tmp_path, {"url": f"mqtt://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"}):
        await until(lambda: came >= 4, "it is tried again", SECONDS)
        assert len(open_now) <= 1
    await until(lambda: not open_now, "none is left", SECONDS)
    server.close()
    await server.wait_closed()


# -- presence --


async def retained_on(port: int, topic: str) -> dict[str, Any]:
    """Return the retained message of a topic."""
    async with aiomqtt.Client(LOOPBACK, port) as client, asyncio.timeout(SECONDS):
        await client.subscribe(topic)
        message = await anext(aiter(client.messages))
        found: dict[str, Any] = json.loads(message.payload)
        return found


async def test_birth_and_death_name_the_process_that_they_are_of(tmp_path: Path):
    """Of two boxes with one name, the host shows which of them to look for."""
    mosquitto = await Mosquitto.start(tmp_path)
    async with Edge(tmp_path, {"url": mosquitto.url}) as edge:
        with capture_logs() as logs:
            await until(lambda: events(logs, "mqtt.connected"), "connected", SECONDS)
        born = await retained_on(mosquitto.port, STATE)
        assert born["state"] == "online"
        assert born["spool"] == edge.spool.id
    died = await retained_on(mosquitto.port, STATE)
    assert (died["state"], died["reason"], died["instance"]) == ("offline", "stopped", born["instance"])
    async with Edge(tmp_path, {"url": mosquitto.url}) as edge:
        with capture_logs() as logs:
            edge.take()
            async with Consumer(mosquitto.port, confirming=True):
                await edge.freed()
        assert (await retained_on(mosquitto.port, STATE))["instance"] != born["instance"]
    assert not events(logs, "gateway.id_in_use"), "the state of a former run is not another gateway"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_two_gateways_of_one_name_are_logged_and_do_not_fight(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
):
    """A copied box disconnects the first box, which comes back and disconnects the copy, several times a second."""
    monkeypatch.setattr(session, "STAND_BACK_FIRST", 3600.0)
    monkeypatch.setattr(session, "STAND_BACK_MAX", 3600.0)
    mosquitto = await Mosquitto.start(tmp_path)
    broker = {"url": mosquitto.url, "version": version}
    with capture_logs() as logs:
        async with (
            Consumer(mosquitto.port, confirming=True),
            Edge(tmp_path / "one", broker) as one,
            Edge(tmp_path / "two", broker) as two,
        ):
            await until(lambda: events(logs, "gateway.id_in_use"), "it is logged", SECONDS)
            both = {one.publisher.presence: two, two.publisher.presence: one}
            winner = await until(
                lambda: next((other for this, other in both.items() if this.away), None), "one leaves", SECONDS
            )
            for _ in range(5):
                winner.take()
                await winner.freed()
            connects = len(events(logs, "mqtt.connected"))
            winner.take()
            await winner.freed()
            assert len(events(logs, "mqtt.connected")) == connects <= 5
    for event in events(logs, "gateway.id_in_use"):
        assert event["gateway"] == "edge-01"
    assert len(events(logs, "gateway.id_in_use")) <= 2


async def test_states_and_descriptions_are_published_again_after_a_broker_forgot_them(tmp_path: Path):
    """Retained messages of a broker without persistence are gone with it."""
    mosquitto = await Mosquitto.start(tmp_path)
    meta = f"{ROOT}/area/line/m-01/meta"
    edge = Edge(tmp_path, {"url": mosquitto.url})
    edge.metas[meta] = b'{"v":1}'
    async with edge:
        assert await retained_on(mosquitto.port, meta) == {"v": 1}
        mosquitto.kill()
        await mosquitto.restart()
        assert await retained_on(mosquitto.port, meta) == {"v": 1}
        assert (await retained_on(mosquitto.port, STATE))["state"] == State.ONLINE.value
