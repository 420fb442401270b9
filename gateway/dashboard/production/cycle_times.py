"""How long cycles took: a histogram, the median and the slowest. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BARS = 24
"""Bars of a histogram at the most."""

_STEPS = (1, 2, 2.5, 5, 10)

_TAIL = 0.02
"""The part of the cycles at each end that may be outside of the bars: a standstill would make all others one bar."""


class Histogram(NamedTuple):
    """Numbers of cycles by their duration, in the unit of the readings.

    `counts` has a number for each `width` from `begin` on; `below` and `above` are outside. `median` and
    `slow`, the duration that 95 % of the cycles keep, are of all.
    """

    begin: float
    width: float
    counts: list[int]
    below: int
    above: int
    number: int
    median: float
    slow: float
    shortest: float
    longest: float


def changes(readings: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """Return the readings of a duration that are another than before: an unchanged value is repeated now and then.

    Two cycles that took exactly the same time are counted once.
    """
    found: list[tuple[int, float]] = []
    last: float | None = None
    for time, value in readings:
        if value is None or not math.isfinite(value) or value <= 0 or value == last:
            continue
        found.append((time, value))
        last = value
    return found


def histogram(durations: Sequence[float]) -> Histogram | None:
    """Return the histogram of durations; None without any."""
    if not durations:
        return None
    ordered = sorted(durations)
    low, high = _at(ordered, _TAIL), _at(ordered, 1 - _TAIL)
    width = _width((high - low) / (BARS - 1) or max(high / 100, 1e-3))
    first = _bar(low, width)
    bars = min(BARS, _bar(high, width) - first + 1)
    counts = [0] * bars
    below = above = 0
    for one in ordered:
        at = _bar(one, width) - first
        if at < 0:
            below += 1
        elif at >= bars:
            above += 1
        else:
            counts[at] += 1
    return Histogram(
        first * width,
        width,
        counts,
        below,
        above,
        len(ordered),
        _at(ordered, 0.5),
        _at(ordered, 0.95),
        ordered[0],
        ordered[-1],
    )


def _bar(duration: float, width: float) -> int:
    """Return the number of the bar of a duration, counted from 0 s; 1.9 s is in bar 95 of 0.02 s, as in decimals."""
    return math.floor(duration / width + 1e-9)


def _at(ordered: Sequence[float], part: float) -> float:
    """Return the value below which a part of the values is: the nearest rank."""
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


def _width(exact: float) -> float:
    """Return a round width that is at least as large."""
    power: float = 10 ** math.floor(math.log10(exact))
    return next(step * power for step in _STEPS if step * power >= exact * 0.999_999)
