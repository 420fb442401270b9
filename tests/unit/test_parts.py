"""The history of parts: the content of a record, and the answers to serial numbers that are not as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from part_bench import START, PartBench, brief, values_of
from points import node, register

from drivers.base import Fault, Quality, Reason, Scan, bad

if TYPE_CHECKING:
    from gateway.settings.point import Point

PHASES = {0: "none", 1: "load", 2: "cure", 3: "open"}


def text(name: str) -> Point:
    return register(name, raw="string")


def phase() -> Point:
    return register("phase", labels=PHASES)


def simple(**keys: Any) -> PartBench:
    """A machine whose serial number changes with each part; it has a pressure and a lot."""
    points = [
        text("serial"),
        register("pressure", type="float", unit="bar"),
        text("lot"),
        register("good"),
        register("bad"),
    ]
    return PartBench(points, parts=[{"serial": "serial"} | keys])


def test_a_new_serial_number_ends_one_part_and_begins_the_next() -> None:
    """The values at the end are those before the change: the machine resets them for the next part."""
    bench = simple(values={"end": "pressure", "highest": {"max": "pressure"}, "mean": {"mean": "pressure"}})
    for second, serial, pressure in [(0, "A", 1), (1, "B", 2), (2, "B", 6), (3, "B", 4), (4, "C", 0), (5, "C", 9)]:
        bench.take(second, serial, float(pressure), "L", 0, 0)
    first, second_record = bench.taken()
    assert brief([first, second_record]) == [("A", None, 1.0, None, "begin"), ("B", 1.0, 4.0, None, "")]
    assert values_of(second_record) == {"end": 4.0, "highest": 6.0, "mean": 4.0}
    assert second_record["values"][0] == {"name": "end", "value": 4.0, "unit": "bar"}
    assert (second_record["operation"], second_record["place"]) == ("press", "")
    assert bench.times == sorted(set(bench.times))


def test_an_empty_serial_number_is_no_part() -> None:
    """Blanks and zeros at its end are not part of it."""
    bench = simple()
    for second, serial in enumerate(["", "A", "A \0", "", "  ", "B", ""]):
        bench.take(second, serial, 0.0, "", 0, 0)
    assert brief(bench.taken()) == [("A", 1.0, 3.0, None, ""), ("B", 5.0, 6.0, None, "")]


def test_a_part_that_comes_back_is_worked_on_again() -> None:
    """Each run has a record of its own; `trace` numbers them over all machines."""
    bench = simple()
    for second, serial in enumerate(["", "A", "", "A", "B", "A", ""]):
        bench.take(second, serial, 0.0, "", 0, 0)
    assert [one["serial"] for one in bench.taken()] == ["A", "A", "B", "A"]


def test_a_serial_number_that_is_written_slowly_counts_when_it_is_stable() -> None:
    """The parts begin and end when the change began, and no half serial number is a part."""
    bench = simple(stable="500ms", values={"end": "pressure"})
    bench.take(0, "", 0.0, "", 0, 0)
    for tenth, serial in enumerate(["A", "A", "A1", "A12", "A12"]):
        bench.take(1 + tenth / 10, serial, 3.0, "", 0, 0)
    bench.take(3, "A12", 3.0, "", 0, 0)
    for tenth, serial in enumerate(["B12", "B1", "B13", "B13"]):
        bench.take(4 + tenth / 10, serial, 7.0, "", 0, 0)
    bench.wait_until(6)
    [record] = bench.taken()
    assert brief([record]) == [("A12", 1.3, 4.0, None, "")]
    assert values_of(record) == {"end": 3.0}
    bench.take(7, "", 0.0, "", 0, 0)
    bench.wait_until(9)
    assert brief(bench.taken()) == [("B13", 4.2, 7.0, None, "")]


@pytest.mark.parametrize("written", [[1], {"a": 1}, True, "soon"])
def test_a_time_that_is_none_is_reported(written: object) -> None:
    """A list can not be looked up in a table."""
    with pytest.raises(AssertionError, match="stable"):
        simple(stable=written)


def test_a_serial_number_that_was_read_half_written_for_a_moment_changes_nothing() -> None:
    """It is the same part before and after."""
    bench = simple(stable="500ms")
    for second, serial in [(0, ""), (1, "A"), (2, "A"), (2.2, "X"), (2.4, "A"), (5, "A"), (6, "")]:
        bench.take(second, serial, 0.0, "", 0, 0)
    bench.wait_until(8)
    assert brief(bench.taken()) == [("A", 1.0, 6.0, None, "")]


def test_a_bad_serial_number_does_not_end_the_part() -> None:
    """Nobody knows what happened; a part that has changed meanwhile has no end, and the next no begin."""
    bench = simple()
    bench.take(0, "", 0.0, "", 0, 0)
    bench.take(1, "A", 0.0, "", 0, 0)
    bench.take(2, None, 0.0, "", 0, 0)
    bench.take(3, "A", 0.0, "", 0, 0)
    bench.take(4, "B", 0.0, "", 0, 0)
    bench.take(5, None, 0.0, "", 0, 0)
    bench.take(60, "C", 0.0, "", 0, 0)
    bench.take(61, "", 0.0, "", 0, 0)
    assert brief(bench.taken()) == [
        ("A", 1.0, 4.0, None, ""), ("B", 4.0, None, None, "end"), ("C", None, 61.0, None, "begin"),
    ]  # fmt: skip


def test_a_gap_between_readings_hides_the_time_of_a_change() -> None:
    """As after a time without a connection, in which no scan was made."""
    bench = simple()
    for second, serial in [(0, ""), (1, "A"), (2, "A"), (20, "B"), (21, "C")]:
        bench.take(second, serial, 0.0, "", 0, 0, gap=True)
    assert brief(bench.taken()) == [("A", 1.0, None, None, "end"), ("B", None, 21.0, None, "begin")]


def test_faults_of_values_are_in_the_record() -> None:
    """A bad value is missing with its reason; a sum over readings of which some were bad is uncertain."""
    never = {"min": "pressure", "during": "good > 5"}
    bench = simple(values={"end": "pressure", "highest": {"max": "pressure"}, "never": never})
    bench.take(0, "", 0.0, "", 0, 0)
    bench.take(1, "A", 5.0, "", 0, 0)
    bench.take(2, "A", None, "", 0, 0, _1=bad(Reason.DEVICE_FAULT, "x"))
    bench.take(3, "B", 5.0, "", 0, 0)
    bench.take(4, "B", 6.0, "", 0, 0, _1=Fault(Quality.UNCERTAIN, Reason.CLOCK))
    bench.take(5, "", 0.0, "", 0, 0)
    first, second = bench.taken()
    assert first["values"] == [
        {"name": "end", "unit": "bar", "quality": "bad", "reason": "device_fault", "code": "pressure x"},
        {"name": "highest", "value": 5.0, "unit": "bar", "quality": "uncertain", "reason": "device_fault",
         "code": "pressure x"},
        {"name": "never", "unit": "bar", "quality": "bad", "reason": "not_available", "code": "no reading"},
    ]  # fmt: skip
    assert second["values"][0] == {
        "name": "end", "value": 6.0, "unit": "bar", "quality": "uncertain", "reason": "clock"
    }  # fmt: skip


def test_lots_of_materials_are_collected_while_the_part_is_in_work() -> None:
    """A lot that is there for a moment only belongs to another part: points change one after another."""
    bench = simple(materials={"ply": "lot"}, lot="lot", operator="'shift ' + lot")
    rows = [
        (0, "", "L1"), (1, "A", "L1"), (4, "A", "L2"), (7, "A", "L2"), (8, "A", "L3"), (8.5, "B", "L3"),
        (8.9, "C", "L3"), (9, "", "L3"),
    ]  # fmt: skip
    for second, serial, lot in rows:
        bench.take(second, serial, 0.0, lot, 0, 0)
    found = bench.taken()
    assert [[one["lot"] for one in record["materials"]] for record in found] == [["L1", "L2"], ["L3"], ["L3"]]
    assert (found[0]["lot"], found[0]["operator"]) == ("L3", "shift L3")


def test_counters_say_what_became_of_a_part() -> None:
    """They count when the part leaves, perhaps a moment later; where both or several have counted nobody knows."""
    bench = simple(result={"good": "good", "rejected": "bad"})
    rows = [
        (0, "", 5, 5), (1, "A", 5, 5), (2, "B", 6, 5), (5, "B", 6, 5), (6, "C", 6, 5), (6.5, "C", 6, 6),
        (9, "C", 6, 6), (10, "D", 8, 6), (12, "D", 8, 6), (13, "", 8, 6), (15, "", 8, 6),
    ]  # fmt: skip
    for second, serial, good, rejected in rows:
        bench.take(second, serial, 0.0, "", good, rejected)
    assert [(one["serial"], one["result"], one.get("missing", "")) for one in bench.taken()] == [
        ("A", "good", ""), ("B", "rejected", ""), ("C", None, "result"), ("D", None, "result"),
    ]  # fmt: skip


# -- results with a serial number of their own --


def with_results(**keys: Any) -> PartBench:
    points = [
        text("serial"),
        register("weight", type="float", unit="kg"),
        register("grade", labels={1: "ok", 2: "bad"}),
        text("of"),
    ]
    work = {"serial": "serial", "results_of": "of", "result": "grade", "values": {"weight": {"result": "weight"}}}
    return PartBench(points, parts=[work | keys])


def test_results_that_come_when_the_next_part_is_in_work_belong_to_the_part_that_they_name() -> None:
    """The scale is behind the machine."""
    bench = with_results()
    rows = [
        (0, "", 0.0, 1, ""), (1, "A", 0.0, 1, ""), (5, "B", 0.0, 1, ""), (7, "B", 8.5, 2, "A"), (9, "B", 8.5, 2, "A"),
        (10, "C", 8.5, 2, "A"), (11, "C", 9.0, 1, "B"), (14, "C", 9.0, 1, "B"),
    ]  # fmt: skip
    for row in rows:
        bench.take(*row)
    first, second = bench.taken()
    assert brief([first, second]) == [("A", 1.0, 5.0, "bad", ""), ("B", 5.0, 10.0, "ok", "")]
    assert values_of(first) == {"weight": 8.5}
    assert values_of(second) == {"weight": 9.0}


def test_results_may_come_before_the_end() -> None:
    """They are kept until the part leaves, although the next results are there by then."""
    bench = with_results()
    for row in [
        (0, "", 0.0, 1, ""),
        (1, "A", 0.0, 1, ""),
        (3, "A", 7.0, 1, "A"),
        (5, "A", 7.0, 1, "A"),
        (9, "B", 0.0, 2, "X"),
    ]:
        bench.take(*row)
    [record] = bench.taken()
    assert brief([record]) == [("A", 1.0, 9.0, "ok", "")]
    assert values_of(record) == {"weight": 7.0}


def test_results_that_do_not_come_are_missing_and_never_those_of_another_part() -> None:
    """The record is there after the time that it waits."""
    bench = with_results(wait="10s")
    for row in [(0, "", 5.0, 1, "Z"), (1, "A", 5.0, 1, "Z"), (5, "B", 5.0, 1, "Z"), (6, "B", 5.0, 2, "Y")]:
        bench.take(*row)
    bench.wait_until(14.9)
    assert bench.taken() == []
    bench.wait_until(16)
    [record] = bench.taken()
    assert brief([record]) == [("A", 1.0, 5.0, None, "result")]
    assert record["values"] == [
        {"name": "weight", "unit": "kg", "quality": "bad", "reason": "not_available", "code": "no result"}
    ]


def test_the_same_part_again_has_the_results_that_it_shows_at_the_end_of_the_wait() -> None:
    """Their serial number does not change, so nothing says that they are new."""
    bench = with_results(wait="3s")
    for row in [(0, "", 0.0, 1, "A"), (1, "A", 5.0, 2, "A"), (5, "", 6.0, 1, "A")]:
        bench.take(*row)
    bench.wait_until(9)
    [record] = bench.taken()
    assert brief([record]) == [("A", 1.0, 5.0, "ok", "")]
    assert values_of(record) == {"weight": 6.0}


# -- conditions --


def phased(**keys: Any) -> PartBench:
    """A machine whose phases say when work begins and ends; its serial number is in another group of points."""
    work = {"serial": "serial", "begin": 'phase == "load"', "end": 'phase == "open"'}
    return PartBench([phase(), register("pressure")], [text("serial")], parts=[work | keys])


def test_conditions_begin_and_end_the_work() -> None:
    """A part that waits in the machine before and after is not in work."""
    bench = phased(values={"cure": {"max": "pressure", "during": 'phase == "cure"'}, "end": "pressure"})
    bench.take(0, "", group=1)
    bench.take(0, 0, 0)
    bench.take(1, "A", group=1)
    for second, at, pressure in [(2, 1, 9), (3, 2, 3), (4, 2, 5), (5, 3, 8), (6, 0, 1)]:
        bench.take(second, at, pressure)
    [record] = bench.taken()
    assert brief([record]) == [("A", 2.0, 5.0, None, "")]
    assert values_of(record) == {"cure": 5, "end": 8}


@pytest.mark.parametrize("delay", [-0.6, 0.0, 0.6])
def test_the_serial_number_may_change_a_little_before_or_after_the_conditions(delay: float) -> None:
    """Groups of points are read one after another."""
    bench = phased()
    changes = [(0 + delay, ""), (2 + delay, "A"), (12 + delay, "B"), (22 + delay, "C"), (32 + delay, "")]
    phases = [(0, 0), (2, 1), (4, 2), (11.9, 3), (12, 1), (14, 2), (22, 3), (22.1, 1), (24, 2), (31, 3), (32, 0)]
    steps = [(max(0.0, at), 1, (serial,)) for at, serial in changes] + [(at, 0, (one, 0)) for at, one in phases]
    for at, group, values in sorted(steps):
        bench.take(at, *values, group=group)
    bench.wait_until(40)
    found = bench.taken()
    assert [one["serial"] for one in found] == ["A", "B", "C"]
    for record, (began, ended) in zip(found, [(2, 11.9), (12, 22), (22.1, 31)], strict=True):
        assert record["ended"] == pytest.approx(ended, abs=0.61)
        assert record["began"] == pytest.approx(began, abs=0.61)
        assert "missing" not in record


def test_a_serial_number_that_repeats_is_another_part() -> None:
    """Conditions say so, where the serial number can't."""
    bench = phased()
    bench.take(0, "A", group=1)
    for second, at in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 1), (5, 2), (6, 3)]:
        bench.take(second, at, 0)
    assert brief(bench.taken()) == [("A", 1.0, 3.0, None, ""), ("A", 4.0, 6.0, None, "")]


