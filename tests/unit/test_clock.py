"""The gateway's time: what the wall clock says, but never twice the same and never backwards."""

from __future__ import annotations

from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Fault, Quality, Reason
from gateway.common import clock
from gateway.common.clock import Clock

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


def test_a_clock_set_back_goes_on_at_half_the_pace(times: Times) -> None:
    """NTP corrects an hour: the readings of that hour are neither lost nor told before those that came first."""
    now = Clock()
    now()
    times.go_on(2 * SECOND, step=-3600 * SECOND)
    assert now() == NOON + SECOND
    times.go_on(2 * SECOND)
    assert now() == NOON + 2 * SECOND


def test_a_clock_set_back_is_caught_up_with_however_often_it_is_asked(times: Times) -> None:
    """At the full pace it never would be: a gateway that reads every 10 ms would be an hour ahead for ever."""
    now = Clock()
    now()
    times.go_on(0, step=-60 * SECOND)
    told = []
    while now.ahead or not told:
        times.go_on(10_000)
        told.append(now())
    assert told[-1] == times.wall
    assert times.monotonic - 5 * SECOND == pytest.approx(120 * SECOND, rel=0.001)
    assert all(0 < later - earlier <= 10_000 for earlier, later in pairwise(told))


@pytest.mark.parametrize("step", [-3600, 3600, -1, 1, 1_764_000_000])
def test_a_step_is_told_once_with_its_size(times: Times, step: int) -> None:
    """Who looks at an hour that is too short, or too long, must find out why."""
    now = Clock()
    with structlog.testing.capture_logs() as logs:
        for moved in (0, step, 0, 0):
            times.go_on(100_000, step=moved * SECOND)
            now()
    assert [(log["event"], log["seconds"]) for log in logs if "step" in log["event"]] == [("clock.stepped", step)]
    assert now.steps == 1


def test_a_clock_that_is_slewed_makes_no_noise(times: Times) -> None:
    """NTP keeps a clock right by a few parts in ten thousand, all the time."""
    now = Clock()
    with structlog.testing.capture_logs() as logs:
        for _ in range(1000):
            times.go_on(SECOND, step=500)
            now()
    assert logs == []
    assert now.steps == 0


# -- trust --


def test_a_clock_before_it_was_set_is_not_trusted(times: Times) -> None:
    """A box without a battery wakes up in 1970: what it reads until the network is there is marked, and kept."""
    times.wall = 7 * SECOND
    now = Clock()
    with structlog.testing.capture_logs() as logs:
        now()
        assert now.fault == Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not set")
        times.go_on(SECOND, step=NOON)
        now()
        assert now.fault is None
    assert [log["event"] for log in logs] == ["clock.not_trusted", "clock.stepped", "clock.trusted"]


def test_time_that_is_ahead_of_the_wall_clock_is_not_trusted(times: Times) -> None:
    """The hour after a step back is told as two: nobody should reckon with it unawares."""
    now = Clock()
    now()
    times.go_on(SECOND, step=-10 * SECOND)
    now()
    assert now.fault == Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock set back")
    assert now.ahead == pytest.approx(9.5)
    for _ in range(16):
        times.go_on(SECOND)
        now()
    assert now.fault is not None
    for _ in range(4):
        times.go_on(SECOND)
        now()
    assert now.fault is None


def test_a_small_step_back_is_no_doubt(times: Times) -> None:
    """A tenth of a second is within what anybody asks of a gateway's clock."""
    now = Clock()
    now()
    times.go_on(0, step=-SECOND // 10)
    now()
    assert now.fault is None


def test_a_clock_that_nothing_synchronises_is_doubted_only_where_that_is_asked_for(
    times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many plants set their boxes by hand: whether that is good enough is theirs to say."""
    told = iter([False, False, True])
    monkeypatch.setattr(clock, "synchronised", lambda: next(told))
    trusting, strict = Clock(), Clock(require_sync=True)
    seen = []
    for _ in range(5):
        trusting()
        strict()
        assert trusting.fault is None
        seen.append(strict.fault.code if strict.fault else None)
        times.go_on(clock.LOOK_EVERY // 2)
    assert seen == ["gateway's clock not synchronised"] * 4 + [None]


def test_the_kernel_is_asked_whether_the_clock_is_synchronised() -> None:
    """The answer hangs on this machine; that there is one, and that it stays, does not."""
    assert clock.synchronised() is clock.synchronised()


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
