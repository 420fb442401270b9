"""Scans by the names of their points: which time the scan has, and which the readings have of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drivers.base import Quality, Reason, Scan, bad
from gateway.model.path import MachinePath
from gateway.model.reading import name_scan, names_of

NOW = 1_764_000_000_123_456
PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")


def scan(times: list[int]) -> Scan:
    group: Any = SimpleNamespace(names=("a", "b", "c", "d"))
    return Scan(group, NOW, [float(i) for i in range(len(times))], {}, tuple(range(len(times))), times)


@pytest.mark.parametrize("times", [[NOW - 1] * 3, [NOW - 1, NOW - 2, NOW - 1], [NOW, NOW - 2, NOW], [NOW] * 3, []])
def test_a_scan_has_the_time_of_its_arrival_and_each_reading_its_own(times: list[int]):
    """Latency is measured from the arrival, also where all readings have one source time."""
    named = name_scan(scan(times))
    assert named.time == NOW
    assert named.times == {name: time for name, time in zip("abc", times, strict=False) if time != NOW}
    found = [(reading.point, reading.time) for reading in named.readings(PRESS, {})]
    assert found == list(zip("abc", times, strict=False))


def test_a_bad_reading_has_a_time_of_its_own_too():
    taken = scan([NOW - 5] * 2)
    taken.values[1], taken.faults[1] = None, bad(Reason.REFUSED)
    first, second = name_scan(taken).readings(PRESS, {})
    assert (first.value, first.time) == (0.0, NOW - 5)
    assert (second.quality, second.value, second.time) == (Quality.BAD, None, NOW - 5)


def test_names_that_are_known_are_used():
    taken = scan([NOW - 5] * 2)
    names = names_of(taken)
    assert names == ("a", "b")
    assert name_scan(taken, names).columns[0] is names
    assert name_scan(taken, names) == name_scan(taken)
