"""Raw values become readings: scaled, typed, with a quality, and later than the reading before."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from points import group_of, node, part, register, whole

from drivers.base import Fault, Quality, Reason, Scan, ValueType, bad
from gateway.pipeline.normalize import Normalizer, TrustedTime

if TYPE_CHECKING:
    from drivers.base import Group
    from gateway.settings.point import Point

TYPES = {ValueType.BOOL: bool, ValueType.INT: int, ValueType.FLOAT: float, ValueType.STRING: str, ValueType.JSON: str}
NAN, INF = math.nan, math.inf


def both_ways(point: Point, raw: Any) -> list[Scan]:
    """Normalize a value in a scan of the whole group, and in one that a server pushed."""
    group = group_of([point])
    scans = [whole(group, 1, raw), part(group, (0, 1, raw))]
    for scan in scans:
        Normalizer([point]).apply(scan)
    return scans


@pytest.mark.parametrize(
    ("point", "raw", "value"),
    [
        (register(scale=0.1), 1718, 171.8),  # and not 171.80000000000001
        (register(scale=0.01), 1604, 16.04),
        (register(scale=0.001), 3, 0.003),
        (register(scale=0.1, offset=-40), 0, -40.0),
        (register(scale=-2), 3, -6),
        (register(scale=10, offset=5), 7, 75),
        (register(), 65535, 65535),
        (register(type="float"), 3, 3.0),
        (register(raw="float32", scale=2), 1.5, 3.0),
        (register(raw="float64"), 1.5, 1.5),
        (register(raw="uint64", type="float"), 2**64 - 1, 1.8446744073709552e19),
        (register(raw="uint64"), 2**63 - 1, 2**63 - 1),
        (register(raw="string"), "AB12", "AB12"),
        (register(raw="bool"), True, True),
        (register(raw="bool", type="int"), True, 1),
        (register(type="bool"), 1, True),
        (register(type="string", labels={0: "off", 4: "on"}), 4, "on"),
        (register(type="string", labels={"0x10": "running"}), 16, "running"),
        (register(raw="bool", type="string", labels={"false": "closed", "true": "open"}), True, "open"),
        (register(raw="bool", labels={0: "closed", 1: "open"}), False, False),
        (register(labels={"0": "off", "-1": "lost"}), 7, 7),  # labels beside a number only explain it
        (node(type="float"), 1.5, 1.5),
        (node(type="float"), 3, 3.0),
        (node(type="float", scale=0.1), 1718, 171.8),
        (node(type="float", scale=0.001), 250.0, 0.25),
        (node(type="int"), 3.0, 3),
        (node(type="int"), -(2**63), -(2**63)),
        (node(type="int"), True, 1),
        (node(type="bool"), 0, False),
        (node(type="bool"), 1.0, True),
        (node(type="string"), "", ""),
        (node(type="json"), '{"a":[1,2]}', '{"a":[1,2]}'),
        (node(type="json"), 1.5, "1.5"),
        (node(type="json"), 2**64 - 1, "18446744073709551615"),
        (node(type="json"), True, "true"),
        (node(type="json"), NAN, '"NaN"'),
        (node(type="json"), -INF, '"-Infinity"'),
    ],
)  # fmt: skip
def test_a_raw_value_becomes_the_declared_type(point: Point, raw: Any, value: Any) -> None:
    """The value is exact in decimal, as an engineer calculates it, and of that type alone."""
    for scan in both_ways(point, raw):
        assert (scan.values, scan.faults) == ([value], {})
        assert type(scan.values[0]) is TYPES[point.type]


@pytest.mark.parametrize(
    ("point", "raw", "reason"),
    [
        (register(raw="float32"), NAN, Reason.NOT_A_NUMBER),
        (register(raw="float32"), INF, Reason.NOT_A_NUMBER),
        (register(raw="float32", scale=0.1), -INF, Reason.NOT_A_NUMBER),
        (register(raw="float64", type="int"), NAN, Reason.NOT_A_NUMBER),
        (register(raw="float64", type="int"), 1.5, Reason.TYPE_MISMATCH),
        (register(raw="float64", type="int"), 1e300, Reason.OVERFLOW),
        (register(raw="uint64"), 2**63, Reason.OVERFLOW),
        (register(raw="int64", scale=2), 2**62, Reason.OVERFLOW),
        (register(type="bool"), 2, Reason.TYPE_MISMATCH),
        (register(type="string", labels={0: "off"}), 3, Reason.OUT_OF_RANGE),
        (node(type="float"), NAN, Reason.NOT_A_NUMBER),
        (node(type="float"), "1.5", Reason.TYPE_MISMATCH),
        (node(type="int"), "3", Reason.TYPE_MISMATCH),
        (node(type="int"), 2**63, Reason.OVERFLOW),
        (node(type="int"), -(2**63) - 1, Reason.OVERFLOW),
        (node(type="bool"), "true", Reason.TYPE_MISMATCH),
        (node(type="bool"), NAN, Reason.TYPE_MISMATCH),
        (node(type="string"), 3, Reason.TYPE_MISMATCH),
        (node(type="string", labels={1: "on"}), "on", Reason.OUT_OF_RANGE),
        (node(type="string", labels={1: "on"}), 1.5, Reason.OUT_OF_RANGE),
    ],
)  # fmt: skip
def test_a_reading_that_can_not_have_the_declared_type_has_no_value(point: Point, raw: Any, reason: Reason) -> None:
    """A store keeps the type of a field permanently: the declared type decides, not the received type."""
    for scan in both_ways(point, raw):
        assert scan.values == [None]
        assert (scan.faults[0].quality, scan.faults[0].reason) == (Quality.BAD, reason)


@pytest.mark.parametrize(
    ("value", "uncertain"), [(0, False), (30, False), (-0.1, True), (30.1, True), (12.5, False), (1e308, True)]
)
@pytest.mark.parametrize("point", [node(type="float", range=[0, 30]), register(raw="float64", range=[0, 30])])
def test_a_value_outside_its_range_is_kept_and_uncertain(point: Point, value: float, *, uncertain: bool) -> None:
    """The range gives the values to expect; a person judges the values outside of it."""
    for scan in both_ways(point, float(value)):
        assert scan.values == [value]
        assert scan.faults == ({0: Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE)} if uncertain else {})


def test_the_range_is_of_the_scaled_value() -> None:
    """It is written in the point's unit."""
    for scan in both_ways(register(scale=0.1, range=[0, 30]), 301):
        assert list(scan.faults) == [0]
    for scan in both_ways(register(scale=0.1, range=[0, 30]), 300):
        assert not scan.faults


