"""How long things take: percentiles that are right to a tenth, from counts that stay small."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.common.histogram import Histogram

DURATIONS = st.floats(1e-6, 1e6)


@given(st.lists(DURATIONS, min_size=1, max_size=50), st.floats(0.001, 1.0))
def test_a_percentile_is_right_to_a_tenth_of_itself(durations: list[float], share: float) -> None:
    """It is never below the measured duration, and never more than a tenth above it."""
    latencies = Histogram()
    for seconds in durations:
        latencies.add(seconds)
    rank = next(n for n in range(1, len(durations) + 1) if n >= share * len(durations))
    exact = sorted(durations)[rank - 1]
    found = latencies.percentile(share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.1 * (1 + 1e-9)


@given(DURATIONS, st.integers(1, 10**9))
def test_many_of_one_duration_are_counted_at_once(seconds: float, times: int) -> None:
    """A record of a hundred readings is one count."""
    latencies = Histogram()
    latencies.add(seconds, times)
    latencies.add(1e9)
    found = latencies.percentile(times / (times + 1))
    assert found == pytest.approx(seconds, rel=0.11)


@pytest.mark.parametrize("seconds", [0.0, -5.0, 1e-9])
def test_a_duration_of_zero_or_less_is_counted_as_a_microsecond(seconds: float) -> None:
    """Clocks of two machines differ: a reading may arrive before it was acquired."""
    latencies = Histogram()
    latencies.add(seconds)
    assert latencies.percentile(0.5) == pytest.approx(1e-6, rel=0.11)


def test_there_is_no_percentile_of_nothing() -> None:
    """A report shows a blank, and not 0 ms."""
    assert Histogram().percentile(0.99) is None


def test_the_counts_stay_small() -> None:
    """This holds for years of durations from a microsecond to a month."""
    latencies = Histogram()
    for exponent in range(-6000, 6501):
        latencies.add(math.pow(10.0, exponent / 1000))
    assert len({latencies.percentile(share / 2000) for share in range(2001)}) < 320
