"""Production: the time of a machine by category, its parts and its stops, and the key figures of ISO 22400-2.

The state of a machine holds from one of its readings to the next. Where nobody saw it, because there was no
connection, its quality was bad or the gateway was off, its time is unknown: a category of its own. Sums are closed at
the end of each hour and of each shift, and when order or recipe change; each is a row
(`gateway/model/production.py`). They are saved with the records that were made until then, so that a kill at any
moment neither loses nor doubles time.

It is the calculation of the kind `production`, see `calculation.py`.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field, fields
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import Group, Scan
from gateway.model.counting import MOST_PER_SECOND, step
from gateway.model.production import SECOND, WAITS, Tally, TimeState, ratios_of
from gateway.model.time import FLOOR
from gateway.pipeline.calculation import Calculation
from gateway.pipeline.derive import group_of
from gateway.settings.calendar import Calendar, Shift, calendar_of
from gateway.settings.expressions.check import LATE
from gateway.settings.production import ANY_RECIPE, POINTS, plain_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drivers.base import Value
    from gateway.model.command import StopReason
    from gateway.pipeline.calculation import Step, Surroundings
    from gateway.settings.factory import Machine
    from gateway.settings.production import Planned

ROLES: Mapping[str, int] = {name: place for place, name in enumerate(POINTS)}
"""The points of a production section -> their places in the list of values."""

(STATE, MODE, STARVED, BLOCKED, GOOD, REJECT, TOTAL, PLANNED, CYCLE, RECIPE, ORDER, REASON) = range(len(POINTS))

COUNTERS = (GOOD, REJECT, TOTAL)
_OF_CATEGORY = frozenset({STATE, MODE, STARVED, BLOCKED})
_NAMES = {GOOD: "good", REJECT: "reject", TOTAL: "parts"}
_EVENTS = {"wrapped": "wraps", "reset": "resets", "jumped": "jumps"}

FEW = 10
"""Cycles that a counter may always rise by."""

FASTER = 4
"""How much faster than planned a machine may work; a counter that rises faster was set."""

LONGEST_GAP = 7 * 24 * 3600 * SECOND
"""Microseconds of an unknown time that is divided into hours; a longer time is left out, and so unknown as well."""

SLACK, LONGEST_LAG = 2 * SECOND, 60 * SECOND
"""Microseconds that a pushed reading may come late; the most that a device's clock may be behind."""

FUTURE = 2 * LONGEST_LAG
"""Microseconds by which the counted time may be ahead of the clock; with more the clock was set back."""

OLDEST_STOP = 7 * 24 * 3600 * SECOND
"""Microseconds after the begin of a stop in which a person may give its reason: reports look for it a day longer."""

NAMED = 10
"""Configured reasons that an answer names."""

LONGEST_TEXT = 100
"""Characters of a recipe, an order or a reason in a row."""

_PROCESS = os.urandom(8).hex()
"""Identifies this process in saved states: only within a process did nobody miss a change."""


@dataclass(slots=True)
class _Stop:
    """A time in one category that is not production.

    `labels` has the microseconds of each state of the machine, `reasons` those of down for each reason.
    """

    state: TimeState
    begin: int
    planned: int = 0
    reason: str = ""
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class _Watch:
    """The scans of one group. Most have nothing new: these cost one comparison.

    `positions` are places in the scan, and `roles` their meanings; `last` are the values of the last whole scan.
    """

    __slots__ = ("_own", "has_counters", "has_state", "last", "pick", "positions", "roles")

    def __init__(self, own: MachineProduction, found: Sequence[tuple[int, int]]) -> None:
        self._own = own
        self.roles, self.positions = tuple(role for role, _ in found), tuple(position for _, position in found)
        self.pick: Callable[[Sequence[Value | None]], tuple[Value | None, ...]] = _picker(self.positions)
        self.has_state = STATE in self.roles
        self.has_counters = any(role in COUNTERS for role in self.roles)
        self.last: tuple[Value | None, ...] | None = None

    def take(self, scan: Scan) -> None:
        """Take a normalized scan."""
        own, last = self._own, self.last
        if last is not None and scan.points is None and scan.times is None and own.is_calm and not scan.late:
            time = scan.time
            if (scan.same or self.pick(scan.values) == last) and (not self.has_state or own.is_heard(time)):
                return
        own.take(self, scan)


