"""Changes of monitored items become scans: their groups, their times, and the repeats that are left out."""

from __future__ import annotations

from typing import Any

import pytest
from asyncua import ua

from drivers.base import Fault, Group, Reason, Scan
from drivers.opcua.codec.data_changes import DataChanges
from drivers.opcua.counters import Counters
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from drivers.opcua.subscription.scan_builder import ScanBuilder

NOW = 1_764_000_000_000_000
SECOND = 1_000_000
OVERFLOWED = 0x480
UNKNOWN = 0x80340000
BAD_SENSOR = 0x808C0000


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
        self.counters = Counters()
        self.latest: dict[Group, dict[int, int]] = {one: {} for one in groups}
        self.connect(interrupted=False)

    def again(self) -> None:
        self.connect(interrupted=True)

    def connect(self, *, interrupted: bool) -> None:
        self.points = ScanBuilder(self.counters, self.latest, interrupted=interrupted)
        for one in self.groups:
            for position in range(len(one.names)):
                self.points.add(one, position, ua.NodeId("any", 2))

    def scans(self, *rows: tuple[int, Any, int, int | None, int | None], now: int = NOW) -> list[Scan]:
        """Take changes of handle, value, status, source and server time."""
        handles, values, statuses, sources, servers = (list(column) for column in zip(*rows, strict=True))
        ticks = (list(map(ticks_of, sources)), list(map(ticks_of, servers)))
        return self.points.scans(DataChanges(handles, values, statuses, *ticks), now)


def test_changes_go_to_the_groups_they_belong_to():
    """One server may serve several machines, which share a subscription."""
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
def test_the_time_comes_from_the_configured_clock(clock: str, source: int | None, server: int | None, expected: int):
    """The source knows when it measured; where its clock can't be trusted, another can be chosen."""
    [scan] = Bench(group("a", time=clock)).scans((0, 1.5, 0, source, server))
    assert scan.times == [expected]


def test_a_value_delivered_before_an_outage_is_reported_at_the_present_time():
    """The server sends its present values after each connect. With the old time, the reading would be a duplicate;
    without a reading, a point that was bad meanwhile would stay bad until its next change."""
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
    assert scan.times == [NOW + 2 * SECOND], "only the first change after the connect is the old value"


def test_a_value_older_than_a_reported_fault_is_sent_now_and_late_at_its_own_time():
    """A gateway that starts while the device is off reports its points as bad. The first value is then older than
    the fault: with its own time, it would seem to have changed a microsecond after the fault."""
    bench = Bench(group("a"))
    bench.again()
    scan, late = bench.scans((0, 7, 0, NOW, NOW), now=NOW + SECOND)
    assert (scan.values, scan.times, scan.late) == ([7], [NOW + SECOND], False)
    assert (late.values, late.times, late.late) == ([7], [NOW], True)
    assert bench.points.take_gaps() == [], "nothing is known to be missing"


