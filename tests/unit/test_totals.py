"""Totals of counters that wrap or are reset, over restarts of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from points import group_of, node, part, register, whole

from drivers.base import Reason
from gateway.pipeline.totals import CounterState, CounterTotals

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "e/s/a/l/press-01"


def totals_of(file: Path) -> CounterTotals:
    totals = CounterTotals(file)
    totals.load()
    return totals


@pytest.mark.parametrize(
    ("counts", "totals"),
    [
        ([5, 9, 9, 12], [5, 9, 9, 12]),
        ([65530, 4, 10], [65530, 65540, 65546]),
        ([65530, 4, 65530, 4], [65530, 65540, 131066, 131076]),
        ([40000, 12, 20], [40000, 40012, 40020]),  # a reset: in the middle of its numbers a counter does not wrap
        ([65000, 40000], [65000, 105000]),  # a reset, and much was counted since
        ([49152, 16383], [49152, 81919]),  # the last quarter, and the first
        ([49151, 16383], [49151, 65534]),
    ],
)
def test_a_total_never_falls(counts: list[int], totals: list[int]) -> None:
    """A wrap adds the numbers of the counter, a reset its last count."""
    state = CounterState()
    assert [state.total(count, 65536) for count in counts] == totals


@given(st.integers(0, 999), st.lists(st.integers(0, 249), max_size=50))
def test_a_total_is_the_sum_of_all_counts(start: int, counted: list[int]) -> None:
    """This is true while a counter moves by less than a quarter of its numbers between two readings."""
    state, true = CounterState(), start
    assert state.total(start, 1000) == start
    for more in counted:
        true += more
        assert state.total(true % 1000, 1000) == true


def test_a_scan_has_totals_in_place_of_counts(tmp_path: Path) -> None:
    """Other points, and counts that are missing, stay as they are."""
    points = [register("a"), register("energy", total=True), register("cycles", "bcd16", total=100)]
    step = totals_of(tmp_path / "t.json").step(MACHINE, points)
    assert step is not None
    group = group_of(points)
    scans = [whole(group, 1, 7, 65535, 99), whole(group, 2, 7, None, 3), whole(group, 3, 7, 1, 100)]
    for scan in scans:
        step(scan)
    assert [scan.values for scan in scans] == [[7, 65535, 99], [7, None, 103], [7, 65537, None]]
    assert scans[2].faults[2].reason is Reason.OUT_OF_RANGE
    assert scans[2].faults[2].code == "100 is not a count of a counter that begins again at 100"


def test_pushed_counts_become_totals(tmp_path: Path) -> None:
    """A server sends some points of a group; a count that it sends late does not move the total."""
    points = [node("a", type="int"), node("b", type="int", total=1000)]
    step = totals_of(tmp_path / "t.json").step(MACHINE, points)
    assert step is not None
    group = group_of(points)
    first, second, late = part(group, (1, 1, 990)), part(group, (0, 2, 5), (1, 2, 10.0)), part(group, (1, 1, 995))
    late.late = True
    for scan in (first, second, late):
        step(scan)
    assert (first.values, second.values, late.values) == ([990], [5, 1010], [995])
    wrong = part(group, (1, 3, "x"))
    step(wrong)
    assert wrong.values == [None]
    assert wrong.faults[0].reason is Reason.TYPE_MISMATCH


async def test_a_total_continues_after_a_restart(tmp_path: Path) -> None:
    """The counter has wrapped while the gateway was not running."""
    points = [register("energy", total=True)]
    before = totals_of(tmp_path / "t.json")
    for count in (65000, 10, 60000):
        scan = whole(group_of(points), 1, count)
        step = before.step(MACHINE, points)
        assert step is not None
        step(scan)
    assert scan.values == [125536]
    await before.save()
    after = totals_of(tmp_path / "t.json").step(MACHINE, points)
    assert after is not None
    scan = whole(group_of(points), 2, 5)
    after(scan)
    assert scan.values == [131077]


@pytest.mark.parametrize("entry", ["[1]", "[1,2,-3]", "[1,2,true]", '"x"', "[1,2,9223372036854775807]"])
def test_an_entry_that_can_not_be_is_left_out(tmp_path: Path, entry: str) -> None:
    """The file may be damaged; the total then begins at the count."""
    (tmp_path / "t.json").write_text(f'{{"{MACHINE}/energy": {entry}}}', encoding="utf-8")
    points = [register("energy", total=True)]
    step = totals_of(tmp_path / "t.json").step(MACHINE, points)
    assert step is not None
    scan = whole(group_of(points), 1, 7)
    step(scan)
    assert scan.values == [7]


def test_groups_without_totals_need_no_step(tmp_path: Path) -> None:
    """Most groups have none, and pay nothing."""
    assert totals_of(tmp_path / "t.json").step(MACHINE, [register()]) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"raw": "int16", "total": True}, "the last number of this counter is unknown; write where it begins again"),
        ({"raw": "uint16", "total": 65537}, "the device can hold 65535 at most, so it begins again at 65536"),
        ({"raw": "float32", "total": 100}, "total is for counters, which are whole numbers without labels"),
        ({"raw": "uint16", "total": True, "labels": {0: "off"}}, "total is for counters"),
        ({"raw": "bool", "total": True}, "total is for counters"),
        ({"raw": "uint16", "total": 1}, "greater than or equal to 2"),
    ],
)
def test_a_total_needs_a_counter(keys: dict[str, Any], message: str) -> None:
    """Otherwise every reading of the total would be wrong."""
    with pytest.raises(ValueError, match=message):
        register(**keys)
    with pytest.raises(ValueError, match="the last number of this counter is unknown"):
        node(type="int", total=True)
