"""The clocks that stamp the readings of a group: each point keeps its order, also after its clock was set back.

The clock of a device is treated as the clock of the gateway (`gateway.common.clock`). An era is the time between two
steps back. A step back by more than `AHEAD` begins a new era: times follow the clock at once, and are not trusted
while they were used in an era before. A smaller step back is made up for at half the pace of the clock.
"""

from __future__ import annotations

from array import array
from collections import deque
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.clock import AHEAD
from gateway.model.time import APART

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """The times of a group's points, and whether new readings are newer.

    The times of the part that came last are kept as a column: where it comes again, two columns are compared.
    `behind` contains the points whose clocks show times that are not later than an era before: their readings are
    placed even if they are newer.
    """

    __slots__ = ("_column", "_eras", "_first", "_newest", "_passed", "_slow", "behind")

    def __init__(self, points: int) -> None:
        self._newest = dict.fromkeys(range(points), UNKNOWN)
        self._column: tuple[tuple[int, ...], list[int]] | None = None  # newer than those of `_newest`
        self.behind: set[int] = set()
        self._first = array("q", bytes(8 * points))  # of the present era
        self._eras: dict[int, list[_Era]] = {}
        self._passed: dict[int, int] = {}  # the time of the whole scan before which the present era is
        self._slow: dict[int, tuple[int, int]] = {}  # a reading that was moved: its time by its clock, and its time

    @property
    def _last(self) -> dict[int, int]:
        """The newest time of each point, `UNKNOWN` before its first reading."""
        self._settle()
        return self._newest

    def _settle(self) -> None:
        if self._column is not None:
            self._newest.update(zip(*self._column, strict=True))
            self._column = None

    def are_newer(self, positions: Sequence[int], times: Sequence[int]) -> bool:
        """Return True if each point has a time that is later than all times before, also those of its eras before."""
        if self.behind and not self.behind.isdisjoint(positions):
            return False
        column = self._column
        if column is not None and column[0] is positions:
            return all(map(lt, column[1], times))
        return all(map(lt, map(self._last.__getitem__, positions), times))

    def note(self, positions: Sequence[int], times: list[int]) -> None:
        """Store the times of readings. A part of the group that comes again has the same tuple of positions."""
        if self._column is None or self._column[0] is not positions:
            self._settle()
        if type(positions) is tuple:
            self._column = positions, times.copy()
        else:
            self._newest.update(zip(positions, times, strict=True))

    def place(self, position: int, time: int, whole: int) -> tuple[int, bool]:
        """Return the time of a point's next reading, and whether the point used that time in an era before.

        `time` is the time by its clock, `whole` the time of the latest scan of the whole group.
        """
        last = self._last[position]
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
        for position, time in self._last.items():
            if time > latest:
                self._newest[position] = UNKNOWN
                self.behind.discard(position)
                self._eras.pop(position, None)
                self._passed.pop(position, None)

    def latest(self) -> int:
        """Return the newest time of all points, 0 without any."""
        return max((time for time in self._last.values() if time != UNKNOWN), default=0)


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
