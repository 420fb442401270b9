"""Servers that dial in, because their firewall lets nobody in (Part 6, 7.1.3)."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from click.testing import CliRunner
from fakes.certificates import SERVER_URI, make
from fakes.reverse_opcua import DialsIn, reverse_hello
from fakes.secure_opcua import NAMESPACE, SECURE, served
from opcua_peer import MACHINE
from opcua_reader import SECONDS
from processes import free_port

import drivers
from drivers.base import Group, NotConnected
from drivers.opcua.connection.discovery import endpoints
from drivers.opcua.connection.reverse import MAX_PENDING
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.security.certificates import thumbprint
from drivers.opcua.security.pki import Pki
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.cli import main
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from opcua_peer import NodeOpcUa

# asyncio of Python 3.11 leaks a socket that is accepted while its server closes
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PEER_URI = "urn:lineside:peer:server"


def settings_of(port: int, **options: Any) -> OpcUaConnection:
    usual = {"url": f"opc.tcp+reverse://127.0.0.1:{port}", "namespace": NAMESPACE, "server_uri": SERVER_URI}
    found = drivers.parse_connection(drivers.protocol("opcua"), usual | {"timeout": 10, "dial_in": 20} | options)
    assert isinstance(found, OpcUaConnection)
    return found


def driver_of(port: int, node: str = "s=Speed", **options: Any) -> OpcUaDriver:
    settings = settings_of(port, **options)
    source = OpcUaSource.model_validate({"node": node, "mode": "poll"})
    return OpcUaDriver(settings, [Group("machine", settings, ("speed",), (source,), 1.0)], Clock())


async def value(driver: OpcUaDriver) -> object:
    return (await driver.read(driver.groups[0])).values[0]


async def lost(driver: OpcUaDriver) -> None:
    """Read until the connection is lost."""
    while True:
        try:
            await value(driver)
        except NotConnected:
            return


async def refusal(driver: OpcUaDriver) -> str:
    async with asyncio.timeout(SECONDS):
        with pytest.raises(NotConnected) as caught:
            await driver.connect()
        await driver.close()
    return str(caught.value)


async def test_node_opcua_is_read_over_a_connection_that_it_opens(opcua: NodeOpcUa) -> None:
    """With endpoints of its own; a second connection waits meanwhile, and is not used."""
    port = free_port()
    async with asyncio.timeout(SECONDS), DialsIn(port, opcua.port, PEER_URI) as server:
        options = {"security": "none", "namespace": MACHINE, "server_uri": PEER_URI}
        async with driver_of(port, "s=Setpoint", **options) as driver:
            assert await value(driver) == 50.0
            assert server.used == 1


async def test_a_secured_server_is_validated_as_if_it_had_been_connected_to(tmp_path: Path) -> None:
    """Its first connection is asked for endpoints, and the second has the session."""
    pki, own = Pki(tmp_path / "pki"), make()
    inner, port = free_port(), free_port()
    async with (
        asyncio.timeout(SECONDS),
        served(inner, own, [*SECURE, ua.SecurityPolicyType.NoSecurity]),
        DialsIn(port, inner, SERVER_URI) as server,
    ):
        assert "lineside certs trust" in await refusal(driver_of(port, pki=str(pki.folder)))
        pki.trusted.mkdir(parents=True, exist_ok=True)
        (pki.trusted / f"{thumbprint(own.certificate)}.der").write_bytes(own.der)
        async with driver_of(port, pki=str(pki.folder)) as driver:
            assert await value(driver) == 12.5
        assert server.used == 3
        assert [one.policy for one in await endpoints(settings_of(port))].count("Aes256_Sha256_RsaPss") == 2


async def test_a_server_that_names_itself_falsely_is_refused_by_its_certificate(tmp_path: Path) -> None:
    """Anybody can send a ReverseHello."""
    pki, own = Pki(tmp_path / "pki"), make()
    pki.trusted.mkdir(parents=True)
    (pki.trusted / "server.der").write_bytes(own.der)
    inner, port = free_port(), free_port()
    async with served(inner, own), DialsIn(port, inner, "urn:another"):
        text = await refusal(driver_of(port, pki=str(pki.folder), server_uri="urn:another"))
    assert "it is of an application urn:test:server" in text


async def test_browse_waits_for_a_server_that_dials_in(opcua: NodeOpcUa) -> None:
    """Its engineer needs the nodes before the gateway does."""
    port = free_port()
    options = ["security=none", f"server_uri={PEER_URI}"]
    command = ["browse", f"opc.tcp+reverse://127.0.0.1:{port}", "--under", "/Machine", "--match", "Setpoint"]
    command += [part for option in options for part in ("--option", option)]
    async with asyncio.timeout(SECONDS), DialsIn(port, opcua.port, PEER_URI):
        result = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert result.exit_code == 0, result.output
    assert "s=Setpoint" in result.stdout


async def test_the_connection_is_made_again_when_it_is_cut(opcua: NodeOpcUa) -> None:
    """By the same driver, as soon as the server dials in again."""
    port = free_port()
    options = {"security": "none", "namespace": MACHINE, "server_uri": PEER_URI}
    async with asyncio.timeout(SECONDS), DialsIn(port, opcua.port, PEER_URI) as server:
        driver = driver_of(port, "s=Setpoint", **options)
        for _ in range(3):
            await driver.connect()
            assert await value(driver) == 50.0
            await server.cut()
            await lost(driver)
        await driver.close()


async def test_strangers_are_refused_and_named(opcua: NodeOpcUa) -> None:
    """By server URI, by endpoint, and by message; the expected server is read all the same."""
    port = free_port()
    options = {
        "security": "none", "namespace": MACHINE, "server_uri": PEER_URI, "dial_in": 1,
        "endpoint": f"opc.tcp://127.0.0.1:{opcua.port}",
    }  # fmt: skip
    async with (
        asyncio.timeout(SECONDS),
        DialsIn(port, opcua.port, "urn:stranger") as stranger,
        DialsIn(port, opcua.port, PEER_URI, "opc.tcp://elsewhere:4840") as elsewhere,
    ):
        text = await refusal(driver_of(port, "s=Setpoint", **options))
        assert f"server {PEER_URI} has not dialled in within 1 s; refused: " in text
        assert "urn:stranger at opc.tcp://127.0.0.1:" in text
        assert "elsewhere" in text
        await stranger.was_refused.wait()
        await elsewhere.was_refused.wait()
        assert struct.unpack_from("<I", stranger.refused[0], 8)[0] == ua.StatusCodes.BadServerUriInvalid
        async with DialsIn(port, opcua.port, PEER_URI), driver_of(port, "s=Setpoint", **options) as driver:
            assert await value(driver) == 50.0
        assert stranger.used == elsewhere.used == 0


@pytest.mark.parametrize(("peer", "is_let_in"), [("127.0.0.0/8", True), ("127.0.0.1", True), ("10.0.0.0/8", False)])
async def test_a_server_of_another_network_is_refused(opcua: NodeOpcUa, peer: str, *, is_let_in: bool) -> None:
    """Without security its URI alone proves nothing."""
    port = free_port()
    options = {"security": "none", "namespace": MACHINE, "server_uri": PEER_URI, "peer": peer, "dial_in": 2}
    async with asyncio.timeout(SECONDS), DialsIn(port, opcua.port, PEER_URI) as server:
        driver = driver_of(port, "s=Setpoint", **options)
        if is_let_in:
            async with driver:
                assert await value(driver) == 50.0
        else:
            assert "from 127.0.0.1" in await refusal(driver)
            assert server.used == 0


async def test_a_flood_of_connections_does_not_keep_the_server_out(opcua: NodeOpcUa) -> None:
    """Those that say nothing are closed, the oldest first."""
    port = free_port()
    options = {"security": "none", "namespace": MACHINE, "server_uri": PEER_URI}
    driver = driver_of(port, "s=Setpoint", **options)
    connecting = asyncio.ensure_future(driver.connect())
    silent = []
    async with asyncio.timeout(SECONDS):
        while len(silent) < 2 * MAX_PENDING:
            try:
                silent.append(await asyncio.open_connection("127.0.0.1", port))
            except ConnectionError:
                await asyncio.sleep(0)
        assert await silent[0][0].read() == b""
        half = await asyncio.open_connection("127.0.0.1", port)
        half[1].write(reverse_hello(PEER_URI, "opc.tcp://x:1")[:20])
        async with DialsIn(port, opcua.port, PEER_URI):
            await connecting
            assert await value(driver) == 50.0
            await driver.close()
    for _, writer in [*silent, half]:
        writer.close()


def test_a_check_waits_as_long_as_a_server_may_take() -> None:
    """For two calls if it is asked for its endpoints first."""
    assert settings_of(4841).patience == 40
    assert settings_of(4841, security="none").patience == 20
    assert OpcUaConnection.from_url("opc.tcp://plc:4840", {}).patience == 0


async def test_two_servers_dial_in_at_one_port(opcua: NodeOpcUa) -> None:
    """A firewall has one hole for a whole plant; the last session that ends closes it."""
    port, inner = free_port(), free_port()
    async with (
        asyncio.timeout(SECONDS),
        served(inner, None, [ua.SecurityPolicyType.NoSecurity]),
        DialsIn(port, inner, SERVER_URI),
        DialsIn(port, opcua.port, PEER_URI),
    ):
        first = driver_of(port, security="none")
        second = driver_of(port, "s=Setpoint", security="none", namespace=MACHINE, server_uri=PEER_URI)
        async with first, second:
            assert (await value(first), await value(second)) == (12.5, 50.0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_two_sessions_with_one_server_each_get_a_connection(opcua: NodeOpcUa) -> None:
    """As of two machines with different users on it."""
    port = free_port()
    options = {"security": "none", "namespace": MACHINE, "server_uri": PEER_URI}
    async with (
        asyncio.timeout(SECONDS),
        DialsIn(port, opcua.port, PEER_URI),
        driver_of(port, "s=Setpoint", **options) as first,
        driver_of(port, "s=Setpoint", keep_alive=7, **options) as second,
    ):
        assert (await value(first), await value(second)) == (50.0, 50.0)


async def test_a_port_that_is_in_use_is_not_connected() -> None:
    """Another program may end."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert f"opc.tcp+reverse://127.0.0.1:{port}: can't listen there" in await refusal(driver_of(port))
    server.close()


