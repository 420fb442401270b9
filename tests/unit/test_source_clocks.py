"""The clock of a source is set back: times follow it, are marked while they repeat, and never come twice."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import group_of, node, part, whole

from drivers.base import Fault, Quality, Reason, bad
from drivers.opcua.settings import Mode, OpcUaSource
from gateway.common.clock import AHEAD
from gateway.model.time import APART
from gateway.pipeline.normalize import Normalizer
from gateway.pipeline.source_clocks import SourceClocks
from gateway.settings.point import Point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Group

NOW = 1_764_000_000_000_000
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
SET_BACK = Fault(Quality.UNCERTAIN, Reason.CLOCK, "source's clock set back")


class Line:
    """Points of one group, whose readings come from one clock."""

    def __init__(self, points: int = 1) -> None:
        made = [node(f"p{i}", type="int") for i in range(points)]
        self.group: Group = group_of(made)
        self.normalizer = Normalizer(made)

    def send(self, *times: int, position: int = 0, arrival: int | None = None) -> list[tuple[int, Fault | None]]:
        """Normalize readings with these source times, one scan each; return their times and faults."""
        sent = []
        for time in times:
            scan = part(self.group, (position, time, 1), time=max(time, NOW) if arrival is None else arrival)
            self.normalizer.apply(scan)
            assert scan.times is not None
            sent.append((scan.times[0], scan.faults.get(0)))
        return sent


@pytest.mark.parametrize("back", [3 * SECOND, 9 * SECOND, HOUR])
def test_times_follow_a_source_clock_that_is_set_back_and_are_marked_meanwhile(back: int) -> None:
    """Ten seconds of a line fell into ten microseconds, all good: charts and rates were wrong for hours."""
    line, step = Line(), max(200_000, back // 50)
    before = line.send(*range(NOW - 2 * back, NOW, step))
    assert all(fault is None for _, fault in before)
    last = before[-1][0]
    overlap = line.send(*range(last - back, last + 1, step))
    assert {fault for _, fault in overlap} == {SET_BACK}
    spaces = [later - earlier for (earlier, _), (later, _) in pairwise(overlap)]
    assert set(spaces) == {step}, "as far apart as the values were"
    assert all(
        0 < time - sent <= 2 * APART for (time, _), sent in zip(overlap, range(last - back, NOW, step), strict=False)
    )
    after = line.send(*range(last + step, last + 10 * step, step))
    assert after == [(time, None) for time in range(last + step, last + 10 * step, step)], "right again at once"
    times = [time for time, _ in (*before, *overlap, *after)]
    assert len({time // APART for time in times}) == len(times), "no store mixes two readings"


def test_a_clock_that_is_set_right_again_is_trusted_at_once() -> None:
    """Somebody mistypes the hour, and corrects it a minute later."""
    line = Line()
    line.send(*range(NOW, NOW + MINUTE, SECOND))
    wrong = line.send(*range(NOW + 10 * SECOND, NOW + 20 * SECOND, SECOND))
    assert {fault for _, fault in wrong} == {SET_BACK}
    right = NOW + 2 * MINUTE
    assert line.send(right, right + SECOND) == [(right, None), (right + SECOND, None)]


def test_a_clock_that_is_set_back_to_times_before_the_start_is_trusted() -> None:
    """No reading of this run has such a time, as with the gateway's own clock."""
    line = Line()
    line.send(*range(NOW, NOW + MINUTE, SECOND))
    assert line.send(NOW - HOUR, NOW - HOUR + SECOND) == [(NOW - HOUR, None), (NOW - HOUR + SECOND, None)]
    assert [fault for _, fault in line.send(NOW - 1, NOW, NOW + 59 * SECOND, NOW + MINUTE)] == [
        None, SET_BACK, SET_BACK, None
    ]  # fmt: skip


def test_a_clock_that_is_a_little_behind_catches_up_at_half_its_pace() -> None:
    """Time synchronisation moves clocks by fractions of a second; that makes no reading doubtful."""
    line = Line()
    line.send(NOW)
    sent = line.send(*range(NOW - 800_000, NOW + 1_200_000, 100_000))
    assert [fault for _, fault in sent] == [None] * len(sent)
    assert {later - earlier for (earlier, _), (later, _) in pairwise(sent[:16])} == {50_000}
    assert sent[-1][0] == NOW + 1_100_000, "its own time again"


def test_a_point_keeps_its_order_whatever_the_clock_of_another_point() -> None:
    """A server collects the values of several controllers, and each has a clock."""
    line = Line(2)
    line.send(NOW, NOW + MINUTE)
    assert line.send(NOW - HOUR, NOW - HOUR + SECOND, position=1) == [(NOW - HOUR, None), (NOW - HOUR + SECOND, None)]
    assert [fault for _, fault in line.send(NOW)] == [SET_BACK]
    assert line.send(NOW - HOUR + 2 * SECOND, position=1) == [(NOW - HOUR + 2 * SECOND, None)]


def test_a_fault_before_the_first_reading_does_not_hold_a_slow_clock() -> None:
    """The gateway stamps the first outage, since it has not seen the clock of the device."""
    line = Line()
    line.normalizer.apply(whole(line.group, NOW, None, p0=bad(Reason.NOT_CONNECTED)))
    slow = range(NOW - HOUR, NOW - HOUR + 5 * SECOND, SECOND)
    assert line.send(*slow) == [(time, None) for time in slow]


