"""What counters have counted, minute by minute."""

from __future__ import annotations

import pytest
from dashboard_plant import PRESS, T0, FedPlant, plants

from drivers.base import Quality
from gateway.dashboard.backfill import Backfill
from gateway.dashboard.live.counts import MINUTE, MINUTES, MinuteCounts
from gateway.model.reading import Reading


def test_increments_are_counted_in_their_minutes() -> None:
    """The first reading says nothing of before: a counter counts since its installation."""
    counts = MinuteCounts()
    for minute, value in enumerate([1000, 1002, 1002, 1007]):
        counts.take((100 + minute) * MINUTE, value)
    assert counts.since == 100 * MINUTE
    assert counts.within(100 * MINUTE, 103 * MINUTE) == 7
    assert counts.within(102 * MINUTE, 103 * MINUTE) == 5
    assert counts.per_hour(0, 104 * MINUTE) == pytest.approx(140)


def test_a_counter_that_was_reset_counts_on() -> None:
    """A machine is restarted, and its counter begins at 0."""
    counts = MinuteCounts()
    for minute, value in enumerate([500, 3, 5]):
        counts.take((1 + minute) * MINUTE, value)
    assert counts.within(0, 4 * MINUTE) == 5


def test_a_rate_needs_a_minute() -> None:
    """Two parts in the first ten seconds are not 720 parts an hour."""
    counts = MinuteCounts()
    assert counts.per_hour(0, 10 * MINUTE) is None
    counts.take(MINUTE, 1)
    counts.take(MINUTE + 10, 3)
    assert counts.per_hour(0, MINUTE + 20) is None


def test_minutes_beyond_the_shift_are_forgotten() -> None:
    """A ring: the counts of nine hours ago are not part of today."""
    counts = MinuteCounts()
    counts.take(MINUTE, 0)
    counts.take(2 * MINUTE, 10)
    counts.take((2 + MINUTES) * MINUTE, 11)
    assert counts.within(0, (3 + MINUTES) * MINUTE) == 1
    counts.take(3 * MINUTE, 11)
    assert counts.within(0, (3 + MINUTES) * MINUTE) == 1


def test_history_precedes_what_was_counted_live() -> None:
    """A store is read once, after the page has begun to listen: nothing is counted twice, and nothing is left out."""
    counts = MinuteCounts()
    counts.take(10 * MINUTE + 30, 120)
    counts.take(12 * MINUTE, 123)
    counts.take_history([(5 * MINUTE, 100), (8 * MINUTE, 110), (10 * MINUTE + 5, 118), (11 * MINUTE, 122)])
    assert counts.since == 5 * MINUTE
    assert counts.within(0, 12 * MINUTE) == 23
    assert [counts.within((minute - 1) * MINUTE, minute * MINUTE) for minute in range(6, 13)] == [
        0,
        0,
        10,
        0,
        10,
        0,
        3,
    ]
    counts.take(13 * MINUTE, 124)
    assert counts.within(0, 13 * MINUTE) == 24


def test_history_alone_is_counted() -> None:
    """A machine that is switched off has no live readings."""
    counts = MinuteCounts()
    counts.take_history([])
    assert counts.since == 0
    counts.take_history([(MINUTE, 1), (2 * MINUTE, 4)])
    assert counts.within(0, 5 * MINUTE) == 3


def test_counters_of_a_store_are_counted_at_the_start_of_the_page() -> None:
    """The rate of the shift is known at once, and readings of other points are not counted."""
    plant = FedPlant()
    page = plants(plant)
    plant.meta()
    minute = T0 // MINUTE * MINUTE
    plant.values(minute + 10 * MINUTE, good_count=130)
    values = [("good_count", 5, 100), ("good_count", 8, 120), ("pressure", 6, 16), ("good_count", 2, 90)]
    stored = [Reading(PRESS, name, minute + at * MINUTE, value, "", Quality.GOOD) for name, at, value in values]
    lost = Reading(PRESS, "good_count", minute + 9 * MINUTE, None, "", Quality.BAD, "refused")
    stranger = Reading(PRESS._replace(machine="press-99"), "good_count", minute, 1, "", Quality.GOOD)
    Backfill(page).fill([], [], [*stored, lost, stranger])
    counts = plant.machines[PRESS].counts
    assert counts.keys() == {"good"}
    assert counts["good"].since == minute + 2 * MINUTE
    assert counts["good"].within(minute, minute + 10 * MINUTE) == 40
    assert counts["good"].within(minute + 8 * MINUTE, minute + 10 * MINUTE) == 10
