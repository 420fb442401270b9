"""The flow of parts through a line: who waits for whom, who stopped whom, and the bottleneck. Pure functions.

A line is a row of stages. A stage is one machine, or several of the same template side by side that share its work.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

PRODUCING = frozenset({"producing"})

STANDING = frozenset({"idle", "stopped", "held", "aborted"})
"""Kinds of states in which a machine makes nothing, for a reason of its own."""

WAITING = "suspended"
"""The kind of the states in which a machine waits for others (PackML: Suspended, from outside of the machine)."""

UNKNOWN = frozenset({"unknown", "offline", "degraded", "other"})
"""Kinds that say nothing of production."""

STOPS = frozenset({"stopped", "held", "aborted"})
"""Kinds that are a stop."""

STARVED, BLOCKED, WAITS = "starved", "blocked", "waits"

SETTLED = 0.5
"""The part of the time whose states have to be known before a stage is compared."""

ALIKE = 0.02
"""Difference of the parts of time spent waiting that decides nothing."""

MAX_STOPS = 200
"""Stops of a line that are returned, the latest."""

Timeline: TypeAlias = "Sequence[tuple[int, str]]"
"""Begin and kind of each state, oldest first; the last lasts until now."""


def stages_of(templates: Sequence[str]) -> list[list[int]]:
    """Return the positions of the machines of each stage: neighbours with the same template share one."""
    return [list(some) for _, some in groupby(range(len(templates)), key=lambda at: templates[at] or at)]


def waiting_for(kinds: Sequence[str], stages: Sequence[Sequence[int]]) -> list[str]:
    """Return for each machine `starved`, `blocked`, or `waits` where the cause is not known; nothing if it works.

    A machine that waits is starved if no machine of the stage before it produces, and blocked if all of the stage
    after it accept no parts, or are blocked themselves and so are full. Where both apply, or neither, the cause is
    not known.
    """
    blocked: set[int] = set()
    for stage, after in reversed(list(pairwise(stages))):
        if all(kinds[at] in STANDING or at in blocked for at in after):
            blocked.update(at for at in stage if kinds[at] == WAITING)
    starved: set[int] = set()
    for before, stage in pairwise(stages):
        if all(kinds[at] not in PRODUCING | UNKNOWN and at not in blocked for at in before):
            starved.update(at for at in stage if kinds[at] == WAITING)
    return [
        "" if kind != WAITING
        else STARVED if at in starved - blocked
        else BLOCKED if at in blocked - starved
        else WAITS
        for at, kind in enumerate(kinds)
    ]  # fmt: skip


class Load(NamedTuple):
    """The work of a stage in the last half hour.

    `waiting` is the part of the known time in which its machines waited or were idle, `known` the part of all time,
    `cycle_time` the seconds from one part to the next, None where no machine has it.
    """

    waiting: float
    known: float
    cycle_time: float | None


def load_of(timelines: Sequence[Timeline], cycle_times: Sequence[float | None], begin: int, end: int) -> Load:
    """Return the load of a stage of machines side by side, which share its parts."""
    known = waiting = 0
    for timeline in timelines:
        for kind, time in times_of(timeline, begin, end).items():
            if kind not in UNKNOWN:
                known += time
                waiting += time if kind in {WAITING, "idle"} else 0
    rates = [1 / one for one in cycle_times if one]
    return Load(
        waiting / known if known else 0.0,
        known / ((end - begin) * len(timelines)) if timelines else 0.0,
        1 / sum(rates) if rates else None,
    )


class Bottleneck(NamedTuple):
    """The position of a stage, and the figure that shows that it limits the line: `waiting` or `cycle_time`."""

    stage: int
    why: str


def bottleneck(loads: Sequence[Load]) -> Bottleneck | None:
    """Return the stage that limits the line; None with one stage, or where several are alike.

    It is the stage that waits least; of those that wait alike, it is the stage with the longest cycle time.
    """
    known = [(load, at) for at, load in enumerate(loads) if load.known >= SETTLED]
    if len(loads) < 2 or len(known) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    least = min(load.waiting for load, _ in known)
    alike = [(load.cycle_time or 0.0, at) for load, at in known if load.waiting <= least + ALIKE]
    if len(alike) == 1:
        return Bottleneck(alike[0][1], "waiting")
    longest, second = sorted(alike, reverse=True)[:2]
    return Bottleneck(longest[1], "cycle_time") if longest[0] > second[0] else None


def times_of(timeline: Timeline, begin: int, end: int) -> dict[str, int]:
    """Return the microseconds of each kind between two times."""
    found: dict[str, int] = {}
    for position in range(_position(timeline, begin), len(timeline)):
        time, kind = timeline[position]
        until = timeline[position + 1][0] if position + 1 < len(timeline) else end
        lasted = min(until, end) - max(time, begin)
        if lasted > 0:
            found[kind] = found.get(kind, 0) + lasted
    return found


class Stop(NamedTuple):
    """A stop of a machine, and the machines that waited because of it: position, since when, `starved` or `blocked`.

    `end` is None while it lasts.
    """

    machine: int
    begin: int
    end: int | None
    kind: str
    affected: tuple[tuple[int, int, str], ...]


def stops_of(timelines: Sequence[Timeline], stages: Sequence[Sequence[int]], begin: int) -> list[Stop]:
    """Return the stops since a time, oldest first, each with the machines that it stopped.

    A stop spreads from stage to stage as long as machines begin to wait during it, and no machine of the stage before
    (after, for those that are blocked) produces at that moment.
    """
    found = [
        (time, machine, until, kind, number)
        for number, stage in enumerate(stages)
        for machine in stage
        for time, until, kind in _stops(timelines[machine], begin)
    ]
    stops = []
    for time, machine, until, kind, number in sorted(found, key=itemgetter(0))[-MAX_STOPS:]:
        after = _spread(timelines, stages, number, 1, time, until)
        before = _spread(timelines, stages, number, -1, time, until)
        stops.append(Stop(machine, time, until, kind, (*after, *before)))
    return stops


def _stops(timeline: Timeline, begin: int) -> list[tuple[int, int | None, str]]:
    """Return begin, end and kind of each stop since a time; states of a stop that follow each other are one."""
    found: list[tuple[int, int | None, str]] = []
    for position in range(_position(timeline, begin), len(timeline)):
        time, kind = timeline[position]
        if kind not in STOPS:
            continue
        until = timeline[position + 1][0] if position + 1 < len(timeline) else None
        if found and found[-1][1] == time:
            found[-1] = found[-1][0], until, found[-1][2]
        elif until is None or until > begin:
            found.append((time, until, kind))
    return found


def _spread(
    timelines: Sequence[Timeline],
    stages: Sequence[Sequence[int]],
    number: int,
    step: int,
    begin: int,
    until: int | None,
) -> list[tuple[int, int, str]]:
    """Return the machines that began to wait during a stop, stage by stage in one direction."""
    found: list[tuple[int, int, str]] = []
    cause = STARVED if step > 0 else BLOCKED
    while 0 <= number + step < len(stages):
        reached = []
        for machine in stages[number + step]:
            since = _began_to_wait(timelines[machine], begin, until)
            if since is not None and all(_kind_at(timelines[one], since) not in PRODUCING for one in stages[number]):
                reached.append((machine, since, cause))
        if not reached:
            break
        found += reached
        begin = min(since for _, since, _ in reached)
        number += step
    return found


def _began_to_wait(timeline: Timeline, begin: int, until: int | None) -> int | None:
    """Return when a machine first began to wait between two times."""
    for time, kind in timeline[_position(timeline, begin) :]:
        if until is not None and time > until:
            break
        if time >= begin and kind == WAITING:
            return time
    return None


def _kind_at(timeline: Timeline, time: int) -> str:
    at = bisect_right(timeline, time, key=itemgetter(0))
    return timeline[at - 1][1] if at else "unknown"


def _position(timeline: Timeline, time: int) -> int:
    """Return the position of the state at a time; the first where the timeline begins later."""
    return max(0, bisect_right(timeline, time, key=itemgetter(0)) - 1)
