"""Values that a server sends only when they change are sent again within `at_least_every`, where that is written."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from points import node, part

from drivers.base import Fault, Group, Quality, Reason, Scan, bad
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.repeats import Repeats
from gateway.acquisition.groups import groups_of
from gateway.model.path import MachinePath
from gateway.pipeline.report_by_exception import ReportByException
from gateway.settings.factory import Machine
from gateway.settings.point import Point

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
CONNECTION = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
STALE = Fault(Quality.UNCERTAIN, Reason.STALE)


class Bench:
    """Points of a group with intervals, and the readings that are repeated up to a message of their subscription."""

    def __init__(self, *intervals: float) -> None:
        names = tuple(f"p{i}" for i in range(len(intervals)))
        sources = tuple(OpcUaSource.model_validate({"node": f"s={name}"}) for name in names)
        self.group = Group("m", CONNECTION, names, sources, 1.0, pushed=True, repeats=intervals)
        self.repeats = Repeats()
        self.repeats.add(self.group)
        self.arrived = asyncio.get_running_loop().time()
        self.ahead = 0

    def arrives(self, *readings: tuple[int, int, Any], time: int = NOW, **faults: Fault) -> None:
        scan = part(self.group, *readings, time=time, **faults)
        self.repeats.note([scan], lambda _, now: now + self.ahead)

    def heard(self, seconds: float) -> list[tuple[int, Any, int]]:
        """Return position, value and time of the readings that are repeated after a message."""
        at = self.arrived + seconds
        scans: list[Scan] = self.repeats.take(lambda _: at, lambda: NOW + round(seconds * SECOND))
        return [
            (position, fault if (fault := scan.faults.get(i)) is not None and value is None else value, time)
            for scan in scans
            for i, (position, value, time) in enumerate(
                zip(scan.points or (), scan.values, scan.times or (), strict=True)
            )
        ]


async def test_a_reading_is_repeated_with_the_time_of_the_last_message() -> None:
    """The value is known to be unchanged until that time, and unknown after it."""
    bench = Bench(10.0)
    bench.arrives((0, NOW, 1.5))
    assert bench.heard(7.4) == []
    [(position, value, time)] = bench.heard(8.0)
    assert (position, value) == (0, 1.5)
    assert abs(time - NOW - 8 * SECOND) < 0.1 * SECOND
    assert bench.heard(8.1) == [], "the interval begins again"
    [(_, _, later)] = bench.heard(16.0)
    assert later - time == 8 * SECOND


async def test_a_value_that_was_written_long_ago_is_repeated_as_of_now() -> None:
    """It was read now; and by the clock that stamps the others."""
    bench = Bench(10.0)
    bench.ahead = -3600 * SECOND
    bench.arrives((0, NOW - 30 * 86_400 * SECOND, 1.5))
    [(_, _, time)] = bench.heard(10.0)
    assert abs(time - NOW + 3590 * SECOND) < 0.1 * SECOND


async def test_a_change_is_repeated_by_the_clock_of_its_source() -> None:
    """The clock of a controller behind the server is some seconds slow, and must not seem to be set back."""
    bench = Bench(10.0)
    bench.arrives((0, NOW, 1.5))
    bench.arrives((0, NOW - 5 * SECOND, 2.5), time=NOW + SECOND)
    [(_, value, time)] = bench.heard(10.0)
    assert value == 2.5
    assert abs(time - NOW - 5 * SECOND) < 0.1 * SECOND


async def test_each_point_has_its_own_interval_and_some_have_none() -> None:
    """A temperature every minute, a state every second, a counter never."""
    bench = Bench(60.0, 1.0, 0.0)
    bench.arrives((0, NOW, 1.5), (1, NOW, 4), (2, NOW, 7))
    assert [position for position, _, _ in bench.heard(2.0)] == [1]
    assert {position for position, _, _ in bench.heard(59.0)} == {0, 1}
    bench.repeats.drop([bench.group])
    assert bench.heard(600.0) == []
    assert bench.repeats.due == math.inf


async def test_a_reading_that_is_not_good_is_repeated_as_it_is() -> None:
    """Bad without a value, uncertain with its value."""
    bench = Bench(1.0, 1.0)
    gone = bad(Reason.NOT_FOUND)
    bench.arrives((0, NOW, None), (1, NOW, 2.5), p0=gone, p1=STALE)
    assert [value for _, value, _ in bench.heard(1.0)] == [gone, 2.5]


async def test_a_late_reading_is_not_repeated() -> None:
    """It is a value of the past."""
    bench = Bench(1.0)
    scan = part(bench.group, (0, NOW, 1.5), time=NOW)
    scan.late = True
    bench.repeats.note([scan], lambda _, now: now)
    assert bench.heard(2.0) == []


async def test_due_is_the_time_of_the_next_repetition() -> None:
    """The driver waits for a message until then."""
    bench = Bench(5.0, 30.0)
    assert bench.repeats.due == math.inf
    bench.arrives((1, NOW, 1.0))
    assert abs(bench.repeats.due - bench.arrived - 30.0) < 0.1
    bench.arrives((0, NOW, 1.0))
    assert abs(bench.repeats.due - bench.arrived - 5.0) < 0.1


def machine(*points: Point) -> Machine:
    return Machine(MachinePath("e", "s", "a", "l", "m"), "t", None, CONNECTION, points)  # type: ignore[arg-type] # no protocol is needed


@pytest.mark.parametrize(
    ("keys", "repeats"),
    [({}, ()), ({"at_least_every": "5m"}, (300.0,)), ({"on_change": True}, ())],
)
def test_only_points_with_an_interval_are_repeated(keys: dict[str, Any], repeats: tuple[float, ...]) -> None:
    """Ten thousand points that do not change would otherwise be sent every minute."""
    [(group, _)] = groups_of(machine(node(type="float", **keys)))
    assert group.repeats == repeats


def test_events_are_not_repeated() -> None:
    """An event happens once."""
    source = OpcUaSource.model_validate({"node": "s=a", "mode": "events"})
    point = Point.model_validate({"name": "e", "source": source, "at_least_every": "5s"})
    assert [group.repeats for group, _ in groups_of(machine(point))] == [()]


def test_a_repeated_value_passes_report_by_exception() -> None:
    """The driver repeats it before the interval is over, so that the interval is kept."""
    point = node(type="float", on_change=True, at_least_every="10s")
    [(group, points)] = groups_of(machine(point))
    report = ReportByException(points)
    kept = [
        report.keep(part(group, (0, NOW + round(seconds * SECOND), 1.5))) is not None
        for seconds in (0.0, 2.5, 6.5, 7.5, 12.0, 15.0)
    ]
    assert kept == [True, False, False, True, False, True]