def test_a_fault_of_the_device_says_more_than_the_range() -> None:
    """The fault that a device reports for its own sensor is not replaced."""
    stale = Fault(Quality.UNCERTAIN, Reason.STALE, "0x40900000")
    points = [node(type="float", range=[0, 1])]
    scan = whole(group_of(points), 1, 5.0, p0=stale)
    Normalizer(points).apply(scan)
    assert (scan.values, scan.faults) == ([5.0], {0: stale})


def test_a_bad_reading_stays_without_a_value_and_costs_no_other() -> None:
    """Each point of a scan is judged by itself."""
    points = [
        node("a", type="float"),
        register("b", "float32"),
        register("c", "float32"),
        register("d", range=[0, 9]),
    ]
    silent = bad(Reason.NO_RESPONSE)
    scan = whole(group_of(points), 1, None, NAN, 2.5, 10, p0=silent)
    Normalizer(points).apply(scan)
    assert scan.values == [None, None, 2.5, 10]
    assert {i: fault.reason for i, fault in scan.faults.items()} == {
        0: Reason.NO_RESPONSE, 1: Reason.NOT_A_NUMBER, 3: Reason.OUT_OF_RANGE
    }  # fmt: skip


def test_a_part_of_a_group_is_treated_as_its_points_say() -> None:
    """A server pushes changed values: their position in the scan is not their position in the group."""
    points = [node("a", type="int", scale=2), node("b", type="float", range=[0, 1]), node("c", type="string")]
    scan = part(group_of(points), (2, 10, "x"), (1, 11, 3), (0, 12, "y"))
    Normalizer(points).apply(scan)
    assert scan.values == ["x", 3.0, None]
    assert {i: fault.reason for i, fault in scan.faults.items()} == {
        1: Reason.OUT_OF_RANGE, 2: Reason.TYPE_MISMATCH
    }  # fmt: skip


