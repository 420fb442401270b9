"""The production of a machine: time by category, parts, stops and key figures, over outages and kills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points import register
from production import DAY, HOLD, KEYS, RUN, WAIT, Plant, built, points, production, times, whole

from drivers.base import Scan
from gateway.model.cycle_times import MOST, CycleTimes
from gateway.model.production import SECOND, Tally, TimeState
from gateway.settings.production import KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

SIX, FOURTEEN = 6 * 3600, 14 * 3600
H = 3600


def test_each_second_of_a_shift_is_in_one_category() -> None:
    """The standard knows no time that is counted twice, or not at all."""
    plant = Plant()
    plant.run(SIX - 60, SIX, 4)
    plant.run(SIX, SIX + 600, RUN)
    plant.run(SIX + 600, SIX + 900, WAIT)
    plant.run(SIX + 900, SIX + 1000, HOLD, reason=7)
    plant.run(SIX + 1000, SIX + 1100, 16)
    plant.run(SIX + 1100, SIX + 1200, 4)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert times(row) == {
        "production": 700, "waiting": 300, "down": 100, "idle": 99, "unknown": 8 * H - 1199 - 900, "off": 900
    }  # fmt: skip
    assert row["busy_time"] + row["off_time"] == 8 * H
    assert row["reasons"] == {"no material": 100}
    assert (row["begin"], row["end"]) == (DAY + SIX * SECOND, DAY + FOURTEEN * SECOND)
    hours = [one for one in plant.rows if one["kind"] == "hour" and one["shift"]]
    assert whole(hours).times[TimeState.PRODUCTION] == 700 * SECOND


def test_parts_are_counted_over_wraps_resets_and_jumps_and_each_is_said() -> None:
    """A counter that begins again loses no part, and a counter that was set makes none."""
    plant = Plant()
    for second, good in enumerate((65_534, 65_535, 1, 2, 2, 0, 1, 5000, 5001), SIX):
        plant.take(second, RUN, good, 0, 10.0, "A", 0)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert (row["good"], row["parts"]) == (1 + 2 + 1 + 0 + 1 + 0 + 1, 6)
    assert (row["wraps"], row["resets"], row["jumps"]) == (1, 1, 1)


def test_key_figures_are_those_of_iso_22400() -> None:
    """An hour of which 40 minutes produced, at 80 % of the planned speed, with a tenth of rejects."""
    plant = Plant()
    good = reject = 0
    for second in range(H):
        running = second < 2400
        if running and second % 12.5 < 1:  # 192 parts of 10 s in 2,400 s
            good, reject = (good, reject + 1) if (good + reject) % 10 == 9 else (good + 1, reject)
        plant.take(SIX + second, RUN if running else HOLD, good, reject, 12.5, "A", 0)
    plant.take(SIX + H, RUN, good, reject, 12.5, "A", 0)
    [row] = [one for one in plant.rows if one["kind"] == "hour" and one["shift"]]
    parts = good + reject - 1  # the first reading is where the count begins
    assert row["availability"] == pytest.approx(2400 / 3600)
    assert row["performance"] == pytest.approx(parts * 10 / 2400, rel=1e-5)
    assert row["quality_ratio"] == pytest.approx((good - 1) / parts, rel=1e-5)
    assert row["oee"] == pytest.approx(row["availability"] * row["performance"] * row["quality_ratio"], rel=1e-5)
    assert row["scrap_ratio"] == pytest.approx(reject / parts, rel=1e-5)
    assert row["throughput"] == pytest.approx(parts)
    assert row["target"] == 360


def test_failures_give_mtbf_and_mttr_and_micro_stops_are_apart() -> None:
    """A jam of ten seconds is counted apart."""
    plant = Plant()
    plant.run(SIX, SIX + 300, RUN)
    plant.run(SIX + 300, SIX + 310, HOLD, reason=8)
    plant.run(SIX + 310, SIX + 610, RUN)
    plant.run(SIX + 610, SIX + 700, HOLD, reason=7)
    plant.run(SIX + 700, SIX + 900, RUN)
    plant.run(SIX + 900, SIX + 930, HOLD)
    plant.run(SIX + 930, SIX + 1000, RUN)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert (row["micro_stops"], row["micro_stop_time"]) == (1, 10)
    assert (row["failures"], row["repair_time"]) == (2, 120)
    assert row["mttr"] == 60
    assert row["mtbf"] == row["production_time"] / 2
    found = [(one["label"], one["reason"], (one["end"] - one["begin"]) / SECOND) for one in plant.stops[:2]]
    assert found == [("held", "no material", 90), ("held", "", 30)]
    assert {one["state"] for one in plant.stops[:2]} == {"down"}


def test_a_micro_stop_takes_back_the_time_of_each_of_its_reasons() -> None:
    """A device may change the reason during a stop."""
    plant = Plant()
    plant.run(SIX, SIX + 300, RUN)
    plant.run(SIX + 300, SIX + 305, HOLD, reason=8)
    plant.run(SIX + 305, SIX + 310, HOLD, reason=7)
    plant.run(SIX + 310, SIX + 610, RUN)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert (row["micro_stops"], row["micro_stop_time"]) == (1, 10)
    assert row["reasons"] == {}


def test_a_time_that_nobody_saw_is_unknown_and_its_parts_count_for_the_quality_alone() -> None:
    """The machine may have stopped or run: no figure is made better or worse by a guess."""
    plant = Plant()
    plant.run(SIX, SIX + 100, RUN, good=0)
    plant.run(SIX + 200, SIX + 300, RUN, good=8)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert row["production_time"] == 99 + 99
    assert (row["parts"], row["unknown_parts"], row["planned_production_time"]) == (8, 8, 0)
    assert (row["availability"], row["quality_ratio"]) == (1.0, 1.0)


def test_bad_readings_and_undefined_states_are_unknown() -> None:
    """So are values without a label."""
    plant = Plant(of=[register("state", labels={0: "undefined", 6: "execute"}), *points()[1:]])
    plant.run(SIX, SIX + 10, RUN)
    plant.run(SIX + 10, SIX + 20, 0)
    for second in range(SIX + 20, SIX + 30):
        plant.take(second, None, None, None, None, None, None)
    plant.run(SIX + 30, SIX + 40, 3)
    plant.run(SIX + 40, SIX + 51, RUN)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert row["production_time"] == 20
    assert row["unknown_time"] == 8 * H - 900 - 20


def test_a_break_is_not_planned_and_a_machine_that_runs_through_it_counts() -> None:
    """Else its parts would have been made in no time."""
    plant = Plant()
    nine = 9 * H
    plant.run(nine - 10, nine + 300, RUN)
    plant.run(nine + 300, nine + 910, HOLD)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert (row["production_time"], row["extra_time"]) == (310, 300)
    assert row["down_time"] == 9
    assert row["off_time"] == 600


def test_orders_and_recipes_have_rows_of_their_own_with_their_plans() -> None:
    """The part that was finished with the change of the recipe belongs to the recipe before."""
    plant = Plant()
    plant.run(SIX, SIX + 10, RUN, good=0)
    plant.run(SIX + 10, SIX + 20, RUN, good=1)
    plant.run(SIX + 20, SIX + 40, RUN, good=2, recipe="B")
    plant.run(SIX + 40, SIX + 50, RUN, good=3, recipe="B")
    plant.run(SIX + 50, SIX + 60, RUN, good=4, recipe="C")
    plant.tick(FOURTEEN + 60)
    rows = [one for one in plant.rows if one["kind"] == "hour" and one["parts"]]
    assert [(one["recipe"], one["parts"], one["planned_production_time"]) for one in rows] == [
        ("A", 2, 20), ("B", 2, 40)
    ]  # fmt: skip
    assert plant.shift()["performance"] == pytest.approx(60 / plant.shift()["production_time"], rel=1e-5)


def test_a_part_without_a_plan_has_no_performance() -> None:
    """A planned time of 0 would say that it was made in no time."""
    plant = Plant()
    plant.run(SIX, SIX + 10, RUN, good=0, recipe="C")
    plant.run(SIX + 10, SIX + 20, RUN, good=1, recipe="C")
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert row["unplanned_parts"] == 1
    assert row["performance"] is None
    assert row["oee"] is None


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ({"good": "good", "total": "reject"}, (3, 2, 5)), ({"total": "good", "reject": "reject"}, (-2, 5, 3)),
        ({"good": "good"}, (3, 0, 3)), ({"total": "reject"}, (5, 0, 5)),
    ],
)  # fmt: skip
def test_two_counters_of_three_say_all(counters: dict[str, str], expected: tuple[int, int, int]) -> None:
    """Machines count good parts and all, or all and rejects, or one of them."""
    keys = {key: value for key, value in KEYS.items() if key not in {"good", "reject"}}
    plant = Plant(keys | counters)
    plant.run(SIX, SIX + 10, RUN)
    plant.run(SIX + 10, SIX + 20, RUN, good=3, reject=5)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert (row["good"], row["reject"], row["parts"]) == expected


def test_cycle_times_come_from_their_point_once_for_each_cycle() -> None:
    """A repeated value is a cycle of the same length if a part was made, and a reading of the same cycle if not."""
    plant = Plant()
    for second, (good, cycle) in enumerate(((0, 9.0), (1, 10.0), (1, 10.0), (2, 10.0), (2, 10.0), (3, 12.0)), SIX):
        plant.take(second, RUN, good, 0, cycle, "A", 0)
    plant.tick(FOURTEEN + 60)
    found = CycleTimes.of_dict(plant.shift()["cycles"])
    assert found.number == 3
    assert found.mean == pytest.approx(32 / 3)


def test_without_a_point_the_time_between_parts_counts_where_nothing_was_between() -> None:
    """A cycle over a stop is longer, and says nothing of the machine."""
    keys = {key: value for key, value in KEYS.items() if key != "cycle_time"}
    plant = Plant(keys)
    for second, state, good in (
        (0, RUN, 0),
        (1, RUN, 1),
        (2, RUN, 1),
        (3, RUN, 2),
        (4, HOLD, 2),
        (5, RUN, 3),
        (6, RUN, 4),
    ):
        plant.take(SIX + second, state, good, 0, 0.0, "A", 0)
    plant.tick(FOURTEEN + 60)
    assert CycleTimes.of_dict(plant.shift()["cycles"]).number == 2


def test_live_figures_are_those_of_the_running_shift() -> None:
    """They have no value before anything can be said, and outside of shifts."""
    plant = Plant()
    plant.run(SIX, SIX + 100, RUN)
    plant.run(SIX + 100, SIX + 200, HOLD)
    plant.run(SIX + 200, SIX + 201, RUN, good=5)
    plant.tick(SIX + 200)
    assert plant.figures["availability"] == 50.0
    assert plant.figures["performance"] == 50.0
    assert plant.figures["oee"] == 25.0
    assert plant.figures["shift_good"] == 5
    assert plant.figures["time_state"] == "production"
    plant.run(FOURTEEN - 5, FOURTEEN + 5, RUN, good=5)
    plant.tick(FOURTEEN + 5)
    assert plant.figures["availability"] == 100.0
    assert "performance" in plant.figures


@pytest.mark.parametrize("ahead", [3 * 3600, 40 * 86400, 70 * 365 * 86400])
@pytest.mark.parametrize("restart", ["works on", "restarts"])
def test_production_goes_on_after_the_clock_was_set_back(ahead: int, restart: str) -> None:
    """A box in another year for ten seconds counted nothing more until that year, also after a restart."""
    plant = Plant()
    plant.run(SIX, SIX + 600, RUN)
    plant.run(SIX + ahead + 600, SIX + ahead + 610, RUN, good=1)
    plant.now = DAY + (SIX + 610) * SECOND
    if restart == "restarts":
        plant.restart(plant.calculation.save())
    plant.run(SIX + 610, SIX + 3600, RUN, good=2)
    plant.run(SIX + 3600, SIX + 7200, HOLD, good=20)
    plant.tick(FOURTEEN + 60)
    known = whole([row for row in plant.rows if row["kind"] == "hour" and row["shift"] == "2025-12-01/early"])
    assert known.times[TimeState.DOWN] == 3599 * SECOND
    assert 3580 * SECOND < known.times[TimeState.PRODUCTION] <= 3600 * SECOND
    assert 19 <= known.parts <= 20
    assert plant.stops[-1]["begin"] == DAY + (SIX + 3600) * SECOND


@pytest.mark.parametrize("restart", ["works on", "restarts"])
def test_a_shift_has_one_row_after_the_clock_was_set_back_within_it(restart: str) -> None:
    """The row of a shift is the sum of its hours: two rows would be read as two shifts."""
    plant = Plant()
    plant.run(SIX, SIX + 600, RUN)
    plant.run(SIX + 10_800, SIX + 10_810, RUN, good=1)
    plant.now = DAY + (SIX + 610) * SECOND
    if restart == "restarts":
        plant.restart(plant.calculation.save())
    plant.run(SIX + 610, SIX + 3600, RUN, good=2)
    plant.tick(FOURTEEN + 60)
    early = [row for row in plant.rows if row["shift"] == "2025-12-01/early"]
    (row,) = [row for row in early if row["kind"] == "shift"]
    hours = [row for row in early if row["kind"] == "hour"]
    assert row["parts"] == sum(hour["parts"] for hour in hours)
    assert row["production_time"] == pytest.approx(sum(hour["production_time"] for hour in hours))
    assert (row["begin"], row["end"]) == (DAY + SIX * SECOND, DAY + FOURTEEN * SECOND)


def test_a_shift_goes_on_after_a_start_in_1970() -> None:
    """A box without a battery reads some scans before it learns the time; its shift must not begin again."""
    plant = Plant()
    plant.run(SIX, SIX + 600, RUN)
    plant.restart(plant.calculation.save())
    in_1970 = -DAY // SECOND
    plant.now = 0
    plant.run(in_1970 + 1, in_1970 + 20, RUN)
    plant.tick(in_1970 + 21)
    plant.run(SIX + 640, SIX + 1200, RUN, good=2)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert row["parts"] == 2
    assert row["production_time"] == pytest.approx(1200 - 40, abs=5)


def test_a_source_time_in_the_future_is_not_followed() -> None:
    """Servers send the end of the year 9999 where they know no time; a calendar ends there."""
    plant = Plant()
    plant.run(SIX, SIX + 600, RUN)
    plant.now = DAY + (SIX + 600) * SECOND
    end_of_time = 253_402_300_799 * SECOND
    step = plant.calculation.step(plant.group)
    assert step is not None
    step(Scan(plant.group, plant.now, [HOLD, 1], points=[0, 1], times=[plant.now, end_of_time]))
    step(Scan(plant.group, plant.now, [RUN], points=[0], times=[end_of_time]))
    plant.run(SIX + 601, SIX + 3600, RUN, good=1)
    plant.tick(FOURTEEN + 60)
    assert plant.shift()["good"] == 1
    assert plant.shift()["production_time"] == pytest.approx(3599, abs=2)


def test_a_device_that_reports_changes_is_heard_while_it_is_silent() -> None:
    """A state holds until the next, but not over a restart of the gateway, where nobody listened."""
    plant = Plant(pushed=True)
    plant.push(SIX, state=RUN, good=0, reject=0, recipe="A")
    for second in range(10, 1000, 10):
        plant.tick(SIX + second)
    saved = plant.calculation.save()
    plant.restart(saved)
    plant.push(SIX + 1500, good=4)
    plant.push(SIX + 1500, state=RUN, recipe="A")
    plant.push(SIX + 1600, good=14)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    assert row["parts"] == 14
    assert row["unknown_parts"] == 4
    assert row["unknown_time"] == pytest.approx(1500 - 990, abs=3)
    assert row["production_time"] == pytest.approx(8 * H - (1500 - 990), abs=3)


def test_starved_and_blocked_come_from_points_of_their_own() -> None:
    """A machine with sensors says which; one without waits."""
    plant = Plant(
        {"state": "state", "starved": "lack", "blocked": "tailback"},
        of=[points()[0], register("lack", type="bool"), register("tailback", type="bool")],
    )
    for second, (state, lack, tailback) in enumerate(
        ((RUN, True, False), (WAIT, True, False), (WAIT, False, True), (WAIT, False, False), (RUN, False, False)), SIX
    ):
        plant.take(second, state, lack, tailback)
    plant.tick(FOURTEEN + 60)
    found = times(plant.shift())
    assert {state: found[state] for state in ("production", "starved", "blocked", "waiting")} == dict.fromkeys(
        ("production", "starved", "blocked", "waiting"), 1
    )


Event = tuple[int, int, int]
EVENTS = st.lists(
    st.tuples(st.sampled_from([RUN, WAIT, HOLD, 4]), st.integers(1, 90), st.integers(0, 1)), min_size=1, max_size=10
)


def _scans(events: Sequence[Event]) -> list[tuple[int, int, int, int]]:
    """Return scans, a second apart: second, state, good and reject."""
    found, good, reject, second = [], 0, 0, SIX - 30
    for state, length, rejected in events:
        for at in range(length):
            if state == RUN and at % 10 == 9:
                good, reject = good + 1 - rejected, reject + rejected
            found.append((second, state, good, reject))
            second += 1
    return found


@settings(max_examples=20, deadline=None)
@given(EVENTS, st.sets(st.integers(1, 500), max_size=4), st.integers(1, 25))
def test_a_shift_with_kills_gives_the_numbers_of_one_without(
    events: list[Event], kills: set[int], every: int
) -> None:
    """Each kill takes the readings since the last commit; rows and state are committed together."""
    scans = _scans(events)
    straight, killed = Plant(), Plant()
    for second, state, good, reject in scans:
        straight.take(second, state, good, reject, 10.0, "A", 0)
    straight.tick(FOURTEEN + 60)
    committed, saved, rows, stops = 0, killed.calculation.save(), 0, 0
    at, left = 0, set(kills)
    while at < len(scans):
        if at in left:  # the machine goes on from the last commit, as if those readings were never made
            left.remove(at)
            del killed.rows[rows:], killed.stops[stops:]
            killed.restart(saved)
            at = committed
            continue
        second, state, good, reject = scans[at]
        killed.take(second, state, good, reject, 10.0, "A", 0)
        at += 1
        if at % every == 0:
            committed, saved, rows, stops = at, killed.calculation.save(), len(killed.rows), len(killed.stops)
    killed.tick(FOURTEEN + 60)
    assert killed.rows == straight.rows
    assert killed.stops == straight.stops


@settings(max_examples=20, deadline=None)
@given(EVENTS, st.lists(st.tuples(st.integers(0, 700), st.integers(5, 100)), max_size=3))
def test_an_outage_moves_time_to_unknown_and_changes_nothing_else(
    events: list[Event], outages: list[tuple[int, int]]
) -> None:
    """Parts stay the same, since the counter of the machine goes on; no category gains a second."""
    scans = _scans(events)
    silent = {second for begin, length in outages for second in range(begin + 1, begin + length)} - {
        0,
        len(scans) - 1,
    }
    whole_, holes = Plant(), Plant()
    for at, (second, state, good, reject) in enumerate(scans):
        whole_.take(second, state, good, reject, 10.0, "A", 0)
        if at in silent:
            continue
        if at - 1 in silent:
            holes.restart(holes.calculation.save())
        holes.take(second, state, good, reject, 10.0, "A", 0)
    for plant in (whole_, holes):
        plant.tick(FOURTEEN + 60)
    straight, found = (whole([row for row in one.rows if row["kind"] == "hour"]) for one in (whole_, holes))
    assert (found.good, found.reject, found.parts) == (straight.good, straight.reject, straight.parts)
    for state in TimeState:
        if state not in {TimeState.UNKNOWN, TimeState.OFF}:
            assert found.times[state] <= straight.times[state]
    assert found.unknown_parts >= straight.unknown_parts
    assert sum(found.times.values()) <= sum(straight.times.values())


@pytest.mark.parametrize("saved", [b"", b"[]", b"{}", b'{"v":1}', b'{"at":"x"}', b"\xff"])
def test_a_damaged_state_begins_again(saved: bytes) -> None:
    """The file of the state may contain anything."""
    plant = Plant()
    assert plant.calculation.load(saved) == ([], ["production"])
    plant.run(SIX, SIX + 10, RUN)


def test_a_gap_of_months_does_not_write_a_row_for_each_hour() -> None:
    """Time without a row is unknown, too."""
    plant = Plant()
    plant.run(SIX, SIX + 10, RUN)
    plant.run(SIX + 90 * 86_400, SIX + 90 * 86_400 + 10, RUN)
    assert len(plant.rows) == 2


@given(st.lists(st.floats(1e-4, 1e7), max_size=300), st.integers(0, 300))
def test_histograms_add_up_and_stay_small(durations: list[float], at: int) -> None:
    """Hours of a shift are added without their readings."""
    together, one, other = CycleTimes(), CycleTimes(), CycleTimes()
    for number, seconds in enumerate(durations):
        together.count(seconds)
        (one if number < at else other).count(seconds)
    one.add(other)
    assert one.number == together.number
    assert len(one.bars()) <= MOST
    assert CycleTimes.of_dict(one.as_dict()).bars() == one.bars()
    assert one.sum == pytest.approx(together.sum)


def test_a_tally_survives_its_row_and_its_saved_state() -> None:
    """The report adds rows, and a restart goes on with a state."""
    plant = Plant()
    plant.run(SIX, SIX + 400, RUN)
    plant.run(SIX + 400, SIX + 500, HOLD, good=3, reason=7)
    plant.tick(FOURTEEN + 60)
    row = plant.shift()
    tally = Tally.of_row(row)
    assert tally.as_row() == {name: value for name, value in row.items() if name in tally.as_row()}
    assert Tally.load(orjson.loads(orjson.dumps(tally.save()))).as_row() == tally.as_row()


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, "is missing; write it, as in state: state"),
    ({"state": "stat"}, "unknown point 'stat'; did you mean 'state'?"),
    ({"state": "cycle_time"}, "cycle_time has type float, and state is a text or a whole number"),
    ({"state": "good"}, "good has no labels; write states: {1: production, 2: down}"),
    ({"state": "state", "goood": "good"}, "unknown key 'goood'; did you mean 'good'?"),
    ({"state": "state", "good": "recipe"}, "recipe has type string, and a counter is a number"),
    ({"state": "state", "cycle_time": "good"}, "a duration has one of time, as in s"),
    ({"state": "state", "starved": "good"}, "good has type int, and a condition is a bool"),
    ({"state": "state", "states": {"executee": "down"}}, "unknown label 'executee'; did you mean"),
    ({"state": "state", "states": {"held": "downn"}}, "did you mean 'down'?"),
    ({"state": "reason"}, "the category of none is not known; write states: {none: down, no material: down"),
    ({"state": "state", "reject": "reject"}, "without good or total nobody knows"),
    ({"state": "state", "planned_cycle_time": {"A": "5s"}}, "A is a recipe; write recipe: POINT"),
    ({"state": "state", "planned_cycle_time": 5}, "5 is not a duration; write its unit"),
    ({"state": "state", "modes": {"x": "down"}}, "write mode: POINT, too"),
    ({"state": "state", "micro_stop": "0s"}, "micro_stop: '0s' is out of range; write more than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), MISTAKES)
def test_mistakes_are_reported_at_their_key(keys: dict[str, Any], message: str) -> None:
    """With what would be right."""
    found, problems = built(**keys)
    assert found is None
    assert message in problems


def test_a_point_of_the_machine_can_not_have_the_name_of_a_result() -> None:
    """Both would be one series in the store."""
    found, problems = built([*points(), register("oee")], state="state")
    assert found is None
    assert "there is a point oee, as a result has" in problems


def test_states_of_packml_and_machinery_are_known_by_their_labels() -> None:
    """OPC 30050 and OPC 40001-1; blanks and case do not matter."""
    labels = {0: "Not Available", 1: "OutOfService", 2: "NotExecuting", 3: "EXECUTING"}
    found = production([register("state", labels=labels)], state="state")
    assert list(found.states.values()) == ["down", "down", "idle", "production"]
    assert {KNOWN[one] for one in ("execute", "held", "suspended", "idle")} == {
        TimeState.PRODUCTION, TimeState.DOWN, TimeState.WAITING, TimeState.IDLE
    }  # fmt: skip
