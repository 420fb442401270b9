"""Production on the page: time in states, what counters count, cycle times, and all of it out of a store."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_plant import machine_path, message, store_scans, write_live_plant
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gateway.dashboard.feeds.production import ProductionFeed
from gateway.dashboard.plants import Plants
from gateway.dashboard.production.counters import Label, by_label, counted, steps
from gateway.dashboard.production.cycle_times import BARS, changes, histogram
from gateway.dashboard.production.routes import ProductionRoutes
from gateway.dashboard.production.states import NOT_KNOWN, Gap, drawn, durations, gaps, segments
from gateway.dashboard.stored import Stored
from gateway.model.counting import MOST_PER_SECOND
from gateway.model.reading import NamedScan

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory

SECOND = 1_000_000
MINUTE = 60 * SECOND
PRESS = machine_path("curing/curing-1/press-01")
ROBOT = machine_path("curing/curing-1/robot-01")

times = st.integers(-1_000, 11_000)
states = st.lists(st.tuples(times, st.sampled_from(["execute", "idle", None])), max_size=40).map(
    lambda found: sorted(found, key=lambda one: one[0])
)


# -- states --


@given(states, st.lists(st.tuples(times, times), max_size=4))
def test_the_time_in_all_states_is_the_span(found: list[tuple[int, str | None]], silent: list[tuple[int, int]]):
    """A sum that is not exact makes each figure that is computed from it wrong."""
    own = [Gap(min(pair), max(pair)) for pair in silent]
    result = segments(found, 0, 10_000, own)
    assert sum(durations(result).values()) == 10_000
    assert result[0].begin == 0
    assert all(one.end == after.begin and one.state != after.state for one, after in pairwise(result))
    for gap in own:
        begin, end = max(gap.begin, 0), min(gap.end, 10_000)
        if begin < end:
            known = sum(max(0, min(one.end, end) - max(one.begin, begin)) for one in result if one.state != NOT_KNOWN)
            assert known == 0
    few = drawn(result, 5)
    assert (few[0].begin, few[-1].end) == (0, 10_000)
    assert sum(one.length for one in few) == 10_000
    assert len(few) <= max(6, min(len(result), 12))


def test_a_state_is_not_known_before_the_first_and_after_a_bad_reading():
    """A state that can't be known is a category of its own, and never guessed."""
    found = segments([(20, "execute"), (50, None), (70, "idle")], 0, 100)
    assert durations(found) == {NOT_KNOWN: 40, "execute": 30, "idle": 30}
    assert durations(segments([(-5, "held")], 0, 100)) == {"held": 100}
    assert durations(segments([], 0, 100)) == {NOT_KNOWN: 100}


def test_a_silence_is_not_known_from_the_last_reading_to_the_next():
    """Nobody knows when in a silence the machine stopped."""
    assert gaps([10, 20, 80], 0, 100, 25) == [Gap(20, 80)]
    assert gaps([], 0, 100, 25) == [Gap(0, 100)]
    found = segments([(0, "execute"), (80, "execute")], 0, 100, [Gap(20, 80)])
    assert [(one.begin, one.state) for one in found] == [(0, "execute"), (20, NOT_KNOWN), (80, "execute")]
    # a gap that ends without a reading of the state: it is known again when it is read again
    assert durations(segments([(0, "execute")], 0, 100, [Gap(20, 80)])) == {"execute": 20, NOT_KNOWN: 80}


# -- counters --


def at_seconds(*values: float | None, every: float = 10.0) -> list[tuple[int, float | None]]:
    return [(round(number * every * SECOND), value) for number, value in enumerate(values)]


@given(st.lists(st.integers(0, 500), max_size=50), st.integers(0, 10**6), st.integers(0, 50))
def test_a_rising_counter_counts_its_rise_in_every_part_of_the_span(rises: list[int], first: int, cut: int):
    """The parts of two shifts add up to those of the day."""
    values = [first]
    for rise in rises:
        values.append(values[-1] + rise)
    found = steps(at_seconds(*values))
    end = len(values) * 10 * SECOND
    whole = counted(found, 0, end)
    assert (whole.parts, whole.events) == (values[-1] - first, {})
    middle = cut * 10 * SECOND
    assert counted(found, 0, middle).parts + counted(found, middle, end).parts == whole.parts or middle > end


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), max_size=50))
def test_no_counter_counts_less_than_nothing(values: list[int | None]):
    """Whatever a device sends, a number of parts is not negative, nor more than a machine can make."""
    found = steps(at_seconds(*values))
    assert all(0 <= step.parts <= MOST_PER_SECOND * (1 + 10 * len(values)) for step in found)