def test_changes_that_wait_in_a_queue_after_an_outage_keep_their_own_times():
    """Values 200 ms apart were sent a microsecond apart, at the time of the last value."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, NOW))
    bench.again()
    begin, step = NOW + 60 * SECOND, SECOND // 5
    rows = [(0, 2 + i, 0, begin + i * step, begin + i * step) for i in range(5)]
    scans = bench.scans(*rows, now=begin + SECOND)
    assert [scan.values for scan in scans if not scan.late] == [[2], [3], [4], [5], [6]]
    times = [scan.times for scan in scans if not scan.late]
    assert times[1:] == [[begin + i * step] for i in range(1, 5)]
    assert times[0] == [begin + step - 1], "until the next change"
    assert [(scan.values, scan.times) for scan in scans if scan.late] == [([2], [begin])]


def test_the_first_value_after_an_outage_is_as_of_when_the_server_sampled_it():
    """The changes of the next messages must come after it, however late this message is."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, NOW))
    bench.again()
    begin = NOW + 60 * SECOND
    scan, late = bench.scans((0, 2, 0, begin - 5 * SECOND, begin), now=begin + SECOND)
    assert (scan.times, late.times) == ([begin], [begin - 5 * SECOND])
    [scan] = bench.scans((0, 3, 0, begin + SECOND // 5, begin + SECOND // 5), now=begin + SECOND)
    assert scan.times == [begin + SECOND // 5]


@pytest.mark.parametrize(("clock", "present"), [("source", NOW - 1), ("server", NOW - 1), ("gateway", NOW)])
def test_a_present_value_is_dated_by_the_configured_clock(clock: str, present: int):
    """With gateway time, readings of a slow device clock would come before this value, and be moved to its time."""
    bench = Bench(group("a", time=clock))
    bench.scans((0, 7, 0, NOW - SECOND, NOW - SECOND))
    bench.again()
    bench.points.ahead = -1
    [scan] = bench.scans((0, 7, 0, NOW - SECOND, NOW - SECOND))
    assert scan.times == [present]


@pytest.mark.parametrize(("clock", "expected"), [("source", 2), ("server", 12), ("gateway", 11)])
def test_a_change_in_an_outage_is_late_by_the_configured_clock(clock: str, expected: int):
    """A source whose clock is not trusted must not date it."""
    bench = Bench(group("a", time=clock))
    bench.scans((0, 1, 0, 1, 11))
    bench.again()
    bench.points.ahead = 1
    _, late = bench.scans((0, 2, 0, 2, 12))
    assert (late.late, late.values, late.times) == (True, [2], [expected])


@pytest.mark.parametrize(("clock", "expected"), [("source", [1, 2]), ("server", [11, 12]), ("gateway", [10, 11])])
def test_a_missed_change_is_reported_late_at_its_own_time(clock: str, expected: list[int]):
    """With the gateway clock, its time is the time at which it would have arrived."""
    bench = Bench(group("a", time=clock))
    bench.scans((0, 1, 0, 0, 0))
    bench.points.ahead = 1
    rows = ([0, 0], [2, 3], [0, 0], [ticks_of(1), ticks_of(2)], [ticks_of(11), ticks_of(12)])
    scans = bench.points.missed([DataChanges(*rows)], NOW)
    assert [scan.values for scan in scans] == [[2], [3]]
    assert [scan.times for scan in scans] == [[time] for time in expected]
    assert all(scan.late for scan in scans)
    bench.again()
    [scan] = bench.scans((0, 3, 0, 2, 12))
    assert (scan.late, scan.times) == (False, [NOW]), "it is not reported again"


def test_a_gap_leaves_out_the_changes_that_a_queue_kept():
    """A queue is short: the server's history may have the rest, and a reported change is not reported again."""
    bench = Bench(group("a", "b"))
    bench.scans((0, 1, 0, NOW, NOW), (1, 1, 0, NOW, NOW))
    first, second = (
        DataChanges([0], [value], [0], [ticks_of(NOW + at)], [0]) for value, at in ((5, 5 * SECOND), (6, 6 * SECOND))
    )
    bench.points.missed([first, second], NOW + 9 * SECOND)
    [gap] = bench.points.take_gaps()
    assert (gap.position, gap.start, gap.end) == (0, NOW, NOW + 6 * SECOND)
    assert gap.delivered == {NOW, NOW + 5 * SECOND, NOW + 6 * SECOND}


def test_unusual_changes_do_not_disturb_the_rest_of_their_message():
    """Machines share a subscription; one of them has a bad sensor, a text, a node that changes fast."""
    bench = Bench(group("a", "b", "c"), group("d"), group("e", "f", time="gateway"))
    first = [(handle, 0, 0, NOW, NOW) for handle in range(6)]
    bench.scans(*first)
    later = NOW + SECOND
    rows = [(0, 1, 0, later, 0), (1, "text", 0, later, 0), (3, 4, 0, later, 0), (4, 5, 0, later, 0)]
    rows += [(2, 7, BAD_SENSOR, later, 0), (0, 2, 0, later + 1, 0), (2, 8, 0, later + 2, 0), (5, 6, 0, later, 0)]
    scans = bench.scans(*rows, now=later + SECOND)
    one, two, three = bench.groups
    reported = []
    for scan in scans:
        assert scan.points is not None
        assert scan.times is not None
        rows_of = sorted(zip(scan.points, scan.values, scan.times, strict=True))
        reported.append((bench.groups.index(scan.group), rows_of))
    assert sorted(reported) == [
        (0, [(0, 1, later), (1, "text", later), (2, None, later)]),
        (0, [(0, 2, later + 1), (2, 8, later + 2)]),
        (1, [(0, 4, later)]),
        (2, [(0, 5, later + SECOND), (1, 6, later + SECOND)]),
    ]
    faults = [
        (scan.group, scan.points[place], fault.reason)
        for scan in scans
        for place, fault in scan.faults.items()
        if scan.points
    ]
    assert faults == [(one, 2, Reason.DEVICE_FAULT)]
    assert bench.latest == {one: {0: later + 1, 1: later, 2: later + 2}, two: {0: later}, three: {0: later, 1: later}}


def test_a_full_queue_on_the_server_is_counted_and_its_values_are_kept():
    """The overflow bit says that changes before or after this change were dropped (Part 4, 7.39.1)."""
    bench = Bench(group("a"))
    [scan] = bench.scans((0, 7, OVERFLOWED, NOW, NOW))
    assert (scan.values, scan.faults) == ([7], {})
    assert bench.counters.overflows == 1


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
    assert scan.faults == {0: Fault(scan.faults[0].quality, Reason.TYPE_MISMATCH, "int is not an array")}


def test_a_change_of_an_unknown_item_is_not_a_reading():
    """Some servers send a value for an item of events, or for one that is gone."""
    bench = Bench(group("a"))
    assert bench.scans((1, 5, 0, NOW, NOW)) == []
    [scan] = bench.scans((7, 5, 0, NOW, NOW), (0, 6, 0, NOW, NOW))
    assert scan.values == [6]


def changes_of(*rows: tuple[int, Any, int | None]) -> DataChanges:
    """Return good changes of handle, value and source time."""
    handles, values, sources = (list(column) for column in zip(*rows, strict=True))
    return DataChanges(handles, values, [0] * len(rows), list(map(ticks_of, sources)), [0] * len(rows))


def test_a_change_queued_before_a_read_value_is_late_and_the_value_comes_once():
    """A message was lost, so the present value is read, while the changes before it are on their way."""
    bench = Bench(group("a", "b"))
    bench.scans((0, 1, 0, NOW, NOW), (1, 1, 0, NOW, NOW))
    [read] = bench.points.overtake(changes_of((0, 5, NOW + 5 * SECOND), (1, 1, NOW)), NOW + 5 * SECOND)
    assert (read.values, read.late) == ([5, 1], False)
    queued = changes_of((0, 4, NOW + 4 * SECOND), (1, 2, NOW + 4 * SECOND), (0, 5, NOW + 5 * SECOND))
    late, present = sorted(bench.points.scans(queued, NOW + 6 * SECOND), key=lambda scan: not scan.late)
    assert (late.late, late.points, late.values, late.times) == (True, [0], [4], [NOW + 4 * SECOND])
    assert (present.late, present.points, present.values) == (False, [1], [2])
    assert bench.latest[bench.groups[0]] == {0: NOW + 5 * SECOND, 1: NOW + 4 * SECOND}
    [after] = bench.points.scans(changes_of((0, 3, NOW + 3 * SECOND)), NOW + 7 * SECOND)
    assert not after.late, "the clock was set back: nothing is queued any more"


def test_first_values_that_were_read_are_left_out_of_the_first_message():
    """They are read since the message comes late; a change in between is not left out."""
    bench = Bench(group("a", "b", "c"))
    points = ScanBuilder(bench.counters, bench.latest)
    nodes = [ua.NodeId(name, 2) for name in "abc"]
    start = points.size
    for position, node in enumerate(nodes):
        points.add(bench.groups[0], position, node)
    values = changes_of((0, 1, NOW), (0, 2, NOW), (0, 3, None))
    first = points.first_values(start, values, nodes)
    [scan] = points.scans(first, NOW)
    points.expect_again(first)
    assert (scan.points, scan.values) == ([0, 1, 2], [1, 2, 3])
    sent = changes_of((0, 1, NOW), (1, 2, NOW), (2, 3, None), (1, 9, NOW + 1))
    [scan] = points.scans(sent, NOW)
    assert (scan.points, scan.values) == ([1], [9])
    [scan] = points.scans(changes_of((0, 1, NOW)), NOW)
    assert scan.values == [1], "only the first message repeats"


def test_a_first_value_is_valid_from_the_creation_of_its_item():
    """A change may have followed it, which the next message brings: its time would be before that of the value."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, None))
    bench.again()
    created = NOW + 60 * SECOND
    bench.points.note_created(0, created)
    [scan] = bench.scans((0, 1, 0, NOW, None), now=created + SECOND // 2)
    assert scan.times == [created]
    [scan] = bench.scans((0, 2, 0, created + 1000, None), now=created + SECOND)
    assert scan.times == [created + 1000]


def test_a_first_value_is_not_valid_later_than_the_servers_clock_may_be():
    """The clock was compared on a busy machine: the change behind the value has an earlier time than it seemed."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, None))
    bench.again()
    bench.points.ahead = bench.points.clock_error = SECOND // 5
    created = NOW + 60 * SECOND
    bench.points.note_created(0, created)
    [scan] = bench.scans((0, 1, 0, NOW, None), now=created + SECOND)
    assert scan.times == [created]
    [scan] = bench.scans((0, 2, 0, created + 50_000, None), now=created + SECOND)
    assert scan.times == [created + 50_000]


def test_a_value_that_has_just_changed_is_one_reading():
    """The change and the present value have the same time."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, NOW))
    bench.again()
    [scan] = bench.scans((0, 2, 0, NOW + SECOND, NOW + SECOND + 300), now=NOW + 2 * SECOND)
    assert (scan.times, scan.late) == ([NOW + SECOND], False)


def test_changes_before_a_value_that_has_just_changed_are_looked_for():
    """It may have changed several times in the outage, the last time at the moment of the connection."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, NOW))
    bench.again()
    later = NOW + 60 * SECOND
    [scan] = bench.scans((0, 3, 0, later, later), now=later)
    assert (scan.values, scan.times) == ([3], [later])
    [gap] = bench.points.take_gaps()
    assert (gap.start, gap.end) == (NOW, later)


def test_a_first_value_is_not_valid_before_its_point_was_connected():
    """Some servers give the time at which it was written; the fault of the outage would come after it."""
    bench = Bench(group("a"))
    bench.scans((0, 1, 0, NOW, NOW))
    connected = NOW + 60 * SECOND
    bench.points = ScanBuilder(bench.counters, bench.latest, interrupted=True, connected=connected)
    bench.points.add(bench.groups[0], 0, ua.NodeId("any", 2))
    bench.points.note_created(0, connected + 1000)
    [scan] = bench.scans((0, 1, 0, NOW, connected - 2 * SECOND), now=connected + SECOND)
    assert scan.times == [connected + 1000]