@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        ("opc.tcp+reverse://0.0.0.0:4841", {}, "server_uri is missing"),
        ("opc.tcp+reverse://0.0.0.0:4841", {"server_uri": "urn:a", "backup": "plc"}, "has no backup"),
        ("opc.tcp+reverse://0.0.0.0:4841", {"server_uri": "urn:a", "peer": "plc"}, "peer 'plc' is not an address or"),
        ("opc.tcp://plc:4840", {"peer": "10.0.0.1"}, "peer is for a server that dials in"),
        ("opc.tcp://plc:4840", {"server_uri": "urn:a"}, "server_uri is for a server that dials in"),
        ("opc.tcp+reverse://0.0.0.0:99999", {"server_uri": "urn:a"}, "port 99999 is not a number from 1 to 65535"),
        ("opc.tcp://plc:0", {}, "port 0 is not a number from 1 to 65535; write opc.tcp://HOST:4840"),
        ("opc.tcp://plc:x1", {}, "port x1 is not a number"),
        ("opc.tcp://plc", {"backup": "plc-2:70000"}, "port 70000 is not a number from 1 to 65535; write HOST:4840"),
    ],
)
def test_settings_that_can_not_work_are_refused(url: str, options: dict[str, str], why: str) -> None:
    """At `validate`."""
    with pytest.raises(ValueError, match=why):
        OpcUaConnection.from_url(url, options)