@pytest.mark.parametrize(
    ("values", "parts", "events"),
    [
        ((65_530, 65_534, 3), 9, {"wrapped": 1}),
        ((9_998, 1), 3, {"wrapped": 1}),
        ((2**32 - 2, 2), 4, {"wrapped": 1}),
        ((500, 3, 5), 5, {"reset": 1}),
        ((500, 0), 0, {"reset": 1}),
        ((500, 80_000, 80_002), 2, {"jumped": 1}),
        ((80_000, 40_000), 0, {"jumped": 1}),
        ((5, None, 8), 3, {}),
        ((5, -3), 0, {"jumped": 1}),
        ((7,), 0, {}),
    ],
)
def test_a_counter_that_wraps_is_reset_or_jumps_is_counted_and_said(values, parts, events):
    """A change of the counter without a part must not look like production."""
    found = counted(steps(at_seconds(*values)), 0, 10**9)
    assert (found.parts, found.events) == (parts, events)


def test_parts_belong_to_the_order_that_was_active_when_they_were_counted():
    """The quantity of an order decides whether it is complete."""
    found = steps(at_seconds(0, 4, 9, 11))
    labels = [Label(15 * SECOND, "A"), Label(25 * SECOND, "B")]
    assert by_label(found, labels) == {"": 4, "A": 5, "B": 2}
    assert by_label(found, []) == {"": 11}


# -- cycle times --


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=300))
def test_every_cycle_is_in_one_bar_or_outside(durations_: list[float]):
    """A histogram without the slow cycles would be useless."""
    found = histogram(durations_)
    assert sum(found.counts) + found.below + found.above == found.number == len(durations_)
    assert len(found.counts) <= BARS
    assert found.below <= max(1, 0.03 * len(durations_))
    assert found.above <= max(1, 0.03 * len(durations_))
    assert found.shortest <= found.median <= found.slow <= found.longest


def test_a_repeated_duration_is_one_cycle():
    """An unchanged value is sent again each minute, while no part was made."""
    readings = [(0, 15.0), (1, 15.0), (2, 15.5), (3, None), (4, 15.5), (5, 15.0), (6, 0.0), (7, float("nan"))]
    assert changes(readings) == [(0, 15.0), (2, 15.5), (5, 15.0)]
    assert histogram([]) is None


# -- out of a store, and live --

STATES = {1: "stopped", 4: "idle", 6: "execute", 11: "held"}
REPEATED = {
    "state": {"address": "holding 0", "on_change": True, "labels": STATES},
    "good_count": {"address": "holding 1", "on_change": True},
    "cycle_time_last": {"address": "holding 2", "raw": "float32", "unit": "s", "on_change": True},
    "order": {"address": "holding 10", "raw": "string", "length": 8, "on_change": True},
}
PUSHED = {"state": {"node": "s=State", "type": "int", "on_change": True, "labels": STATES}}
TYPES = {"state": "int", "good_count": "int", "cycle_time_last": "float", "order": "string"}


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return write_live_plant(
        tmp_path, {"curing/curing-1/press-01": ("modbus", REPEATED), "curing/curing-1/robot-01": ("opcua", PUSHED)}
    )


