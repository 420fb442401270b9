"""Changes that a subscription missed in an outage are read from the server's history, where it keeps one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from opcua_reader import SECONDS, connect, driver_of, lost, named
from proxy import Proxy

if TYPE_CHECKING:
    from opcua_peer import NodeOpcUa

    from drivers.base import Driver, Scan


async def until_value(driver: Driver, node: str, value: object) -> list[Scan]:
    """Receive until a scan that is not late has a value; return all scans so far."""
    scans: list[Scan] = []
    async with asyncio.timeout(SECONDS):
        while True:
            scan = await driver.receive()
            scans.append(scan)
            if not scan.late and named(scan).get(node) == value:
                return scans


async def test_changes_of_an_outage_are_read_afterwards_each_once_and_marked(opcua_alone: NodeOpcUa):
    """Between two values that were seen are those that were not, with their own times."""
    peer = opcua_alone
    async with Proxy(peer.port) as proxy:
        driver = driver_of(proxy.port, "Recorded", "Setpoint")
        await connect(driver)
        peer.set("Recorded", 2.0)
        await until_value(driver, "Recorded", 2.0)
        await proxy.cut()
        await lost(driver)
        missed, began = [3.0, 4.0, 5.0, 6.0], time.time_ns() // 1000
        peer.set_at_once("Recorded", *missed, since=began)  # its queue has but the last one
        peer.set("Setpoint", 7.0)
        await proxy.heal()
        await connect(driver)
        scans = await until_value(driver, "Recorded", 6.0)
        async with asyncio.timeout(SECONDS):
            while len(late_values(scans, "Recorded")) < len(missed) or not late_values(scans, "Setpoint"):
                scans.append(await driver.receive())
        assert dict(driver.counts())["backfilled"] == 3
        late = late_values(scans, "Recorded")
        assert sorted(value for _, value in late) == missed, "each once"
        assert all(began <= when <= time.time_ns() // 1000 for when, _ in late)
        assert [value for _, value in sorted(late)] == missed, "with the times at which they were"
        present = [scan for scan in scans if not scan.late and "Recorded" in named(scan)]
        assert [named(scan)["Recorded"] for scan in present][-1] == 6.0
        # no history is kept of the other: its present value comes, with its own time
        assert [value for _, value in late_values(scans, "Setpoint")] == [7.0]
        await driver.close()


def late_values(scans: list[Scan], node: str) -> list[tuple[int, object]]:
    """Return time and value of all late readings of a node."""
    found = []
    for scan in scans:
        if scan.late and node in named(scan):
            position = scan.group.names.index(node)
            assert scan.points is not None
            assert scan.times is not None
            place = list(scan.points).index(position)
            found.append((scan.times[place], scan.values[place]))
    return found