def test_a_begin_without_an_end_is_a_record_without_an_end() -> None:
    """The next part has begun, or the serial number was removed."""
    bench = phased()
    bench.take(0, "A", group=1)
    for second, at in [(0, 0), (1, 1), (2, 2), (5, 1), (8, 2), (9, 3)]:
        bench.take(second, at, 0)
    assert brief(bench.taken()) == [("A", 1.0, None, None, "end"), ("A", 5.0, 9.0, None, "")]
    bench.take(10, "B", group=1)
    bench.take(11, 1, 0)
    bench.take(12, "", group=1)
    bench.wait_until(14)
    assert brief(bench.taken()) == [("B", 11.0, None, None, "end")]


def test_an_end_without_a_begin_is_a_record_without_a_begin() -> None:
    """As of the part that is in work when the gateway is started first."""
    bench = phased()
    bench.take(0, 2, 0)
    bench.take(0, "A", group=1)
    bench.take(1, 3, 0)
    assert brief(bench.taken()) == [("A", None, 1.0, None, "begin")]
    other = phased()
    other.take(0, "A", group=1)
    other.take(0, 1, 0)
    other.take(1, 3, 0)
    assert brief(other.taken()) == [("A", None, 1.0, None, "begin")]


def test_a_part_without_a_serial_number_has_an_empty_one() -> None:
    """The conditions say that there was a part."""
    bench = phased()
    bench.take(0, "", group=1)
    for second, at in [(0, 0), (1, 1), (2, 2), (3, 3)]:
        bench.take(second, at, 0)
    assert brief(bench.taken()) == [("", 1.0, 3.0, None, "")]


