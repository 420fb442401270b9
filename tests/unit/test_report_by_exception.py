"""Readings to send: every change, or a change by the deadband; each new fault; and a sign of life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import group_of, node, part, whole

from drivers.base import Fault, Quality, Reason, bad
from gateway.pipeline.report_by_exception import ReportByException

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Scan
    from gateway.settings.point import Point

SECOND = 1_000_000
SILENT, REFUSED = bad(Reason.NO_RESPONSE), bad(Reason.REFUSED, "exception 2")
OUT, STALE = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE), Fault(Quality.UNCERTAIN, Reason.STALE)


def scans(point: Point, *readings: Any) -> list[Scan]:
    """Return one scan per second; a fault among the readings is a bad reading, a pair is an uncertain reading."""
    group, made = group_of([point]), []
    for second, reading in enumerate(readings, 1):
        value, fault = reading if isinstance(reading, tuple) else (reading, None)
        if isinstance(value, Fault):
            value, fault = None, value
        made.append(whole(group, second * SECOND, value, **({"p0": fault} if fault else {})))
    return made


def sent(point: Point, *readings: Any) -> list[bool]:
    """Return of each reading whether it is sent."""
    one = ReportByException([point])
    return [one.keep(scan) is not None for scan in scans(point, *readings)]


def marks(text: str) -> list[bool]:
    return [letter == "x" for letter in text]


ALWAYS = node(type="float", at_least_every="3s")
CHANGES = node(type="float", on_change=True, at_least_every="100s")
DEADBAND = node(type="float", deadband=0.5, at_least_every="100s")
PERCENT = node(type="float", deadband="2%", range=[0, 200], at_least_every="100s")


@pytest.mark.parametrize(
    ("point", "readings", "expected"),
    [
        pytest.param(ALWAYS, [1, 1, 1, 1, 1], "xxxxx", id="everything"),
        pytest.param(CHANGES, [1, 1, 2, 2, 1, 1], "x-x-x-", id="changes"),
        pytest.param(node(type="string", on_change=True), ["a", "a", "", ""], "x-x-", id="changes of text"),
        pytest.param(node(type="bool", on_change=True), [False, False, True], "x-x", id="changes of a bit"),
        pytest.param(DEADBAND, [1.0, 1.4, 1.6, 1.2, 1.0], "x-x-x", id="beyond the deadband"),
        pytest.param(DEADBAND, [1.0, 1.5, 1.0], "xxx", id="as much as the deadband"),
        pytest.param(DEADBAND, [1.0, 1.2, 1.4, 1.6, 1.8, 2.0], "x--x--", id="a slow drift is sent in steps"),
        pytest.param(PERCENT, [0.0, 3.9, 4.0], "x-x", id="percent of the range"),
        pytest.param(
            node(type="float", deadband="2%"), [0.0, 0.1, 0.1], "xx-", id="percent of the range of the server"
        ),
        pytest.param(node(type="float", deadband=0.2), [171.8, 172.0, 172.2, 172.0], "xxxx", id="0.2 in binary"),
        pytest.param(node(type="int", deadband=5), [10, 14, 15, 11, 10], "x-x-x", id="whole numbers"),
        pytest.param(
            node(type="float", on_change=True, at_least_every="3s"), [1] * 8, "x--x--x-", id="a sign of life"
        ),
        pytest.param(DEADBAND, [1.0, 1.4, SILENT, 1.4], "x-xx", id="a reading after a fault is new"),
        pytest.param(CHANGES, [1, SILENT, SILENT, 1, 1], "xx-x-", id="a fault once"),
        pytest.param(CHANGES, [SILENT, SILENT, REFUSED, SILENT], "x-xx", id="another fault is new"),
        pytest.param(
            ALWAYS, [1, SILENT, SILENT, SILENT, SILENT, 1, 1], "xx--xxx", id="a lasting fault at the interval"
        ),
        pytest.param(ALWAYS, [SILENT, 1, SILENT], "xxx", id="a fault that comes back is new"),
        pytest.param(CHANGES, [(1, OUT), (1, OUT), (2, OUT), (2, STALE), 2], "x-xxx", id="uncertain values"),
        pytest.param(ALWAYS, [(1, OUT), (1, OUT), 1], "xxx", id="uncertain values of a point that is always sent"),
    ],
)
def test_new_readings_are_sent(point: Point, readings: Sequence[Any], expected: str) -> None:
    """Other readings are left out: an hour without a response is not 3,600 rows."""
    assert sent(point, *readings) == marks(expected)


def test_the_interval_counts_from_the_last_sent_reading() -> None:
    """A change between restarts it: no value is silent for longer."""
    point = node(type="int", on_change=True, at_least_every="3s")
    assert sent(point, 1, 1, 2, 2, 2, 2, 2) == marks("x-x--x-")


def test_only_the_new_readings_of_a_scan_are_sent() -> None:
    """With the faults, positions and times that belong to it."""
    points = [node("a", type="int", on_change=True), node("b", type="int"), node("c", type="int", on_change=True)]
    group, one = group_of(points), ReportByException(points)
    assert one.keep(whole(group, 1, 1, 2, 3)) is not None
    kept = one.keep(whole(group, 2, 1, 2, None, p2=SILENT))
    assert kept is not None
    assert (kept.points, kept.values, kept.faults, kept.time, kept.times) == ([1, 2], [2, None], {1: SILENT}, 2, None)
    kept = one.keep(part(group, (2, 5, None), (0, 6, 9), (1, 7, 8), p0=SILENT))
    assert kept is not None
    assert (kept.points, kept.values, kept.faults, kept.times) == ([0, 1], [9, 8], {}, [6, 7])


def test_a_scan_that_is_all_new_is_handed_on_as_it_is() -> None:
    """Most scans are, and a copy would cost more than all else."""
    points = [node("a", type="int"), node("b", type="int")]
    one, scan = ReportByException(points), whole(group_of(points), 1, 1, 2)
    assert one.keep(scan) is scan
    scan = whole(group_of(points), 2, None, 2, p0=SILENT)
    assert one.keep(scan) is scan


def test_a_scan_of_nothing_new_is_not_sent_at_all() -> None:
    """There are no empty records."""
    assert sent(CHANGES, 1, 1) == [True, False]


def test_points_of_a_group_are_filtered_by_themselves() -> None:
    """A fault of one must not wake, or silence, its neighbours."""
    points = [node("a", type="int", on_change=True), node("b", type="int", on_change=True)]
    group, one = group_of(points), ReportByException(points)
    story = [whole(group, t, None if bad_now else 1, 1, **({"p0": SILENT} if bad_now else {}))
             for t, bad_now in enumerate([False, True, True, False], 1)]  # fmt: skip
    kept = [one.keep(scan) for scan in story]
    assert [None if scan is None else scan.points for scan in kept] == [None, [0], None, [0]]
    assert kept[0] is story[0]


READINGS = st.one_of(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 1.0, 9.0]), st.sampled_from([None, None, OUT, STALE])),
    st.tuples(st.none(), st.sampled_from([SILENT, REFUSED])),
)


@given(
    st.sampled_from([ALWAYS, CHANGES, DEADBAND, node(type="float", deadband=0.5, at_least_every="3s")]),
    st.lists(st.tuples(st.sampled_from([SECOND // 2, SECOND, 2 * SECOND, 5 * SECOND]), READINGS), max_size=30),
)
def test_the_last_sent_reading_is_close_to_the_present_reading(point: Point, story: list[tuple[int, Any]]) -> None:
    """The last sent reading has the present fault, a value within the deadband, and an age below the interval."""
    one, group = ReportByException([point]), group_of([point])
    now, last = 0, (0, None, None)
    for after, (value, fault) in story:
        now += after
        kept = one.keep(whole(group, now, value, **({"p0": fault} if fault else {})))
        if kept is not None:
            assert (kept.values, kept.faults.get(0), kept.time) == ([value], fault, now)
            last = (now, value, fault)
        assert last[2] == fault
        assert now - last[0] < point.at_least_every * SECOND
        if value is not None and last[1] is not None:
            assert abs(value - last[1]) < (point.dead or 1e-9)
        if point is ALWAYS and value is not None:
            assert kept is not None


def test_a_clock_that_is_set_back_does_not_silence_the_interval() -> None:
    """A value that never changes would be missing for as long as the clock was ahead."""
    point = node(type="float", on_change=True, at_least_every="3s")
    group, keeper = group_of([point]), ReportByException([point])
    times = [100, 101, 40, 41, 42, 43]
    assert [keeper.keep(whole(group, time * SECOND, 1.0)) is not None for time in times] == marks("x-x--x")


POINTS = [
    node("a", type="float", on_change=True, at_least_every="3s"),
    node("b", type="float", deadband=0.5, at_least_every="7s"),
    node("c", type="string", on_change=True, at_least_every="100s"),
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 2, 5, -3]),  # seconds since the scan before
        st.sampled_from([1.0, 1.0, 2.0]),
        st.sampled_from([1.0, 1.3, 1.6, 4.0]),
        st.sampled_from(["x", "x", "y"]),
        st.sampled_from([None, None, None, None, SILENT, OUT]),
    ),
    max_size=30,
)


@given(STEPS)
def test_a_whole_scan_is_filtered_like_its_readings(steps: list[tuple[int, float, float, str, Fault | None]]) -> None:
    """Whole good scans are compared at once; with a time for each reading the same scans are compared one by one."""
    group, at_once, one_by_one = group_of(POINTS), ReportByException(POINTS), ReportByException(POINTS)
    time = 100 * SECOND
    for seconds, a, b, c, fault in steps:
        time += seconds * SECOND
        values: list[Any] = [None if fault is SILENT else a, b, c]
        faults = {} if fault is None else {"p0": fault}
        found = at_once.keep(whole(group, time, *values, **faults))
        with_times = whole(group, time, *values, **faults)
        with_times.times = [time] * 3
        expected = one_by_one.keep(with_times)
        assert readings_of(found) == readings_of(expected)


def readings_of(scan: Scan | None) -> list[tuple[int, Any, Fault | None]]:
    """Return position, value and fault of each reading of a scan."""
    if scan is None:
        return []
    positions = range(len(scan.values)) if scan.points is None else scan.points
    return [(at, value, scan.faults.get(i)) for i, (at, value) in enumerate(zip(positions, scan.values, strict=True))]


def test_a_stable_group_compares_no_single_reading() -> None:
    """A thousand machines at rest cost next to nothing."""
    group, keeper = group_of(POINTS), ReportByException(POINTS)
    assert keeper.keep(whole(group, 1 * SECOND, 1.0, 1.0, "x")) is not None
    with mock.patch.object(ReportByException, "_worth", None):  # it would raise
        assert keeper.keep(whole(group, 2 * SECOND, 1.0, 1.0, "x")) is None
        kept = keeper.keep(whole(group, 3 * SECOND, 2.0, 1.2, "x"))
        assert readings_of(kept) == [(0, 2.0, None)]
        assert readings_of(keeper.keep(whole(group, 8 * SECOND, 2.0, 1.2, "x"))) == [(0, 2.0, None), (1, 1.2, None)]
