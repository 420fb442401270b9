"""Scans by the names of their points: which time the scan has, and which the readings have of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from drivers.base import Quality, Reason, Scan, bad
from gateway.model.path import MachinePath
from gateway.model.reading import CLOSE, name_scan

NOW = 1_764_000_000_123_456
PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")


def scan(times: list[int], **others: Any) -> Scan:
    group: Any = SimpleNamespace(names=("a", "b", "c"))
    return Scan(group, NOW, [float(i) for i in range(len(times))], {}, list(range(len(times))), times, **others)


def readings(times: list[int]) -> list[tuple[str, int]]:
    return [(reading.point, reading.time) for reading in name_scan(scan(times)).readings(PRESS, {})]


@pytest.mark.parametrize("time", [NOW, NOW - 1, NOW - CLOSE])
def test_a_time_that_all_readings_have_is_written_once(time: int):
    """Servers stamp all changes of a cycle with one time: written for each, it doubles the size of a record."""
    named = name_scan(scan([time] * 3))
    assert (named.time, named.times, named.is_good) == (time, {}, True)
    assert readings([time] * 3) == [("a", time), ("b", time), ("c", time)]


@pytest.mark.parametrize("time", [NOW + 1, NOW - CLOSE - 1, 5])
def test_the_time_of_a_scan_stays_close_to_its_arrival(time: int):
    """Latency is measured from it: the clock of a server may differ by minutes."""
    named = name_scan(scan([time] * 2))
    assert (named.time, named.times) == (NOW, {"a": time, "b": time})
    assert readings([time] * 2) == [("a", time), ("b", time)]


@pytest.mark.parametrize("times", [[NOW - 1, NOW - 2, NOW - 1], [NOW, NOW - 2, NOW], [NOW - 2, NOW, NOW + 7]])
def test_readings_of_several_times_keep_each_its_own(times: list[int]):
    named = name_scan(scan(times))
    assert named.time == NOW
    assert named.times == {name: time for name, time in zip("abc", times, strict=True) if time != NOW}
    assert readings(times) == list(zip("abc", times, strict=True))


def test_a_bad_reading_has_the_time_of_its_scan_too():
    taken = scan([NOW - 5] * 2)
    taken.values[1], taken.faults[1] = None, bad(Reason.REFUSED)
    first, second = name_scan(taken).readings(PRESS, {})
    assert (first.value, first.time) == (0.0, NOW - 5)
    assert (second.quality, second.value, second.time) == (Quality.BAD, None, NOW - 5)


def test_a_scan_without_readings_keeps_its_time():
    assert name_scan(scan([])).time == NOW