def test_a_part_can_change_while_its_condition_stays() -> None:
    """A condition such as a state says that there is work; the serial number says on what."""
    bench = PartBench([phase(), text("serial")], parts=[{"serial": "serial", "begin": 'phase == "cure"'}])
    for second, at, serial in [
        (0, 0, "A"),
        (1, 2, "A"),
        (5, 2, "B"),
        (9, 0, "B"),
        (12, 0, "C"),
        (14, 2, "C"),
        (15, 2, ""),
    ]:
        bench.take(second, at, serial)
    assert brief(bench.taken()) == [
        ("A", 1.0, 5.0, None, ""),
        ("B", 5.0, 12.0, None, ""),
        ("C", 14.0, 15.0, None, ""),
    ]


def test_an_end_that_follows_a_gap_is_still_the_end() -> None:
    """The serial number has changed unseen, and the condition comes in time."""
    bench = phased()
    bench.take(0, "", group=1)
    bench.take(0, 0, 0)
    bench.take(1, "A", group=1)
    bench.take(2, 1, 0)
    bench.take(3, None, group=1)
    bench.take(9, "B", group=1)
    bench.take(9.5, 3, 0)
    bench.wait_until(12)
    assert brief(bench.taken()) == [("A", 2.0, 9.5, None, "")]


