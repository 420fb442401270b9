"""Histograms of durations: with buckets that grow by a tenth, for percentiles, or with fixed buckets."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BASE = math.log(1.1)


class Histogram:
    """Durations in seconds, counted in buckets; a percentile is exact to a tenth of itself.

    `total` is the exact sum of all durations; a negative duration counts as 0.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration."""
        self.total += max(seconds, 0.0) * times
        self._counts[math.ceil(math.log(max(seconds, 1e-6)) / _BASE)] += times

    def percentile(self, share: float) -> float | None:
        """Return the duration below which the part `share` (0 to 1) of all lies; None if there are none."""
        wanted = share * self._counts.total()
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return math.exp(bucket * _BASE)
        return None

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """Return for each of some rising bounds how many durations were not longer; infinity counts all of them.

        A duration within a tenth below a bound may count as longer, never one above it as shorter.
        """
        found, counted = [], 0
        buckets = sorted(self._counts.items())
        position = 0
        for bound in bounds:
            while position < len(buckets) and math.exp(buckets[position][0] * _BASE) <= bound:
                counted += buckets[position][1]
                position += 1
            found.append(counted)
        return found


class FixedHistogram:
    """Durations in seconds, counted in buckets with given upper bounds, which rise.

    `counts` has for each bound how many durations were not longer, and at its end the number of all. `total` is the
    sum of all durations.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.total = 0.0
        self.counts = [0] * (len(bounds) + 1)
        self._bounds = (*bounds, math.inf)

    def add_all(self, durations: list[float]) -> None:
        """Count durations that were collected in a list, in any order, and empty it.

        Appending to a list, and sorting it from time to time, costs a tenth of counting each duration alone.
        """
        durations.sort()
        self.total += max(math.fsum(durations), 0.0)
        for place, bound in enumerate(self._bounds):
            self.counts[place] += bisect_right(durations, bound)
        durations.clear()
