"""One machine as the page knows it: its points, their newest readings, and its state."""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.base import Quality
from gateway.dashboard.live.counts import MinuteCounts
from gateway.dashboard.live.points import declared, described_points
from gateway.dashboard.live.roles import alarm_words_of, roles_of, serials_of, state_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivers.base import Value
    from gateway.dashboard.live.points import PointInfo
    from gateway.model.path import MachinePath
    from gateway.model.reading import NamedScan, Reading
    from gateway.mqtt.messages import DisplayedMeta, MachineState

TRANSITIONS = 2_000
"""States of a machine that are remembered."""

TRAIL, TRAIL_STEP = 120, 2_000_000
"""Readings of a point that are remembered for its sparkline, and the microseconds between two of them at least."""

USUAL, LEARNED = 0.05, 150
"""The part of the readings below and above the usual range, and the readings after which it is known."""

PACE = 1 / 200
"""How fast the usual range follows: about half an hour of readings count."""

NONE, GOOD, UNCERTAIN, BAD = range(4)
"""The quality of a point's newest reading, as a number; `NONE` before the first."""

QUALITY_CODES = {Quality.GOOD: GOOD, Quality.UNCERTAIN: UNCERTAIN, Quality.BAD: BAD}


COUNTERS = "good", "reject"
"""The roles of the counters whose counts are remembered by the minute."""


class Transition(NamedTuple):
    """The beginning of a state, in microseconds since the epoch."""

    time: int
    state: str
    reason: str = ""


class Fault(NamedTuple):
    """Why a reading is not good: its reason, and the protocol's code."""

    reason: str
    code: str