# -- places and carousels --


def test_two_places_have_parts_at_once() -> None:
    """Each has a point of its own for its records."""
    parts = [{"place": side, "serial": f"serial_{side}", "operation": "curing"} for side in ("left", "right")]
    bench = PartBench([text("serial_left"), text("serial_right")], parts=parts)
    for second, left, right in [(0, "", ""), (1, "A", "B"), (2, "A", ""), (3, "C", "D"), (4, "", "D")]:
        bench.take(second, left, right)
    assert [(one["place"], one["serial"], one["ended"]) for one in bench.taken()] == [
        ("right", "B", 2.0), ("left", "A", 3.0), ("left", "C", 4.0),
    ]  # fmt: skip
    assert bench.parts.group.names == ("part_left", "part_right")


def test_a_carousel_names_the_parts_that_it_has_finished() -> None:
    """Nobody sees their begin. The part that was finished before the start is not recorded: nobody knows when."""
    points = [
        text("serial"),
        register("charge", type="float", unit="g"),
        register("grade", labels={1: "ok", 2: "bad"}),
    ]
    work = {"serial": "serial", "finished": True, "result": "grade", "values": {"charge": "charge"}}
    bench = PartBench(points, parts=[work])
    for row in [(0, "A", 1.0, 1), (10, "B", 1.0, 1), (10.5, "B", 2.0, 2), (20, "C", 3.0, 1), (25, "C", 3.0, 1)]:
        bench.take(*row)
    first, second = bench.taken()
    assert brief([first, second]) == [("B", None, 10.0, "bad", ""), ("C", None, 20.0, "ok", "")]
    assert (values_of(first), values_of(second)) == ({"charge": 2.0}, {"charge": 3.0})


