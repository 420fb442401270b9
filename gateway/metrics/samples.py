"""The values of metrics at one time, as plain data: a worker sends them to its supervisor as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.common.histogram import FixedHistogram
from gateway.metrics.definitions import BUCKETS, DEFINITIONS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.common.histogram import Histogram

MAX_LABEL = 200
"""Characters of a label value; names of the configuration have at most 128."""

Labels = tuple[str, ...]
"""The values of the labels of a metric, in the order of its definition."""

Numbers = tuple[float, ...]
"""The value of a counter or gauge; sum and count of a summary; sum, count and cumulative counts of a histogram."""


Row = tuple[Labels, Numbers]
"""One series."""


class Columns(NamedTuple):
    """Many series of one metric: their labels, and the numbers of all of them, series by series.

    As long as the labels are the same object, a text costs little more than its digits.
    """

    labels: tuple[Labels, ...]
    numbers: list[float]


class Samples:
    """Series by the names of their metrics: as rows, or as columns where there are many."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {name: [] for name in DEFINITIONS}
        self._columns: dict[str, Columns] = {}

    def __contains__(self, name: str) -> bool:
        return bool(self._rows[name]) or name in self._columns

    def rows(self, name: str) -> list[Row]:
        """Return the series of a metric that are rows."""
        return self._rows[name]

    def columns(self, name: str) -> Columns | None:
        """Return the series of a metric that are columns."""
        return self._columns.get(name)

    def set_columns(self, name: str, labels: tuple[Labels, ...], numbers: list[float]) -> None:
        """Add many series of a counter, gauge or summary. The numbers are finite."""
        if labels:
            self._columns[name] = Columns(labels, numbers)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Add the value of a counter or a gauge."""
        self._rows[name].append((labels, (+value,)))  # True is 1

    def set_histogram(self, name: str, histogram: FixedHistogram | Histogram, *labels: str) -> None:
        """Add the observations of a histogram; if it has fixed buckets, those of `BUCKETS`."""
        if isinstance(histogram, FixedHistogram):
            counts = histogram.counts
        else:
            counts = histogram.cumulative((*BUCKETS[name], math.inf))
        self._rows[name].append((labels, (histogram.total, counts[-1], *counts)))

    def set_each(self, name: str, values: Mapping[str, float], known: Iterable[str] = ()) -> None:
        """Add a value for each value of the only label; `known` values of the label are there with 0 at least."""
        for label in dict.fromkeys((*known, *values)):
            self.set(name, values.get(label, 0), label[:MAX_LABEL])

    def total(self, name: str) -> float:
        """Return the sum of all series of a counter or gauge."""
        return sum(numbers[0] for _, numbers in self._rows[name])

    def as_dict(self) -> dict[str, Any]:
        """Return the series in the form of JSON."""
        found = {
            name: [(list(labels), list(numbers)) for labels, numbers in rows] for name, rows in self._rows.items()
        }
        for name, (labels, numbers) in self._columns.items():
            size = len(numbers) // len(labels)
            found[name] += [(list(one), numbers[at * size : at * size + size]) for at, one in enumerate(labels)]
        return {name: rows for name, rows in found.items() if rows}

    @classmethod
    def of(cls, data: Mapping[str, Iterable[tuple[Iterable[str], Iterable[float]]]]) -> Samples:
        """Return samples from the form of JSON; a metric that is not defined, or has other labels, is left out."""
        found = cls()
        for name, rows in data.items():
            definition = DEFINITIONS.get(name)
            if definition is None:
                continue
            size = {Kind.SUMMARY: 2, Kind.HISTOGRAM: len(BUCKETS.get(name, ())) + 3}.get(definition.kind, 1)
            valid = [(tuple(labels), tuple(numbers)) for labels, numbers in rows]
            found._rows[name] = [one for one in valid if (len(one[0]), len(one[1])) == (len(definition.labels), size)]
        return found


class MetricsPart(NamedTuple):
    """Samples of one process, and the labels that all of them have."""

    labels: Mapping[str, str]
    samples: Samples