# -- time --

NOW = 1_764_000_000_000_000
HOUR = 3_600_000_000


def test_the_time_of_whole_scans_only_moves_forward() -> None:
    """A store merges two readings of one time without a message, and the coarsest store has milliseconds."""
    points = [node(type="int")]
    group, normalizer = group_of(points), Normalizer(points)
    scans = [whole(group, time, 1) for time in (10, 1010, 1011, 500, 3000, 9000)]
    for scan in scans:
        normalizer.apply(scan)
    assert [scan.time for scan in scans] == [10, 1010, 2010, 3010, 4010, 9000]


def era_of(points: list[Point]) -> tuple[TrustedTime, Group, Normalizer]:
    clock = TrustedTime(last=NOW)
    return clock, group_of(points), Normalizer(points, clock)


def test_times_follow_a_clock_that_is_set_back() -> None:
    """Readings stamped an hour ahead must not keep later readings at that hour."""
    points = [node("a", type="int"), node("b", type="int")]
    clock, group, normalizer = era_of(points)
    for scan in (whole(group, NOW, 1, 1), whole(group, NOW, 1, 1, p0=bad(Reason.REFUSED))):
        normalizer.apply(scan)
    clock.era, clock.last = 1, NOW - HOUR
    under_way = whole(group, NOW + 5000, 2, 2)
    normalizer.apply(under_way)
    assert under_way.time == NOW + 5000
    assert {fault.reason for fault in under_way.faults.values()} == {Reason.CLOCK}, "nobody knows when that was"
    first, second = whole(group, NOW - HOUR, 3, 3), whole(group, NOW - HOUR, 4, 4)
    for scan in (first, second):
        normalizer.apply(scan)
    assert (first.time, second.time) == (NOW - HOUR, NOW - HOUR + 1000)
    assert not first.faults


def test_times_of_a_source_do_not_go_back_with_the_gateway() -> None:
    """Its clock was right all the time, and one of its values must not come twice."""
    points = [node("a", type="int"), node("b", type="int")]
    clock, group, normalizer = era_of(points)
    normalizer.apply(part(group, (0, NOW - HOUR, 1), (1, NOW, 1), time=NOW))
    clock.era, clock.last = 1, NOW - HOUR
    after = part(group, (0, NOW - HOUR, 1), (1, NOW - HOUR + 5, 2), time=NOW - HOUR)
    normalizer.apply(after)
    assert after.times == [NOW - HOUR + 1, NOW - HOUR + 5]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5000), st.sampled_from([0, 0, 0, HOUR, 24 * HOUR])), max_size=20)
)
def test_within_an_era_scans_are_a_millisecond_apart(story: list[tuple[bool, int, int]]) -> None:
    """This holds for any order of whole and partial scans, and for any number of clock steps."""
    points = [node("a", type="int"), node("b", type="int")]
    clock, group, normalizer = era_of(points)
    seen: list[tuple[int, bool]] = []
    for is_whole, later, back in story:
        clock.last += later - back
        if back:
            clock.era += 1
            seen = []
        scan = whole(group, clock.last, 1, 2) if is_whole else Scan(group, clock.last, [1], points=[0])
        normalizer.apply(scan)
        new = scan.time if scan.times is None else scan.times[0]
        if seen:
            assert new > seen[-1][0]
            assert not (is_whole and seen[-1][1]) or new - seen[-1][0] >= 1000
        seen.append((new, is_whole))


