"""The feed of one line: its machines in their order, who waits for whom, the bottleneck, counts and timelines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.feeds.machine_rows import row_of
from gateway.dashboard.feeds.overview import timeline
from gateway.dashboard.feeds.timelines import coarse
from gateway.dashboard.live.roles import kind_of
from gateway.dashboard.texts.text import _
from gateway.production.flow import Load, bottleneck, load_of, stages_of, stops_of, waiting_for
from gateway.status.fleet import NOT_VERIFIED

if TYPE_CHECKING:
    from gateway.dashboard.live.machine import LiveMachine, Transition
    from gateway.dashboard.live.plant import Plant
    from gateway.dashboard.plants import Plants

SPANS = 15 * 60, 60 * 60, 8 * 60 * 60
"""Seconds that a page may choose."""

PAGE = 60
"""Machines whose timelines one page may see at once."""

SLICE = 60
"""Machines whose figures are computed in one go: a long line takes several, so that no other page waits."""

LONG, LONG_EVERY = 200, 1.0
"""Machines of a long line, and the seconds between two messages of it."""

FIGURES_EVERY, STOPS_EVERY = 5.0, 2.0
"""Seconds between two looks at the figures of a machine, and at the stops."""

HALF_HOUR, FIVE_MINUTES = 30 * 60 * 1_000_000, 5 * 60 * 1_000_000

PIXELS = 600
"""Segments of a timeline that a picture can show."""

NOT_CONNECTED = frozenset({"offline", "no gateway", "unknown", NOT_VERIFIED})


class Figures(NamedTuple):
    """The work of a machine: counts in the chosen time, rates by the hour, parts of the last five minutes.

    `waiting` is the part of the last half hour in which it waited. None is unknown.
    """

    good: float | None
    reject: float | None
    good_per_hour: float | None
    reject_per_hour: float | None
    passed: float | None
    cycle_time: float | None
    waiting: float | None


class _Member:
    """A machine of the line, and what was computed of it."""

    def __init__(self, plant: Plant, machine: LiveMachine) -> None:
        self.plant = plant
        self.machine = machine
        self.figures: Figures | None = None
        self._kinds: list[tuple[int, str]] = []
        self._ends: tuple[Transition | None, Transition | None] = None, None

    @property
    def kinds(self) -> list[tuple[int, str]]:
        """The kinds of its states of production with their begins, oldest first."""
        produced = self.machine.production
        ends = (produced[0], produced[-1]) if produced else (None, None)
        if ends[0] is not self._ends[0] or ends[1] is not self._ends[1]:
            self._ends, self._kinds = ends, [(one.time, kind_of(one.state)) for one in produced]
        return self._kinds

    @property
    def cycle_time(self) -> float | None:
        """The seconds of its last cycle."""
        at = self.machine.roles.cycle_time
        value = None if at is None else self.machine.values[at]
        return float(value) if isinstance(value, int | float) and value > 0 else None

    def load(self, now: int) -> Load:
        """Return the load of the machine in the last half hour."""
        return load_of([self.kinds], [self.cycle_time], now - HALF_HOUR, now)

    def compute(self, span: int, now: int) -> None:
        """Compute its figures."""
        good, reject = self.machine.counts.get("good"), self.machine.counts.get("reject")
        load = self.load(now)
        self.figures = Figures(
            None if good is None else good.within(now - span, now),
            None if reject is None else reject.within(now - span, now),
            None if good is None else good.per_hour(now - span, now),
            None if reject is None else reject.per_hour(now - span, now),
            None if good is None else good.within(now - FIVE_MINUTES, now),
            self.cycle_time,
            load.waiting if load.known else None,
        )


class LineFeed(Feed):
    """A line; `path` names it, and `span` is the time of its timelines in seconds.

    `first` to `last` are the positions of the machines whose timelines are sent. A message has the changes of these:

    `machines` `stages`   all rows of the overview in their order, and the positions of each stage
    `link`                whether the broker is connected, and since when
    `changed`             position and row of machines that changed; `waits` is `starved`, `blocked` or `waits`
    `figures`             see `Figures`, by position
    `bottleneck`          see `Bottleneck`, with the part of the time in which it waited; null without a bottleneck
    `timelines`           of visible machines, by position
    `stops`               of visible machines, each with the machines that it stopped
    """

    every = 0.5

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._path: tuple[str, ...] = ()
        self._span = SPANS[0] * 1_000_000
        self._first, self._last = 0, PAGE
        self._missing = False
        self._forget()

    def _forget(self) -> None:
        self._version = -1
        self._members: list[_Member] = []
        self._stages: list[list[int]] = []
        self._rows: list[dict[str, Any]] = []
        self._figures: dict[int, Figures | None] = {}
        self._next, self._figures_due, self._stops_due = 0, 0.0, 0.0
        self._drawn: dict[int, Transition] = {}  # position -> the first state of the timeline that was sent
        self._parts: dict[str, Any] = {}

    def choose(self, arguments: dict[str, Any]) -> None:
        path, span = arguments.get("path"), arguments.get("span", SPANS[0])
        levels = tuple(path.split("/")) if isinstance(path, str) else ()
        if len(levels) != 4 or not all(levels):  # noqa: PLR2004 - ISA-95
            raise BadArguments(_("path is enterprise/site/area/line"))
        first, last = arguments.get("first", 0), arguments.get("last", PAGE)
        if type(first) is not int or type(last) is not int or not 0 <= first <= last <= first + PAGE:
            raise BadArguments(_("first and last are positions of at most {most} machines", most=PAGE))
        if span not in SPANS:
            raise BadArguments(_("span is one of {spans} seconds", spans=", ".join(map(str, SPANS))))
        if levels != self._path:
            self._path, self._missing = levels, False
            self._forget()
        if span * 1_000_000 != self._span:
            self._span, self._drawn, self._next, self._figures_due = span * 1_000_000, {}, 0, 0.0
        self._first, self._last = first, last
        self._drawn = {at: one for at, one in self._drawn.items() if first <= at < last}
        self._stops_due = 0.0

    def changes(self) -> dict[str, Any] | None:
        content: dict[str, Any] = self._find()
        if not self._members:
            if self._missing:
                return None
            self._missing = True
            return {"missing": True}
        self._missing = False
        now = time.time_ns() // 1000
        rows = self._all_rows()
        if "stages" in content or not self._rows:
            content |= {"machines": rows, "stages": self._stages}
        elif changed := [[at, row] for at, row in enumerate(rows) if row != self._rows[at]]:
            content["changed"] = changed
        self._rows = rows
        content |= self._new("link", self._link())
        content |= self._new_figures(now) | self._timelines(now) | self._new_stops(now)
        return content or None

    def _find(self) -> dict[str, Any]:
        """Look for the machines of the line again, if any set of machines has changed."""
        if self.plants.version == self._version:
            return {}
        version = self.plants.version
        found = [
            (plant, machine)
            for plant in self.plants.plants
            for machine in plant.machines.values()
            if machine.path[:4] == self._path
        ]
        stages = stages_of([machine.template for _, machine in found])
        same = [machine for _, machine in found] == [one.machine for one in self._members] and stages == self._stages
        if not same:
            self._forget()
            self._members, self._stages = [_Member(*one) for one in found], stages
            self.every = LONG_EVERY if len(found) > LONG else LineFeed.every
        self._version = version
        return {} if same else {"stages": stages}

    def _link(self) -> dict[str, Any]:
        """Return the state of the connection to the broker of the line."""
        link = self._members[0].plant.link
        return {"connected": link is not None and link.connected, "since": 0 if link is None else link.since}

    def _all_rows(self) -> list[dict[str, Any]]:
        rows = [row_of(self.plants, one.plant, one.machine) for one in self._members]
        kinds = ["offline" if row["state"] in NOT_CONNECTED else row.get("kind", "unknown") for row in rows]
        waits = waiting_for(kinds, self._stages)
        return [row | {"waits": why} if why else row for row, why in zip(rows, waits, strict=True)]

    def _new_figures(self, now: int) -> dict[str, Any]:
        """Compute the figures of the next machines; after the last of them, find the bottleneck."""
        if self._next == 0 and time.monotonic() < self._figures_due:
            return {}
        end = min(self._next + SLICE, len(self._members))
        content: dict[str, Any] = {}
        for at in range(self._next, end):
            member = self._members[at]
            member.compute(self._span, now)
            if member.figures != self._figures.get(at):
                self._figures[at] = member.figures
                content.setdefault("figures", {})[at] = list(member.figures or ())
        self._next = end if end < len(self._members) else 0
        if self._next == 0:
            self._figures_due = time.monotonic() + FIGURES_EVERY
            content |= self._new("bottleneck", self._bottleneck(now))
        return content

    def _bottleneck(self, now: int) -> dict[str, Any] | None:
        loads = []
        for stage in self._stages:
            some = [self._members[at] for at in stage]
            loads.append(load_of([one.kinds for one in some], [one.cycle_time for one in some], now - HALF_HOUR, now))
        found = bottleneck(loads)
        return None if found is None else found._asdict() | {"waiting": round(loads[found.stage].waiting, 3)}

    def _timelines(self, now: int) -> dict[str, Any]:
        """Return the timelines of machines that have become visible, or whose history has been read."""
        found = {}
        for at in range(self._first, min(self._last, len(self._members))):
            produced = self._members[at].machine.production
            if not produced or self._drawn.get(at) is produced[0]:
                continue
            self._drawn[at] = produced[0]
            found[at] = coarse(timeline(produced, now - self._span), self._span // PIXELS, now)
        return {"timelines": found} if found else {}

    def _new_stops(self, now: int) -> dict[str, Any]:
        """Return the stops of the machines that are visible, if there are others than before."""
        if time.monotonic() < self._stops_due:
            return {}
        self._stops_due = time.monotonic() + STOPS_EVERY
        visible = range(self._first, min(self._last, len(self._members)))
        timelines = [self._members[at].kinds for at in visible]
        stages = [[at - self._first for at in stage if at in visible] for stage in self._stages]
        stops = stops_of(timelines, [stage for stage in stages if stage], now - self._span)
        return self._new(
            "stops",
            [
                {
                    "machine": one.machine + self._first, "begin": one.begin, "end": one.end, "kind": one.kind,
                    "affected": [[at + self._first, since, why] for at, since, why in one.affected],
                }
                for one in stops
            ],
        )  # fmt: skip

    def _new(self, part: str, value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return a part that differs from the last message."""
        if part in self._parts and self._parts[part] == value:
            return {}
        self._parts[part] = value
        return {part: value}
