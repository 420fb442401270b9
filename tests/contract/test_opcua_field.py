"""Right behaviour of OPC UA servers that clients rarely expect: discovery endpoints, late namespaces and so on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import struct_to_binary
from fakes.scripted_opcua import NAMESPACE, ScriptedServer
from opcua_fuzz import NoSocket

from drivers.base import Group, NotConnected
from drivers.opcua.connection.transport import Limits, Protocol
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.security.setup import endpoint_urls
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import SINGLE, SLOWER

SECONDS = 30.0
"""So long anything may take on a busy machine."""


def driver_of(url: str, node: str = "s=Drum", mode: str = "subscribe", **options: Any) -> tuple[OpcUaDriver, Group]:
    usual = {"security": "none", "namespace": NAMESPACE, "timeout": "1", "keep_alive": 1.0}
    settings = OpcUaConnection.from_url(url, usual | options)
    source = OpcUaSource.model_validate({"node": node, "mode": mode})
    group = Group("press", settings, ("a",), (source,), 0.1, pushed=mode == "subscribe")
    return OpcUaDriver(settings, [group], lambda: time.time_ns() // 1000), group


async def test_the_endpoint_that_a_discovery_endpoint_names_is_connected_to() -> None:
    """Milo and Ignition offer nothing but discovery at the URL that their pages show."""
    async with ScriptedServer() as server, asyncio.timeout(SECONDS):
        server.path = "/machine"
        driver, _ = driver_of(f"{server.url}/discovery")
        async with driver:
            assert (await driver.receive()).values == [1.5]
        assert server.urls == [f"{server.url}/discovery", f"{server.url}/machine"]


@pytest.mark.parametrize(
    ("asked", "named", "expected"),
    [
        ("opc.tcp://plc:4840", "opc.tcp://plc:4840", ["opc.tcp://plc:4840"]),
        ("opc.tcp://plc:4840", "opc.tcp://plc:4840/", ["opc.tcp://plc:4840"]),
        ("opc.tcp://10.0.0.1:4840/discovery", "opc.tcp://inside:4840/app", ["opc.tcp://10.0.0.1:4840/app"]),
        ("opc.tcp://10.0.0.1", "opc.tcp://inside:4840/app", ["opc.tcp://10.0.0.1/app"]),
        (
            "opc.tcp://10.0.0.1:14840/discovery",
            "opc.tcp://192.168.0.5:4840/app",
            ["opc.tcp://10.0.0.1:4840/app", "opc.tcp://192.168.0.5:4840/app", "opc.tcp://10.0.0.1:14840/app"],
        ),
        ("opc.tcp://10.0.0.1:14840", "opc.tcp://192.168.0.5:4840", ["opc.tcp://10.0.0.1:14840"]),
        ("opc.tcp://10.0.0.1:4840", "", ["opc.tcp://10.0.0.1:4840"]),
        ("opc.tcp://10.0.0.1:4840", "http://10.0.0.1:80/x", ["opc.tcp://10.0.0.1:4840"]),
        ("opc.tcp://10.0.0.1:4840", "opc.tcp://x:99999", ["opc.tcp://10.0.0.1:4840"]),
    ],
)
def test_an_endpoint_is_looked_for_where_the_server_was_reached(asked: str, named: str, expected: list[str]) -> None:
    """Behind address translation a server names hosts and ports that nobody outside can reach."""
    assert endpoint_urls(asked, named) == expected


async def test_intervals_and_queues_that_a_server_revises_are_reported() -> None:
    """A user who asked for 100 ms and gets 5 s believes a flat line otherwise."""

    def script(service: str, answer: bytes) -> bytes:
        if service != "CreateMonitoredItems":
            return answer
        item = ua.MonitoredItemCreateResult(MonitoredItemId=1, RevisedSamplingInterval=5000.0, RevisedQueueSize=1)
        return struct_to_binary(ua.CreateMonitoredItemsResponse(Results=[item]))

    async with ScriptedServer(script) as server, asyncio.timeout(SECONDS):
        driver, _ = driver_of(server.url)
        async with driver:
            assert {(one.machine, one.points, one.text) for one in driver.warnings()} == {
                ("press", ("a",), SLOWER.format(5000.0, 100.0)),
                ("press", ("a",), SINGLE.format(1, 10)),
            }


async def test_a_namespace_that_appears_while_connected_is_found() -> None:
    """A program is loaded into a controller after its server has started."""
    async with ScriptedServer() as server, asyncio.timeout(SECONDS):
        server.namespaces = ["http://opcfoundation.org/UA/"]
        driver, group = driver_of(server.url, mode="poll", retry_missing="1s")
        async with driver:
            assert (await driver.read(group)).faults[0].code == f"namespace {NAMESPACE} is not on the server"
            server.namespaces = ["http://opcfoundation.org/UA/", NAMESPACE]
            scan = await driver.read(group)
            while scan.faults:  # the test ends at its time-out otherwise
                await asyncio.sleep(0.05)
                scan = await driver.read(group)


async def test_namespaces_with_other_indexes_end_the_session() -> None:
    """The ids of all nodes would be those of others."""
    async with ScriptedServer() as server, asyncio.timeout(SECONDS):
        server.namespaces = ["http://opcfoundation.org/UA/", "urn:first"]
        driver, group = driver_of(server.url, mode="poll", retry_missing="1s")
        async with driver:
            server.namespaces = ["http://opcfoundation.org/UA/", NAMESPACE, "urn:first"]
            with pytest.raises(NotConnected, match="other indexes"):
                await read_for_ever(driver, group)


async def read_for_ever(driver: OpcUaDriver, group: Group) -> None:
    while True:
        await driver.read(group)
        await asyncio.sleep(0.05)


async def test_a_renewal_of_the_channel_that_is_not_answered_is_repeated() -> None:
    """The connection ended at the lifetime's end, an hour later."""
    opened = 0

    def script(service: str, answer: bytes) -> bytes | None:
        nonlocal opened
        opened += service == "OpenSecureChannel"
        return None if service == "OpenSecureChannel" and opened == 2 else answer

    async with ScriptedServer(script) as server, asyncio.timeout(SECONDS):
        server.lifetime = 4000
        driver, group = driver_of(server.url, mode="poll")
        async with driver:
            while opened < 4:
                assert not (await driver.read(group)).faults
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("turns", range(8))
async def test_a_timeout_at_the_moment_of_an_answer_cancels_nothing_else(turns: int) -> None:
    """The worker of a device would end as if somebody had stopped it, without a message in the log."""
    protocol = Protocol(10.0, SecurityPolicyNone(), Limits(65536, 65536, 16, 2**20))
    protocol.connection_made(NoSocket())
    loop = asyncio.get_running_loop()
    scopes: list[asyncio.Timeout] = []

    async def ask() -> str:
        try:
            async with asyncio.timeout(None) as scope:
                scopes.append(scope)
                await protocol.send_request(ua.ReadRequest())
        except TimeoutError:
            return "timeout"
        return "answer"

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)  # until it is sent
    [answer] = protocol._callbackmap.values()  # noqa: SLF001 - as above
    answer.set_result(Buffer(struct_to_binary(ua.ReadResponse())))
    for _ in range(turns):
        await asyncio.sleep(0)
    if not task.done():
        scopes[0].reschedule(loop.time())
    assert await task in {"answer", "timeout"}
