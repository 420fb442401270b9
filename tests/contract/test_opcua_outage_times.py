"""Times of readings around an outage, as they are stored: each change has its own, and no value another's."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from asyncua.server.history import HistoryDict
from fakes.fickle_opcua import URI, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, connect
from processes import LOOPBACK, until
from proxy import Proxy

from drivers.base import Group, NotConnected, Scan, bad
from drivers.opcua.connection.client import Client
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.quality import Reason
from gateway.common.clock import Clock
from gateway.pipeline.normalize import Normalizer
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncua import ua

    Write = Callable[[float, int], Awaitable[None]]

APART = 0.3
"""Seconds between two changes."""


class Gateway:
    """The readings of one point, through the driver and the normalization, over any number of connections."""

    def __init__(self, port: int, uri: str, node: str) -> None:
        options = {"security": "none", "namespace": uri, "keep_alive": 1.0}
        connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{port}", options)
        source = OpcUaSource.model_validate({"node": f"s={node}", "queue": 50})
        self.group = Group("machine", connection, (node,), (source,), 0.1, pushed=True)
        self.driver = OpcUaDriver(connection, [self.group], Clock())
        self.normalizer = Normalizer([Point.model_validate({"name": "p", "source": source, "type": "float"})])
        self.readings: list[tuple[float | None, int]] = []
        self.outages = 0
        self.connected = False

    async def run(self) -> None:
        while True:
            await connect(self.driver)
            self.connected = True
            try:
                while True:
                    self._add(await self.driver.receive())
            except NotConnected:
                self.connected = False
                self.outages += 1
                self._add(Scan.failed(self.group, self.driver.now(self.group), bad(Reason.NOT_CONNECTED)))

    def _add(self, scan: Scan) -> None:
        self.normalizer.apply(scan)
        assert {fault.reason for fault in scan.faults.values()} <= {Reason.NOT_CONNECTED}, "no clock was changed"
        times = [scan.time] if scan.times is None else scan.times
        self.readings += zip(map(_number, scan.values), times, strict=True)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float) else None


async def written_in(proxy: Proxy, how: str, write: Write, gateway: Gateway) -> list[tuple[float, int]]:
    """Write changes before, during and after an outage; return them with their source times."""
    changes: list[tuple[float, int]] = []

    async def change(number: int) -> None:
        for _ in range(number):
            now = time.time_ns() // 1_000_000 * 1000
            changes.append((100.0 + len(changes), now))
            await write(*changes[-1])

    await until(lambda: bool(gateway.readings), "the first value", SECONDS)
    await change(3)
    await until(lambda: changes[-1][0] in dict(gateway.readings), "the values before the outage", SECONDS)
    if how == "cut":
        await proxy.cut()
    elif how == "drop":
        proxy.drop()
    else:
        proxy.hold()
    await change(6)
    if how != "hold":
        await until(lambda: gateway.outages > 0, "the outage", SECONDS)
    await proxy.heal()
    # nobody keeps changes from the end of the old session until the new session has its items
    await until(lambda: changes[-1][0] in dict(gateway.readings), "the values of the outage", SECONDS)
    await until(lambda: gateway.connected, "the next connection", SECONDS)
    await change(3)
    await until(lambda: changes[-1][0] in dict(gateway.readings), "the last value", SECONDS)
    await asyncio.sleep(0.5)  # and whatever might come twice
    return changes


def check(changes: list[tuple[float, int]], readings: list[tuple[float | None, int]], *, lost: bool = False) -> None:
    """Check that each change is there once with its own time, and others only while their value was valid.

    The changes have times of whole milliseconds, and within one of them a reading has the time of its change. A store
    keeps one of two equal readings, such as a late and a present reading.
    """
    readings = list(dict.fromkeys(readings))
    readings = [(value, time // 1000 * 1000) for value, time in readings]
    counts = Counter(readings)
    if not lost:
        assert [counts[change] for change in changes] == [1] * len(changes)
    assert max(counts.values()) == 1
    until_next = {value: later for (value, _), (_, later) in pairwise(changes)}
    own = dict(changes)
    again = [(value, time) for value, time in readings if value in own and own[value] != time]
    for value, time_ in again:
        assert value is not None
        assert own[value] < time_ < until_next.get(value, 2**63), "a value at a time when another was valid"
    assert len(again) <= 1, "the present value, once after the outage"


@pytest.mark.parametrize("how", ["cut", "drop", "hold"])
async def test_changes_of_an_outage_keep_their_times_with_node_opcua(opcua_alone: NodeOpcUa, how: str) -> None:
    """Values 200 ms apart were stored within a microsecond, at a time at which the server had another value."""
    peer = opcua_alone

    async def write(value: float, at: int) -> None:
        await asyncio.to_thread(peer.set_and_sample, "Setpoint", value, time=at)

    await outage(peer.port, MACHINE, "Setpoint", how, write)


@pytest.mark.parametrize(("how", "lost"), [("cut", True), ("drop", True), ("hold", False)])
async def test_changes_of_an_outage_keep_their_times_with_asyncua(how: str, *, lost: bool) -> None:
    """It ends a session with its connection, so changes meanwhile are lost; nothing comes in their place."""
    async with fickle_server(Speed=1.0) as fickle:

        async def write(value: float, at: int) -> None:
            moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).replace(tzinfo=None)
            await fickle.write("Speed", value, SourceTimestamp=moment)
            await asyncio.sleep(APART)

        await outage(fickle.port, URI, "Speed", how, write, lost=lost)


class Rounded(HistoryDict):
    """A history that keeps milliseconds."""

    async def save_node_value(self, node_id: ua.NodeId, datavalue: ua.DataValue) -> None:
        at = datavalue.SourceTimestamp
        assert at is not None
        kept = at.replace(microsecond=at.microsecond // 1000 * 1000)
        await super().save_node_value(node_id, dataclasses.replace(datavalue, SourceTimestamp=kept))


@pytest.mark.parametrize("storage", [HistoryDict, Rounded])
async def test_changes_of_an_outage_come_once_out_of_the_history_of_asyncua(storage: type[HistoryDict]) -> None:
    """It has every change, also those that were sent before and after the outage, and some keep milliseconds."""
    async with fickle_server(Speed=1.0) as fickle:
        fickle.server.iserver.history_manager.set_storage(storage())
        node = fickle.server.get_node(fickle.node("Speed"))
        await fickle.server.historize_node_data_change(node, period=None, count=1000)

        async def write(value: float, at: int) -> None:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at + 123)
            await fickle.write("Speed", value, SourceTimestamp=moment)
            await asyncio.sleep(APART)

        await outage(fickle.port, URI, "Speed", "cut", write)


async def outage(port: int, uri: str, node: str, how: str, write: Write, *, lost: bool = False) -> None:
    async with Proxy(port) as proxy:
        gateway = Gateway(proxy.port, uri, node)
        running = asyncio.create_task(gateway.run())
        try:
            changes = await written_in(proxy, how, write, gateway)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await gateway.driver.close()
    check(changes, gateway.readings, lost=lost)


# -- the secure channel --

LIFETIME = 10.0
"""Seconds; the channel is renewed after three quarters of it, and ends a quarter later than promised.