def test_each_point_of_pushed_scans_has_a_time_of_its_own() -> None:
    """Two changes of one node with one source time are two readings; two nodes may share a time."""
    points = [node("a", type="int"), node("b", type="int")]
    group, normalizer = group_of(points), Normalizer(points)
    first, second = part(group, (0, 10, 1), (1, 10, 1)), part(group, (1, 10, 2), (0, 9, 2))
    for scan in (first, second):
        normalizer.apply(scan)
    assert (first.times, second.times) == ([10, 10], [11, 11])


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (NOW + HOUR, "source time in the future"),
        (NOW + 20 * 366 * 24 * HOUR, "source time in the future"),
        (0, "source time years ago"),
        (NOW - 11 * 365 * 24 * HOUR, "source time years ago"),
    ],
)
def test_an_impossible_source_time_is_replaced_and_marked(source: int, code: str) -> None:
    """A device in 2045 kept its point there until a restart; a device in 1970 lost its point to the retention."""
    points = [node("a", type="int"), node("b", type="int")]
    group, normalizer = group_of(points), Normalizer(points)
    scan = part(group, (0, source, 1), (1, NOW - 5, 2), time=NOW)
    normalizer.apply(scan)
    assert scan.times == [NOW, NOW - 5]
    assert scan.faults == {0: Fault(Quality.UNCERTAIN, Reason.CLOCK, code)}
    later = part(group, (0, NOW + 1_000_000, 3), time=NOW + 1_000_100)
    normalizer.apply(later)
    assert (later.times, later.faults) == ([NOW + 1_000_000], {})


@pytest.mark.parametrize("away", [9_000_000, -24 * HOUR, -365 * 24 * HOUR])
def test_a_source_time_that_can_be_is_kept(away: int) -> None:
    """Clocks differ by seconds, and values that a server kept during an outage are old."""
    points = [node(type="int")]
    scan = part(group_of(points), (0, NOW + away, 1), time=NOW)
    Normalizer(points).apply(scan)
    assert (scan.times, scan.faults) == ([NOW + away], {})


def test_readings_of_a_doubtful_clock_are_uncertain() -> None:
    """Their values and their order are right; only the time of acquisition is unknown."""
    points = [node("a", type="int"), node("b", type="int", range=[0, 1]), node("c", type="int")]
    doubt = Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not set")
    group = group_of(points)
    clock = TrustedTime(doubt)
    normalizer = Normalizer(points, clock)
    scans = [whole(group, 5, 1, 7, None, p2=bad(Reason.REFUSED)), Scan(group, 6, [1, 0, 1])]
    for scan in scans:
        normalizer.apply(scan)
    assert scans[0].faults == {0: doubt, 1: Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE), 2: bad(Reason.REFUSED)}
    assert scans[1].faults == {0: doubt, 1: doubt, 2: doubt}
    clock.fault = None
    after = Scan(group, NOW, [1, 0, 1])
    normalizer.apply(after)
    assert after.faults == {}


def test_a_source_that_knows_the_time_is_believed_while_the_gateway_does_not() -> None:
    """A box in 1970 asks a server of today: the server's times are not in the future."""
    points = [node(type="int")]
    scan = part(group_of(points), (0, NOW, 1), time=HOUR)
    Normalizer(points, TrustedTime(bad(Reason.CLOCK))).apply(scan)
    assert (scan.times, scan.faults) == ([NOW], {})


SCANS = st.lists(
    st.tuples(st.integers(1, 8), st.none() | st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 8)),
              unique_by=lambda reading: reading[0], min_size=1)),
    max_size=12,
)  # fmt: skip


@given(SCANS)
def test_no_point_has_a_time_twice_or_goes_back(story: list[tuple[int, list[tuple[int, int]] | None]]) -> None:
    """This holds for any order of whole, pushed and failed scans, and for any clock of the device."""
    points = [node(name, type="int") for name in "abc"]
    group, normalizer = group_of(points), Normalizer(points)
    last = [-1, -1, -1]
    for time, readings in story:
        if readings is None:
            scan = Scan.failed(group, time, bad(Reason.NO_RESPONSE)) if time % 2 else whole(group, time, 1, 2, 3)
        else:
            scan = part(group, *((position, t, 1) for position, t in readings), time=time)
        before = scan.times[:] if scan.times is not None else [scan.time] * 3
        normalizer.apply(scan)
        for i, position in enumerate(scan.points if scan.points is not None else range(3)):
            new = scan.time if scan.times is None else scan.times[i]
            assert new > last[position]
            assert new == before[i] or (new > before[i] and before[i] < max(last) + 1000)  # moved only if necessary
            last[position] = new


def test_an_empty_scan_is_accepted() -> None:
    """A server may push an empty notification."""
    points = [node(type="int")]
    scan = part(group_of(points))
    Normalizer(points).apply(scan)
    assert scan.values == []


