"""The time that ages are counted from follows readings, and no jump of a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.stores.retention import CONFIRMATION, SLACK, AgeReference

T = 1_764_000_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND


def test_it_follows_readings_that_keep_pace_with_the_clock() -> None:
    age = AgeReference(None, 0.0)
    assert [age.advance(T + n * 60 * SECOND, n * 60.0) for n in range(5)] == [T + n * 60 * SECOND for n in range(5)]


def test_a_jump_of_a_minute_moves_it_by_a_minute() -> None:
    """When the clock is right again, the reference is also right."""
    age = AgeReference(None, 0.0)
    age.advance(T, 0.0)
    assert age.advance(T + 30 * DAY, 30.0) == T + 30 * SECOND
    assert age.advance(T + 30 * DAY + 30 * SECOND, 60.0) == T + 60 * SECOND
    assert age.advance(T + 90 * SECOND, 90.0) == T + 90 * SECOND


def test_a_jump_that_lasts_is_followed() -> None:
    age = AgeReference(T, 0.0)
    seconds = range(0, int(CONFIRMATION) + 120, 60)
    found = [age.advance(T + 30 * DAY + n * SECOND, float(n)) for n in seconds]
    assert found[0] == T
    assert found[len(found) // 2] < T + DAY
    assert found[-1] == T + 30 * DAY + seconds[-1] * SECOND


def test_repeated_jumps_do_not_count_as_a_lasting_jump() -> None:
    age = AgeReference(T, 0.0)
    for hour in range(20):
        assert age.advance(T + (hour + 1) * DAY, hour * 3600.0) <= T + (hour * 3600 + 60) * SECOND


def test_it_goes_back_with_the_readings() -> None:
    """Fewer are deleted then."""
    age = AgeReference(T, 0.0)
    assert age.advance(T - DAY, 60.0) == T - DAY


@given(st.lists(st.tuples(st.integers(-(40 * DAY), 40 * DAY), st.floats(0, 120)), max_size=30))
def test_it_never_runs_ahead_of_the_clock(looks: list[tuple[int, float]]) -> None:
    """Whatever readings come in less time than a jump needs to be believed."""
    age, now = AgeReference(T, 0.0), 0.0
    for ahead, elapsed in looks:
        now += elapsed
        assert age.advance(T + ahead, now) <= T + (now + len(looks) * SLACK + 1) * SECOND
