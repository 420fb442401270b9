"""The parameters that a server grants a subscription, and points that it grants less: against asyncua."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_reader import SECONDS, named
from processes import LOOPBACK

from drivers.base import DeviceWarning, Group, Scan
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.sampler import OpcUaSampler
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.revisions import PUBLISHES, SINGLE, SLOWER
from gateway.common.clock import Clock

NODES = {f"Node{i}": float(i) for i in range(10)}


def group_of(
    fickle: Fickle, *nodes: str, every: float = 0.1, repeats: float = 0.0, keep_alive: float = 1.0, **keys: Any
) -> Group[OpcUaConnection, OpcUaSource]:
    options = {"security": "none", "namespace": URI, "keep_alive": keep_alive, "retry_missing": 1.0}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", options)
    sources = tuple(OpcUaSource.model_validate({"node": f"s={node}"} | keys) for node in nodes)
    again = (repeats,) * len(nodes) if repeats else ()
    return Group("machine", connection, nodes, sources, every, pushed=True, repeats=again)


def driver_of(*groups: Group[OpcUaConnection, OpcUaSource]) -> OpcUaDriver:
    return OpcUaDriver(groups[0].connection, groups, Clock())


async def scans_until(driver: OpcUaDriver, wanted: dict[str, Any]) -> list[Scan]:
    """Receive until the newest values are as wanted; return the scans."""
    values: dict[str, Any] = {}
    scans = []
    async with asyncio.timeout(SECONDS):
        while not wanted.items() <= values.items():
            scans.append(await driver.receive())
            values |= named(scans[-1])
    return scans


# -- subscriptions --


@pytest.mark.parametrize(("each", "total", "subscriptions", "polled"), [(4, 100, 3, 0), (4, 6, 2, 4), (100, 6, 1, 4)])
async def test_points_without_room_in_a_subscription_get_another(
    each: int, total: int, subscriptions: int, polled: int
) -> None:
    """Some PLCs limit the items of a subscription, and have many; where the whole is limited the rest is polled."""
    async with fickle_server(**NODES) as fickle:
        fickle.items_each, fickle.items = each, total
        async with driver_of(group_of(fickle, *NODES)) as driver:
            await scans_until(driver, NODES)
            assert driver.counts()["polled_instead"] == polled
            assert fickle.counts() == (1, subscriptions), "a subscription that got no item is deleted"
            await fickle.write("Node9", 99.0)
            await scans_until(driver, {"Node9": 99.0})


async def test_a_value_is_read_at_once_where_the_server_publishes_rarely() -> None:
    """With every: 30s nobody waits half a minute to see whether a point reads."""
    async with fickle_server(Speed=1.0, Torque=2.0) as fickle:
        fickle.silent = True
        async with driver_of(group_of(fickle, "Speed", "Torque", every=3.0)) as driver:
            await scans_until(driver, {"Speed": 1.0, "Torque": 2.0})
            fickle.silent = False
            await fickle.write("Torque", 3.0)
            scans = await scans_until(driver, {"Torque": 3.0})
            assert [named(scan) for scan in scans] == [{"Torque": 3.0}], "values that were read are not sent again"


# -- at_least_every --


async def test_a_value_that_does_not_change_is_sent_again_with_the_time_at_which_that_is_known() -> None:
    """A chart of the last hour is not empty because a temperature is stable."""
    async with fickle_server(Speed=1.0, Torque=2.0) as fickle:
        stable = group_of(fickle, "Speed", repeats=0.8, keep_alive=10.0)
        other = group_of(fickle, "Torque", keep_alive=10.0)
        async with driver_of(stable, other) as driver:
            scans: list[Scan] = []
            until = time.monotonic() + 5.0
            while time.monotonic() < until:
                scans.append(await driver.receive())
            speeds = [scan for scan in scans if scan.group is stable]
            assert [scan.values for scan in scans if scan.group is other] == [[2.0]]
            assert {tuple(scan.values) for scan in speeds} == {(1.0,)}
            times = [(scan.times or [0])[0] for scan in speeds]
            spaces = [later - earlier for earlier, later in itertools.pairwise(times)]
            assert len(spaces) >= 4
            assert all(500_000 < space < 1_200_000 for space in spaces), spaces
            await fickle.write("Speed", 5.0)
            changed = await scans_until(driver, {"Speed": 5.0})
            assert (changed[-1].times or [0])[0] > times[-1]


async def test_a_polled_value_of_the_same_source_time_is_a_reading_again() -> None:
    """By its source time it is not a new reading; within at_least_every it is a reading all the same."""
    async with fickle_server(Speed=1.0) as fickle:
        written = time.time_ns() // 1000 - 3_600_000_000
        await fickle.write("Speed", 2.0, SourceTimestamp=stamp(written))
        pushed = group_of(fickle, "Speed", mode="poll", time="source", repeats=0.5)
        group = replace(pushed, pushed=False)
        async with driver_of(group) as driver:
            readings: list[int] = []
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                readings += (await driver.read(group)).times or []
                await asyncio.sleep(0.02)
            first, *again = readings
            assert first == written
            assert len(again) in {2, 3, 4}
            assert all(500_000 <= later - earlier < 900_000 for earlier, later in pairwise(again))
            assert abs(again[0] - time.time_ns() // 1000) < 5_000_000
            await fickle.write("Speed", 3.0, SourceTimestamp=stamp(written + 1))
            assert (await driver.read(group)).times == [written + 1]


async def test_nothing_is_repeated_while_nothing_is_heard() -> None:
    """Whether the value is still the same, nobody knows then."""
    async with fickle_server(Speed=1.0) as fickle, repeating(fickle) as driver:
        await scans_until(driver, {"Speed": 1.0})
        fickle.silent = True
        with pytest.raises(TimeoutError):
            await receive_for(driver, 2.0, most=3)  # scans that were under way


def repeating(fickle: Fickle) -> OpcUaDriver:
    return driver_of(group_of(fickle, "Speed", repeats=0.5, keep_alive=30.0))


async def receive_for(driver: OpcUaDriver, seconds: float, most: int) -> None:
    """Receive at most so many scans. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        for _ in range(most + 1):
            await driver.receive()


