"""Derived points with inputs of other machines of the line: values, qualities, times, order and states."""

from __future__ import annotations

import sys
import traceback
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from alarmed import alarm_set
from derived import MACHINE, SECOND, START, LineBench, surroundings
from hypothesis import given
from hypothesis import strategies as st
from points import node, register

from drivers.base import Fault, Quality, Reason, Scan, bad
from gateway.pipeline.calculations import Calculations, calculations_of
from gateway.settings.alarms import ALARM_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drivers.base import Group
    from gateway.settings.point import Point

SILENT = bad(Reason.NOT_CONNECTED, "connection refused")
OUT = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE)
DIFFERENCE = 'x - line["b"].x'


def number(name: str = "x", **keys: Any) -> Point:
    """Return a float."""
    return register(name, "float32", **keys)


def pair(**derive: dict[str, Any]) -> LineBench:
    """Return two machines, a and b, with a point x each."""
    return LineBench({"a": [number()], "b": [number()]}, **derive)


def test_a_reading_of_either_machine_gives_a_derived_reading() -> None:
    """It is one of the machine that derives, with the time of the newest input."""
    bench = pair(a={"d": DIFFERENCE})
    assert bench.take("a", 0, 5.0) == {}  # b was not read yet
    bench.take("b", 0.5, 3.0)
    assert bench.readings() == [("a.d", 2.0, None, 0.5)]
    bench.take("a", 1, 6.0)
    assert bench.readings() == [("a.d", 3.0, None, 1.0)]


def test_the_time_is_that_of_the_newest_input_where_an_older_one_comes_later() -> None:
    """Machines are read over connections of their own, and the slower answer may be the older reading."""
    bench = pair(a={"d": DIFFERENCE})
    bench.take("b", 0, 3.0)
    bench.take("a", 2, 5.0)
    bench.take("b", 1.9, 4.0)
    assert bench.readings() == [("a.d", 1.0, None, 2.0)]


def test_a_machine_without_connection_makes_bad_and_is_named() -> None:
    """The code has the machine, the point and the reason."""
    bench = pair(a={"d": DIFFERENCE, "own": "x * 2.0"})
    bench.take("a", 0, 5.0)
    assert bench.take("b", 1, None, p0=SILENT) == {"a.d": bad(Reason.BAD_INPUT, "b.x not_connected")}
    assert bench.take("a", 2, 5.0) == {"a.d": bad(Reason.BAD_INPUT, "b.x not_connected"), "a.own": 10.0}
    assert bench.take("b", 3, 1.0) == {"a.d": 4.0}


def test_an_uncertain_input_makes_uncertain() -> None:
    """The reason is that of the input, whose name is the code."""
    bench = pair(a={"d": DIFFERENCE})
    bench.take("a", 0, 5.0)
    bench.take("b", 1, 3.0, p0=OUT)
    assert bench.readings() == [("a.d", 2.0, Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE, "b.x"), 1.0)]


def test_an_input_that_is_no_longer_read_is_stale() -> None:
    """Three of its periods are long, whichever of the two machines is no longer read."""
    bench = pair(a={"d": DIFFERENCE})
    bench.take("a", 0, 5.0)
    bench.take("b", 0, 3.0)
    bench.take("b", 3.5, 3.0)
    assert bench.readings()[0][2] == Fault(Quality.UNCERTAIN, Reason.STALE, "x")
    bench.take("a", 7.5, 5.0)
    assert bench.readings()[0][2] == Fault(Quality.UNCERTAIN, Reason.STALE, "b.x")
    bench.take("b", 8, 3.0)
    assert bench.readings()[0][2] is None


def test_late_readings_are_not_used() -> None:
    """The states of the functions have gone on."""
    bench = pair(a={"n": 'edges(line["b"].x > 0.0)'})
    bench.take("b", 0, 0.0)
    scan = Scan(bench.groups["b"], START + SECOND, [1.0], late=True)
    assert bench.of(scan) == {}
    assert bench.take("b", 2, 0.0) == {"a.n": 0}


def test_a_derived_point_and_its_own_input_are_used_at_the_same_time() -> None:
    """A deviation from a mean must not mix a new value with an old mean: one scan gives one reading."""
    bench = pair(a={"d": 'line["b"].x - line["b"].double'}, b={"double": "x * 2.0"})
    assert bench.take("b", 0, 1.0) == {"b.double": 2.0, "a.d": -1.0}
    assert bench.take("b", 1, 5.0) == {"b.double": 10.0, "a.d": -5.0}