# -- all values there are --

POINTS = st.one_of(
    st.builds(
        lambda raw, scale, offset, limits: register(
            raw=raw,
            type="float",
            scale=scale,
            offset=offset,
            **({"range": [min(-limits, offset), max(limits, offset)]} if limits else {}),
        ),
        st.sampled_from(["uint16", "int16", "uint32", "int64", "uint64", "float32", "float64"]),
        st.sampled_from([1, 0.1, 0.01, 3, -0.5, 1e-100, 1e100]),
        st.sampled_from([0, 0.5, -40, 1e100]),
        st.sampled_from([0, 100, 1e9]),
    ),
    st.builds(
        lambda raw, scale, offset: register(raw=raw, type="int", scale=scale, offset=offset),
        st.sampled_from(["uint16", "int16", "uint32", "int64", "uint64", "float32", "float64"]),
        st.sampled_from([1, 10, -3, 2**40]),
        st.sampled_from([0, -40, 2**62]),
    ),
    st.sampled_from([register(raw="bool"), register(raw="bool", type="int"), register(raw="string")]),
    st.builds(lambda kind: node(type=kind), st.sampled_from(["bool", "int", "float", "string"])),
)
_OF = {
    "uint16": st.integers(0, 2**16 - 1), "int16": st.integers(-(2**15), 2**15 - 1),
    "uint32": st.integers(0, 2**32 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1), "float32": st.floats(width=32), "float64": st.floats(),
    "bool": st.booleans(), "string": st.text(max_size=4),
}  # fmt: skip


@st.composite
def points_with_values(draw: st.DrawFn) -> tuple[list[Point], list[Any]]:
    points = draw(st.lists(POINTS, min_size=1, max_size=6))
    anything = st.one_of(st.booleans(), st.integers(-(2**64), 2**64), st.floats(), st.text(max_size=3))
    return points, [draw(_OF[p.source.raw] if hasattr(p.source, "raw") else anything) for p in points]


@given(points_with_values())
def test_every_value_becomes_its_type_or_bad(drawn: tuple[list[Point], list[Any]]) -> None:
    """Nothing that a device can send may stop the gateway, or reach a store as another type."""
    points, raws = drawn
    group = group_of(points)
    at_once, one_by_one = whole(group, 1, *raws), part(group, *((i, 1, raw) for i, raw in enumerate(raws)))
    for scan in (at_once, one_by_one):
        Normalizer(points).apply(scan)
        for i, (point, value) in enumerate(zip(points, scan.values, strict=True)):
            fault = scan.faults.get(i)
            if value is None:
                assert fault is not None
                assert fault.quality is Quality.BAD
                continue
            assert type(value) is TYPES[point.type]
            assert fault is None or fault.quality is Quality.UNCERTAIN
            assert not isinstance(value, float) or math.isfinite(value)
            assert type(value) is not int or -(2**63) <= value < 2**63
            outside = point.range is not None and not point.range[0] <= float(value) <= point.range[1]
            assert (fault is not None) == outside
    assert at_once.values == one_by_one.values
    assert at_once.faults == one_by_one.faults


@given(st.integers(-(2**31), 2**31), st.integers(1, 6), st.integers(-1000, 1000).filter(bool))
def test_decimal_scales_are_exact(raw: int, digits: int, times: int) -> None:
    """1718 at a scale of 0.1 is 171.8, and not its neighbour."""
    scale = Fraction(times, 10**digits)
    assume(Fraction(str(float(scale))) == scale)
    for scan in both_ways(register(raw="int64", scale=float(scale), type="float"), raw):
        assert scan.values == [float(raw * scale)]


def test_readings_of_the_past_keep_their_times():
    """Readings of a device's history are older than delivered readings; a later time stamp would be false."""
    points = [register("p", type="float", scale=0.5)]
    one, normalizer = group_of(points), Normalizer(points)
    normalizer.apply(part(one, (0, 2000, 10), time=2000))
    late = part(one, (0, 1000, 8), time=3000)
    late.late = True
    normalizer.apply(late)
    assert (late.values, late.times) == ([4.0], [1000])
    following = part(one, (0, 2001, 12), time=2001)
    normalizer.apply(following)
    assert following.times == [2001]
