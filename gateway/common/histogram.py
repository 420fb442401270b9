"""Percentiles of durations: a histogram with buckets that grow by a tenth."""

from __future__ import annotations

import math
from collections import Counter

_BASE = math.log(1.1)


class Histogram:
    """Durations in seconds, counted in buckets; a percentile is exact to a tenth of itself."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration."""
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
