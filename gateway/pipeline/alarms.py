"""Alarms of a machine, after ISA-18.2: from its readings to transitions, which are readings of a result point.

The conditions are calculated as derived points are, see `settings/alarms.py`: the `Level` of each is the value of a
point that nobody else sees. A condition with a bad input has no level, so it neither raises an alarm nor lets it
return, and a delay that runs begins again; alarms of bad quality and of stale points exist for that.

Delays are measured by the monotonic clock, from the arrival of the reading that began them. A transition has the time
of the reading that caused it, and the end of a delay that of the gateway's clock.

Alarms that a device reports (OPC UA events with a condition) have the same states here, under the node id of their
condition.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from drivers.base import Group, Scan
from gateway.model.alarm_notice import AlarmNotice
from gateway.model.alarm_state import ANNUNCIATED, ESCALATED, NOT_ACKNOWLEDGED, AlarmEvent, AlarmState, AlarmStates
from gateway.model.device_alarm import DeviceAlarm, priority_of, read_device_alarm
from gateway.pipeline.calculation import Calculation
from gateway.pipeline.derive import MachineDerivation, group_of
from gateway.settings.alarm_set import ALARMS, Kind, Level, Priority
from gateway.settings.line_inputs import inputs_of
from gateway.settings.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drivers.base import Value
    from gateway.model.alarm_notice import NotifyStep
    from gateway.pipeline.calculation import Step, Surroundings
    from gateway.settings.alarm_set import Alarm, AlarmSet
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point

MAX_DEVICE_ALARMS = 2_000
"""Standing alarms of one device; further alarms are events alone, and counted."""

SECOND = 1_000_000

_NO_LEVEL = object()
"""The level of a condition before the first scan."""


class Text(NamedTuple):
    """The texts of an alarm, and its rank: as configured, or as the device reports them."""

    name: str
    kind: str
    source: str
    priority: Priority
    category: str
    severity: int
    condition_id: str
    branch_id: str | None = None


@dataclass(slots=True)
class LiveAlarm:
    """One alarm at run time.

    `since` is the time of its last annunciation, `changed` that of its last transition, `until` the end of its shelf:
    microseconds since the epoch, UTC; `by` and `reason` are those of the last command. `pending` is the event at the
    end of a running delay, at a monotonic time. `seen` is the monotonic time of the last reading that had a value.
    `since_at` is the monotonic time of the last annunciation, `notify_at` that of the next step of its escalation.
    `given` are the steps that were handed over to notification, `settled` those that nothing more is done about.
    """

    text: Text
    states: AlarmStates
    alarm: Alarm | None = None
    since: int = 0
    changed: int = 0
    until: int = 0
    by: str = ""
    reason: str = ""
    message: str = ""
    pending: AlarmEvent | None = None
    pending_at: float = math.inf
    until_at: float = math.inf
    seen: float = 0.0
    is_bad: bool = False
    by_design: bool = False
    since_at: float = 0.0
    notify_at: float = math.inf
    given: set[NotifyStep] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)

    @property
    def is_default(self) -> bool:
        """Whether there is nothing to save."""
        states = self.states
        return states.state is AlarmState.NORMAL and not (states.active or states.suppressed)


class MachineAlarms(Calculation):
    """The alarms of one machine."""

    kind = "alarms"
    takes_time = True

    def __init__(
        self,
        group: Group,
        alarms: AlarmSet,
        sink: Callable[[Scan], None],
        surroundings: Surroundings,
    ) -> None:
        """Prepare; `group` is that of the result point, and `sink` takes its scans."""
        super().__init__(group.machine)
        self._group = group
        self._sink = sink
        self._clock, self._monotonic = surroundings.clock, surroundings.monotonic
        self._save_soon, self._retain = surroundings.save_soon, surroundings.retain
        self._notify = surroundings.notify
        started = self._monotonic()
        self._alarms = [
            LiveAlarm(_text_of(alarm), AlarmStates(alarm.latch), alarm, seen=started) for alarm in alarms.alarms
        ]
        self._by_name = {live.text.name: live for live in self._alarms}
        self._reported: dict[str, LiveAlarm] = {}  # by the device
        self._doubtful: set[str] = set()  # of these, active before the start, and not reported since
        self._unheard: set[Group] = set()  # groups of events whose active alarms may not all be reported yet
        # conditions are in the order of their alarms
        self._of_condition = [live for live in self._alarms if live.alarm is not None and live.alarm.condition >= 0]
        self._known: list[Value | object | None] = [_NO_LEVEL] * len(self._of_condition)
        self._levels: list[tuple[int, int, int]] = []  # times, conditions and levels, until they are judged
        self._seen: list[Scan] = []  # scans with watched points, until they are judged
        self._conditions = self._derivation(alarms.conditions)
        self._inputs: dict[str, Point] = {point.name: point for point in alarms.inputs}
        self._wanted = {*self._inputs, *(alarm.point for alarm in alarms.alarms if alarm.point)}
        self._where: dict[str, tuple[Group, int]] = {}
        self._last: dict[Group, Sequence[Value | None]] = {}
        self._own: dict[Group, list[Value | None]] = {}
        self._watched: dict[Group, dict[int, list[LiveAlarm]]] = {}
        self._serial = 0
        self.annunciations: Counter[int] = Counter()
        """Annunciations since the start, by priority."""
        self.ignored = 0
        """Alarms of the device for which there was no room."""
        self._is_tied = False  # derived points have readings that follow scans of other machines, too
        self._watches = any(alarm.kind in {Kind.STALE, Kind.BAD_QUALITY} for alarm in alarms.alarms)
        if any(live.alarm is not None and live.alarm.stale for live in self._alarms):
            self.due = started

    @classmethod
    def of(cls, machine: Machine, surroundings: Surroundings) -> MachineAlarms | None:
        """Return the alarms of a machine, None if it has none."""
        points = [point for point in machine.results if point.name == ALARMS]
        if not points:
            return None
        sources = tuple(point.source for point in points)
        group = Group(str(machine.path), machine.connection, (ALARMS,), sources, 1.0, events=True)
        found = cls(group, machine.alarms, surroundings.sink(group, points), surroundings)
        found._is_tied = bool(inputs_of(machine))
        return found

    def _derivation(self, conditions: tuple[Point, ...]) -> MachineDerivation | None:
        if not conditions:
            return None
        group = group_of(self.machine, self._group.connection, conditions)
        return MachineDerivation(group, conditions, self._note_levels, self._on_change)

    def _on_change(self) -> None:
        self.changed = True
        self._save_soon()

    # -- scans --

    def step(self, group: Group) -> Step | None:
        if group.search or any(isinstance(source, Result) for source in group.sources):
            return None  # results have the keys of events, too, and are not alarms of the device
        if group.events:
            self._unheard.add(group)
            return self._take_events
        self._where |= {name: (group, position) for position, name in enumerate(group.names) if name in self._wanted}
        keeps = any(where[0] is group for where in self._where.values())
        if watched := self._watched_in(group):
            self._watched[group] = watched
        calculate = None if self._conditions is None else self._conditions.step(group)
        if not group.sources:
            # derived points: their scans come within the scan that they are derived from, with which they are judged
            note = self._note_alone if self._is_tied else self._note
            return partial(note, keeps, calculate) if keeps or watched or calculate else None
        has_work = keeps or self._watches or self._conditions is not None
        return partial(self._take, keeps, calculate) if has_work else None

    def _watched_in(self, group: Group) -> dict[int, list[LiveAlarm]]:
        """Return the alarms of bad quality and of stale points of a group, by the positions of their points."""
        found: dict[int, list[LiveAlarm]] = {}
        for live in self._alarms:
            if live.alarm is not None and live.alarm.kind in {Kind.STALE, Kind.BAD_QUALITY}:
                where = self._where.get(live.alarm.point)
                if where is not None and where[0] is group:
                    found.setdefault(where[1], []).append(live)
        return found

    def _note(self, keeps: bool, calculate: Step | None, scan: Scan) -> None:  # noqa: FBT001 - bound in `step`
        if not scan.late:
            with self.guard:
                if keeps:
                    self._keep(scan)
                if scan.group in self._watched:
                    self._seen.append(scan)
                if calculate is not None:
                    calculate(scan)

    def _note_alone(self, keeps: bool, calculate: Step | None, scan: Scan) -> None:  # noqa: FBT001 - bound in `step`
        """Take derived points that may follow a scan of another machine: then `tick` judges them."""
        self._note(keeps, calculate, scan)
        if self._levels or self._seen:
            self.due = min(self.due, self._monotonic())

    def _take(self, keeps: bool, calculate: Step | None, scan: Scan) -> None:  # noqa: FBT001 - bound in `step`
        if not scan.late:
            self._note(keeps, calculate, scan)
            with self.guard:
                self._judge_all()

    def _keep(self, scan: Scan) -> None:
        """Keep the values of a scan, for messages."""
        if scan.points is None:
            self._last[scan.group] = scan.values
            return
        own = self._own.get(scan.group)
        if own is None or self._last.get(scan.group) is not own:
            own = list(self._last.get(scan.group) or [None] * len(scan.group.names))
            self._own[scan.group] = self._last[scan.group] = own
        for position, value in zip(scan.points, scan.values, strict=True):
            own[position] = value

    def _note_levels(self, scan: Scan) -> None:
        """Note the levels that a scan of conditions changes; a condition with a bad input has the level -1.

        A level that stays changes nothing, unless a delay runs: most levels of a plant stay.
        """
        positions = range(len(scan.values)) if scan.points is None else scan.points
        times, known, alarms = scan.times, self._known, self._of_condition
        for i, (position, value) in enumerate(zip(positions, scan.values, strict=True)):
            if value == known[position] and alarms[position].pending is None:
                continue
            known[position] = value
            level = -1 if value is None else int(value)
            self._levels.append((scan.time if times is None else times[i], position, level))

    def _judge_all(self) -> None:
        """Judge all that a scan has changed, with the derived points that follow it, in the order of time."""
        now = self._monotonic()
        if self._levels:
            noted, self._levels = self._levels, []
            together: dict[int, dict[int, int]] = {}
            for time, condition, level in noted:
                # of one time the last counts: all its inputs are new
                together.setdefault(time, {})[condition] = level
            for time in sorted(together):
                for condition, level in together[time].items():
                    self._take_level(self._of_condition[condition], level, time, now)
        seen, self._seen = self._seen, []
        for scan in seen:
            self._watch(scan, self._watched[scan.group], now)

    def _take_level(self, live: LiveAlarm, level: int, time: int, now: float) -> None:
        if level < 0:
            live.pending, live.pending_at = None, math.inf
        elif live.alarm is not None and live.alarm.kind in {Kind.STALE, Kind.BAD_QUALITY}:
            live.by_design = level == Level.SUPPRESSED
            self._judge_watched(live, time, now)
        else:
            self._judge(live, level, time, now)

    def _watch(self, scan: Scan, watched: dict[int, list[LiveAlarm]], now: float) -> None:
        """Judge the alarms of bad quality and of stale points."""
        if scan.points is None:
            read: Iterable[tuple[int, int]] = ((position, position) for position in watched)
        else:
            read = ((i, position) for i, position in enumerate(scan.points) if position in watched)
        for i, position in read:
            is_bad = scan.values[i] is None
            time = scan.time if scan.times is None else scan.times[i]
            for live in watched[position]:
                live.is_bad = is_bad
                if not is_bad:
                    live.seen = now
                self._judge_watched(live, time, now)

    def _judge_watched(self, live: LiveAlarm, time: int, now: float) -> None:
        alarm = live.alarm
        if alarm is None:
            return
        if live.by_design:
            level = Level.SUPPRESSED
        elif alarm.kind is Kind.STALE:
            level = Level.ACTIVE if now - live.seen >= alarm.stale else Level.CLEAR
            self.due = min(self.due, live.seen + alarm.stale)
        else:
            level = Level.ACTIVE if live.is_bad else Level.CLEAR
        self._judge(live, level, time, now)

    def _judge(self, live: LiveAlarm, level: int, time: int, now: float) -> None:
        """Follow the level of a condition: at once, or after a delay."""
        states, alarm = live.states, live.alarm
        if level == Level.SUPPRESSED:
            live.pending, live.pending_at = None, math.inf
            if not states.suppressed:
                self._apply(live, AlarmEvent.SUPPRESS, time)
                self._apply(live, AlarmEvent.RETURN, time)
            return
        if states.suppressed:
            self._apply(live, AlarmEvent.UNSUPPRESS, time)
        wanted = level >= Level.WITHIN_DEADBAND if states.active else level >= Level.ACTIVE
        if wanted == states.active:
            live.pending, live.pending_at = None, math.inf
            return
        event = AlarmEvent.RAISE if wanted else AlarmEvent.RETURN
        if live.pending is None:
            delay = 0.0 if alarm is None else alarm.on_delay if wanted else alarm.off_delay
            live.pending, live.pending_at = event, now + delay
        if now >= live.pending_at:
            live.pending, live.pending_at = None, math.inf
            self._apply(live, event, time)
        else:
            self.due = min(self.due, live.pending_at)

    # -- alarms of the device --

    def _take_events(self, scan: Scan) -> None:
        """Follow the alarms that the device reports; other events are ignored."""
        if scan.late:
            return
        with self.guard:
            if not scan.values:
                self._end_doubtful(scan)
            for i, value in enumerate(scan.values):
                try:
                    reported = read_device_alarm(value)
                except ValueError:  # a bad reading, or a text of the server's own
                    continue
                if reported is not None:
                    self._follow_device(reported, scan.time if scan.times is None else scan.times[i])

    def _end_doubtful(self, scan: Scan) -> None:
        """Let alarms return that ended while the gateway did not run, once all active alarms are reported."""
        self._unheard.discard(scan.group)
        if self._unheard:
            return
        doubtful, self._doubtful = self._doubtful, set()
        for name in doubtful:
            if (live := self._reported.get(name)) is not None:
                self._apply(live, AlarmEvent.RETURN, scan.time)
                self._forget(live)

    def _follow_device(self, reported: DeviceAlarm, time: int) -> None:
        self._doubtful.discard(reported.key)
        live = self._reported.get(reported.key)
        if live is None:
            if not reported.standing:
                return
            if len(self._reported) >= MAX_DEVICE_ALARMS:
                self.ignored += 1
                return
            live = self._reported[reported.key] = LiveAlarm(_text_of_device(reported), AlarmStates())
        elif not reported.severity:
            reported = reported._replace(severity=live.text.severity)  # some servers say none when it returns
        live.text, live.message = _text_of_device(reported), reported.message
        self._apply(live, AlarmEvent.RAISE if reported.active else AlarmEvent.RETURN, time)
        if not reported.active and live.states.state is AlarmState.NORMAL and not reported.acknowledged:
            self._apply(live, AlarmEvent.RAISE, time)  # it was active while nobody looked
            self._apply(live, AlarmEvent.RETURN, time)
        if reported.acknowledged:
            self._apply(live, AlarmEvent.ACKNOWLEDGE, time)
        self._forget(live)

    def _forget(self, live: LiveAlarm) -> None:
        """Forget an alarm of the device that is over: only the device knows which alarms it has."""
        if live.alarm is None and live.is_default:
            self._reported.pop(live.text.name, None)

    # -- time --

    def tick(self, now: float) -> None:
        if self._levels or self._seen:
            self._judge_all()
        time = self._clock()
        due = math.inf
        for live in list(chain(self._alarms, self._reported.values())):
            if live.until_at <= now:
                live.until_at = math.inf
                self._apply(live, AlarmEvent.EXPIRE, time)
            if live.pending is not None and live.pending_at <= now:
                event, live.pending, live.pending_at = live.pending, None, math.inf
                self._apply(live, event, time)
            alarm = live.alarm
            if alarm is not None and alarm.stale and not live.by_design:
                if now - live.seen >= alarm.stale:
                    self._judge(live, Level.ACTIVE, time, now)
                else:
                    due = min(due, live.seen + alarm.stale)
            if live.notify_at <= now:
                self._escalate(live, now)
            due = min(due, live.until_at, live.pending_at, live.notify_at)
            self._forget(live)
        self.due = due

    # -- commands --

    def command(self, action: str, name: str, by: str, reason: str, seconds: float = 0.0) -> str:
        """Carry out the action of a person; return why that is not possible, empty if it was done.

        `seconds` is the time of a shelf.
        """
        live = self._by_name.get(name) or self._reported.get(name)
        if live is None:
            return f"there is no alarm {name}"
        event = AlarmEvent(action)
        if not live.states.allows(event):
            return f"the alarm is {live.states.state}, and {action} does not apply"
        time = self._clock()
        if event is AlarmEvent.SHELVE:
            live.until = time + round(seconds * SECOND)
            live.until_at = self._monotonic() + seconds
            self.due = min(self.due, live.until_at)
        self._apply(live, event, time, by, reason)
        self._forget(live)
        return ""

    # -- transitions --

    def _apply(self, live: LiveAlarm, event: AlarmEvent, time: int, by: str = "", reason: str = "") -> None:
        """Apply an event; a change of the state becomes a reading, and the retained message of the alarm."""
        states = live.states
        flags = states.active, states.suppressed
        before = states.apply(event)
        if before is None:
            if flags != (states.active, states.suppressed):
                self._on_change()
            return
        now = self._monotonic()
        if states.state is AlarmState.UNACKNOWLEDGED:
            live.since, live.since_at = time, now
            live.given.clear()
            live.settled.clear()
            self.annunciations[live.text.priority] += 1
            if live.alarm is not None:
                live.message = self._message(live.alarm)
        if before is AlarmState.SHELVED:
            live.until, live.until_at = 0, math.inf
        live.changed, live.by, live.reason = time, by, reason
        self._serial += 1
        self._on_change()
        content = orjson.dumps(self._content(live, event, before))
        self._retain(_leaf(live.text.name), b"" if states.state is AlarmState.NORMAL else content)
        self._sink(Scan(self._group, time, [content.decode()], points=(0,)))  # the time of an event is its own
        self._escalate(live, now)

    def _escalate(self, live: LiveAlarm, now: float) -> None:
        """Hand over the steps of the escalation that are due, and note when the next is."""
        live.notify_at = math.inf
        if self._notify is None:
            return
        if live.states.state not in ESCALATED:
            for step in live.given:
                self._notify.withdraw(self._notice(live, step))
            return
        text = live.text
        for step in self._notify.steps(self.machine, text.priority, text.category):
            if step in live.given or str(step) in live.settled:
                continue
            if now < live.since_at + step.after:
                live.notify_at = min(live.notify_at, live.since_at + step.after)
                continue
            live.given.add(step)
            self._notify.put(self._notice(live, step))
        self.due = min(self.due, live.notify_at)

    def _notice(self, live: LiveAlarm, step: NotifyStep) -> AlarmNotice:
        text, alarm = live.text, live.alarm
        consequence, response = ("", "") if alarm is None else (alarm.consequence, alarm.response)
        return AlarmNotice(
            self.machine,
            text.name,
            live.since,
            step,
            text.priority,
            text.category,
            live.message,
            consequence,
            response,
        )

    def settle(self, notice: AlarmNotice) -> None:
        """Note that nothing more is done about a step of an annunciation: no restart hands it over again."""
        live = self._by_name.get(notice.alarm) or self._reported.get(notice.alarm)
        if live is not None and live.since == notice.since:
            live.settled.add(str(notice.step))
            self._on_change()

    def _content(self, live: LiveAlarm, event: AlarmEvent | None, before: AlarmState) -> dict[str, Any]:
        """Return a transition as in docs/schema.md: the keys of an event, and those of an alarm."""
        text, states, alarm = live.text, live.states, live.alarm
        standing = states.state in ANNUNCIATED
        return {
            "id": f"{self._serial}", "type": text.kind, "source": text.source, "condition": text.name,
            "severity": text.severity, "message": live.message, "active": states.active and standing,
            "acknowledged": states.state not in NOT_ACKNOWLEDGED, "condition_id": text.condition_id,
            "branch_id": text.branch_id, "source_node": None, "retain": standing,
            "alarm": text.name, "state": states.state, "previous": before, "event": event, "changed": live.changed,
            "since": live.since, "priority": text.priority.shown, "class": text.category,
            "value": None if alarm is None else self._value(alarm.point),
            "alarm_limit": None if alarm is None else alarm.limit, "unit": "" if alarm is None else alarm.unit,
            "who": live.by, "reason": live.reason, "until": live.until or None,
        }  # fmt: skip

    def _value(self, point: str) -> Value | None:
        where = self._where.get(point)
        if where is None:
            return None
        values = self._last.get(where[0])
        return None if values is None else values[where[1]]

    def _message(self, alarm: Alarm) -> str:
        """Return the message of an alarm with the values of its points."""
        parts = list(alarm.message)
        for i in range(1, len(parts), 2):
            parts[i] = _shown(self._inputs[parts[i]], self._value(parts[i]))
        return "".join(parts)

    # -- the present state --

    def standing(self) -> Iterator[LiveAlarm]:
        """Yield the alarms that are not normal."""
        for live in chain(self._alarms, self._reported.values()):
            if live.states.state is not AlarmState.NORMAL:
                yield live

    def retained(self) -> dict[str, bytes]:
        """Return the retained messages of alarms that are not normal, by the ends of their topics."""
        return {
            _leaf(live.text.name): orjson.dumps(self._content(live, None, live.states.state))
            for live in self.standing()
        }

    # -- the state --

    def save(self) -> bytes:
        self.changed = False
        content: dict[str, Any] = {"serial": self._serial, "alarms": {}, "device": {}}
        for live in self._alarms:
            if not live.is_default and live.alarm is not None:
                content["alarms"][live.text.name] = [live.alarm.kind, *_saved(live)]
        for live in self._reported.values():
            content["device"][live.text.name] = [list(live.text), *_saved(live)]
        if self._conditions is not None and self._conditions.has_state:
            content["functions"] = orjson.loads(self._conditions.save())
        return orjson.dumps(content)

    def load(self, saved: bytes) -> tuple[list[str], list[str]]:
        try:
            content = orjson.loads(saved)
            self._serial = int(content["serial"])
            alarms, device = dict(content["alarms"]), dict(content["device"])
        except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
            return [], [live.text.name for live in self._alarms]
        self._known = [_NO_LEVEL] * len(self._known)
        other, damaged = self._load_alarms(alarms)
        damaged += [name for name, state in device.items() if not self._load_reported(name, state)]
        self._doubtful = {name for name, live in self._reported.items() if live.states.active}
        if self._conditions is not None and "functions" in content:
            changed, broken = self._conditions.load(orjson.dumps(content["functions"]))
            other += [name for name in changed if name not in other]
            damaged += [name for name in broken if name not in damaged]
        for leaf, payload in self.retained().items():
            self._retain(leaf, payload)
        return other, damaged

    def _load_alarms(self, saved: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Continue with the saved states of configured alarms; clear the messages of those that are gone."""
        other: list[str] = []
        damaged: list[str] = []
        for name, state in saved.items():
            live = self._by_name.get(name)
            if live is None or live.alarm is None:
                self._retain(_leaf(name), b"")
            elif not isinstance(state, list) or not state:
                damaged.append(name)
            elif live.alarm.kind != state[0]:
                other.append(name)
                self._retain(_leaf(name), b"")
            elif not self._restore(live, state[1:]):
                damaged.append(name)
        return other, damaged

    def _load_reported(self, name: str, saved: Any) -> bool:  # noqa: ANN401 - out of a file
        """Continue with the saved state of an alarm of the device; return False if it is damaged."""
        try:
            text, *state = saved
            live = LiveAlarm(_text_again(text), AlarmStates())
        except (TypeError, ValueError):
            return False
        if not self._restore(live, state):
            return False
        self._reported[name] = live
        return True

    def _restore(self, live: LiveAlarm, state: list[Any]) -> bool:
        """Continue with the saved state of an alarm; return False if it is damaged."""
        try:
            name, active, suppressed, since, changed, until, by, reason, message, *more = state
            live.settled = {str(one) for one in more[0]} if more else set()  # earlier versions notified nobody
            states = AlarmStates(live.states.latch, AlarmState(name), bool(active), bool(suppressed))
            live.since, live.changed, live.until = int(since), int(changed), int(until)
        except (TypeError, ValueError):
            return False
        live.states, live.by, live.reason, live.message = states, str(by), str(reason), str(message)
        if states.state is AlarmState.SHELVED:
            left = min(live.until - self._clock(), live.until - live.changed)  # the clock may be in 1970 again
            live.until_at = self._monotonic() + max(0, left) / SECOND
            self.due = min(self.due, live.until_at)
        now = self._monotonic()
        live.since_at = now - max(0, self._clock() - live.since) / SECOND
        self._escalate(live, now)
        return True