# -- revised parameters --


async def test_revised_intervals_and_queues_are_reported_and_described() -> None:
    """A user who asked for 100 ms and gets 2 s finds it in the log, in `check` and in the metadata of the machine."""
    async with fickle_server(Speed=1.0) as fickle:
        fickle.revised = {"publishing": 2000.0, "sampling": 500.0, "queue": 1}
        group = group_of(fickle, "Speed")
        async with driver_of(group) as driver:
            expected = {SLOWER.format(500.0, 100.0), SINGLE.format(1, 10), PUBLISHES.format(2000.0, 100.0)}
            assert set(driver.warnings()) == {DeviceWarning("machine", ("Speed",), text) for text in expected}
            [described] = await driver.describe(group)
            assert described.revised == {"sampling": 0.5, "publishing": 2.0, "queue": 1}
        checked = OpcUaSampler(group.connection, [group], Clock())
        async with checked:
            assert {warning.text for warning in checked.warnings()} == expected
            assert (await checked.sample(group)).scan.values == [1.0]
            assert fickle.counts() == (1, 0), "nothing of the trial is left on the server"


@pytest.mark.parametrize(("sampling", "queue", "count"), [(50.0, 1, 1), (100.0, 1, 0), (50.0, 2, 0)])
async def test_a_queue_of_one_is_counted_since_it_hides_its_losses(sampling: float, queue: int, count: int) -> None:
    """The overflow bit is never set for it (Part 4, 5.13.1.5); with one sample for each message nothing is lost."""
    async with fickle_server(Speed=1.0) as fickle:
        fickle.revised = {"sampling": sampling}
        async with driver_of(group_of(fickle, "Speed", queue=queue)) as driver:
            await scans_until(driver, {"Speed": 1.0})
            assert driver.counts()["single_queues"] == count


# -- trigger --


def stamp(time: int) -> datetime:
    """Return microseconds since the epoch as asyncua takes them."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).replace(tzinfo=None)


@pytest.mark.parametrize(("trigger", "readings"), [("timestamp", 2), ("value", 0)])
async def test_a_weighing_that_repeats_the_value_is_a_new_reading(trigger: str, readings: int) -> None:
    """Two tyres of the same weight are two tyres; only the source time distinguishes them."""
    async with (
        fickle_server(Weight=9.5, End=0.0) as fickle,
        driver_of(group_of(fickle, "Weight", "End", trigger=trigger)) as driver,
    ):
        await scans_until(driver, {"Weight": 9.5, "End": 0.0})
        now = time.time_ns() // 1000
        await fickle.write("Weight", 10.25, SourceTimestamp=stamp(now))
        await scans_until(driver, {"Weight": 10.25})
        for i in range(1, 3):
            await fickle.write("Weight", 10.25, SourceTimestamp=stamp(now + i * 1000))
        scans = []
        for end in (1.0, 2.0):
            await fickle.write("End", end)
            scans += await scans_until(driver, {"End": end})
        weights = [scan.times for scan in scans for name in named(scan) if name == "Weight"]
        assert len(weights) == readings


async def test_a_trigger_that_is_refused_is_reported() -> None:
    """Then a repeated value is missing, and somebody must know."""
    async with fickle_server(Weight=9.5) as fickle:
        fickle.filters = False
        async with driver_of(group_of(fickle, "Weight", trigger="timestamp")) as driver:
            await scans_until(driver, {"Weight": 9.5})
            assert driver.counts()["triggers_refused"] == 1
            [warning] = driver.warnings()
            assert "trigger: timestamp" in warning.text


async def test_a_subscription_whose_values_are_repeated_lives_as_long_as_others() -> None:
    """A gateway that is busy for a second must not lose it, since its keep-alives are short."""
    async with fickle_server(Speed=1.0, Torque=1.0) as fickle:
        groups = group_of(fickle, "Speed", repeats=0.4, keep_alive=5.0), group_of(fickle, "Torque", keep_alive=5.0)
        async with driver_of(*groups) as driver:
            await scans_until(driver, {"Speed": 1.0, "Torque": 1.0})
            made = fickle.server.iserver.subscription_service.subscriptions.values()
            assert sorted(one.data.RevisedMaxKeepAliveCount for one in made) == [1, 50]
            assert {one.data.RevisedLifetimeCount for one in made} == {300}