def test_readings_after_an_outage_that_another_clock_stamped_keep_their_distance() -> None:
    """A controller behind the server is three seconds slow: its readings are not squeezed behind the fault."""
    line = Line()
    line.send(NOW - MINUTE)
    line.normalizer.apply(whole(line.group, NOW, None, p0=bad(Reason.NOT_CONNECTED)))
    sent = line.send(*range(NOW - 2 * SECOND, NOW + 2 * SECOND, 500_000))
    assert [fault is None for _, fault in sent] == [False] * 5 + [True] * 3
    assert all(later - earlier > 490_000 for (earlier, _), (later, _) in pairwise(sent))


def test_an_outage_during_the_overlap_has_a_time_of_the_same_clock() -> None:
    """The fault must be between the readings before and after it."""
    line = Line()
    line.send(*range(NOW, NOW + MINUTE, SECOND))
    [(before, _)] = line.send(NOW + SECOND)
    outage = whole(line.group, NOW + 3 * SECOND, None, p0=bad(Reason.NOT_CONNECTED))
    line.normalizer.apply(outage)
    assert outage.times is not None
    [(after, fault)] = line.send(NOW + 5 * SECOND)
    assert before < outage.times[0] < after
    assert fault == SET_BACK


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-20 * SECOND, -2 * SECOND) | st.just(0)), max_size=7))
def test_no_time_of_milliseconds_comes_twice(moves: list[tuple[int, int]]) -> None:
    """However often the clock of a source that counts milliseconds is moved."""
    line, clock = Line(2), NOW
    seen: list[set[int]] = [set(), set()]
    for position, move in moves:
        clock += move // 1000 * 1000
        for _ in range(20):
            clock += 1000
            [(time, fault)] = line.send(clock, position=position)
            assert time not in seen[position]
            assert time == clock or fault == SET_BACK
            seen[position].add(time)


def test_events_keep_their_times_in_any_order() -> None:
    """A refresh repeats alarms that began hours ago; two events of one moment are two rows."""
    source = OpcUaSource.model_validate({"node": "s=Press", "mode": Mode.EVENTS})
    points = [Point.model_validate({"name": "alarms", "source": source})]
    group, normalizer = group_of(points), Normalizer(points)
    times = []
    for time in (NOW, NOW - HOUR, NOW - HOUR, NOW + 1, NOW):
        scan = part(group, (0, time, "{}"), time=NOW)
        normalizer.apply(scan)
        assert not scan.faults
        times += scan.times or []
    assert times == [NOW, NOW - HOUR, NOW - HOUR + 1, NOW + 1, NOW + 2]


# -- whichever parts of a group come in turn --

PARTS: list[Sequence[int]] = [(0, 1, 2), (2, 0), (1,), [0, 2], range(3)]


@given(st.lists(st.tuples(st.integers(0, len(PARTS) - 1), st.lists(st.integers(1, 9), min_size=3, max_size=3))))
def test_a_time_is_newer_only_if_it_is_later_than_all_before(story: list[tuple[int, list[int]]]) -> None:
    clocks, newest = SourceClocks(3), {0: 0, 1: 0, 2: 0}
    for position in newest:
        clocks.place(position, 0, -1)
        clocks.note((position,), [0])
    for chosen, drawn in story:
        positions, times = PARTS[chosen], drawn[: len(PARTS[chosen])]
        newer = all(time > newest[position] for position, time in zip(positions, times, strict=True))
        assert clocks.are_newer(positions, times) is newer
        if newer:
            clocks.note(positions, times)
            newest |= zip(positions, times, strict=True)
        assert clocks.latest() == max(newest.values())


def test_times_that_were_noted_without_a_comparison_are_known() -> None:
    """Times of events are not compared."""
    clocks = SourceClocks(3)
    for positions, time in (((0,), 30), ((1, 2), 20), ((1,), 25)):
        clocks.note(positions, [time] * len(positions))
    assert clocks.latest() == 30
    assert [clocks.are_newer((0, 1, 2), times) for times in ([31, 26, 21], [30, 26, 21], [31, 25, 21])] == [
        True,
        False,
        False,
    ]


def test_the_times_of_a_scan_may_change_later() -> None:
    clocks, times = SourceClocks(2), [5, 5]
    clocks.note((0, 1), times)
    times[0] = 100
    assert clocks.are_newer((0, 1), [6, 6])


def test_a_point_without_a_reading_is_looked_at() -> None:
    assert not SourceClocks(1).are_newer((0,), [5])


def test_a_point_behind_an_era_before_is_looked_at_until_it_has_passed_it() -> None:
    """Its times were used before its clock was set back."""
    clocks, both = SourceClocks(2), (0, 1)
    start = 10 * AHEAD
    for position in both:
        clocks.place(position, start, 0)
    clocks.note(both, [start, start])
    time, _ = clocks.place(0, start - 2 * AHEAD, 0)
    clocks.note((0,), [time])
    assert clocks.place(0, start, 0)[1], "its time was used in the era before"
    assert 0 in clocks.behind
    assert not clocks.are_newer((0,), [time + 1])
    assert clocks.are_newer((1,), [start + 1])
    clocks.place(0, start + AHEAD, 0)
    assert clocks.are_newer((0,), [start + AHEAD])
