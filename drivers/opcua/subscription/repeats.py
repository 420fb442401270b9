"""Delivers readings of subscribed points again that did not change, for `at_least_every`.

A server sends changes only. That a value did not change is known at the last message of its subscription, so a
repeated reading has the time of that message; keep-alives are requested often enough for that.
"""

from __future__ import annotations

import asyncio
import math
from itertools import chain, takewhile
from typing import TYPE_CHECKING, NamedTuple, cast

from drivers.base import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from drivers.base import Fault, Value
    from drivers.opcua.settings import OpcUaGroup

EARLY = 0.75
"""The part of the interval after which a reading is repeated, because the next message may come much later."""

MESSAGES = 4
"""Keep-alives in an interval."""


class _Latest(NamedTuple):
    """The latest reading of a point: its time by its clock, and the event loop's time of its arrival."""

    value: Value | None
    fault: Fault | None
    time: int
    arrived: float


class Repeats:
    """The latest readings of the points of a session that are repeated."""

    def __init__(self) -> None:
        # by interval, in the order of their arrival
        self._latest: dict[OpcUaGroup, dict[float, dict[int, _Latest]]] = {}

    def add(self, group: OpcUaGroup) -> None:
        """Add a group, if it has points to repeat."""
        if group.repeats:
            self._latest.setdefault(group, {interval: {} for interval in set(group.repeats) - {0.0}})

    def drop(self, groups: Container[OpcUaGroup]) -> None:
        """Forget groups."""
        self._latest = {group: latest for group, latest in self._latest.items() if group not in groups}

    @property
    def due(self) -> float:
        """Event loop time at which the next reading has to be repeated; infinite if a message has to come first."""
        first = (
            next(iter(latest.values())).arrived + interval
            for intervals in self._latest.values()
            for interval, latest in intervals.items()
            if latest
        )
        now = asyncio.get_running_loop().time()
        return min((due for due in first if due > now), default=math.inf)

    def note(self, scans: Iterable[Scan], present: Callable[[OpcUaGroup, int], int]) -> None:
        """Store the readings of scans; `present` returns a group's time at an arrival."""
        if not self._latest:
            return
        arrived = asyncio.get_running_loop().time()
        for scan in scans:
            group = cast("OpcUaGroup", scan.group)
            if group not in self._latest or scan.late:
                continue
            intervals, now = self._latest[group], present(group, scan.time)
            for i, position in enumerate(cast("Sequence[int]", scan.points)):
                interval = group.repeat(position)
                if not interval:
                    continue
                time = cast("list[int]", scan.times)[i]
                # a first value may have been written long ago, and was read now
                before = intervals[interval].pop(position, None)
                time = max(time, now) if before is None else time
                intervals[interval][position] = _Latest(scan.values[i], scan.faults.get(i), time, arrived)

    def take(self, heard: Callable[[OpcUaGroup], float], clock: Callable[[], int]) -> list[Scan]:
        """Return scans of the readings that did not change, up to the last message of each group's subscription.

        `heard` returns the event loop time of that message.
        """
        scans = []
        for group, intervals in self._latest.items():
            if any(intervals.values()):
                found = list(chain.from_iterable(_unchanged(intervals, heard(group))))
                if found:
                    scans.append(_scan(group, clock(), found))
        return scans


def _unchanged(intervals: dict[float, dict[int, _Latest]], heard: float) -> Iterable[list[tuple[int, _Latest]]]:
    """Yield the readings that are due, with their positions; they are stored as those that arrived last."""
    for interval, latest in intervals.items():
        due = list(takewhile(lambda one: heard - one[1].arrived >= interval * EARLY, latest.items()))  # noqa: B023 - used at once
        again = []
        for position, one in due:
            passed = round((heard - one.arrived) * 1_000_000)
            again.append((position, one._replace(time=one.time + passed, arrived=heard)))
            del latest[position]
        latest.update(again)
        yield again


def _scan(group: OpcUaGroup, now: int, readings: Sequence[tuple[int, _Latest]]) -> Scan:
    return Scan(
        group,
        now,
        [one.value for _, one in readings],
        {i: one.fault for i, (_, one) in enumerate(readings) if one.fault is not None},
        [position for position, _ in readings],
        [one.time for _, one in readings],
    )