def ask(factory: Factory, **query: object) -> dict:
    """Return the answer of the route."""
    client = TestClient(Starlette(routes=ProductionRoutes(Stored([factory])).routes()))
    answer = client.get("/api/production", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_production_comes_out_of_the_store_with_states_counts_orders_and_cycles(tmp_path: Path, factory: Factory):
    """A span before the start of the page comes out of the store, also if a gateway was off meanwhile."""
    begin = (time.time_ns() // 1000 // MINUTE - 70) * MINUTE
    scans = []
    for minute in range(60):
        if 20 <= minute < 40:
            continue  # the gateway is off
        order = "A-1" if minute < 10 else "A-2"
        values = {"state": 6, "good_count": 100 + minute, "cycle_time_last": 50.0 + minute % 7, "order": order}
        scans.append((PRESS, NamedScan(begin + minute * MINUTE, values)))
    scans.append((ROBOT, NamedScan(begin, {"state": 6})))
    scans.append((ROBOT, NamedScan(begin + 45 * MINUTE, {"state": 11})))
    scans += [(PRESS, NamedScan(begin + minute * MINUTE, bad={"state": "no_response"})) for minute in (60, 61)]
    store_scans(tmp_path, scans, TYPES)
    found = ask(factory, path="acme/north", **{"from": begin, "to": begin + 62 * MINUTE})
    press, robot = found["machines"]
    assert (found["known_since"], found["witnessed"], found["problems"]) == (begin, True, [])
    assert {state: length / MINUTE for state, _, length in press["states"]} == {"execute": 39, NOT_KNOWN: 23}
    # the robot reports changes alone: that the gateway was off is seen by the silence of the press
    assert {state: length / MINUTE for state, _, length in robot["states"]} == {
        "execute": 19,
        "held": 17,
        NOT_KNOWN: 26,
    }
    assert press["good"] == {"parts": 59, "events": {}}
    assert press["orders"] == [{"order": "A-2", "recipe": "", "good": 50}, {"order": "A-1", "recipe": "", "good": 9}]
    assert (press["cycles"]["number"], press["cycles"]["unit"]) == (39, "s")
    assert "good" not in robot
    assert ask(factory, path="acme/north/other", **{"from": begin})["machines"] == []


def test_a_state_that_has_not_changed_for_hours_is_known_at_the_begin_of_the_span(tmp_path: Path, factory: Factory):
    """A server that sends changes alone has nothing to send while a machine runs for a shift."""
    begin = (time.time_ns() // 1000 // MINUTE - 20) * MINUTE
    repeated = [(PRESS, NamedScan(begin + minute * MINUTE, {"state": 6, "good_count": 7})) for minute in range(12)]
    early = [
        (ROBOT, NamedScan(begin - 300 * MINUTE, {"state": 4})), (ROBOT, NamedScan(begin - 200 * MINUTE, {"state": 6}))
    ]  # fmt: skip
    store_scans(tmp_path, [*early, *repeated, (ROBOT, NamedScan(begin + 4 * MINUTE, {"state": 11}))], TYPES)
    query = {"from": begin, "to": begin + 11 * MINUTE}
    robot = ask(factory, path="acme/north", **query)["machines"][1]
    assert {state: length / MINUTE for state, _, length in robot["states"]} == {"execute": 4, "held": 7}
    # a bad reading as the last one before the span: the state is not known
    store_scans(tmp_path, [(ROBOT, NamedScan(begin - 190 * MINUTE, bad={"state": "not_connected"}))], TYPES)
    robot = ask(factory, path="acme/north", **query)["machines"][1]
    assert {state: length / MINUTE for state, _, length in robot["states"]} == {NOT_KNOWN: 4, "held": 7}


def test_a_store_that_is_not_there_is_said(factory: Factory):
    """The page shows the live states, and says why there are no sums."""
    found = ask(factory, path="acme")
    assert found["machines"] == []
    assert "unavailable" in found["problems"][0]
    client = TestClient(Starlette(routes=ProductionRoutes(Stored([])).routes()))
    assert client.get("/api/production").status_code == 404
    assert client.get("/api/production?from=-30d").status_code == 400


def test_the_feed_sends_what_changed_of_machines_that_produce(factory: Factory):
    """A page that is up to date gets only rows that changed."""
    plants = Plants([factory])
    feed = ProductionFeed(plants)
    feed.choose({"path": "acme/north/curing"})
    assert [row["path"] for row in feed.changes()["machines"]] == [str(PRESS), str(ROBOT)]
    plants.plants[0].take(message(PRESS, time.time_ns() // 1000, "data", state=6, good_count=7, order="x" * 500))
    [row] = feed.changes()["changed"]
    assert (row["production"], row["kind"], row["good"], len(row["order"])) == ("execute", "producing", 7, 200)
    assert feed.changes() is None
