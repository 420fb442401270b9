"""What each kind of outage costs: readings lost and doubled, and the time until the next one.

pytest -s tests/contract/test_opcua_recovery.py     prints the table of docs/opcua.md
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS, connect, driver_of, named
from processes import until
from proxy import Proxy

from drivers.base import NotConnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from drivers.base import Driver

    Fault = Callable[["Bench"], Awaitable[None]]

NODE = "Recorded"
"""A variable of which the server keeps a history."""

APART = 0.1
"""Seconds between the server's samples of one change, which take 0.3 s, and the next change."""

CHANGES = 3
"""Changes in an outage, at least."""


@dataclass
class Bench:
    """A server whose variable counts, a driver that is connected again as a runner does, and what it handed over."""

    peer: NodeOpcUa
    proxy: Proxy
    driver: Driver
    written: list[float] = field(default_factory=list)
    got: dict[float, list[int]] = field(default_factory=dict)
    seen_at: dict[float, float] = field(default_factory=dict)
    writing: asyncio.Event = field(default_factory=asyncio.Event)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    outages: int = 0

    async def change(self) -> None:
        """Count, as often as the server answers.

        The next change waits until the server has sampled this one: a machine that is busy for a second would let
        both happen between two samples, and only the last would ever be in the queue of a monitored item.
        """
        count = 100.0
        while True:
            await self.writing.wait()
            with suppress(AssertionError, OSError):  # it is away
                async with self.changing:
                    if self.writing.is_set():  # else `rest` had the lock before, and a change now would be lost
                        count += 1
                        await asyncio.to_thread(self.peer.set_and_sample, NODE, count)
                        self.written.append(count)
            await asyncio.sleep(APART)

    async def rest(self) -> None:
        """Count no more, and wait until every value that the server got has come."""
        self.writing.clear()
        async with self.changing:
            written = set(self.written)
        await until(lambda: self.got.keys() >= written, "every value", SECONDS)

    async def read(self) -> None:
        """Receive, and connect again."""
        while True:
            try:
                scan = await self.driver.receive()
            except NotConnected:
                self.outages += 1
                await connect(self.driver)
                continue
            value = named(scan).get(NODE)
            if value is not None and scan.times is not None:
                self.got.setdefault(float(value), []).append(scan.times[0])
                self.seen_at.setdefault(float(value), time.monotonic())

    async def until_got(self, count: int) -> None:
        """Wait until so many more values have come."""
        goal = len(self.got) + count
        await until(lambda: len(self.got) >= goal, f"{count} more values", SECONDS)

    async def until_written(self, count: int) -> None:
        """Wait until the server has so many more values."""
        goal = len(self.written) + count
        await until(lambda: len(self.written) >= goal, f"{count} more changes", SECONDS)

    async def until_lost(self, before: int) -> None:
        """Wait until the driver has noticed more outages than there were before."""
        await until(lambda: self.outages > before, "the outage", SECONDS)


async def cut(bench: Bench) -> None:
    """Reset the connection and refuse others."""
    before = bench.outages
    await bench.proxy.cut()
    await asyncio.gather(bench.until_lost(before), bench.until_written(CHANGES))
    await bench.proxy.heal()


async def drop(bench: Bench) -> None:
    """Drop all packets, for three keep-alives."""
    before = bench.outages
    bench.proxy.drop()
    await asyncio.gather(bench.until_lost(before), bench.until_written(CHANGES))
    await bench.proxy.heal()


async def freeze(bench: Bench) -> None:
    """Hang the server for three keep-alives."""
    await bench.rest()
    before = bench.outages
    bench.peer.freeze()
    await bench.until_lost(before)
    bench.peer.thaw()
    bench.writing.set()


async def forget_sessions(bench: Bench) -> None:
    """Make the server forget its sessions."""
    await asyncio.to_thread(bench.peer.control, "forget", what="sessions")


async def forget_subscriptions(bench: Bench) -> None:
    """Make the server end its subscriptions."""
    await asyncio.to_thread(bench.peer.control, "forget", what="subscriptions")


async def restart(bench: Bench) -> None:
    """Kill the server, whose history is in memory, and start it with another order of its namespaces."""
    await bench.rest()
    before = bench.outages
    bench.peer.kill()
    bench.peer.options["namespaces"] = ["urn:new:one", MACHINE, "urn:new:two"]
    await bench.until_lost(before)
    await bench.peer.restart()
    bench.writing.set()


@pytest.mark.parametrize("fault", [cut, drop, freeze, forget_sessions, forget_subscriptions])
async def test_no_reading_is_lost_or_doubled(opcua_alone: NodeOpcUa, fault: Fault) -> None:
    """Changes that happen while nobody can reach the server are in its history, and so in ours."""
    await nothing_is_lost_or_doubled(opcua_alone, fault)


async def test_no_reading_is_lost_or_doubled_by_a_restart(tmp_path: Path) -> None:
    """Also where the state of the server is gone with it."""
    await nothing_is_lost_or_doubled(await NodeOpcUa.start(tmp_path), restart)


async def nothing_is_lost_or_doubled(peer: NodeOpcUa, fault: Fault) -> None:
    async with Proxy(peer.port) as proxy:
        driver = driver_of(proxy.port, NODE)
        await connect(driver)
        bench = Bench(peer, proxy, driver)
        working = [asyncio.create_task(bench.change()), asyncio.create_task(bench.read())]
        try:
            bench.writing.set()
            await bench.until_got(4)
            await fault(bench)
            healed = time.monotonic()
            await bench.until_got(8)
            await bench.rest()
            _print(fault, bench, healed)
            await peer.has(60.0, sessions=1, subscriptions=1, items=1)  # the session that was cut off ends by itself
        finally:
            for task in working:
                task.cancel()
            await asyncio.wait(working)
            await driver.close()
        assert not doubled(bench.got)


def doubled(got: dict[float, list[int]]) -> list[float]:
    """Return the values that came twice with the same time; with the present time a value may come once more.

    Times within a millisecond are the same: a history may round them.
    """
    return [
        value
        for value, times in got.items()
        if any(later - earlier < 1000 for earlier, later in pairwise(sorted(times)))
    ]


def _print(fault: Any, bench: Bench, healed: float) -> None:
    after = [seen for seen in bench.seen_at.values() if seen > healed]
    what = fault.__doc__.strip().rstrip(".")
    first = min(after) - healed if after else 0.0
    lost = set(bench.written) - bench.got.keys()
    print(f"\n| {what} | {len(bench.written)} | {len(lost)} | {len(doubled(bench.got))} | {first:.2f} s |")  # noqa: T201 - with -s
