"""A session that was cut off: the queue on its server is not lost, and the session ends at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fakes.fickle_opcua import URI, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, START, connect, driver_of, lost, named, received, taken
from processes import LOOPBACK, until
from proxy import Proxy

import drivers
from drivers.base import Group
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.security.pki import Pki
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Driver

ROUNDS = 2
"""Each kind of outage comes after each other in a round, and after the last comes the first."""

PASSWORD = "s3cr3t-0f-the-Peer"


async def late_values(driver: Driver, node: str, wanted: list[float]) -> list[int]:
    """Receive until all of these have come late, in this order and each once; return their times."""
    found: list[tuple[Any, int]] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < len(wanted):
            scan = await driver.receive()
            if scan.late and node in named(scan) and scan.times is not None:
                found += zip(scan.values, scan.times, strict=True)
    assert [value for value, _ in found] == wanted
    return [time for _, time in found]


@pytest.mark.parametrize("how", ["cut", "drop"])
async def test_the_queue_of_an_outage_is_delivered_late_by_a_server_without_history(
    opcua_alone: NodeOpcUa, how: str
) -> None:
    """Its queue is a short history: ten changes of each node, as the configuration asks for."""
    peer = opcua_alone
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, "Setpoint") as driver:
        await received(driver, "Setpoint", START)
        if how == "cut":
            await proxy.cut()
        else:
            proxy.drop()
        changes = [61.0, 62.0, 63.0, 64.0]
        for i, value in enumerate(changes):
            await asyncio.to_thread(peer.set_and_sample, "Setpoint", value, time=1_764_000_000_000_000 + i)
        await lost(driver)
        await proxy.heal()
        await connect(driver)
        assert await late_values(driver, "Setpoint", changes) == [1_764_000_000_000_000 + i for i in range(4)]
        now = await received(driver, "Setpoint", 64.0)
        assert not now.late
        assert now.times is not None
        assert now.times[0] > 1_764_000_000_000_003, "the present value has the present time"
        assert peer.counts()[:3] == (1, 1, 1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """A server that lets one user in, once."""
    options: dict[str, Any] = {"users": {"telemetry": PASSWORD}, "anonymous": False, "sessions": 1}
    server = NodeOpcUa(tmp_path_factory.mktemp("guarded"), scope="module", **options)
    server.up_and_wait()
    return server


@pytest.mark.parametrize(
    "security",
    [
        {"security": "none"},
        {"security": "Basic256Sha256", "security_mode": "sign"},
        {"security": "Aes256_Sha256_RsaPss", "security_mode": "sign_and_encrypt"},
    ],
)
async def test_a_session_with_a_password_is_taken_over_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: NodeOpcUa, security: dict[str, str]
) -> None:
    """The driver has to authenticate again for it, and shows the password to nobody but the server."""
    monkeypatch.setenv("LINESIDE_SECRET_PLC", PASSWORD)
    peer = guarded
    peer.set("Setpoint", START)
    pki = Pki(tmp_path / "pki")
    pki.trusted.mkdir(parents=True)
    (pki.trusted / "peer.pem").write_bytes(peer.certificate.read_bytes())
    async with Proxy(peer.port) as proxy:
        written = {
            "url": f"opc.tcp://{LOOPBACK}:{proxy.port}",
            "namespace": MACHINE,
            "keep_alive": 1.0,
            "timeout": 20,
        }
        user = {"username": "telemetry", "password": {"secret": "plc"}, "pki": str(pki.folder)}
        connection = drivers.parse_connection(drivers.protocol("opcua"), written | user | security)
        source = OpcUaSource.model_validate({"node": "s=Setpoint"})
        group = Group("machine", connection, ("Setpoint",), (source,), 0.1, pushed=True)
        async with OpcUaDriver(connection, [group], Clock()) as driver:
            await received(driver, "Setpoint", START)
            await proxy.cut()
            for value in (61.0, 62.0):
                await asyncio.to_thread(peer.set_and_sample, "Setpoint", value)
            await lost(driver)
            await proxy.heal()
            await driver.connect()  # the only session that there can be is free at once
            await late_values(driver, "Setpoint", [61.0, 62.0])
            assert peer.counts()[:3] == (1, 1, 1)
    await peer.has(sessions=0, channels=0)


async def test_one_session_is_left_after_many_outages_of_node_opcua(tmp_path: Path) -> None:
    """Devices have few sessions, and one that runs out of them lets nobody in."""
    peer = await NodeOpcUa.start(tmp_path, sessions=2)
    async with Proxy(peer.port) as proxy, driver_of(proxy.port, "Setpoint", "Level") as driver:
        await taken(driver)
        for how in ROUNDS * ("cut", "corrupt", "forget sessions", "forget subscriptions", "drop"):
            match how:
                case "cut":
                    await proxy.cut()
                case "drop":
                    proxy.drop()
                case "corrupt":
                    proxy.corrupt()
                case _:
                    peer.control("forget", what=how.split()[1])
            await lost(driver)
            await proxy.heal()
            await connect(driver)
            await taken(driver)
            assert peer.counts()[:3] == (1, 1, 2), f"at once after {how}"
        peer.set("Level", 55)
        await received(driver, "Level", 55.0)
    await peer.has(sessions=0, subscriptions=0, items=0, channels=0)


async def test_one_session_is_left_after_many_outages_of_asyncua() -> None:
    """It ends a session with its connection: there is no session to take over, which must not disturb."""
    async with fickle_server(Speed=1.5) as fickle, Proxy(fickle.port) as proxy:
        options = {"security": "none", "namespace": URI, "keep_alive": 1.0}
        connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{proxy.port}", options)
        source = OpcUaSource.model_validate({"node": "s=Speed"})
        group = Group("machine", connection, ("Speed",), (source,), 0.1, pushed=True)
        async with OpcUaDriver(connection, [group], Clock()) as driver:
            await taken(driver)
            for how in ROUNDS * ("cut", "corrupt", "drop", "corrupt"):
                if how == "cut":
                    await proxy.cut()
                elif how == "drop":
                    proxy.drop()
                else:
                    proxy.corrupt()
                await lost(driver)
                await proxy.heal()
                await connect(driver)
                await taken(driver)
                await until(lambda: fickle.counts() == (1, 1), f"one session after {how}", SECONDS)
        await until(lambda: fickle.counts() == (0, 0), "no session", SECONDS)
