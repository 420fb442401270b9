"""The clocks that stamp the readings of a group: each point keeps its order, also after its clock was set back.

The clock of a device is treated as the clock of the gateway (`gateway.common.clock`). An era is the time between two
steps back. A step back by more than `AHEAD` begins a new era: times follow the clock at once, and are not trusted
while they were used in an era before. A smaller step back is made up for at half the pace of the clock.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import NamedTuple

from gateway.common.clock import AHEAD
from gateway.model.time import APART

UNKNOWN = 2**63
"""The newest time of a point without a reading: no time is later, so its first reading is looked at."""

MAX_ERAS = 7
"""Eras of one point that are remembered."""

SHIFT = APART + 7
"""Microseconds by which a time that was used before is moved, so that no store mixes the two readings: neither those
with a resolution of a millisecond, nor those that keep the microseconds of a source that counts milliseconds."""

MAX_EVENT_TIMES = 1000
"""Times of one point's events that are remembered."""


class _Era(NamedTuple):
    """The times between two steps back of a clock, first and last."""

    first: int
    last: int


class SourceClocks:
    """The times of a group's points. `last` is the newest time of each point, `UNKNOWN` before its first reading.

    `behind` contains the points whose clocks show times that are not later than an era before: their readings are
    placed even if they are newer than `last`.
    """

    __slots__ = ("_eras", "_first", "_passed", "_slow", "behind", "last")

    def __init__(self, points: int) -> None:
        self.last = dict.fromkeys(range(points), UNKNOWN)
        self.behind: set[int] = set()
        self._first = array("q", bytes(8 * points))  # of the present era
        self._eras: dict[int, list[_Era]] = {}
        self._passed: dict[int, int] = {}  # the time of the whole scan before which the present era is
        self._slow: dict[int, tuple[int, int]] = {}  # a reading that was moved: its time by its clock, and its time

    def place(self, position: int, time: int, whole: int) -> tuple[int, bool]:
        """Return the time of a point's next reading, and whether the point used that time in an era before.

        `time` is the time by its clock, `whole` the time of the latest scan of the whole group.
        """
        last = self.last[position]
        if last == UNKNOWN:
            self._first[position] = time
            if time > whole:
                return time, False
            if whole - time <= AHEAD:
                return whole + 1, False
            self._passed[position] = whole  # a fault before the first reading, with the time of another clock
            return time, False
        floor = last if self._passed.get(position) == whole else max(last, whole)
        eras = self._eras.get(position)
        if floor - time > AHEAD:
            eras = self._step(position, time, _Era(self._first[position], floor), whole)
            floor = 0
        used = 0
        if eras:
            used = sum(era.first <= time <= era.last for era in eras)
            if any(time <= era.last for era in eras):
                self.behind.add(position)
            else:
                self.behind.discard(position)
        placed = time + used * SHIFT
        if placed <= floor:
            placed = self._made_up(position, time, floor)
        return placed, used > 0

    def _made_up(self, position: int, time: int, floor: int) -> int:
        """Return the time of a reading whose clock is a little behind: half of the time since its last reading."""
        before, placed = self._slow.get(position, (time, floor))
        since = time - before if placed == floor else 0
        placed = floor + max(1, since // 2)
        self._slow[position] = time, placed
        return placed

    def _step(self, position: int, time: int, era: _Era, whole: int) -> list[_Era]:
        """Begin a new era of one point; return the eras before it."""
        self._eras[position] = eras = [*self._eras.get(position, ()), era][-MAX_ERAS:]
        self._first[position] = time
        self._passed[position] = whole
        return eras

    def forget_after(self, latest: int) -> None:
        """Forget the points whose newest reading is later: its time was of a clock that is no longer used."""
        for position, time in self.last.items():
            if time > latest:
                self.last[position] = UNKNOWN
                self.behind.discard(position)
                self._eras.pop(position, None)
                self._passed.pop(position, None)

    def latest(self) -> int:
        """Return the newest time of all points, 0 without any."""
        return max((time for time in self.last.values() if time != UNKNOWN), default=0)


class EventTimes:
    """The times of a group's events. Each keeps its own, since a server may repeat an earlier event at any time.

    Two events of one time would become a single row of a store: the second is moved by a microsecond.
    """

    def __init__(self, points: int) -> None:
        self._used = [set[int]() for _ in range(points)]
        self._order = [deque[int]() for _ in range(points)]

    def place(self, position: int, time: int) -> int:
        """Return the time of an event: its own, or the next that no recent event of the point has."""
        used, order = self._used[position], self._order[position]
        while time in used:
            time += 1
        used.add(time)
        order.append(time)
        if len(order) > MAX_EVENT_TIMES:
            used.discard(order.popleft())
        return time