def _picker(positions: Sequence[int]) -> Callable[[Sequence[Value | None]], tuple[Value | None, ...]]:
    if len(positions) > 1:
        return itemgetter(*positions)
    [at] = positions
    return lambda values: (values[at],)


def _looked_up(table: Mapping[Value, TimeState], value: Value | None) -> TimeState | None:
    """Return the category of a value; a text is looked up as it is, and as the standards write it."""
    if value is None:
        return None
    found = table.get(value)
    return table.get(plain_label(value)) if found is None and isinstance(value, str) else found


class MachineProduction(Calculation):
    """The production of one machine."""

    kind = "production"
    takes_time = True

    def __init__(self, machine: Machine, planned: Planned, surroundings: Surroundings) -> None:
        super().__init__(str(machine.path))
        self._production = planned.production
        self._section = planned.production.section
        self._calendar: Calendar = calendar_of(planned.calendar)
        self._around = surroundings
        figures, results = self._production.figures, self._production.results
        self.figures = group_of(self.machine, machine.connection, figures)
        names, sources = tuple(one.name for one in results), tuple(one.source for one in results)
        self.results = Group(self.machine, machine.connection, names, sources, self._section.every, events=True)
        self._send_figures = surroundings.sink(self.figures, figures)
        self._send_row = surroundings.sink(self.results, results)
        state = self._production.points["state"]
        self._pushed = state.source.pushed
        self._hold = math.inf if self._pushed else state.every * LATE * SECOND
        self._micro = round(self._section.micro_stop * SECOND)
        points = self._production.points
        self._names = [f"{key} {points[key].name}" if key in points else "" for key in POINTS]
        self.due = surroundings.monotonic() + self._section.every
        self._begin_again()

    @classmethod
    def of(cls, machine: Machine, surroundings: Surroundings) -> MachineProduction | None:
        """Return the calculation of a machine's production, None if it has none."""
        return None if machine.production is None else cls(machine, machine.production, surroundings)

    def _begin_again(self) -> None:
        """Forget everything."""
        self._values: list[Value | None] = [None] * len(POINTS)
        self._counts: dict[int, tuple[int, int]] = {}
        self._at = 0  # all time before is in a sum
        self._heard = 0  # when the state was read last
        self._state = TimeState.UNKNOWN
        self._lost = True
        self._suspect: set[int] = set()
        self._edge = 0
        self._is_planned = False
        self._shift: Shift | None = None
        self._hour = self._row_begin = 0
        self._row, self._sum = Tally(), Tally()
        self._order = self._recipe = ""
        self._stop: _Stop | None = None
        self._cycle_pending = False
        self._cycle_began: int | None = None
        self._lag = SLACK
        self._missed = False
        self._known_since = 0
        self._first_counted = False
        self.is_calm = False
        """Whether a scan without news only says that the state is the same."""
        self._per_part = self._planned_part()

    def step(self, group: Group) -> Step | None:
        if group.events or group.search:
            return None
        at = {name: position for position, name in enumerate(group.names)}
        points = self._production.points.items()
        found = sorted((ROLES[key], at[point.name]) for key, point in points if point.name in at)
        if not found:
            return None
        return _Watch(self, found).take

    # -- a scan --

    def is_heard(self, time: int) -> bool:
        """Note that the state is the same as before; return False if more is to be done."""
        since = time - self._heard
        if since > self._hold or since < -FUTURE or time >= self._edge:
            return False
        if since > 0:
            self._heard = time
        return True

    def take(self, watch: _Watch, scan: Scan) -> None:
        """Take a normalized scan that may have something new."""
        if scan.late:
            return
        with self.guard:
            if scan.points is None and scan.times is None:
                values = watch.pick(scan.values)
                if values == watch.last:
                    if watch.has_state:
                        self._hear(scan.time)
                    if watch.has_counters:
                        self._suspect.difference_update(watch.roles)
                else:
                    watch.last = values
                    self._take_together(watch, dict(zip(watch.roles, values, strict=True)), scan.time)
            else:
                watch.last = None
                self._take_part(watch, scan)
            self.is_calm = not (self._lost or self._missed or self._suspect)

    def _take_part(self, watch: _Watch, scan: Scan) -> None:
        """Take a scan of some points, or of different times, one time after another."""
        positions = scan.points if scan.points is not None else range(len(scan.values))
        times: Sequence[int] = [scan.time] * len(scan.values)
        if scan.times is not None:
            now = self._around.clock()
            times = [now if time > now + LONGEST_LAG else time for time in scan.times]  # of a clock that is wrong
        places: dict[int, list[int]] = {}
        for position, role in zip(watch.positions, watch.roles, strict=True):
            places.setdefault(position, []).append(role)
        read = sorted(
            (times[i], i, role) for i, position in enumerate(positions) for role in places.get(position, ())
        )
        for time, together in groupby(read, key=itemgetter(0)):
            self._take_together(watch, {role: scan.values[i] for _, i, role in together}, time)

    def _take_together(self, watch: _Watch, values: Mapping[int, Value | None], time: int) -> None:
        """Take values of one time: the state first, then parts, and last the labels of the next parts."""
        if not self._at:
            self._start(time)
        self._follow_clock(time)
        self._take_state(values, time)
        self._first_counted = False
        for role in COUNTERS:
            if role in values:
                self._count(role, values[role], time)
        if self._first_counted:
            self._known_since = 0
        if watch.has_counters:
            self._suspect.difference_update(values)
        if values.get(CYCLE) is not None:
            self._take_cycle(values[CYCLE])
        if not values.keys().isdisjoint((RECIPE, ORDER, PLANNED)):
            self._label(values, time)
        if REASON in values and values[REASON] != self._values[REASON]:
            self._reach(time)
            self._values[REASON] = values[REASON]
            self._note_reason()
        self._save_soon()

    def _take_state(self, values: Mapping[int, Value | None], time: int) -> None:
        """Take the values that decide on the category."""
        mine, new = self._values, _OF_CATEGORY & values.keys()
        if all(mine[role] == values[role] and mine[role] is not None for role in new):
            if STATE in values:
                self._hear(time)
            return
        if values.get(STATE) is not None:
            self._heard_at(time)  # the state before lasted until now, if nobody missed a change
        else:
            self._reach(time)
        self._advance(time)
        for role in new:
            mine[role] = values[role]
        self._lost = mine[STATE] is None if STATE in values else self._lost
        self._enter(self._category(), time)

    def _take_cycle(self, value: Value | None) -> None:
        """Take the duration of the last cycle."""
        before, self._values[CYCLE] = self._values[CYCLE], value
        if value != before:
            if before is not None or self._cycle_pending:  # the first says nothing of when the cycle was
                self._count_cycle()
            self._cycle_pending = False

    def _save_soon(self) -> None:
        if not self.changed:
            self.changed = True
            self._around.save_soon()

    # -- the state --

    def _hear(self, time: int) -> None:
        """Note that the state was read, and is the same as before."""
        self._follow_clock(time)
        if time - self._heard > self._hold or self._lost or self._missed:
            if self._values[STATE] is None:
                return
            self._heard_at(time)
            self._lost = False
            self._enter(self._category(), time)
            self._save_soon()
        else:
            self._heard = max(time, self._heard)
            if time >= self._edge:
                self._advance(time)

    def _heard_at(self, time: int) -> None:
        """Note that the state was read, and let the time before be unknown if nobody could see it."""
        if self._missed or time - self._heard > self._hold:
            self._lose()
        self._missed = False
        self._heard = max(time, self._heard)
        if self._pushed:
            self._lag = min(max(self._around.clock() - time, 0) + SLACK, LONGEST_LAG)

    def _lose(self) -> None:
        """Let the time since the state was read last be unknown."""
        if self._state is not TimeState.UNKNOWN:
            self._enter(TimeState.UNKNOWN, self._heard)
        self._lost, self.is_calm = True, False

    def _reach(self, time: int) -> None:
        """Add the time until now, though the state was not read now."""
        if not self._lost and (self._missed or time - self._heard > self._hold):
            self._lose()
            self._missed = False
        self._advance(time)

    def _category(self) -> TimeState:
        """Return the category of the present values."""
        state = _looked_up(self._production.states, self._values[STATE])
        if self._lost or state is None or state is TimeState.UNKNOWN:
            return TimeState.UNKNOWN
        mode = _looked_up(self._production.modes, self._values[MODE])
        if mode is not None:
            return mode
        if state in WAITS or state is TimeState.IDLE:
            if self._values[STARVED] is True:
                return TimeState.STARVED
            if self._values[BLOCKED] is True:
                return TimeState.BLOCKED
        return state

    def _enter(self, state: TimeState, time: int) -> None:
        """Let the time from now on be of a category."""
        self._advance(time)
        before, self._state = self._state, state
        if before is not state:
            if before is TimeState.UNKNOWN:
                since = self._at if self._stop is None else self._stop.begin
                self._known_since = self._at
                self._suspect = {role for role, (at, _) in self._counts.items() if at < since}
            if state is not TimeState.PRODUCTION:
                self._cycle_began = None
            self._end_stop()
            if state not in {TimeState.PRODUCTION, TimeState.OFF}:
                self._stop = _Stop(state, self._at)
                self._note_reason()

    def _note_reason(self) -> None:
        if self._stop is not None and self._values[REASON] not in {None, 0, "", "0"}:
            self._stop.reason = self._text(REASON)

    def _end_stop(self) -> None:
        stop, self._stop = self._stop, None
        if stop is None or not stop.planned:
            return
        length = self._at - stop.begin
        is_micro = length < self._micro
        if stop.state is TimeState.DOWN and is_micro:
            self._row.micro_stops += 1
            self._row.micro_stop_time += stop.planned
            for reason, time in stop.reasons.items():
                self._row.add_reason(reason, -time)
        elif stop.state is TimeState.DOWN:
            self._row.failures += 1
            self._row.repair += stop.planned
        if not is_micro:
            label = stop.labels.most_common(1)
            self._write(1, {
                "begin": stop.begin, "end": self._at, "state": stop.state, "reason": stop.reason,
                "label": label[0][0] if label else "", "planned_time": stop.planned / SECOND,
                "shift": "" if self._shift is None else str(self._shift),
                "order": self._order, "recipe": self._recipe,
            })  # fmt: skip

    def give_reason(self, given: StopReason, by: str) -> str:
        """Write the reason that a person gives for a stop; return why that is not possible, empty if it is done."""
        now, known = self._around.clock(), self._section.reasons
        if given.begin >= now:
            return "the stop begins in the future"
        if given.begin < now - OLDEST_STOP:
            return f"the stop began more than {OLDEST_STOP // SECOND // 86_400} days ago"
        if known and given.reason not in known:
            return f"the reason is not one of {', '.join(known[:NAMED])}{' ...' if len(known) > NAMED else ''}"
        self._write(2, {"begin": given.begin, "reason": given.reason, "comment": given.comment, "by": by})
        return ""

    # -- time --

    def _start(self, time: int) -> None:
        """Begin at a first reading: the shift until now is unknown."""
        shift = self._calendar.shift_at(time)
        self._at = self._heard = self._row_begin = time if shift is None else shift.begin
        self._turn()

    def _follow_clock(self, time: int) -> None:
        """Begin again at this time if the counted time is ahead of the clock: the clock was set back.

        Times and parts that were counted stay. The state is unknown until it is read. A clock that was not set yet,
        as after a start without a battery, is waited for: the shift then goes on.
        """
        if self._at - time <= FUTURE:
            return
        clock = self._around.clock()
        if clock < FLOOR or self._at - clock <= FUTURE:
            return
        self._end_stop()
        self._close_row()
        if self._calendar.span_at(time).shift != self._shift:
            self._close_shift()  # else it goes on: a shift has one row
        self._state, self._lost, self.is_calm = TimeState.UNKNOWN, True, False
        self._at = self._heard = self._row_begin = time
        self._known_since, self._cycle_began, self._cycle_pending = 0, None, False
        self._counts = {role: (time, count) for role, (_, count) in self._counts.items()}
        self._suspect = set(self._counts)
        self._turn()
        self._save_soon()

    def _advance(self, time: int) -> None:
        """Add the time until now to the sums, and close those that end."""
        if time - self._at > LONGEST_GAP:
            self._close_row()
            self._close_shift()
            self._at = self._row_begin = time
            self._turn()
        while self._at < time:
            if self._at >= self._edge:
                self._turn()
            end = min(time, self._edge)
            self._spend(end - self._at)
            self._at = end
        if self._at >= self._edge:
            self._turn()

    def _spend(self, length: int) -> None:
        """Add a time that has one category throughout."""
        state, row = self._state, self._row
        if not self._is_planned:
            if state is TimeState.PRODUCTION:
                row.extra += length
            else:
                state = TimeState.OFF
        row.times[state] += length
        if state is TimeState.OFF:
            return
        if self._per_part and state is not TimeState.UNKNOWN:
            row.target += length / self._per_part
        if (stop := self._stop) is not None:
            stop.planned += length
            stop.labels[self._label_of_state()] += length
            if state is TimeState.DOWN:
                stop.reasons[stop.reason] += length
                row.add_reason(stop.reason, length)

    def _label_of_state(self) -> str:
        value = self._values[STATE]
        if value is None or self._state is TimeState.UNKNOWN:
            return ""
        return self._production.names.get(value, str(value))[:LONGEST_TEXT]

    def _turn(self) -> None:
        """Look up the hour and the shift that begin now; close the sums of those before."""
        span = self._calendar.span_at(self._at)
        begin, end = self._calendar.hour_at(self._at)
        if begin != self._hour or span.shift != self._shift:
            self._close_row()
        if span.shift != self._shift:
            self._close_shift()
        self._hour, self._shift, self._is_planned = begin, span.shift, span.planned
        self._edge = min(span.end, end)

    def _close_row(self) -> None:
        """Write the row of a time in which neither hour, shift, order nor recipe changed."""
        if not self._row.empty or (self._is_planned and self._row.times[TimeState.OFF]):
            self._write(0, self._head("hour", self._row_begin) | self._row.as_row())
        self._sum.add(self._row)
        self._row, self._row_begin = Tally(), self._at

    def _close_shift(self) -> None:
        """Write the row of a shift, after its last hour."""
        if self._shift is not None and not self._sum.empty:
            head = self._head("shift", self._shift.begin) | {"order": "", "recipe": ""}
            self._write(0, head | self._sum.as_row())
        self._sum = Tally()

    def _head(self, kind: str, begin: int) -> dict[str, Any]:
        shift = "" if self._shift is None else str(self._shift)
        return {"kind": kind, "shift": shift, "begin": begin, "end": self._at,
                "order": self._order, "recipe": self._recipe}  # fmt: skip

    def _write(self, position: int, content: Mapping[str, Any]) -> None:
        self._send_row(Scan(self.results, self._around.clock(), [orjson.dumps(content).decode()], points=(position,)))
        self._save_soon()

    # -- parts --

    def _count(self, role: int, value: Value | None, time: int) -> None:
        """Take the reading of a counter."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return
        now, last = (time, round(value)), self._counts.get(role)
        self._counts[role] = now
        if last is None or (now[1] == last[1]):
            return
        elapsed = (time - last[0]) / SECOND
        found = step(last, now, self._most(elapsed))
        self._reach(time)
        if found.event:
            name = _EVENTS[found.event]
            setattr(self._row, name, getattr(self._row, name) + 1)
        if not found.parts:
            return
        row = self._row
        setattr(row, _NAMES[role], getattr(row, _NAMES[role]) + found.parts)
        made = self._balance(role, found.parts)
        if not made:
            return
        if self._state is TimeState.UNKNOWN or role in self._suspect:
            row.unknown_parts += made
            self._cycle_began, self._cycle_pending = None, False
            return
        if self._per_part:
            planned = made * self._per_part
            if self._known_since:  # the cycle may have begun in the unknown time, which does not count
                planned = min(planned, time - self._known_since)
                self._known_since += planned  # for another counter of the same time
                self._first_counted = True
            row.planned_production += planned
        else:
            row.unplanned_parts += made
        self._note_cycle(made, time)

    def _most(self, elapsed: float) -> float:
        """Return the parts that are possible in some seconds."""
        few = FEW * self._section.parts_per_cycle
        rate = MOST_PER_SECOND if not self._per_part else FASTER * SECOND / self._per_part
        return few + rate * elapsed

    def _balance(self, role: int, parts: int) -> int:
        """Add up the counters that a machine has; return the parts that were made by this step."""
        row, has = self._row, self._production.points
        if "total" not in has:
            row.parts += parts
            return parts
        if role == TOTAL:
            if "good" not in has:
                row.good += parts
            elif "reject" not in has:
                row.reject += parts
            return parts
        if role == REJECT and "good" not in has:
            row.good -= parts
        elif role == GOOD and "reject" not in has:
            row.reject -= parts
        return 0

    def _note_cycle(self, made: int, time: int) -> None:
        """Note that a cycle is over: its duration comes from its point, or is the time since the cycle before."""
        if "cycle_time" in self._production.points:
            if self._cycle_pending:  # the cycle before took as long as its predecessor
                self._count_cycle()
            self._cycle_pending = True
            return
        if self._cycle_began is not None:
            cycles = made / self._section.parts_per_cycle
            self._row.cycles.count((time - self._cycle_began) / SECOND / cycles)
        self._cycle_began = time if self._state is TimeState.PRODUCTION else None

    def _count_cycle(self) -> None:
        value = self._values[CYCLE]
        if isinstance(value, int | float) and math.isfinite(value):
            self._row.cycles.count(value * self._production.scales["cycle_time"])

    # -- order, recipe and plan --

    def _label(self, values: Mapping[int, Value | None], time: int) -> None:
        """Take order, recipe and planned cycle time; a reading that is bad changes none of them."""
        for role in (RECIPE, ORDER, PLANNED):
            if values.get(role) is not None:
                if self._values[role] != values[role]:
                    self._reach(time)
                self._values[role] = values[role]
        order, recipe = self._text(ORDER), self._text(RECIPE)
        if (order, recipe) != (self._order, self._recipe):
            if self._row.empty:
                self._sum.add(self._row)
                self._row, self._row_begin = Tally(), self._at
            else:
                self._close_row()
            self._order, self._recipe = order, recipe
        self._per_part = self._planned_part()

    def _text(self, role: int) -> str:
        value = self._values[role]
        if value is None:
            return ""
        point = self._production.points.get(POINTS[role])
        if point is not None and point.labels and isinstance(value, int):
            value = point.labels.get(value, str(value))
        return str(value).strip()[:LONGEST_TEXT]

    def _planned_part(self) -> int:
        """Return the microseconds that are planned for a part now, 0 where that is not known."""
        measured, cycle = self._values[PLANNED], 0.0
        if isinstance(measured, int | float) and math.isfinite(measured) and measured > 0:
            cycle = measured * self._production.scales["planned_cycle_point"]
        elif (plan := self._section.planned_cycle_time) is not None:
            cycle = plan.get(self._text(RECIPE), plan.get(ANY_RECIPE, 0.0))
        return round(cycle * SECOND / self._section.parts_per_cycle)

    # -- time without scans, and key figures --

    def tick(self, now: float) -> None:
        self.due = now + self._section.every
        if not self._at:
            return
        clock = self._around.clock()
        self._follow_clock(clock)
        if self._missed and clock - self._heard <= LONGEST_LAG:
            self._publish(clock)  # what happened meanwhile is not known yet
            return
        if self._missed:
            self._reach(clock - SLACK)
        elif self._pushed and not self._lost:
            self._heard = max(self._heard, clock - self._lag)
        elif clock - self._heard > self._hold + SLACK and not self._lost:
            self._lose()
        self._advance(clock - self._lag if self._lost or self._pushed else self._heard)
        self._save_soon()
        self._publish(clock)

    def _publish(self, clock: int) -> None:
        """Send the key figures of the running shift."""
        found = self.shift_figures()
        sent = [(at, value) for at, name in enumerate(self.figures.names) if (value := found[name]) is not None]
        positions = [at for at, _ in sent]
        values: list[Value | None] = [value for _, value in sent]
        self._send_figures(Scan(self.figures, clock, values, points=positions))

    def shift_figures(self) -> dict[str, Value | None]:
        """Return the key figures of the running shift, by the names of their points; None where there is none."""
        found: dict[str, Value | None] = dict.fromkeys(self.figures.names)
        found["time_state"] = (
            TimeState.OFF if not self._is_planned and self._state is not TimeState.PRODUCTION else self._state
        ).value
        if self._shift is None:
            return found
        done, row = self._sum, self._row
        production = done.times[TimeState.PRODUCTION] + row.times[TimeState.PRODUCTION]
        good, parts = done.good + row.good, done.parts + row.parts
        target = done.target + row.target
        ratios = ratios_of(
            production, done.known + row.known, good, parts,
            done.planned_production + row.planned_production, target,
            is_planned=not (done.unplanned_parts or row.unplanned_parts),
        )  # fmt: skip
        found |= {name: None if value is None else round(100 * value, 2) for name, value in ratios.items()}
        found |= {"shift_good": good, "shift_reject": done.reject + row.reject, "shift_target": round(target, 1)}
        return found

    # -- the saved state --

    def save(self) -> bytes:
        self.changed = False
        stop = self._stop
        shift = None if self._shift is None else list(self._shift)
        content = {
            "v": 1, "process": _PROCESS, "at": self._at, "heard": self._heard, "state": self._state,
            "lost": self._lost or self._missed, "values": list(zip(self._names, self._values, strict=True)),
            "counts": {self._names[role]: count for role, count in self._counts.items()},
            "suspect": sorted(self._suspect), "shift": shift, "hour": self._hour, "begin": self._row_begin,
            "row": self._row.save(), "sum": self._sum.save(), "order": self._order, "recipe": self._recipe,
            "stop": None if stop is None else [*(getattr(stop, one.name) for one in fields(stop))],
            "cycle": [self._cycle_pending, self._cycle_began, self._known_since],
        }  # fmt: skip
        return orjson.dumps(content)

    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        try:
            content = orjson.loads(saved)
            self._load(content)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, OSError):
            # a file may contain anything
            self._begin_again()
            return [], [self.kind]
        return [], []

    def _load(self, content: Any) -> None:  # noqa: ANN401 - of a file
        names = self._names
        at, heard, hour, begin = (int(content[key]) for key in ("at", "heard", "hour", "begin"))
        state, values = TimeState(content["state"]), dict(map(tuple, content["values"]))
        row, whole = Tally.load(content["row"]), Tally.load(content["sum"])
        shift = None if content["shift"] is None else Shift(*content["shift"])
        stop = None
        if content["stop"] is not None:
            kind, since, planned, reason, labels, reasons = content["stop"]
            stop = _Stop(
                TimeState(kind), int(since), int(planned), str(reason), Counter(labels), Counter(reasons)
            )  # fmt: skip
        pending, began, since = content["cycle"]
        counts = {
            role: (int(count[0]), int(count[1]))
            for role, name in enumerate(names)
            if (count := content["counts"].get(name)) is not None
        }
        self._at, self._heard, self._state, self._hour, self._row_begin = at, heard, state, hour, begin
        self._values = [values.get(name) if name else None for name in names]
        self._row, self._sum, self._shift, self._stop, self._counts = row, whole, shift, stop, counts
        self._order, self._recipe = str(content["order"]), str(content["recipe"])
        self._suspect = {int(role) for role in content["suspect"]}
        self._cycle_pending, self._cycle_began = bool(pending), None if began is None else int(began)
        self._known_since, self.is_calm = int(since), False
        self._lost = bool(content["lost"])
        # a device that reports changes said nothing of those that nobody heard
        self._missed = self._pushed and content["process"] != _PROCESS and not self._lost
        self._edge = 0  # the calendar may be another
        self._is_planned = False
        if shift is not None:
            self._is_planned = self._calendar.span_at(at).planned
        self._per_part = self._planned_part()
