"""The report of a shift: key figures of machines, lines and areas, losses, bottlenecks, who stopped whom. Pure.

Machines of a line may be read by several gateways, so what concerns several of them is found here, out of their rows.
The command `lineside oee` and the page show the same report.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.model.production import SECOND, WAITS, Figures, Tally, TimeState
from gateway.production.flow import Load, bottleneck, stages_of, stops_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model.path import MachinePath
    from gateway.settings.calendar import Shift

MOST_LOSSES, MOST_CAUSES, MOST_ORDERS = 12, 10, 50
"""Losses, stops that stopped others, and orders of a report."""

_KINDS = {
    TimeState.DOWN: "held", TimeState.SETUP: "held", TimeState.IDLE: "idle", TimeState.STARVED: "suspended",
    TimeState.BLOCKED: "suspended", TimeState.WAITING: "suspended", TimeState.UNKNOWN: "unknown",
}  # fmt: skip
"""Categories as kinds of states, as `flow.py` has them: a setup stops other machines as a failure does."""


class StopRow(NamedTuple):
    """A stop that is over; times in microseconds since the epoch, `planned` microseconds of the plan.

    `reason` is that of the machine, or what an operator gave afterwards.
    """

    begin: int
    end: int
    state: TimeState
    reason: str
    label: str
    planned: int
    given: str = ""


class HourRow(NamedTuple):
    """A row of the table `production` of the kind `hour`."""

    begin: int
    end: int
    order: str
    recipe: str
    tally: Tally


@dataclass(slots=True)
class MachineRows:
    """The rows of a machine in a shift. Machines of a line follow each other in the order of its parts."""

    path: MachinePath
    template: str
    hours: list[HourRow] = field(default_factory=list)
    stops: list[StopRow] = field(default_factory=list)


class Loss(NamedTuple):
    """A loss of a machine: its kind, the reason of a down, microseconds, and its part of the busy time."""

    kind: str
    reason: str
    time: int
    share: float


@dataclass(slots=True)
class Summary:
    """The production of a machine, a line or an area."""

    name: str
    tally: Tally
    figures: Figures
    losses: list[Loss]
    known: float
    """The part of the planned time that is known."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; times in seconds."""
        tally = self.tally
        return {
            "name": self.name, **self.figures.as_dict(), "known": round(self.known, 6),
            "times": {state.value: tally.times[state] / SECOND for state in TimeState if tally.times[state]},
            "good": tally.good, "reject": tally.reject, "parts": tally.parts, "target": round(tally.target, 1),
            "unknown_parts": tally.unknown_parts, "unplanned_parts": tally.unplanned_parts,
            "wraps": tally.wraps, "resets": tally.resets, "jumps": tally.jumps, "failures": tally.failures,
            "micro_stops": tally.micro_stops, "cycles": _cycles(tally),
            "losses": [
                {"kind": one.kind, "reason": one.reason, "seconds": one.time / SECOND, "share": round(one.share, 6)}
                for one in self.losses
            ],
        }  # fmt: skip


def _cycles(tally: Tally) -> dict[str, Any] | None:
    cycles = tally.cycles
    if not cycles.number:
        return None
    bars = [[round(one.begin, 4), round(one.end, 4), one.number] for one in cycles.bars()]
    mean, median, slow = cycles.mean or 0.0, cycles.part(0.5) or 0.0, cycles.part(0.95) or 0.0
    return {"number": cycles.number, "mean": round(mean, 3), "median": round(median, 3), "slow": round(slow, 3),
            "bars": bars}  # fmt: skip


class Cause(NamedTuple):
    """A stop of a machine that made others wait. `affected` has each machine, the cause, and microseconds."""

    machine: str
    stop: StopRow
    affected: list[tuple[str, str, int]]

    @property
    def time(self) -> int:
        """Microseconds that all others waited."""
        return sum(time for _, _, time in self.affected)


