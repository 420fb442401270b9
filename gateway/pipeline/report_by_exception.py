"""Report by exception: send changes, changes beyond a deadband, and a reading at an interval.

A reading that is not good is sent when its fault is new, and then at the interval: an hour of `no_response`
is not 3,600 rows. Readings that are not sent are counted as unchanged.
"""

from __future__ import annotations

from operator import add, ne
from typing import TYPE_CHECKING, cast

from drivers.base import Scan, Value, ValueType
from gateway.common.by_identity import cached_by_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Fault
    from gateway.settings.point import Point


PUSHED_PART = 0.7
"""The part of `at_least_every` after which a pushed value is sent again: its driver repeats it early, since it can do
so only when it hears from the device."""


class _Rules:
    """When the readings of a group's points are sent, for all machines that have these points."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.always = [not point.on_change and point.deadband is None for point in points]
        self.all_always = all(self.always)
        # only numbers have a deadband to compare against; 0 means that any change counts
        numbers = {ValueType.FLOAT, ValueType.INT}
        self.dead = [point.least_change if point.type in numbers else 0.0 for point in points]
        self.has_deadbands = any(self.dead)
        self.interval = [round(point.at_least_every * 1_000_000 * _part(point)) for point in points]
        # a whole good scan is compared at once, if all readings before it were good and are not of a later time
        self.comparable = not any(self.always)


_rules = cached_by_identity()(_Rules)


class ReportByException:
    """The filter of one group's scans; it keeps the reading that was sent last of each point."""

    __slots__ = ("_due", "_fault", "_faulty", "_newest", "_rules", "_sent", "_value", "sends_all")

    def __init__(self, points: Sequence[Point]) -> None:
        self._rules = _rules(points)
        self._value: list[Value | None] = [None] * len(points)
        self._fault: list[Fault | None] = [None] * len(points)
        self._sent = [0] * len(points)
        self._faulty = 0
        self.sends_all = self._rules.all_always
        """Whether `keep` returns a scan without faults as it is."""
        self._newest, self._due = 0, -1  # when a reading was sent last, and when the first has to be sent again

    def keep(self, scan: Scan) -> Scan | None:
        """Return what of a scan is to be sent, None where nothing is."""
        whole = scan.points is None and scan.times is None
        if not (scan.faults or self._faulty):
            if self.sends_all:
                return scan
            if whole and self._due >= 0 and self._newest <= scan.time:
                return self._keep_of_whole(scan)
        positions = scan.points if scan.points is not None else range(len(scan.values))
        kept = [i for i, position in enumerate(positions) if self._worth(scan, i, position)]
        self._due = -1
        if whole and self._rules.comparable and not self._faulty and all(self._sent):
            self._note_sent()
        if len(kept) == len(scan.values):
            return scan
        return _choose(scan, kept, positions) if kept else None

    def _note_sent(self) -> None:
        self._newest, self._due = max(self._sent), min(map(add, self._sent, self._rules.interval))

    def _keep_of_whole(self, scan: Scan) -> Scan | None:
        """Return the changes in a good scan of the whole group, and the readings that are due to be sent again."""
        values, before, sent, now = scan.values, self._value, self._sent, scan.time
        due = now >= self._due
        if not due and values == before:
            return None
        kept = [i for i, differs in enumerate(map(ne, values, before)) if differs]
        if self._rules.has_deadbands:
            kept = [i for i in kept if self._changed(values[i], i)]
        if due:
            again = [
                i
                for i, (then, interval) in enumerate(zip(sent, self._rules.interval, strict=True))
                if now - then >= interval
            ]
            kept = sorted({*kept, *again})
        for i in kept:
            before[i] = values[i]
            sent[i] = now
        if due:
            self._note_sent()
        elif kept:
            self._newest = now
        if len(kept) == len(values):
            return scan
        return _choose(scan, kept, range(len(values))) if kept else None

    def _worth(self, scan: Scan, i: int, position: int) -> bool:
        """Decide on one reading, and remember it where it is sent."""
        value, fault = scan.values[i], scan.faults.get(i)
        time = scan.time if scan.times is None else scan.times[i]
        if fault is None and self._rules.always[position] and self._fault[position] is None:
            return True
        before = self._fault[position]
        # a clock that was set back far makes the time since then negative
        if (
            fault == before
            and self._sent[position]
            and 0 <= time - self._sent[position] < self._rules.interval[position]
        ):
            if fault is not None and value is None:
                return False
            if not self._rules.always[position] and not self._changed(value, position):
                return False
        self._faulty += (fault is not None) - (before is not None)
        self.sends_all = self._rules.all_always and not self._faulty
        self._fault[position] = fault
        self._value[position] = value
        self._sent[position] = time
        return True

    def _changed(self, value: Value | None, position: int) -> bool:
        before, dead = self._value[position], self._rules.dead[position]
        if dead and before is not None:
            return abs(cast("float", value) - cast("float", before)) >= dead
        return value != before


def _part(point: Point) -> float:
    return PUSHED_PART if point.source.pushed and point.repeated else 1.0


def _choose(scan: Scan, kept: list[int], positions: Sequence[int]) -> Scan:
    """Return the scan with only the readings at the places `kept`."""
    faults = scan.faults
    return Scan(
        scan.group,
        scan.time,
        [scan.values[i] for i in kept],
        {new: faults[i] for new, i in enumerate(kept) if i in faults} if faults else {},
        [positions[i] for i in kept],
        None if scan.times is None else [scan.times[i] for i in kept],
    )
