"""The judgement of a long run: growth between outages, over several lives of a process."""

from __future__ import annotations

import pytest
from measure.samples import Outage, Sample, Series, is_healthy, pooled_slope


def line(pid: int, start: int, level: float, slope: float, count: int = 10) -> list[Sample]:
    return [Sample(t, pid, level + slope * (t - start)) for t in range(start, start + count)]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], None),
        ([Sample(1, 1, 5.0)], None),
        ([Sample(1, 1, 5.0), Sample(2, 2, 6.0)], None),
        (line(1, 0, 50.0, 0.5), 0.5),
        (line(1, 0, 50.0, 0.5) + line(2, 100, 10.0, 0.5), 0.5),
        (line(1, 0, 50.0, 1.0) + line(2, 100, 10.0, 0.0), 0.5),
    ],
)
def test_a_restart_is_not_a_decrease(samples: list[Sample], expected: float | None):
    """Each life of a process has a level of its own; else restarts would hide a leak."""
    assert pooled_slope(samples) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("time", "healthy"), [(5, False), (20, True), (30, False), (45, False), (51, True)])
def test_warm_up_outages_and_the_time_after_them_do_not_count(time: float, *, healthy: bool):
    """A backlog that is drained is not a leak."""
    assert is_healthy(time, [Outage("broker", 30, 40)], skip=10, settle=10) is healthy


def test_growth_is_reported_per_hour_and_judged_over_the_run():
    """A short run has too little time for a judgement per hour."""
    series = Series("memory", "MiB", 2.0, line(1, 0, 60.0, 0.01, count=101))
    growth = series.growth([], skip=0, settle=0)
    assert growth is not None
    assert growth.per_hour == pytest.approx(36.0)
    assert growth.over_run == pytest.approx(1.0)
    assert growth.permitted == pytest.approx(6.05)
    assert growth.is_flat


@pytest.mark.parametrize(
    ("slope", "least", "flat"), [(0.1, 2.0, False), (-1.0, 2.0, True), (0.1, 20.0, True), (0.1, None, True)]
)
def test_growth_beyond_what_is_permitted_is_found(slope: float, least: float | None, *, flat: bool):
    """A decrease is not growth, and a quantity without a limit is not judged."""
    growth = Series("memory", "MiB", least, line(1, 0, 60.0, slope, count=101)).growth([], skip=0, settle=0)
    assert growth is not None
    assert growth.is_flat is flat


def test_growth_in_an_outage_is_left_out():
    """The spool of an outage is its purpose."""
    samples = line(1, 0, 60.0, 0.0, count=50) + line(1, 50, 200.0, 1.0, count=10) + line(1, 70, 60.0, 0.0, count=30)
    growth = Series("memory", "MiB", 1.0, samples).growth([Outage("broker", 50, 60)], skip=0, settle=5)
    assert growth is not None
    assert growth.over_run == pytest.approx(0.0)
