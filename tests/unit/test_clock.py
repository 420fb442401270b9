"""The gateway's time: what the wall clock says, but never twice the same and never backwards."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import clock
from gateway.clock import Clock

SECOND = 1_000_000
NOON = 1_764_000_000 * SECOND


class Times:
    """The wall clock and the monotonic clock, in microseconds, as a test sets them."""

    def __init__(self, wall: int = NOON) -> None:
        self.wall = wall
        self.monotonic = 5 * SECOND

    def time_ns(self) -> int:
        return self.wall * 1000

    def monotonic_ns(self) -> int:
        return self.monotonic * 1000

    def go_on(self, microseconds: int, step: int = 0) -> None:
        """Let time pass; `step` is by how much the wall clock is set meanwhile."""
        self.monotonic += microseconds
        self.wall += microseconds + step


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    made = Times()
    monkeypatch.setattr(clock, "time", made)
    return made


def test_time_is_that_of_the_wall_clock(times: Times) -> None:
    """In microseconds, whatever the resolution of the clock."""
    now = Clock()
    assert now() == NOON
    times.go_on(250_000)
    assert now() == NOON + 250_000


def test_no_time_is_told_twice(times: Times) -> None:
    """Two readings of one time are one to a store."""
    now = Clock()
    assert [now(), now(), now()] == [NOON, NOON + 1, NOON + 2]
    times.go_on(1)
    assert now() == NOON + 3


def test_a_clock_set_back_goes_on_at_the_pace_of_the_monotonic_one(times: Times) -> None:
    """NTP corrects an hour: the readings of that hour are neither lost nor told before those that came first."""
    now = Clock()
    now()
    times.go_on(SECOND, step=-3600 * SECOND)
    assert now() == NOON + SECOND
    times.go_on(2 * SECOND)
    assert now() == NOON + 3 * SECOND


def test_the_wall_clock_is_followed_again_when_it_has_caught_up(times: Times) -> None:
    """After a step back by a second, times are a second ahead for a second, and right after."""
    now = Clock()
    now()
    times.go_on(100_000, step=-SECOND)
    assert now() == NOON + 100_000
    times.go_on(10 * SECOND)
    assert now() == times.wall


def test_a_clock_set_forward_is_followed_at_once(times: Times) -> None:
    """A box without a battery wakes up in 1970 and learns the time from the network."""
    times.wall = 7 * SECOND
    now = Clock()
    assert now() == 7 * SECOND
    times.go_on(SECOND, step=NOON)
    assert now() == NOON + 8 * SECOND


@given(st.lists(st.tuples(st.integers(0, 10 * SECOND), st.integers(-100, 100) | st.integers(-(10**13), 10**13))))
def test_time_only_moves_forward(story: list[tuple[int, int]]) -> None:
    """Whatever is done to the wall clock."""
    with pytest.MonkeyPatch.context() as patch:
        times, now = Times(), Clock()
        patch.setattr(clock, "time", times)
        told = [now()]
        for microseconds, step in story:
            times.go_on(microseconds, step)
            told.append(now())
            assert told[-1] >= times.wall
    assert all(later > earlier for earlier, later in pairwise(told))