# -- time --


def test_late_readings_are_left_out() -> None:
    """The parts have gone on when a device delivers its history."""
    bench = simple()
    bench.take(0, "", 0.0, "", 0, 0)
    bench.take(5, "A", 0.0, "", 0, 0)
    step = bench.steps[0]
    assert step is not None
    step(Scan(bench.groups[0], START + 3_000_000, ["B", 0.0, "", 0, 0], late=True))
    bench.take(6, "", 0.0, "", 0, 0)
    assert brief(bench.taken()) == [("A", 5.0, 6.0, None, "")]


def test_a_clock_that_is_set_back_leaves_the_begin_out() -> None:
    """An end before the begin would be wrong, and which of both is right nobody knows; the end is the newer."""
    bench = simple()
    bench.take(0, "", 0.0, "", 0, 0, at=1000)
    bench.take(1, "A", 0.0, "", 0, 0, at=1001)
    bench.take(2, "B", 0.0, "", 0, 0, at=2, gap=True)
    bench.take(3, "", 0.0, "", 0, 0, at=3, gap=True)
    assert brief(bench.taken()) == [("A", None, 2.0, None, "clock, begin"), ("B", 2.0, 3.0, None, "")]


def test_a_clock_that_is_set_forward_hides_the_time_of_a_change() -> None:
    """It looks as a time without readings does."""
    bench = simple()
    bench.take(0, "", 0.0, "", 0, 0)
    bench.take(1, "A", 0.0, "", 0, 0)
    bench.take(2, "B", 0.0, "", 0, 0, at=5000, gap=True)
    bench.take(3, "", 0.0, "", 0, 0, at=5001, gap=True)
    assert brief(bench.taken()) == [("A", 1.0, None, None, "end"), ("B", None, 5001.0, None, "begin")]