Between these the publish requests from before the renewal, each a keep-alive apart, have to be answered: node-opcua
answers them with the old token.
"""

HELD = 0.3
"""Seconds of the outage, from the request to renew on."""


@dataclasses.dataclass
class Renewals:
    """What to do before the next request to renew a channel, and how many were answered; by the port."""

    before: dict[int, Callable[[], None]] = dataclasses.field(default_factory=dict)
    answered: Counter[int] = dataclasses.field(default_factory=Counter)


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> Renewals:
    """Let the driver ask for channels that live for seconds."""
    begin, ask, known = Client.open, Client.open_secure_channel, Renewals()

    async def open_short(self: Client, *arguments: Any) -> None:
        self.secure_channel_timeout = round(LIFETIME * 1000)
        await begin(self, *arguments)

    async def renew_noticed(self: Client, renew: bool = False) -> None:  # noqa: FBT001, FBT002 - asyncua's signature
        port = self.server_url.port
        assert port is not None
        if renew and port in known.before:
            known.before.pop(port)()
        await ask(self, renew)
        known.answered[port] += renew

    monkeypatch.setattr(Client, "open", open_short)
    monkeypatch.setattr(Client, "open_secure_channel", renew_noticed)
    return known


async def survives_a_renewal(renewals: Renewals, port: int, uri: str, node: str) -> None:
    """Hold all bytes while the channel is renewed; the connection must live on, beyond the channel's lifetime."""
    async with Proxy(port) as proxy:
        gateway = Gateway(proxy.port, uri, node)
        driver = gateway.driver
        renewals.before[proxy.port] = proxy.hold
        running = asyncio.create_task(gateway.run())
        try:
            await until(lambda: bool(gateway.readings), "the first value", SECONDS)
            await until(lambda: proxy.port not in renewals.before, "the renewal", SECONDS)
            await asyncio.sleep(HELD)
            await proxy.heal()
            # the second comes after one and a half lifetimes, when the first token has ended for sure
            await until(lambda: renewals.answered[proxy.port] >= 2, "a renewal after the lifetime", SECONDS)
        finally:
            running.cancel()
            await asyncio.wait([running])
        assert (gateway.outages, proxy.accepted) == (0, 1)
        [group] = driver.groups
        assert (await driver.describe(group)) != [], "the session answers"
        await driver.close()


async def test_an_outage_at_the_renewal_of_the_channel_costs_no_connection(
    opcua: NodeOpcUa, renewals: Renewals
) -> None:
    """The connection ended at the lifetime's end, an hour later; both servers are tried at the same time."""
    async with fickle_server(Speed=1.0) as fickle:
        await asyncio.gather(
            survives_a_renewal(renewals, opcua.port, MACHINE, "Setpoint"),
            survives_a_renewal(renewals, fickle.port, URI, "Speed"),
        )