def _saved(live: LiveAlarm) -> list[Any]:
    states = live.states
    return [
        states.state, states.active, states.suppressed, live.since, live.changed, live.until, live.by, live.reason,
        live.message, sorted(live.settled),
    ]  # fmt: skip


def _text_of(alarm: Alarm) -> Text:
    return Text(
        alarm.name, alarm.kind, alarm.point, alarm.priority, alarm.category, alarm.priority.severity,
        f"lineside:{alarm.name}",
    )  # fmt: skip


def _text_of_device(reported: DeviceAlarm) -> Text:
    return Text(
        reported.key, reported.type or "event", reported.source, Priority(priority_of(reported.severity)), "device",
        reported.severity or 1, reported.condition_id, reported.branch_id,
    )  # fmt: skip


def _text_again(saved: list[Any]) -> Text:
    """Return the texts that were saved. Raises `TypeError` or `ValueError`."""
    text = Text(*saved)
    return text._replace(priority=Priority(text.priority), severity=int(text.severity))


def _leaf(name: str) -> str:
    """Return the end of the topic of an alarm's retained message; a node id may have characters of topic filters."""
    return f"alarm/{name.translate(_NOT_IN_TOPICS)}"


_NOT_IN_TOPICS = str.maketrans(dict.fromkeys("/+#\0", "_"))


def _shown(point: Point, value: Value | None) -> str:
    """Return a value as a person reads it."""
    if value is None:
        return "?"
    if isinstance(value, bool):
        return point.labels.get(int(value), "true" if value else "false")
    if isinstance(value, int) and value in point.labels:
        return point.labels[value]
    text = value if isinstance(value, str) else f"{value:.6g}"
    return f"{text} {point.unit}" if point.unit else text