def test_points_go_back_and_forth_between_machines() -> None:
    """Machines may use one another's points, as long as no point is derived from itself."""
    bench = pair(
        a={"one": "x + 1.0", "three": 'line["b"].two * 2.0 + x'}, b={"two": 'line["a"].one * 10.0', "sum": "two + x"}
    )
    bench.take("b", 0, 0.5)
    assert bench.take("a", 1, 1.0) == {"a.one": 2.0, "b.two": 20.0, "b.sum": 20.5, "a.three": 41.0}
    assert bench.take("b", 2, 0.0) == {"b.sum": 20.0}


def test_a_fault_names_the_input_that_was_read_on_its_machine() -> None:
    """It is the same input through several machines; on its own machine it has its own name."""
    bench = LineBench(
        {name: [number()] for name in "abc"},
        a={"own": 'line["b"].y + x'}, b={"y": 'line["a"].x * 2.0'}, c={"z": 'line["b"].y / x'},
    )  # fmt: skip
    bench.take("c", 0, 0.0)
    bench.take("b", 0, 0.0)
    found = bench.take("a", 1, None, p0=SILENT)
    assert found == {
        "b.y": bad(Reason.BAD_INPUT, "a.x not_connected"),
        "a.own": bad(Reason.BAD_INPUT, "x not_connected"),
        "c.z": bad(Reason.BAD_INPUT, "a.x not_connected"),
    }
    assert bench.take("a", 2, 1.0)["c.z"] == bad(Reason.NOT_A_NUMBER, "division by zero")


def test_a_failed_calculation_of_another_machine_is_a_bad_input() -> None:
    """The derived point of that machine is named."""
    bench = pair(a={"d": 'line["b"].y * 2.0'}, b={"y": "1.0 / x"})
    assert bench.take("b", 0, 0.0) == {
        "b.y": bad(Reason.NOT_A_NUMBER, "division by zero"),
        "a.d": bad(Reason.BAD_INPUT, "b.y not_a_number"),
    }


def test_functions_with_a_state_step_with_the_readings_of_the_other_machine() -> None:
    """A total over another machine's counter goes on with each of its readings, and not with those of its own."""
    bench = pair(a={"n": 'total(line["b"].x, 100)', "both": "n + x"})
    bench.take("b", 0, 90.0)
    bench.take("a", 0.5, 1.0)
    assert bench.take("b", 1, 5.0) == {"a.n": 105.0, "a.both": 106.0}
    assert bench.take("a", 1.5, 2.0) == {"a.both": 107.0}


def test_pushed_readings_are_taken_in_the_order_of_their_times() -> None:
    """A server sends several values of a point together, and only some points."""
    bench = LineBench(
        {"a": [number()], "b": [node("p", type="float"), node("q", type="float")]},
        a={"d": 'difference(line["b"].p)', "e": 'line["b"].q + x'},
    )
    bench.take("a", 0, 1.0)
    times = [START + round(one * SECOND) for one in (2, 1, 1)]
    bench.of(Scan(bench.groups["b"], times[0], [30.0, 10.0, 1.0], {}, [0, 0, 1], times))
    assert bench.readings() == [("a.e", 2.0, None, 1.0), ("a.d", 20.0, None, 2.0)]


def test_an_error_on_one_machine_does_not_reach_the_others() -> None:
    """Its readings are missing, and those of the machine that was read are passed on."""
    bench = pair(a={"d": DIFFERENCE}, b={"y": "x * 2.0"})
    bench.take("a", 0, 1.0)
    [derivation] = bench.calculations.of(MACHINE.replace("machine", "a"))
    derivation.calculate = None  # type: ignore[attr-defined] # the error
    assert bench.take("b", 1, 1.0) == {"b.y": 2.0}


def test_a_long_line_is_calculated_from_its_begin_to_its_end(shallow_stack: int) -> None:
    """Each machine adds to the machine before, and the line is longer than the stack of Python is deep."""
    names = [f"m-{i:04d}" for i in range(shallow_stack + 50)]
    derive = {name: {"sum": f'x + line["{before}"].sum'} for before, name in pairwise(names)}
    points = [number()]
    bench = LineBench(dict.fromkeys(reversed(names), points), **derive | {names[0]: {"sum": "x"}})
    for second, name in enumerate(names):
        bench.take(name, second / 1e4, 1.0)
    assert bench.take(names[0], 1, 2.0)[f"{names[-1]}.sum"] == len(names) + 1.0