def test_readings_of_a_subscription_are_taken_in_the_order_of_their_times() -> None:
    """A scan of changes has several times of one point."""
    bench = simple()
    bench.take(0, "", 0.0, "", 0, 0)
    step = bench.steps[0]
    assert step is not None
    times = [START + n * 1_000_000 for n in (3, 1, 2)]
    step(Scan(bench.groups[0], times[0], ["", "A", "B"], points=[0, 0, 0], times=times))
    assert brief(bench.taken()) == [("A", 1.0, 2.0, None, ""), ("B", 2.0, 3.0, None, "")]


def test_a_value_that_a_device_has_pushed_counts_until_the_next() -> None:
    """A device says nothing of a value that stays, and a change of another point is not a reading of it."""
    points = [node("serial", type="string"), node("pressure", type="float"), node("level", type="float")]
    values = {"highest": {"max": "pressure"}, "mean": {"mean": "level"}}
    bench = PartBench(points, parts=[{"serial": "serial", "values": values}])
    step = bench.steps[0]
    assert step is not None
    changes = [(0, 0, ""), (0, 1, 9.0), (0, 2, 1.0), (1, 0, "A"), (2, 1, 4.0), (3, 1, 5.0), (4, 2, 4.0), (5, 0, "")]
    for second, at, value in changes:
        time = START + second * 1_000_000
        step(Scan(bench.groups[0], time, [value], points=[at], times=[time]))
    [record] = bench.taken()
    assert brief([record]) == [("A", 1.0, 5.0, None, "")]
    assert values_of(record) == {"highest": 9.0, "mean": 2.5}


# -- the state --


def test_a_part_in_work_over_a_restart_is_one_record() -> None:
    """Its begin, its sums and its lots are those from before."""
    parts = [{"serial": "serial", "values": {"highest": {"max": "pressure"}}, "materials": {"ply": "lot"}}]
    points = [text("serial"), register("pressure", type="float", unit="bar"), text("lot")]
    before = PartBench(points, parts=parts)
    for second, serial, pressure in [(0, "", 0.0), (1, "A", 9.0), (3, "A", 1.0)]:
        before.take(second, serial, pressure, "L")
    after = PartBench(points, parts=parts, saved=before.parts.save())
    for second, serial, pressure in [(4, "A", 2.0), (5, "", 0.0)]:
        after.take(second, serial, pressure, "L" if serial else "M")
    [record] = after.taken()
    assert brief([record]) == [("A", 1.0, 5.0, None, "")]
    assert values_of(record) == {"highest": 9.0}
    assert record["materials"] == [{"name": "ply", "lot": "L"}]