class Trail:
    """The last readings of a point with numbers: times and values in two rings; a bad reading is a NaN."""

    __slots__ = ("_bad", "_count", "_high", "_last", "_low", "_next", "_spread", "times", "values")

    def __init__(self) -> None:
        self.times = array("q")
        self.values = array("d")
        self._next = 0
        self._last = 0
        self._bad = False
        self._low = self._high = self._spread = 0.0
        self._count = 0

    def add(self, time: int, value: float) -> None:
        """Add a reading, unless the reading before is too near; begin and end of bad readings always count."""
        if time - self._last < TRAIL_STEP and (value != value) == self._bad:  # noqa: PLR0124 - a NaN differs from itself
            return
        self._last, self._bad = time, value != value  # noqa: PLR0124 - as above
        if value - value == 0:  # a number
            self._learn(value)
        if len(self.times) < TRAIL:
            self.times.append(time)
            self.values.append(value)
            return
        self.times[self._next], self.values[self._next] = time, value
        self._next = (self._next + 1) % TRAIL

    def _learn(self, value: float) -> None:
        """Move both ends of the usual range towards their quantiles (stochastic approximation, Robbins and Monro)."""
        self._count = count = self._count + 1
        if count == 1:
            self._low = self._high = value
            return
        pace = max(PACE, 1 / count)
        self._spread += pace * (abs(value - (self._low + self._high) / 2) - self._spread)
        step = 4 * pace * self._spread
        self._low += step * (USUAL if value > self._low else USUAL - 1)
        self._high += step * (1 - USUAL if value > self._high else -USUAL)
        if self._low > self._high:
            self._low = self._high = (self._low + self._high) / 2

    @property
    def usual(self) -> tuple[float, float] | None:
        """The range of nine tenths of the readings of about half an hour; None until it is known."""
        return (self._low, self._high) if self._count >= LEARNED and self._low < self._high else None

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Yield the readings in the order of their times."""
        for position in range(len(self.times)):
            at = (self._next + position) % len(self.times)
            yield self.times[at], self.values[at]


class LiveMachine:
    """The newest readings of a machine, as columns by the position of the point.

    `version` grows with each change; `versions` has that of the last change of each point. `meta_id` is the id of
    the published description; before it is published the points are those of the configuration, if any.
    """

    __slots__ = (
        "_counters", "alarm_words", "connection", "counts", "fault", "faults", "gateway", "index", "meta_id", "path",
        "points", "production", "protocol", "qualities", "reason", "roles", "scanned", "serials", "shown", "signer",
        "since", "state", "template", "times", "trails", "transitions", "unauthenticated", "values", "version",
        "versions",
    )  # fmt: skip

    def __init__(self, path: MachinePath) -> None:
        self.path = path
        self.template = self.protocol = self.gateway = self.reason = self.meta_id = ""
        self.unauthenticated = ""
        """The protocol of its configured connection if that has no authentication; else empty."""
        self.state, self.since = "unknown", 0
        self.signer, self.connection = "", 0
        """The gateway that has signed the state, and its connection; empty without a signature."""
        self.fault = ""
        """Why a later state was refused; empty if none was."""
        self.version = 0
        self.scanned = 0
        """The time of the newest reading of any point."""
        self.transitions: deque[Transition] = deque(maxlen=TRANSITIONS)
        """The states of its connection, oldest first."""
        self.production: deque[Transition] = deque(maxlen=TRANSITIONS)
        """The states that its state point named, oldest first."""
        self.counts: dict[str, MinuteCounts] = {}
        """Counts of its counters of parts, by role: `good` and `reject`."""
        self.shown: tuple[object, dict[str, Any]] | None = None
        """The row that the pages show, and what it was made of; owned by the feeds."""
        self._clear(())

    def _clear(self, points: tuple[PointInfo, ...]) -> None:
        self.points = points
        self.roles = roles_of(points)
        self._counters = [(role, at) for role in COUNTERS if (at := getattr(self.roles, role)) is not None]
        self.alarm_words, self.serials = alarm_words_of(points), serials_of(points)
        self.index = {point.name: position for position, point in enumerate(points)}
        self.values: list[Value | None] = [None] * len(points)
        self.times = [0] * len(points)
        self.qualities = bytearray(len(points))
        self.versions = [0] * len(points)
        self.faults: dict[int, Fault] = {}
        self.trails: dict[int, Trail] = {}

    def describe(self, template: str, protocol: str, points: tuple[PointInfo, ...]) -> None:
        """Set the points. Readings of points that stay are kept."""
        before = {
            point.name: (
                self.values[at],
                self.times[at],
                self.qualities[at],
                self.faults.get(at),
                self.trails.get(at),
            )
            for at, point in enumerate(self.points)
            if self.times[at]
        }
        self.template, self.protocol = template, protocol
        self._clear(points)
        self.version += 1
        for at, point in enumerate(points):
            self.versions[at] = self.version
            if point.name in before:
                self.values[at], self.times[at], self.qualities[at], fault, trail = before[point.name]
                if fault is not None:
                    self.faults[at] = fault
                if trail is not None:
                    self.trails[at] = trail

    def take_meta(self, meta: DisplayedMeta) -> None:
        """Take the description that the gateway has published."""
        self.meta_id = meta.id
        points = described_points(meta)
        if (self.template, self.protocol, self.points) != (meta.template, meta.protocol, points):
            self.describe(meta.template, meta.protocol, points)

    def take_state(self, state: MachineState) -> bool:
        """Take the state of the connection; return whether it is another than before."""
        changed = (state.state, state.reason) != (self.state, self.reason)
        self.state, self.reason, self.since, self.gateway = state.state, state.reason, state.since, state.gateway
        if changed:
            self.transitions.append(Transition(state.since, state.state, state.reason))
            self.version += 1
        return changed

    def take_scan(self, scan: NamedScan) -> None:
        """Take the readings of a scan; a reading that is older than the newest reading of its point is left out."""
        self.version += 1
        version, index, times = self.version, self.index, self.times
        names, values = scan.columns
        plain = scan.is_good
        for name, value in zip(names, values, strict=True):
            at = index.get(name)
            if at is None:
                continue
            time = scan.time if plain else scan.times.get(name, scan.time)
            if time < times[at]:
                continue
            times[at] = time
            self.values[at] = value
            self.versions[at] = version
            reason = "" if plain else scan.uncertain.get(name, "")
            if reason:
                self.qualities[at] = UNCERTAIN
                self.faults[at] = Fault(reason, scan.codes.get(name, ""))
            else:
                if self.qualities[at] > GOOD:
                    self.faults.pop(at, None)
                self.qualities[at] = GOOD
            if isinstance(value, int | float):
                trail = self.trails.get(at)
                if trail is None:
                    trail = self.trails[at] = Trail()
                trail.add(time, value)
        self.scanned = max(self.scanned, scan.time)
        if scan.bad:
            self._take_bad(scan)
        self._follow(version)

    def _follow(self, version: int) -> None:
        """Note the state of production and the counters in the readings of a version."""
        for role, counter in self._counters:
            if self.versions[counter] == version:
                self._count(role, counter)
        at = self.roles.state
        if at is not None and self.versions[at] == version:
            self._take_production(self.times[at], at)

    def _count(self, role: str, at: int) -> None:
        """Add the difference of a counter since its last reading; a bad reading counts nothing."""
        value = self.values[at]
        if isinstance(value, int | float):
            self.counts.setdefault(role, MinuteCounts()).take(self.times[at], value)

    def _take_production(self, time: int, at: int) -> None:
        """Note the state of production, if it is another than before; a bad reading makes it `unknown`."""
        state = "unknown" if self.qualities[at] == BAD else state_name(self.points[at], self.values[at])
        if not self.production or self.production[-1].state != state:
            self.production.append(Transition(time, state))

    def _take_bad(self, scan: NamedScan) -> None:
        """Take the bad readings of a scan: a bad reading has no value."""
        for name, reason in scan.bad.items():
            at = self.index.get(name)
            time = scan.times.get(name, scan.time)
            if at is None or time < self.times[at]:
                continue
            self.times[at] = time
            self.values[at] = None
            self.qualities[at] = BAD
            self.versions[at] = self.version
            self.faults[at] = Fault(reason, scan.codes.get(name, ""))
            if at in self.trails:
                self.trails[at].add(time, float("nan"))

    def take_stored(self, reading: Reading) -> None:
        """Take a reading out of a store, if it is newer than the readings of the broker."""
        at = self.index.get(reading.point)
        if at is None or reading.time <= self.times[at] or reading.unit != self.points[at].unit:
            return
        self.version += 1
        self.values[at] = declared(reading.value, self.points[at].type)
        self.times[at], self.versions[at] = reading.time, self.version
        self.qualities[at] = QUALITY_CODES[reading.quality]
        if reading.reason:
            self.faults[at] = Fault(reading.reason, reading.code)
        if at == self.roles.state:
            self._take_production(reading.time, at)

    def take_history(self, transitions: Iterable[Transition]) -> None:
        """Put earlier states of production before those that are known."""
        known = list(self.production)
        self.production.clear()
        for one in sorted([*transitions, *known]):
            if not self.production or self.production[-1].state != one.state:
                self.production.append(one)
        self.version += 1
