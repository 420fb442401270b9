"""Changes of monitored items become scans: whose they are, when they were, and what is not told twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from asyncua import ua

from drivers.base import Fault, Group, Reason, Scan
from drivers.opcua.changes import Changes
from drivers.opcua.points import Points
from drivers.opcua.settings import OpcUaConnection, OpcUaSource

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
OVERFLOWED = 0x480
UNKNOWN = 0x80340000


def group(*names: str, **keys: Any) -> Group:
    connection = OpcUaConnection.from_url("opc.tcp://127.0.0.1", {"security": "none"})
    sources = tuple(OpcUaSource.model_validate({"node": f"s={name}"} | keys) for name in names)
    return Group("press", connection, names, sources, 1.0, pushed=True)


def ticks_of(time: int | None) -> int:
    """Return microseconds since the epoch as messages have them."""
    return 0 if time is None else time * 10 + ua.uatypes.EPOCH_AS_FILETIME


class Bench:
    """Items of some groups, as after a connect; `again` is another connect."""

    def __init__(self, *groups: Group) -> None:
        self.groups = groups
        self.counts: Counter[str] = Counter()
        self.latest: dict[Group, dict[int, int]] = {one: {} for one in groups}
        self.connect(interrupted=False)

    def again(self) -> None:
        self.connect(interrupted=True)

    def connect(self, *, interrupted: bool) -> None:
        self.points = Points(self.counts, self.latest, interrupted=interrupted)
        for one in self.groups:
            for position in range(len(one.names)):
                self.points.add(one, position, ua.NodeId("any", 2))

    def scans(self, *rows: tuple[int, Any, int, int | None, int | None], now: int = NOW) -> list[Scan]:
        """Take changes of handle, value, status, source and server time."""
        handles, values, statuses, sources, servers = (list(column) for column in zip(*rows, strict=True))
        ticks = (list(map(ticks_of, sources)), list(map(ticks_of, servers)))
        return self.points.scans(Changes(handles, values, statuses, *ticks), now)


def test_changes_go_to_the_groups_they_belong_to():
    """Several machines may stand behind one server, and share a subscription."""
    bench = Bench(group("a", "b"), group("c"))
    first, second = bench.scans((2, 3.5, 0, NOW, NOW), (0, 1, 0, NOW, NOW), (1, True, 0, NOW, NOW))
    assert (first.group, first.points, first.values) == (bench.groups[1], [0], [3.5])
    assert (second.group, second.points, second.values) == (bench.groups[0], [0, 1], [1, True])


def test_several_changes_of_a_node_become_several_scans_in_their_order():
    """A scan holds a point once."""
    bench = Bench(group("a", "b"))
    scans = bench.scans((0, 1, 0, NOW, NOW), (1, 9, 0, NOW, NOW), (0, 2, 0, NOW + 1, NOW), (0, 3, 0, NOW + 2, NOW))
    assert [scan.values for scan in scans] == [[1, 9], [2], [3]]
    assert [scan.times for scan in scans] == [[NOW, NOW], [NOW + 1], [NOW + 2]]


@pytest.mark.parametrize(
    ("clock", "source", "server", "expected"),
    [
        ("source", NOW - 5, NOW - 3, NOW - 5),
        ("source", None, NOW - 3, NOW - 3),
        ("source", None, None, NOW),
        ("server", NOW - 5, NOW - 3, NOW - 3),
        ("server", NOW - 5, None, NOW),
        ("gateway", NOW - 5, NOW - 3, NOW),
    ],
)
def test_the_time_is_that_of_the_clock_that_counts(clock: str, source: int | None, server: int | None, expected: int):
    """The source knows when it measured; where its clock can't be trusted, another can be chosen."""
    [scan] = Bench(group("a", time=clock)).scans((0, 1.5, 0, source, server))
    assert scan.times == [expected]


def test_what_was_delivered_before_an_outage_is_told_as_of_now():
    """The server sends what it holds after each connect. As of then it would be a double; not at all, and the point
    that was bad meanwhile would stay so until its next change."""
    bench = Bench(group("old", "new", "timeless"))
    bench.scans((0, 1, 0, NOW, NOW), (1, 1, 0, NOW, NOW), (2, 1, 0, None, None))
    bench.again()
    later = NOW + 60 * SECOND
    scan, late = bench.scans((0, 1, 0, NOW, NOW), (1, 2, 0, NOW + SECOND, NOW), (2, 1, 0, None, None), now=later)
    assert scan.values == [1, 2, 1]
    assert scan.times == [later, later, later]
    assert (late.late, late.points, late.values, late.times) == (True, [1], [2], [NOW + SECOND])
    [gap] = bench.points.take_gaps()
    assert (gap.position, gap.start, gap.end) == (1, NOW, NOW + SECOND)
    assert bench.points.take_gaps() == []
    [scan] = bench.scans((0, 2, 0, NOW + 2 * SECOND, NOW), now=later)
    assert scan.times == [NOW + 2 * SECOND], "only the first is what was there before"


def test_a_full_queue_on_the_server_is_counted_and_its_values_are_kept():
    """The overflow bit says that changes before, or after, this one were dropped (Part 4, 7.39.1)."""
    bench = Bench(group("a"))
    [scan] = bench.scans((0, 7, OVERFLOWED, NOW, NOW))
    assert (scan.values, scan.faults) == ([7], {})
    assert bench.counts["overflows"] == 1


def test_a_node_that_is_removed_is_that_points_fault():
    """The rest of the machine goes on."""
    bench = Bench(group("a", "b"))
    [scan] = bench.scans((0, None, UNKNOWN, NOW, NOW), (1, 2, 0, NOW, NOW))
    assert scan.values == [None, 2]
    assert list(scan.faults) == [0]
    assert scan.faults[0].reason is Reason.NOT_FOUND


def test_elements_of_one_array_are_points_of_their_own():
    """One node, several points; a type that changes at run time is their fault alone."""
    keys = OpcUaSource.expand("zone", {"node": "s=Zones", "count": 2})
    assert list(keys) == ["zone_0", "zone_1"]
    sources = tuple(OpcUaSource.model_validate(one) for one in keys.values())
    bench = Bench(Group("press", group("x").connection, tuple(keys), sources, 1.0, pushed=True))
    [scan] = bench.scans((0, [180.5, 182.0], 0, NOW, NOW), (1, [180.5, 182.0], 0, NOW, NOW))
    assert scan.values == [180.5, 182.0]
    [scan] = bench.scans((0, 7, 0, NOW + 1, NOW), (1, [1, 2], 0, NOW + 1, NOW))
    assert scan.values == [None, 2]
    assert scan.faults == {0: Fault(scan.faults[0].quality, Reason.TYPE_MISMATCH, "int is no array")}