@dataclass(slots=True)
class LineReport:
    """A line: its own summary, those of its machines, the machines of the bottleneck, and who stopped whom."""

    name: str
    area: str
    summary: Summary
    machines: list[Summary]
    orders: dict[str, list[dict[str, Any]]]
    bottleneck: list[str]
    why: str
    causes: list[Cause]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        machines = [one.as_dict() | {"orders": self.orders[one.name]} for one in self.machines]
        return {
            "line": self.name, "area": self.area, "summary": self.summary.as_dict(), "machines": machines,
            "bottleneck": {"machines": self.bottleneck, "why": self.why} if self.bottleneck else None,
            "stopped": [
                {
                    "machine": one.machine, "begin": one.stop.begin, "end": one.stop.end,
                    "state": one.stop.state.value, "reason": one.stop.given or one.stop.reason,
                    "seconds": one.time / SECOND,
                    "affected": [
                        {"machine": machine, "cause": cause, "seconds": time / SECOND}
                        for machine, cause, time in one.affected
                    ],
                }
                for one in self.causes
            ],
        }  # fmt: skip


@dataclass(slots=True)
class Report:
    """The report of a shift until a time."""

    shift: Shift
    until: int
    lines: list[LineReport]
    areas: list[Summary]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; times of the clock in microseconds since the epoch."""
        return {
            "shift": str(self.shift), "begin": self.shift.begin, "end": self.shift.end, "until": self.until,
            "lines": [one.as_dict() for one in self.lines], "areas": [one.as_dict() for one in self.areas],
        }  # fmt: skip


def report(
    machines: Iterable[MachineRows], shift: Shift, planned: Sequence[tuple[int, int]], until: int
) -> Report:  # fmt: skip
    """Return the report of a shift out of the rows of its machines.

    `planned` are the times of the shift in which production is planned. Of a shift that runs, the time before `until`
    counts, which is the end of the last row. Planned time without a row is unknown.
    """
    by_line: dict[tuple[str, str], list[MachineRows]] = defaultdict(list)
    for one in machines:
        by_line[one.path.area, one.path.line].append(one)
    until = min(until, shift.end)
    wanted = [(begin, min(end, until)) for begin, end in planned if begin < until]
    lines = [_line(area, line, own, shift, wanted) for (area, line), own in by_line.items()]
    by_area: dict[str, list[LineReport]] = defaultdict(list)
    for found in lines:
        by_area[found.area].append(found)
    areas = [_together(area, [one for line in own for one in line.machines]) for area, own in by_area.items()]
    return Report(shift, until, lines, areas)


def _line(
    area: str, name: str, machines: Sequence[MachineRows], shift: Shift, wanted: Sequence[tuple[int, int]]
) -> LineReport:
    found = [_machine(one, wanted) for one in machines]
    stages = stages_of([one.template for one in machines])
    summary = _together(name, found)
    last = [found[at] for at in stages[-1]]
    summary.tally.good = sum(one.tally.good for one in last)  # what leaves the line; rejects leave it anywhere
    summary.tally.parts = summary.tally.good + summary.tally.reject
    limiting = bottleneck([_load([found[at] for at in stage]) for stage in stages])
    return LineReport(
        name, area, summary, found, {one.path.machine: _orders(one) for one in machines},
        [] if limiting is None else [found[at].name for at in stages[limiting.stage]],
        "" if limiting is None else limiting.why, causes_of(machines, stages, shift),
    )  # fmt: skip


def _machine(machine: MachineRows, wanted: Sequence[tuple[int, int]]) -> Summary:
    tally = Tally()
    missing = sum(end - begin for begin, end in wanted)
    for hour in machine.hours:
        tally.add(hour.tally)
        missing -= sum(max(0, min(hour.end, end) - max(hour.begin, begin)) for begin, end in wanted)
    if missing > 0:
        tally.times[TimeState.UNKNOWN] += missing
    _use_given_reasons(tally, machine.stops)
    known = tally.known / tally.busy if tally.busy else 0.0
    return Summary(machine.path.machine, tally, tally.figures(), losses_of([tally]), known)


def _use_given_reasons(tally: Tally, stops: Iterable[StopRow]) -> None:
    """Let the time of downs count for the reasons that operators gave."""
    for one in stops:
        if one.given and one.state is TimeState.DOWN:
            moved = min(one.planned, tally.reasons.get(one.reason, 0))
            tally.reasons[one.reason] -= moved
            tally.reasons[one.given] += moved


def _together(name: str, machines: Sequence[Summary]) -> Summary:
    """Return the summary of several machines: their times and parts are added up."""
    tally = Tally()
    for one in machines:
        tally.add(one.tally)
    known = tally.known / tally.busy if tally.busy else 0.0
    return Summary(name, tally, tally.figures(), losses_of([one.tally for one in machines]), known)


def losses_of(tallies: Sequence[Tally]) -> list[Loss]:
    """Return the losses of the busy time, the largest first.

    Down by reason, micro-stops, setup, idle, starved, blocked, waiting and unknown are times. The loss of speed is
    the production time beyond the planned time of the parts, that of quality the planned time of rejected parts.
    """
    losses: Counter[tuple[str, str]] = Counter()
    busy = 0
    for tally in tallies:
        busy += tally.busy
        for state in (*WAITS, TimeState.SETUP, TimeState.IDLE, TimeState.UNKNOWN):
            losses[state.value, ""] += tally.times[state]
        for reason, time in tally.reasons.items():
            losses[TimeState.DOWN.value, reason] += time
        losses["micro_stop", ""] += tally.micro_stop_time
        if tally.parts and not tally.unplanned_parts and tally.planned_production:
            losses["speed", ""] += max(0, tally.times[TimeState.PRODUCTION] - tally.planned_production)
            losses["quality", ""] += round(tally.planned_production * tally.reject / tally.parts)
    found = [Loss(kind, reason, time, time / busy) for (kind, reason), time in losses.items() if time > 0 and busy]
    found.sort(key=lambda one: (-one.time, one.kind, one.reason))
    return found[:MOST_LOSSES]


def _load(stage: Sequence[Summary]) -> Load:
    """Return the load of a stage of machines side by side, which share its parts."""
    known = sum(one.tally.known for one in stage)
    busy = sum(one.tally.busy for one in stage)
    waiting = sum(one.tally.times[state] for one in stage for state in (*WAITS, TimeState.IDLE))
    rates = []
    for one in stage:
        counted = one.tally.parts - one.tally.unknown_parts
        if counted > 0 and one.tally.planned_production:
            rates.append(counted / one.tally.planned_production)
    return Load(
        waiting / known if known else 0.0, known / busy if busy else 0.0, 1 / sum(rates) / SECOND if rates else None
    )


def causes_of(
    machines: Sequence[MachineRows], stages: Sequence[Sequence[int]], shift: Shift
) -> list[Cause]:  # fmt: skip
    """Return the stops that made other machines of the line wait, with the longest waits first."""
    timelines = [_timeline(one.stops, shift) for one in machines]
    found = []
    for one in stops_of(timelines, stages, shift.begin):
        row = _row_at(machines[one.machine].stops, one.begin)
        affected = []
        for at, since, cause in one.affected:
            waited = _row_at(machines[at].stops, since)
            if waited is not None:
                time = min(waited.end, shift.end) - max(since, shift.begin)
                affected.append((machines[at].path.machine, cause, time))
        if row is not None and affected:
            found.append(Cause(machines[one.machine].path.machine, row, affected))
    found.sort(key=lambda one: (-one.time, one.stop.begin))
    return found[:MOST_CAUSES]


def _row_at(stops: Iterable[StopRow], time: int) -> StopRow | None:
    return next((one for one in stops if one.begin <= time < one.end), None)


def _timeline(stops: Sequence[StopRow], shift: Shift) -> list[tuple[int, str]]:
    """Return the kinds of states of a machine along the time; it produced where it did not stop."""
    found = [(shift.begin, "producing")]
    for one in sorted(stops):
        if one.end <= shift.begin or one.begin >= shift.end:
            continue
        begin = max(one.begin, found[-1][0])
        if begin == found[-1][0]:
            found.pop()
        found += [(begin, _KINDS.get(one.state, "unknown")), (min(one.end, shift.end), "producing")]
    return found


def _orders(machine: MachineRows) -> list[dict[str, Any]]:
    """Return the production by order and recipe, the most parts first."""
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for hour in machine.hours:
        tallies[hour.order, hour.recipe].add(hour.tally)
    rows: list[dict[str, Any]] = [
        {"order": order, "recipe": recipe, "good": one.good, "reject": one.reject, **one.figures().as_dict()}
        for (order, recipe), one in tallies.items()
        if one.parts or one.times[TimeState.PRODUCTION]
    ]
    rows.sort(key=lambda row: (-row["good"], row["order"], row["recipe"]))
    return rows[:MOST_ORDERS]