def test_results_that_are_awaited_are_taken_after_a_restart() -> None:
    """The record waits in the state."""
    before = with_results()
    for row in [(0, "", 0.0, 1, ""), (1, "A", 0.0, 1, ""), (5, "B", 0.0, 1, "")]:
        before.take(*row)
    saved = before.parts.save()
    after = with_results()
    assert after.parts.load(saved) == ([], [])
    after.take(7, "B", 8.5, 2, "A")
    after.take(9, "B", 8.5, 2, "A")
    assert [(one["serial"], one["result"]) for one in after.taken()] == [("A", "bad")]


def test_the_state_of_another_configuration_and_a_damaged_state_begin_again() -> None:
    """The names of the points say which."""
    bench = simple()
    bench.take(0, "A", 0.0, "", 0, 0)
    saved = bench.parts.save()
    assert simple(values={"end": "pressure"}).parts.load(saved) == (["part"], [])
    assert simple().parts.load(b'{"": {"shown": 5}}') == ([], ["part"])
    assert simple().parts.load(b"\xff") == ([], ["part"])
    assert simple().parts.load(b"{}") == ([], [])


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "A", "B", "C"]), st.sampled_from([0, 1, 2, 3]), st.sampled_from(["L", "M", ""]),
        st.sampled_from(["", "A", "B"]), st.integers(0, 9), st.sampled_from([0.3, 1.0, 1.5, 40.0]),
    ), max_size=25,
)  # fmt: skip
WORKS = st.sampled_from([
    {},
    {"stable": "1s"},
    {"begin": 'phase == "load"', "end": 'phase == "open"'},
    {"results_of": "of", "wait": "3s", "values": {"high": {"max": "value"}, "of": {"result": "value"}}},
    {"finished": True, "values": {"value": "value"}},
    {"begin": "value > 4", "materials": {"ply": "lot"}, "result": {"good": "value", "rejected": "value"}},
])  # fmt: skip


def fed(
    rows: list[tuple[Any, ...]], work: dict[str, Any], kills: set[int], uncommitted: set[int]
) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Return the records of a machine, and the rows that count; it is killed before some rows.

    A commit writes the state and the records until then. A kill loses the rows since the last commit with all that
    was made of them.
    """
    points = [text("serial"), phase(), text("lot"), text("of"), register("value")]
    part = [{"serial": "serial", "materials": {"ply": "lot"}} | work]
    bench, second = PartBench(points, parts=part), 0.0
    records: list[dict[str, Any]] = []
    counted: list[tuple[Any, ...]] = []
    since: list[tuple[Any, ...]] = []
    saved = bench.parts.save()
    for at, (*row, gap) in enumerate(rows):
        second += gap
        if at in kills:
            now, since = bench.now, []
            bench = PartBench(points, parts=part)
            bench.now = now
            assert bench.parts.load(saved) == ([], [])
        bench.take(second, *row, gap=True)
        since.append((*row, second))
        if at not in uncommitted:
            records, counted, since = records + bench.taken(), counted + since, []
            saved = bench.parts.save()
    bench.wait_until(second + 400)
    return records + bench.taken(), counted + since


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(rows=ROWS, work=WORKS, kills=st.sets(st.integers(0, 24)), uncommitted=st.sets(st.integers(0, 24)))
def test_kills_neither_lose_nor_double_nor_invent_a_part(
    rows: list[tuple[Any, ...]], work: dict[str, Any], kills: set[int], uncommitted: set[int]
) -> None:
    """The parts over any kills are those of a run without, over the readings that were not lost.

    Only times and results may be missing. With conditions a part may also be seen only by its end.
    """
    with_kills, counted = fed(rows, work, kills, uncommitted)
    seconds = [0.0, *(row[-1] for row in counted)]
    same = [(*row[:-1], row[-1] - before) for row, before in zip(counted, seconds, strict=False)]
    without, _ = fed(same, work, set(), set())
    serials, others = (sorted(one["serial"] for one in records) for records in (with_kills, without))
    assert set(serials) <= {row[0] for row in counted} | {""}
    if "stable" not in work and "begin" not in work:
        assert serials == others
    for record in with_kills:
        assert record["began"] is None or record["ended"] is None or record["began"] <= record["ended"]