@pytest.fixture
def shallow_stack() -> Iterator[int]:
    """Let the stack grow by 150 calls, not by 1,000, so that a line of a few machines is long."""
    before, spare = sys.getrecursionlimit(), 150
    sys.setrecursionlimit(len(traceback.extract_stack()) + spare)
    yield spare
    sys.setrecursionlimit(before)


def test_an_alarm_of_a_derived_point_follows_the_other_machine() -> None:
    """It does not wait for the next scan of its own machine, which may come in an hour."""
    bench = pair(a={"d": DIFFERENCE})
    high = {"apart": {"point": "d", "high": 5.0, "priority": "high"}}
    alarms = alarm_set([number(), *bench.derived["a"]], high)
    first = replace(bench.machines[0], alarms=alarms, results=ALARM_POINTS)
    path, now = str(first.path), 0.0
    calculations, events = Calculations(lambda: now), list[Scan]()

    def sink(group: Group, points: Sequence[Point]) -> Callable[[Scan], None]:
        del points

        def take(scan: Scan) -> None:
            events.extend([scan] if group.events else [])
            if (follow := calculations.follow(path, group)) is not None:
                follow(scan)

        return take

    calculations.configure(path, calculations_of(first, surroundings(sink)))
    calculations.tie([first, bench.machines[1]])
    for machine, value in (("a", 9.0), ("b", 8.0), ("b", 1.0)):
        group = bench.groups[machine]
        follow = calculations.follow(group.machine, group)
        assert follow is not None
        follow(Scan(group, START + SECOND * len(events), [value]))
    assert events == []
    calculations.tick(1.0)
    assert [orjson.loads(str(scan.values[0]))["alarm"] for scan in events] == ["apart"]


def test_machines_are_connected_and_disconnected_while_the_others_go_on() -> None:
    """A machine that nobody uses any more takes its own calculations alone; the others keep their values."""
    bench = pair(a={"d": DIFFERENCE}, b={"y": "x * 2.0"})
    bench.take("a", 0, 5.0)
    bench.take("b", 0, 1.0)
    assert bench.calculations.tie(bench.machines) == {str(machine.path) for machine in bench.machines}
    assert bench.take("b", 1, 2.0) == {"b.y": 4.0, "a.d": 3.0}
    alone = [replace(bench.machines[0], derived=()), bench.machines[1]]
    bench.calculations.configure(str(alone[0].path), ())
    assert bench.calculations.tie(alone) == {str(machine.path) for machine in alone}
    assert bench.take("b", 2, 3.0) == {"b.y": 6.0}
    assert bench.calculations.tie(alone) == set()


STATEFUL = {
    "total": 'total(line["b"].x, 100)', "edges": 'edges(line["b"].x > 50)', "change": 'difference(line["b"].y)',
    "low": 'min_over(line["b"].x, 5s)',
}  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=30))
def test_a_restart_changes_nothing(steps: list[tuple[int, bool]]) -> None:
    """With the states of both machines saved and loaded, the results are those of a run without a restart."""

    def machines() -> LineBench:
        return LineBench({name: [register("x", "int16")] for name in "ab"}, a=STATEFUL, b={"y": "total(x, 100)"})

    straight, interrupted = machines(), machines()
    for second, (value, restart) in enumerate(steps):
        if restart:
            saved = interrupted.calculations.take_changed()
            interrupted = machines()
            interrupted.calculations.restore(saved)
        assert interrupted.take("b", second, value) == straight.take("b", second, value)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), max_size=30))
def test_results_are_those_of_the_latest_readings(read: list[tuple[str, int]]) -> None:
    """Whatever the order of the scans, each derived reading follows from the latest readings of all machines."""
    bench = LineBench(
        {name: [register("x", "int16")] for name in "abc"},
        a={"sum": 'x + line["b"].x + line["c"].double'}, c={"double": 'x * 2 + line["b"].triple'},
        b={"triple": "x * 3"},
    )  # fmt: skip
    latest: dict[str, int] = {}
    for second, (machine, value) in enumerate(read):
        found = bench.take(machine, second, value)
        latest[machine] = value
        assert len(bench.readings()) == len(found), "no point has two readings of one scan"
        if len(latest) == 3:
            double = latest["c"] * 2 + latest["b"] * 3
            expected = {"a.sum": latest["a"] + latest["b"] + double}
            assert expected.items() <= found.items()
            assert found.get("c.double", double) == double
