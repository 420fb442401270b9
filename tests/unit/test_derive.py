"""Derived points: their values, qualities and times, from the latest readings of their inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from derived import MACHINE, SECOND, START, Bench, derived
from hypothesis import given
from hypothesis import strategies as st
from points import node, register
from structlog.testing import capture_logs

from drivers.base import Fault, Quality, Reason, Scan, bad
from gateway.pipeline.calculations import Calculations
from gateway.pipeline.derive import MachineDerivation
from gateway.pipeline.normalize import Normalizer, TrustedTime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.point import Point

DAY = 86_400
ON, OFF = True, False
SILENT = bad(Reason.NO_RESPONSE, "timeout")
OUT = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE)


def number(name: str = "x", **keys: Any) -> Point:
    """Return a float."""
    return register(name, "float32", **keys)


def switch(name: str = "on", **keys: Any) -> Point:
    """Return a bool."""
    return register(name, "bool", **keys)


def series(expression: str, values: Sequence[Any], every: float = 1.0, point: Point | None = None) -> list[Any]:
    """Return the results of an expression of one point for its values, None where it gives no reading."""
    bench = Bench([point or number(every=f"{every:g}s")], d=expression)
    return [bench.take(i * every, value).get("d") for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        ("rate(x)", [1.0, 3.0, 2.0], [None, 2.0, -1.0]),
        ("difference(x)", [1.0, 3.0, 2.0], [None, 2.0, -1.0]),
        ("previous(x)", [1.0, 3.0, 2.0], [None, 1.0, 3.0]),
        ("total(x, 100)", [90.0, 5.0, 20.0], [90.0, 105.0, 120.0]),
        ("total(x)", [90.0, 5.0, 20.0], [90.0, 95.0, 110.0]),  # without a size each fall is a reset
        ("integral(x)", [2.0, 4.0, 4.0], [0.0, 3.0, 7.0]),
        ("time_in(x > 1.0)", [2.0, 2.0, 0.0, 0.0, 2.0, 2.0], [0.0, 1.0, 2.0, 2.0, 2.0, 3.0]),
        ("edges(x > 1.0)", [2.0, 0.0, 2.0, 2.0, 0.0, 2.0], [0, 0, 1, 1, 1, 2]),
        ("min_over(x, 3s)", [5.0, 1.0, 4.0, 3.0, 3.0], [5.0, 1.0, 1.0, 1.0, 3.0]),
        ("max_over(x, 2s)", [5.0, 1.0, 4.0, 3.0], [5.0, 5.0, 4.0, 4.0]),
        ("mean_over(x, 2s)", [1.0, 3.0, 5.0], [1.0, 2.0, 4.0]),
        ("rate(previous(x))", [1.0, 3.0, 2.0, 2.0], [None, None, 2.0, -1.0]),
        ("difference(x) / max(difference(x), 1)", [0.0, 4.0, 4.0], [None, 1.0, 0.0]),
    ],
)
def test_functions_with_a_state(expression: str, values: list[float], expected: list[Any]) -> None:
    """A function that needs a reading before gives none at the first."""
    assert series(expression, values) == expected


def test_a_filter_follows_a_step_as_a_first_order_lag_does() -> None:
    """After the time of the filter it has followed to 1 - 1/e, whatever the period is."""
    for every in (0.1, 1.0, 5.0):
        found = series("filtered(x, 5s)", [0.0] + [1.0] * round(5 / every), every)
        assert found[-1] == pytest.approx(1 - math.exp(-1))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=150), st.integers(1, 100))
def test_functions_over_a_time_look_at_all_its_readings(values: list[float], seconds: int) -> None:
    """With a reading a second, the parts of a time of up to 60 seconds are exact; a longer time has 60 parts."""
    lowest, highest = series(f"min_over(x, {seconds}s)", values), series(f"max_over(x, {seconds}s)", values)
    for i in range(len(values)):
        exact = values[max(0, i - seconds + 1) : i + 1]
        shorter = values[max(0, i - seconds + 1 + math.ceil(seconds / 60)) : i + 1]
        if seconds <= 60:
            assert (lowest[i], highest[i]) == (min(exact), max(exact))
        assert min(exact) <= lowest[i] <= min(shorter, default=math.inf)
        assert max(shorter, default=-math.inf) <= highest[i] <= max(exact)


@given(st.integers(0, 999), st.lists(st.integers(0, 249), max_size=50))
def test_a_total_is_the_sum_of_all_counts(start: int, counted: list[int]) -> None:
    """This is true while a counter moves by less than a quarter of its numbers between two readings."""
    true = [start]
    for more in counted:
        true.append(true[-1] + more)
    assert series("total(x, 1000)", [one % 1000 for one in true], point=register("x")) == true


# -- quality --


def test_a_bad_input_makes_bad_and_is_named() -> None:
    """There is no value, and the last one is not repeated."""
    bench = Bench([number("x"), number("y")], d="x + y", only_y="y * 2.0")
    found = bench.take(0, None, 1.0, p0=SILENT)
    assert found == {"d": bad(Reason.BAD_INPUT, "x no_response"), "only_y": 2.0}
    assert bench.take(1, 1.0, 1.0) == {"d": 2.0, "only_y": 2.0}


def test_an_uncertain_input_makes_uncertain() -> None:
    """The reason is that of the input, whose name is the code."""
    bench = Bench([number("x")], d="x * 2.0", e="d + 1.0")
    bench.take(0, 5.0, p0=OUT)
    fault = Fault(Quality.UNCERTAIN, Reason.OUT_OF_RANGE, "x")
    assert bench.readings() == [("d", 10.0, fault, 0.0), ("e", 11.0, fault, 0.0)]
    bench.take(1, 5.0)
    assert [reading[2] for reading in bench.readings()] == [None, None]


def test_a_bad_input_passes_through_derived_points() -> None:
    """The input that was read is named, and not each derived point on the way."""
    bench = Bench([number("x")], d="rate(x)", e="filtered(d, 5s)", f="e > 1.0")
    bench.take(0, 1.0)
    found = bench.take(1, None, p0=SILENT)
    assert found == dict.fromkeys("def", bad(Reason.BAD_INPUT, "x no_response"))


@pytest.mark.parametrize(
    ("expression", "values", "fault"),
    [
        ("x / y", (1.0, 0.0), bad(Reason.NOT_A_NUMBER, "division by zero")),
        ("pow(x, 1000)", (1e10, 0.0), bad(Reason.OVERFLOW, "math range error")),
        ("sqrt(x)", (-1.0, 0.0), bad(Reason.NOT_A_NUMBER, "math domain error")),
        ("lookup(x, t)", (9.0, 0.0), bad(Reason.OUT_OF_RANGE, "9 is outside of the table, 0 to 1")),
        ("total(x, 9)", (9.0, 0.0), bad(Reason.OUT_OF_RANGE, "9 is not a count of a counter that begins again at 9")),
        ("filtered(x / y, 5s)", (1.0, 0.0), bad(Reason.NOT_A_NUMBER, "division by zero")),
        ("filtered(x * 1e300, 5s)", (1e300, 0.0), bad(Reason.NOT_A_NUMBER)),
        ("edges(y > 1.0) / y", (1.0, 0.0), bad(Reason.NOT_A_NUMBER, "division by zero")),
    ],
)  # fmt: skip
def test_a_calculation_without_a_result_is_bad(expression: str, values: tuple[float, ...], fault: Fault) -> None:
    """The reason is one of the common list."""
    bench = Bench([number("x"), number("y")], tables={"t": ((0.0, 0.0), (1.0, 1.0))}, d=expression)
    assert bench.take(0, *values) == {"d": fault}
    assert bench.derivation.save(), "the state stays one that can be saved"


def test_not_a_number_is_found_where_all_readings_are_normalized() -> None:
    """An overflow of a multiplication gives infinity, which no store has."""
    bench = Bench([number("x")], d="x * 1e300", n={"expression": "round(x) * 4", "type": "int"})
    bench.take(0, 1e18)
    [scan] = bench.scans
    Normalizer(bench.points, TrustedTime()).apply(scan)
    assert scan.values == [None, 4 * 10**18]
    bench.take(1, 1e19)
    [scan] = bench.scans
    Normalizer(bench.points, TrustedTime()).apply(scan)
    assert scan.values == [None, None]
    assert {fault.reason for fault in scan.faults.values()} == {Reason.NOT_A_NUMBER, Reason.OVERFLOW}


def test_functions_step_whatever_the_condition_around_them_says() -> None:
    """The branch that is not chosen counts on: else a total would depend on when it was looked at."""
    bench = Bench([number("x"), switch()], d="on ? difference(x) : 0.0")
    bench.take(0, 1.0, ON)
    bench.take(1, 5.0, OFF)
    assert bench.take(2, 6.0, ON) == {"d": 1.0}


def test_a_function_goes_on_after_a_bad_input() -> None:
    """A difference spans the gap; the time in it is not counted, since nobody knows of it."""
    bench = Bench([number("x")], d="difference(x)", t="time_in(x > 0.0)", n="edges(x > 2.0)")
    bench.take(0, 1.0)
    bench.take(1, None, p0=SILENT)
    assert bench.take(2, 4.0) == {"d": 3.0, "t": 0.0, "n": 1}
    assert bench.take(3, 4.0) == {"d": 0.0, "t": 1.0, "n": 1}


def test_time_without_readings_is_not_counted() -> None:
    """After three periods without a reading nobody knows whether a condition was true."""
    bench = Bench([number("x")], t="time_in(x > 0.0)", i="integral(x)")
    bench.take(0, 1.0)
    assert bench.take(3, 1.0) == {"t": 3.0, "i": 3.0}
    assert bench.take(6.5, 1.0) == {"t": 3.0, "i": 3.0}


def test_absorbed_errors_leave_a_good_value() -> None:
    """Where one side of && decides, the other may be bad."""
    bench = Bench([number("x"), switch()], d="on && x > 1.0", e="has(x) ? x : -1")
    assert bench.take(0, None, OFF, p0=SILENT) == {"d": False, "e": -1.0}
    assert bench.take(1, None, ON, p0=SILENT)["d"] == bad(Reason.BAD_INPUT, "x no_response")


# -- groups and times --


def test_inputs_of_other_groups_are_the_latest() -> None:
    """Nothing is derived before each input was read once; a reading has the time of the newest input."""
    bench = Bench([number("x")], [number("y", every="5s")], d="x + y")
    assert bench.take(0, 1.0) == {}
    assert bench.take(0.2, 10.0, group=1) == {"d": 11.0}
    bench.take(1, 2.0)
    assert bench.readings() == [("d", 12.0, None, 1.0)]
    bench.take(0.9, 20.0, group=1)  # its response took longer
    assert bench.readings() == [("d", 22.0, None, 1.0)]


def test_functions_step_when_their_own_input_is_read() -> None:
    """A difference of a slow point is not 0 at each reading of a fast point."""
    bench = Bench([number("x")], [number("y", every="5s")], d="difference(y) * 1 + x")
    bench.take(0, 0.0)
    bench.take(0, 10.0, group=1)
    bench.take(5, 13.0, group=1)
    assert bench.take(6, 0.5) == {"d": 3.5}
    assert bench.take(7, 0.5) == {"d": 3.5}


def test_an_input_that_is_no_longer_read_is_stale() -> None:
    """Its value is that of three periods ago, so the result is uncertain."""
    bench = Bench([number("x")], [number("y")], d="x + y")
    bench.take(0, 1.0, group=1)
    bench.take(3, 1.0)
    assert bench.readings() == [("d", 2.0, None, 3.0)]
    bench.take(3.1, 1.0)
    assert bench.readings() == [("d", 2.0, Fault(Quality.UNCERTAIN, Reason.STALE, "y"), 3.1)]
    bench.take(4, 1.0, group=1)
    assert bench.readings() == [("d", 2.0, None, 4.0)]


def test_pushed_readings_are_taken_in_the_order_of_their_times() -> None:
    """A scan of a subscription has several readings of a point; each counts."""
    points = [node("x", type="float"), node("on", type="bool")]
    bench = Bench(points, d="difference(x)", n="edges(on)")
    group = bench.groups[0]
    t = START + 5 * SECOND
    scan = Scan(
        group, t, [3.0, False, True, False, True, 1.0], {}, [0, 1, 1, 1, 1, 0], [t + 2, t, t + 1, t + 2, t + 3, t]
    )
    assert bench.of(scan) == {"d": 2.0, "n": 2}
    assert [(name, value) for name, value, _, _ in bench.readings()] == [
        ("n", 0), ("n", 1), ("d", 2.0), ("n", 1), ("n", 2)
    ]  # fmt: skip


def test_late_readings_are_not_used() -> None:
    """They are of the past, and the states have gone on."""
    bench = Bench([number("x")], d="difference(x)")
    bench.take(10, 1.0)
    late = Scan(bench.groups[0], START, [9.0], {}, [0], [START], late=True)
    assert bench.of(late) == {}
    assert bench.take(11, 2.0) == {"d": 1.0}


def test_a_point_with_a_longer_period_is_sent_less_often() -> None:
    """Its functions step with each reading all the same."""
    bench = Bench([number("x")], d={"expression": "total(x, 10)", "every": "5s"})
    found = [bench.take(i, float(i % 10)).get("d") for i in range(12)]
    assert found == [0.0, None, None, None, None, 5.0, None, None, None, None, 10.0, None]


def test_times_go_on_after_the_clock_was_set_back() -> None:
    """The pipeline keeps them strictly increasing, as for all readings; a rate over no time is bad."""
    bench = Bench([number("x")], [number("y")], d="x + y", r="rate(x)")
    bench.take(100, 1.0)
    bench.take(100, 1.0, group=1)
    found = bench.take(50, 2.0)
    assert found["r"] == bad(Reason.CLOCK, "the time of its input went back")
    assert bench.take(51, 3.0)["r"] == 1.0
    bench.take(51, 1.0, group=1)
    assert [time for *_, time in bench.readings()] == [51.0]


@pytest.mark.parametrize("other", [-56 * 365 * DAY, 8000 * 365 * DAY], ids=["from 1970", "to the year 9999 and back"])
def test_a_clock_that_is_set_adds_no_years_to_a_sum_of_a_pushed_point(other: int) -> None:
    """A box without a battery starts in 1970, and servers send the end of time: a motor ran for 490,000 h."""
    points = [node("x", type="float"), node("on", type="bool")]
    bench = Bench(points, e="integral(x)", t="time_in(on)")
    group = bench.groups[0]

    def pushed(seconds: int) -> dict[str, Any]:
        at = START + seconds * SECOND
        return bench.of(Scan(group, at, [2.0, True], {}, [0, 1], [at, at]))

    pushed(0)
    pushed(10 * DAY)
    pushed(other)
    pushed(20 * DAY)
    assert pushed(20 * DAY + 5) == {"e": 2.0 * (10 * DAY + 5), "t": 10 * DAY + 5}


def test_labels_make_text_of_a_result() -> None:
    """A further derived point sees the text, as a store does."""
    points = [number("x")]
    keys: dict[str, Any] = {
        "mode": {"expression": "x > 1.0 ? 1 : 0", "type": "string", "labels": {0: "normal", 1: "high"}},
        "alarm": "mode == 'high'",
    }
    bench = Bench(points, **keys)
    bench.take(0, 2.0)
    [scan] = bench.scans
    Normalizer(bench.points, TrustedTime()).apply(scan)
    assert dict(zip(scan.group.names, scan.values, strict=True)) == {"mode": "high", "alarm": True}


def test_a_result_is_converted_to_its_declared_unit() -> None:
    """A unit that is declared says which one is wanted, so nothing has to be guessed."""
    bench = Bench(
        [number("p", unit="bar"), number("t", unit="Cel"), number("w", unit="kW")],
        r={"expression": "rate(p)", "unit": "kPa/min"},
        f={"expression": "t", "unit": "[degF]"},
        e={"expression": "integral(w)", "unit": "kW.h"},
    )
    bench.take(0, 1.0, 100.0, 7.2)
    assert bench.take(1, 1.5, 100.0, 7.2) == pytest.approx({"r": 3000.0, "f": 212.0, "e": 0.002})


# -- states --


STATEFUL = {
    "difference": "difference(x)", "total": "total(x, 100)", "energy": "integral(x)", "time": "time_in(x > 50)",
    "edges": "edges(x > 50)", "low": "min_over(x, 10s)", "mean": "mean_over(x, 10s)", "smooth": "filtered(x, 5s)",
    "rate": "rate(x)", "before": "previous(x)", "both": "difference(x) + edges(x < 20)",
}  # fmt: skip


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 99) | st.none(), st.booleans()), min_size=1, max_size=40))
def test_a_restart_changes_nothing(steps: list[tuple[int | None, bool]]) -> None:
    """With states saved and loaded between any readings, the results are those of a run without a restart."""
    points = [register("x")]
    straight, interrupted = Bench(points, **STATEFUL), Bench(points, **STATEFUL)
    for second, (value, restart) in enumerate(steps):
        if restart:
            saved = interrupted.derivation.save()
            interrupted = Bench(points, **STATEFUL)
            assert interrupted.derivation.load(saved) == ([], [])
        faults = {} if value is not None else {"p0": SILENT}
        assert interrupted.take(second, value, **faults) == straight.take(second, value, **faults)


def test_a_changed_expression_loses_only_its_own_state() -> None:
    """The log says so."""
    points = [register("x")]
    before = Bench(points, a="edges(x > 5)", b="total(x, 100)")
    before.take(0, 1)
    before.take(1, 9)
    calculations = Calculations()
    calculations.configure(MACHINE, [before.derivation])
    after = Bench(points, a="edges(x > 6)", b="total(x, 100)", c="previous(x)")
    with capture_logs() as events:
        calculations.configure(MACHINE, [after.derivation])
    assert events == [
        {"event": "calculation.state_reset", "log_level": "info", "machine": MACHINE, "calculation": "derive",
         "parts": ["a"], "reason": "the configuration has changed"}
    ]  # fmt: skip
    assert after.take(2, 12) == {"a": 0, "b": 12}
    assert after.take(3, 3) == {"a": 0, "b": 15, "c": 12}, "the total has gone on: 3 is a reset after 12"


def test_a_changed_deadband_keeps_the_state() -> None:
    """Only the meaning of the state counts: the expression, its inputs and tables."""
    points = [register("x")]
    before = Bench(points, a={"expression": "edges(x > 5)", "description": "one"})
    before.take(0, 1)
    before.take(1, 9)
    after = Bench(points, a={"expression": "edges(x > 5)", "on_change": True, "description": "two"})
    assert after.derivation.load(before.derivation.save()) == ([], [])
    assert after.take(2, 9) == {"a": 1}


@pytest.mark.parametrize(
    "saved",
    [b"", b"{", b"[]", b'{"a": 1}', b'{"a": ["ID", []]}', b'{"a": ["ID", [[true]]]}', b'{"a": ["ID", [["x", 1]]]}',
     b'{"a": ["ID", [[null, null]]]}'],
)  # fmt: skip
def test_a_damaged_state_begins_again(saved: bytes) -> None:
    """The file of the spool may be damaged; a gateway starts all the same."""
    points = [register("x")]
    bench = Bench(points, a="edges(x > 5)")
    identity = bench.points[0].source.program.identity  # type: ignore[attr-defined] # of a derivation
    other, damaged = bench.derivation.load(saved.replace(b"ID", identity.encode()))
    assert (other, damaged) == ([], ["a"])
    bench.take(0, 1)
    assert bench.take(1, 9) == {"a": 1}


def test_states_are_returned_once_until_they_change() -> None:
    """A commit has the states that changed since the commit before, and those of machines that left."""
    bench = Bench([register("x")], a="edges(x > 5)")
    calculations = Calculations()
    calculations.configure(MACHINE, [bench.derivation])
    assert calculations.take_changed() == {}
    bench.take(0, 1)
    assert list(calculations.take_changed()) == [MACHINE]
    assert calculations.take_changed() == {}
    bench.take(1, 9)
    calculations.configure(MACHINE, ())
    assert list(calculations.take_changed()) == [MACHINE]


def test_states_of_another_worker_come_first() -> None:
    """A machine that moved has an old state here, and its present state there."""
    points = [register("x")]
    bench, there, here = (Bench(points, a="edges(x > 5)") for _ in range(3))
    there.take(0, 1)
    there.take(1, 9)
    calculations = Calculations()
    calculations.inherit({MACHINE: there.derivation.save(), "other": b"{}"}, {MACHINE})
    calculations.configure(MACHINE, [bench.derivation])
    calculations.restore({MACHINE: here.derivation.save()})
    assert bench.take(2, 9) == {"a": 1}


def test_an_error_in_a_derivation_does_not_reach_the_points_that_are_read() -> None:
    """It is logged once, and the scan goes on."""
    bench = Bench([register("x")], a="x + 1")

    def broken(_: Scan) -> None:
        raise RuntimeError("broken")

    derivation = MachineDerivation(bench.derivation.group, bench.points, broken)
    step = derivation.step(bench.groups[0])
    assert step is not None
    with capture_logs() as events:
        step(Scan(bench.groups[0], START, [1]))
        step(Scan(bench.groups[0], START + 1, [1]))
    assert [event["event"] for event in events] == ["helper.failed"]


def test_a_group_without_inputs_has_no_step() -> None:
    """Points that nothing is derived from cost nothing."""
    bench = Bench([register("x")], [register("y")], a="x + 1")
    assert bench.steps[1] is None
    assert derived([register("x")]) == ()
