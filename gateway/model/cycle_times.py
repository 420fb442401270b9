"""The distribution of cycle times, as a histogram that adds up and stays small. Pure.

Its bars have widths in proportion to their durations, since a press makes a stroke in two seconds and a run test
takes 45 minutes. With more than `MOST` bars neighbours are joined, so that every distribution fits.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import Any, NamedTuple

PER_DOUBLE = 32
"""Bars from a duration to twice as long: each is 2.2 % wide."""

MOST = 48
"""Bars of a histogram."""

COARSEST = 8
"""How often neighbours are joined at the most: a bar is then a factor of 256 wide."""

SHORTEST, LONGEST = 1e-3, 1e6
"""Seconds of the cycles that are counted."""


_NUMBERS = range(1, 10**12)
"""Cycles of a bar."""


def _bar_of(seconds: float) -> int:
    return math.floor(math.log2(seconds) * PER_DOUBLE)


class Bar(NamedTuple):
    """Cycles that took from `begin` to before `end` seconds."""

    begin: float
    end: float
    number: int


class CycleTimes:
    """Numbers of cycles by their duration. `sum` has the seconds of all, for the mean."""

    __slots__ = ("_bars", "_level", "sum")

    def __init__(self) -> None:
        self._bars: Counter[int] = Counter()
        self._level = 0
        self.sum = 0.0

    @property
    def number(self) -> int:
        """Number of cycles."""
        return sum(self._bars.values())

    @property
    def mean(self) -> float | None:
        """The mean in seconds; None without a cycle."""
        return self.sum / self.number if self._bars else None

    def count(self, seconds: float) -> None:
        """Count a cycle; a duration beyond reason is left out."""
        if not SHORTEST <= seconds <= LONGEST:
            return
        self.sum += seconds
        self._bars[_bar_of(seconds) >> self._level] += 1
        self._fit()

    def add(self, other: CycleTimes) -> None:
        """Add other cycles."""
        if not other._bars:
            return
        self.sum += other.sum
        level = max(self._level, other._level)
        self._coarsen(level)
        for bar, number in other._bars.items():
            self._bars[bar >> (level - other._level)] += number
        self._fit()

    def _fit(self) -> None:
        while len(self._bars) > MOST and self._level < COARSEST:
            self._coarsen(self._level + 1)

    def _coarsen(self, level: int) -> None:
        if (more := level - self._level) > 0:
            joined: Counter[int] = Counter()
            for bar, number in self._bars.items():
                joined[bar >> more] += number
            self._bars, self._level = joined, level

    def bars(self) -> list[Bar]:
        """Return the bars that have cycles, the shortest first."""
        width = 2**self._level / PER_DOUBLE
        return [Bar(2 ** (bar * width), 2 ** ((bar + 1) * width), self._bars[bar]) for bar in sorted(self._bars)]

    def part(self, part: float) -> float | None:
        """Return the duration that a part of the cycles keep, to the width of a bar; None without a cycle."""
        bars = self.bars()
        wanted = math.ceil(part * self.number)
        sums = accumulate(bar.number for bar in bars)
        return next(
            ((bar.begin * bar.end) ** 0.5 for bar, upto in zip(bars, sums, strict=True) if upto >= wanted), None
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the histogram as JSON can hold it; empty without a cycle."""
        if not self._bars:
            return {}
        bars = {str(bar): number for bar, number in sorted(self._bars.items())}
        return {"level": self._level, "sum": round(self.sum, 6), "bars": bars}

    @classmethod
    def of_dict(cls, written: object) -> CycleTimes:
        """Return the histogram of `as_dict`; an empty one for anything else."""
        found = cls()
        try:
            if isinstance(written, dict) and written:
                level = int(written["level"])
                if not 0 <= level <= COARSEST:
                    return found
                bars = {int(bar): int(number) for bar, number in dict(written["bars"]).items()}
                total = float(written["sum"])
                possible = range(_bar_of(SHORTEST) >> level, (_bar_of(LONGEST) >> level) + 1)
                if math.isfinite(total) and all(bar in possible and bars[bar] in _NUMBERS for bar in bars):
                    found._level, found.sum, found._bars = level, total, Counter(bars)
                    found._fit()
        except (KeyError, TypeError, ValueError, OverflowError):
            return cls()
        return found
