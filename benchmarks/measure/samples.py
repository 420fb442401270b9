"""Samples of the processes of a long run, the outages in it, and the growth between them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR = 3600.0
MOST_GROWTH = 0.1
"""The permitted growth over the run, as a part of the median."""


class Outage(NamedTuple):
    """Something that was down, in seconds since the start of the run."""

    what: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One quantity of one process at a time in seconds since the start of the run. `pid` separates its lives."""

    time: float
    pid: int
    value: float


@dataclass(slots=True)
class Series:
    """The samples of one quantity.

    `least` is the growth over the run that is always permitted, in its unit; with None growth is not judged.
    """

    name: str
    unit: str
    least: float | None
    samples: list[Sample] = field(default_factory=list)

    def growth(self, outages: Sequence[Outage], skip: float, settle: float) -> Growth | None:
        """Return the growth while nothing was down; None if there are too few samples.

        The first `skip` seconds, outages, and `settle` seconds after each are left out.
        """
        healthy = [one for one in self.samples if is_healthy(one.time, outages, skip, settle)]
        slope = pooled_slope(healthy)
        if slope is None:
            return None
        middle = statistics.median(one.value for one in healthy)
        span = healthy[-1].time - healthy[0].time
        permitted = None if self.least is None else max(self.least, MOST_GROWTH * middle)
        return Growth(slope * HOUR, slope * span, middle, permitted)


class Growth(NamedTuple):
    """The growth of a quantity: per hour, over the run, its median, and the permitted growth over the run, if any."""

    per_hour: float
    over_run: float
    median: float
    permitted: float | None

    @property
    def is_flat(self) -> bool:
        """Whether it grows by no more than is permitted. A decrease is not growth."""
        return self.permitted is None or self.over_run <= self.permitted


def is_healthy(time: float, outages: Sequence[Outage], skip: float, settle: float) -> bool:
    """Return whether nothing is down at a time, and nothing was in the `settle` seconds before."""
    return time >= skip and not any(one.began <= time <= one.ended + settle for one in outages)


def pooled_slope(samples: Sequence[Sample]) -> float | None:
    """Return the common least-squares slope of all lives of a process, per second.

    Each life has a level of its own, so a restart is not a decrease. None without two times in a life.
    """
    above = below = 0.0
    for _, group in groupby(sorted(samples, key=lambda one: (one.pid, one.time)), key=lambda one: one.pid):
        life = list(group)
        time, value = (
            statistics.fmean(column) for column in zip(*((one.time, one.value) for one in life), strict=True)
        )
        above += sum((one.time - time) * (one.value - value) for one in life)
        below += sum((one.time - time) ** 2 for one in life)
    return above / below if below else None
