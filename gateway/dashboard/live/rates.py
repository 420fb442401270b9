"""Rates out of the successive reports of a gateway or an ingest, and the trend of one of them."""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW = 10.0
"""Seconds over which a rate is measured: reports come each second, and scans often less often."""

LONGEST = 60.0
"""Seconds between two reports from which on they have no rate in common."""

TREND, STEP = 120, 5.0
"""Rates that are remembered, and the seconds between two of them at least."""


class Rates:
    """The rates of counts that only grow. `trend` are those of the first count, oldest first, with their times."""

    __slots__ = ("_reports", "_traced", "times", "trend")

    def __init__(self) -> None:
        self._reports: deque[tuple[float, Mapping[str, int]]] = deque()
        self._traced = 0.0
        self.times = array("q")
        self.trend = array("d")

    def take(self, at: float, counts: Mapping[str, int], time: int) -> None:
        """Take the counts of a report; `at` are seconds of the sender's clock, `time` microseconds since the epoch.

        Counts that fall, and a clock that goes back, are those of another process: rates begin anew.
        """
        if self._reports:
            last, before = self._reports[-1]
            if at == last:
                return  # the retained copy of a report
            if not last < at <= last + LONGEST or any(counts[name] < before.get(name, 0) for name in counts):
                self._reports.clear()
                self._traced = at
        self._reports.append((at, counts))
        while len(self._reports) > 2 and self._reports[1][0] <= at - WINDOW:  # noqa: PLR2004 - two make a rate
            self._reports.popleft()
        if at - self._traced >= STEP and (rates := self.per_second):
            self._traced = at
            self.times.append(time)
            self.trend.append(next(iter(rates.values())))
            del self.times[:-TREND], self.trend[:-TREND]

    @property
    def per_second(self) -> dict[str, float]:
        """The rates of all counts in the last `WINDOW`; empty before the second report."""
        if len(self._reports) < 2:  # noqa: PLR2004 - two make a rate
            return {}
        (began, before), (ended, now) = self._reports[0], self._reports[-1]
        return {name: round((count - before.get(name, 0)) / (ended - began), 2) for name, count in now.items()}
