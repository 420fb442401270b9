"""The gateway's time: that of the wall clock, never the same twice, and doubtful where it was used before."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Fault, Quality, Reason
from gateway.common import clock
from gateway.common.clock import Clock
from gateway.model.time import GRAIN

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


def test_no_time_stamp_is_used_twice(times: Times) -> None:
    """A store keeps only one of two readings with the same time."""
    now = Clock()
    assert [now(), now(), now()] == [NOON, NOON + 8, NOON + 16]
    times.go_on(1)
    assert now() == NOON + 24


def test_a_clock_set_back_a_little_goes_on_at_half_the_pace(times: Times) -> None:
    """NTP corrects half a second: no reading of it is before those that came first."""
    now = Clock()
    now()
    times.go_on(SECOND, step=-SECOND)
    assert now() == NOON + SECOND // 2
    times.go_on(SECOND // 5)
    assert now() == NOON + SECOND * 6 // 10
    times.go_on(SECOND)
    assert now() == times.wall


def test_a_clock_set_back_a_little_is_caught_up_with_at_any_rate_of_readings(times: Times) -> None:
    """At the full pace a gateway that reads every 10 ms would stay ahead permanently."""
    now = Clock()
    now()
    times.go_on(0, step=-SECOND)
    stamps = []
    while now.ahead or not stamps:
        times.go_on(10_000)
        stamps.append(now())
    assert stamps[-1] == times.wall
    assert times.monotonic - 5 * SECOND == pytest.approx(2 * SECOND, rel=0.01)
    assert all(0 < later - earlier <= 10_000 for earlier, later in pairwise(stamps))


@pytest.mark.parametrize("back", [2, 60, 8 * 3600, 30 * 86_400])
def test_a_clock_set_back_far_is_followed_at_once(times: Times, back: int) -> None:
    """A box whose hardware clock runs in local time is hours ahead until the network is there."""
    now = Clock()
    for _ in range(10):
        times.go_on(SECOND)
        now()
    times.go_on(SECOND, step=-back * SECOND)
    assert abs(now() - times.wall) < GRAIN
    assert now.era == 1


def test_times_that_were_used_before_are_doubtful_and_still_unique(times: Times) -> None:
    """An hour back to the second: each reading of a schedule meets one that was stamped when the clock was ahead."""
    now = Clock()
    stamps, doubtful = [], []
    for step in (0, -5, -5):
        times.go_on(0, step=step * SECOND)
        for _ in range(10):
            times.go_on(SECOND)
            stamps.append(now())
            doubtful.append(now.fault is not None)
    assert len(set(stamps)) == 30
    assert doubtful == [False] * 10 + [True] * 5 + [False] * 5 + [True] * 5 + [False] * 5
    assert max(stamps) == times.wall
    assert all(abs(stamps[i + 10] - stamps[i] - 5 * SECOND) < GRAIN for i in range(20))


def test_the_time_that_a_wrong_clock_used_is_doubtful_when_it_comes(times: Times) -> None:
    """The store holds readings there that were stamped hours ahead."""
    now = Clock()
    for _ in range(30):
        times.go_on(SECOND)
        now()
    times.go_on(SECOND, step=-8 * 3600 * SECOND)
    seen = []
    for _ in range(8 * 360 + 20):
        now()
        seen.append(now.fault is not None)
        times.go_on(10 * SECOND)
    assert seen.count(True) == 3
    assert not seen[0]
    assert not seen[-1]


@pytest.mark.parametrize("step", [-3600, 3600, -1, 1, 1_764_000_000])
def test_a_step_is_logged_once_with_its_size(times: Times, step: int) -> None:
    """A person who sees an hour that is too short, or too long, must find the reason."""
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
    """A box without a battery starts in 1970: mark and keep the readings until the network is there."""
    times.wall = 7 * SECOND
    now = Clock()
    with structlog.testing.capture_logs() as logs:
        now()
        assert now.fault == Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock not set")
        times.go_on(SECOND, step=NOON)
        now()
        assert now.fault is None
    assert [log["event"] for log in logs] == ["clock.not_trusted", "clock.stepped", "clock.trusted"]


def test_time_that_was_used_before_is_not_trusted(times: Times) -> None:
    """A store may hold other readings at that time."""
    now = Clock()
    now()
    times.go_on(20 * SECOND)
    now()
    with structlog.testing.capture_logs() as logs:
        times.go_on(SECOND, step=-10 * SECOND)
        now()
        assert now.fault == Fault(Quality.UNCERTAIN, Reason.CLOCK, "gateway's clock set back")
        for _ in range(8):
            times.go_on(SECOND)
            now()
        assert now.fault is not None
        times.go_on(2 * SECOND)
        now()
        assert now.fault is None
    assert [log["event"] for log in logs] == ["clock.stepped", "clock.not_trusted", "clock.trusted"]


def test_a_small_step_back_is_not_a_fault(times: Times) -> None:
    """A tenth of a second is within the accuracy that a gateway's clock needs."""
    now = Clock()
    now()
    times.go_on(0, step=-SECOND // 10)
    now()
    assert now.fault is None


def test_a_clock_without_synchronisation_is_doubted_only_on_request(
    times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many plants set their boxes by hand: whether that is good enough is theirs to say."""
    states = iter([False, False, True])
    monkeypatch.setattr(clock, "synchronised", lambda: next(states))
    trusting, strict = Clock(), Clock(require_sync=True)
    seen = []
    for _ in range(5):
        trusting()
        strict()
        assert trusting.fault is None
        seen.append(strict.fault.code if strict.fault else None)
        times.go_on(clock.CHECK_EVERY // 2)
    assert seen == ["gateway's clock not synchronised"] * 4 + [None]


def test_the_kernel_is_asked_whether_the_clock_is_synchronised() -> None:
    """The answer depends on this machine, but there is an answer, and it does not change."""
    assert clock.synchronised() is clock.synchronised()


def test_the_kernel_gives_the_errors_of_its_clock() -> None:
    """In seconds: an unsynchronised kernel says 16, and a synchronised kernel less."""
    found = clock.kernel_clock()
    assert found is not None
    assert 0 <= found.maximum_error <= 60
    assert 0 <= found.estimated_error <= 60
    assert found.synchronised is clock.synchronised()


def test_a_system_that_does_not_answer_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confined process may not ask, and other systems have no such call."""
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert clock.kernel_clock() is None
    assert clock.synchronised() is False
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(adjtimex=lambda _: -1))
    assert clock.kernel_clock() is None


def test_a_clock_without_corrections_has_a_problem() -> None:
    """The kernel lets a time server be away for hours before it says so."""
    assert clock.KernelClock(synchronised=True, maximum_error=0.1, estimated_error=0.0).problem == ""
    assert "wrong by 5.5 s" in clock.KernelClock(synchronised=True, maximum_error=5.5, estimated_error=0.0).problem
    assert "nothing" in clock.KernelClock(synchronised=False, maximum_error=0.1, estimated_error=0.0).problem


def test_a_clock_set_forward_is_followed_at_once(times: Times) -> None:
    """A box without a battery wakes up in 1970 and learns the time from the network."""
    times.wall = 7 * SECOND
    now = Clock()
    assert now() == 7 * SECOND
    times.go_on(SECOND, step=NOON)
    assert now() == NOON + 8 * SECOND


STEPS = st.just(0) | st.integers(-100, 100) | st.integers(-3 * SECOND, 3 * SECOND) | st.integers(-(10**13), 10**13)


@given(st.lists(st.tuples(st.integers(0, 10 * SECOND), STEPS)))
def test_time_is_unique_and_near_the_wall_clock(story: list[tuple[int, int]]) -> None:
    """This holds for any changes of the wall clock, up to eight times over one time."""
    with pytest.MonkeyPatch.context() as patch:
        times, now = Times(), Clock()
        patch.setattr(clock, "time", times)
        stamps, eras = [now()], [0]
        for microseconds, step in story:
            times.go_on(microseconds, step)
            stamps.append(now())
            eras.append(now.era)
            assert times.wall - GRAIN < stamps[-1] <= times.wall + 2 * clock.AHEAD + len(stamps) * GRAIN
    assert len(set(stamps)) == len(stamps) or max(eras) >= GRAIN
    for (earlier, later), (era, next_era) in zip(pairwise(stamps), pairwise(eras), strict=True):
        assert later > earlier or next_era > era
