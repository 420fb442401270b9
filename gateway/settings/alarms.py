"""Alarms of a machine, after ISA-18.2 (IEC 62682): as written, and checked with the points that they are about.

Each condition becomes one expression of the language of derived points, whose result is a `Level`. So types, units
and names are checked where they are written, and the gateway calculates it as it calculates a derived point.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from drivers.base import ValueType
from gateway.common.setting_types import Duration, Section, Text
from gateway.settings.alarm_set import ALARMS, CONTENT, Alarm, AlarmSet, Kind, Level, Priority
from gateway.settings.derivation import Derivation, can_be_input, input_of, why_not
from gateway.settings.expressions.check import check, points_of
from gateway.settings.expressions.syntax import WrongExpression
from gateway.settings.point import Point
from gateway.settings.point_builder import ENABLED, filled, is_on
from gateway.settings.problems import unknown
from gateway.settings.results import result_point
from gateway.settings.validation import usable, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.settings.expressions.program import Input, Table
    from gateway.settings.parameters import Scalar
    from gateway.settings.point_builder import Written

MOST_ALARMS = 5_000
"""Alarms of one machine."""


LIMITS = (Kind.HIGH_HIGH, Kind.HIGH, Kind.LOW, Kind.LOW_LOW)
"""Kinds of which an entry can have several; the highest limit first."""

_OTHERS = tuple(kind for kind in Kind if kind not in LIMITS)
_OF_NUMBERS = frozenset({*LIMITS, Kind.DEVIATION, Kind.RATE})
_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def _priority(written: object) -> object:
    if isinstance(written, dict):
        return {key: _priority(value) for key, value in written.items()}
    if isinstance(written, str) and written.upper() in Priority.__members__:
        return Priority[written.upper()]
    raise ValueError(f"{written!r} is not a priority; write {', '.join(one.shown for one in Priority)}")


def _states(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,)


class AlarmKeys(Section):
    """An alarm as written."""

    point: str = ""
    """The point that the alarm is about, as in `bladder_pressure`."""
    high_high: float | None = None
    """The limit of the second alarm above `high`, as in `30`."""
    high: float | None = None
    """The limit above which the alarm is active, in the unit of the point, as in `25`."""
    low: float | None = None
    """The limit below which the alarm is active, in the unit of the point, as in `5`."""
    low_low: float | None = None
    """The limit of the second alarm below `low`, as in `2`."""
    deviation: Annotated[float, Field(gt=0)] | None = None
    """The distance from `set_point` beyond which the alarm is active, as in `5`."""
    set_point: str = ""
    """The point that `deviation` is measured from, as in `mould_set_point`."""
    rate: float | None = None
    """The change in a second beyond which the alarm is active; below 0 it is a fall, as in `-0.05`."""
    state: Annotated[tuple[bool | int | str, ...] | None, BeforeValidator(_states)] = None
    """The states in which the alarm is active: labels, numbers, texts, true or false, as in `aborted` or `[4, 5]`."""
    bad_quality: bool = False
    """Whether the alarm is active while readings of the point are bad, as in `true`."""
    stale: Duration | None = None
    """The time without a reading that has a value, after which the alarm is active, as in `30s`."""
    expression: str | None = None
    """A condition in the language of derived points, as in `pressure < 5.0 && state == "execute"`."""
    deadband: Annotated[float, Field(ge=0)] = 0.0
    """The distance back from the limit at which an active alarm ends, in its unit, as in `0.5`."""
    on_delay: Duration = 0.0
    """How long the condition lasts before the alarm is raised, as in `5s`."""
    off_delay: Duration = 0.0
    """How long the condition is over before the alarm returns, as in `10s`."""
    priority: Annotated[Priority | dict[str, Priority], BeforeValidator(_priority)] = Priority.MEDIUM
    """How urgent a response is: critical, high, medium or low; or one for each limit, as in `high`."""
    class_: Annotated[str, Field(alias="class", max_length=64)] = "process"
    """The class, for alarms that are managed alike, as in `quality`."""
    message: Text = ""
    """The text for operators; a point in braces becomes its value, as in `Bladder has only {bladder_pressure}`."""
    consequence: Text = ""
    """The consequence if nobody responds, as in `Undercured tyres`."""
    response: Text = ""
    """The response of the operator, as in `Change the bladder`."""
    suppress_when: str | None = None
    """A condition while which the alarm means nothing, as in `state != "execute"`."""
    latch: bool = False
    """Whether the alarm stays until it is acknowledged and reset, as in `true`."""


ALARM_POINTS = (result_point(ALARMS, CONTENT, "Transitions of alarms"),)
"""The result points of a machine with alarms."""


class AlarmTable:
    """The alarms of a template or a machine, as written."""

    def __init__(self, written: Mapping[str, Written], tables: Mapping[str, Table]) -> None:
        self._written = written
        self._tables = tables

    def build(self, points: Sequence[Point], others: Iterable[str], values: Mapping[str, Scalar]) -> AlarmSet:
        """Return the alarms that are right; for the others there are problems.

        `points` are those of the machine, derived points included; `others` are the names of points that are off.
        `values` are its parameters.
        """
        building = _Building(points, set(others), self._tables, values)
        for name, one in self._written.items():
            whole = filled(one, values)
            if whole is not None and is_on(whole):
                building.add(name, whole)
        return building.all()


class _Building:
    """The alarms of one machine while they are checked."""

    def __init__(
        self, points: Sequence[Point], off: set[str], tables: Mapping[str, Table], values: Mapping[str, Scalar]
    ) -> None:
        self._points = {point.name: point for point in points}
        self._known = {point.name: input_of(point) for point in points if can_be_input(point)}
        self._off = off
        self._tables = tables
        self._values = values
        self._alarms: list[Alarm] = []
        self._conditions: list[Point] = []
        self._inputs: dict[str, Point] = {}

    def all(self) -> AlarmSet:
        return AlarmSet(tuple(self._alarms), tuple(self._conditions), tuple(self._inputs.values()))

    def add(self, name: str, written: Written) -> None:
        """Add the alarms of an entry; report its problems."""
        known = {field.alias or key for key, field in AlarmKeys.model_fields.items()}
        strange = sorted(set(written.keys) - known - {ENABLED})
        for key in strange:
            written.report(key, unknown("key", key, known | {ENABLED}))
        own = {key: value for key, value in written.keys.items() if key in known}
        keys = validate(AlarmKeys, written.place.document, own, written.place.path, written.blame)
        right = keys is not None and not strange
        keys = usable(AlarmKeys, own) if keys is None else keys
        if keys is None or not self._is_consistent(keys, written) or not self._off.isdisjoint(_names_in(keys)):
            return  # an alarm of a point that is off is off, too
        kinds = [kind for kind in Kind if _is_set(keys, kind)]
        conditions = {kind: self._condition(kind, keys, written) for kind in kinds}
        message = self._message(keys, written)
        if not right or message is None or any(one is None for one in conditions.values()):
            return
        if len(self._alarms) + len(kinds) > MOST_ALARMS:
            written.place.report(f"the machine has more than {MOST_ALARMS:,} alarms")
            return
        for kind in kinds:
            self._add(name if len(kinds) == 1 else f"{name}_{kind}", kind, keys, message, conditions[kind] or "")

    def _add(self, name: str, kind: Kind, keys: AlarmKeys, message: tuple[str, ...], condition: str) -> None:
        place = -1
        if condition:
            program = check(condition, self._known, self._tables)
            every = min(one.every for one in program.inputs)
            source = Derivation.of(program)
            point = Point.model_validate({"name": name, "source": source, "type": ValueType.INT})
            place = len(self._conditions)
            self._conditions.append(point.model_copy(update={"every": every}))
        for part in message[1::2]:
            self._inputs[part] = self._points[part]
        priority = keys.priority[kind] if isinstance(keys.priority, dict) else keys.priority
        limit = None if kind in {Kind.STATE, Kind.BAD_QUALITY, Kind.EXPRESSION} else getattr(keys, kind)
        unit = self._points[keys.point].unit if keys.point else ""
        self._alarms.append(Alarm(
            name, kind, keys.point, limit, {Kind.STALE: "s", Kind.RATE: f"{unit}/s"}.get(kind, unit), keys.on_delay,
            keys.off_delay, priority, keys.class_, message, keys.consequence, keys.response, keys.latch, place,
            keys.stale or 0.0,
        ))  # fmt: skip

    @staticmethod
    def _is_consistent(keys: AlarmKeys, written: Written) -> bool:
        """Report the first key that does not fit the others."""
        for key, message in _contradictions(keys):
            written.report(key, message)
            return False
        return True

    def _condition(self, kind: Kind, keys: AlarmKeys, written: Written) -> str | None:
        """Return the expression of a condition, empty for none; None after reporting its problems."""
        found = self._level(kind, keys, written)
        if keys.suppress_when is not None:
            if not self._is_condition(keys.suppress_when, "suppress_when", written):
                return None
            suppressed = f"({keys.suppress_when}\n) ? {Level.SUPPRESSED:d} : "
            found = None if found is None else f"{suppressed}({found or int(Level.CLEAR)})"
        if not found:
            return found
        try:
            check(found, self._known, self._tables)
        except WrongExpression as error:
            written.report(kind, str(error))
            return None
        return found

    def _level(self, kind: Kind, keys: AlarmKeys, written: Written) -> str | None:
        """Return the expression of a level without suppression, empty for a condition that is not an expression."""
        if kind is Kind.EXPRESSION:
            text = keys.expression or ""
            right = self._is_condition(text, kind, written)
            return f"({text}\n) ? {Level.ACTIVE:d} : {Level.CLEAR:d}" if right else None
        names = [keys.point, keys.set_point] if kind is Kind.DEVIATION else [keys.point]
        known = [self._is_known(name, key, written) for name, key in zip(names, ("point", "set_point"), strict=False)]
        if not all(known):
            return None
        if kind in {Kind.BAD_QUALITY, Kind.STALE}:
            return ""
        point = self._points[keys.point]
        if kind in _OF_NUMBERS and (point.type not in _NUMBERS):
            written.report("point", f"{kind} is for numbers, and {point.name} has type {point.type}; write state")
            return None
        name = f"`{keys.point}`"
        if kind is Kind.STATE:
            return self._of_states(point, keys, written)
        limit = float(getattr(keys, kind))
        measured, falls = name, kind in {Kind.LOW, Kind.LOW_LOW}
        if kind is Kind.DEVIATION:
            measured = f"abs({name} - `{keys.set_point}`)"
        if kind is Kind.RATE:
            measured, falls = f"rate({name})", limit < 0
        sign, back = ("<", limit + keys.deadband) if falls else (">", limit - keys.deadband)
        within = f"({measured} {sign} {_number(back)} ? {Level.WITHIN_DEADBAND:d} : 0)" if keys.deadband else "0"
        return f"{measured} {sign} {_number(limit)} ? {Level.ACTIVE:d} : {within}"

    def _of_states(self, point: Point, keys: AlarmKeys, written: Written) -> str | None:
        states = keys.state or ()
        name = f"`{point.name}`"
        if point.type is ValueType.BOOL:
            if len(states) != 1 or not isinstance(states[0], bool):
                written.report("state", f"{point.name} is true or false; write one of both")
                return None
            return f"{name if states[0] else '!' + name} ? 2 : 0"
        if any(isinstance(one, bool) for one in states) or not states:
            written.report("state", f"{point.name} has type {point.type}; write a label, a number or a text")
            return None
        listed = ", ".join(_literal(one) if isinstance(one, str) else str(one) for one in states)
        return f"{name} in [{listed}] ? {Level.ACTIVE:d} : {Level.CLEAR:d}"

    def _is_condition(self, text: str, key: str, written: Written) -> bool:
        """Check an expression of a user as it is written, so that characters are counted there."""
        try:
            program = check(text, self._known_in(text), self._tables)
        except WrongExpression as error:
            written.report(key, str(error))
            return False
        except _UnknownPoint as error:
            written.report(key, str(error))
            return False
        if program.type is not ValueType.BOOL:
            written.report(
                key, f"needs a condition, and this is of type {program.type}; write a comparison, as in x > 0"
            )
            return False
        return True

    def _known_in(self, text: str) -> Mapping[str, Input]:
        for name in points_of(text):
            if name not in self._known:
                raise _UnknownPoint(self._why(name))
        return self._known

    def _is_known(self, name: str, key: str, written: Written) -> bool:
        if name in self._known:
            return True
        written.report(key, self._why(name))
        return False

    def _why(self, name: str) -> str:
        if name in self._points:
            return why_not(self._points[name])
        return unknown("point", name, self._known)

    def _message(self, keys: AlarmKeys, written: Written) -> tuple[str, ...] | None:
        """Return texts and names of points in turn; None after reporting a name that is not a point."""
        parts = [""]
        last = 0
        for found in _PLACEHOLDER.finditer(keys.message):
            name = found[1].strip()
            parts[-1] += keys.message[last : found.start()]
            last = found.end()
            if name in self._values and name not in self._points:
                value: Any = self._values[name]
                parts[-1] += str(value).lower() if isinstance(value, bool) else str(value)
            elif self._is_known(name, "message", written):
                parts += [name, ""]
            else:
                return None
        parts[-1] += keys.message[last:]
        return tuple(parts)


class _UnknownPoint(ValueError):
    """An expression names a point that is not there."""


def _names_in(keys: AlarmKeys) -> set[str]:
    """Return the names of points in an alarm; those of expressions that can't be read are left out."""
    found = {keys.point, keys.set_point, *(one[1].strip() for one in _PLACEHOLDER.finditer(keys.message))}
    for text in (keys.expression, keys.suppress_when):
        if text is not None:
            with suppress(WrongExpression):
                found.update(points_of(text))
    return found


def _contradictions(keys: AlarmKeys) -> Iterator[tuple[str, str]]:
    """Yield keys that do not fit the others, with the message."""
    limits = [kind for kind in LIMITS if _is_set(keys, kind)]
    others = [kind for kind in _OTHERS if _is_set(keys, kind)]
    kinds = [*limits, *others]
    if not kinds:
        yield "point", f"has no condition; write one of {', '.join(Kind)}"
        return
    if len(others) + bool(limits) > 1:
        yield [*limits[:1], *others][1], f"is a second condition beside {kinds[0]}; write an alarm for each"
    if not keys.point and others != [Kind.EXPRESSION]:
        yield "point", "is missing; write the point that the alarm is about"
    if keys.point and others == [Kind.EXPRESSION]:
        yield "point", "an expression names its points itself; leave point out"
    falling = [getattr(keys, kind) for kind in limits]
    if falling != sorted(set(falling), reverse=True):
        yield limits[0], "the limits are not in order; write low_low < low < high < high_high"
    if bool(keys.set_point) != (others == [Kind.DEVIATION]):
        yield "set_point", "deviation and set_point belong together; write both"
    if keys.deadband and not (limits or others in ([Kind.DEVIATION], [Kind.RATE])):
        yield "deadband", "a deadband is for limits, deviation and rate; write off_delay"
    if keys.rate == 0:
        yield "rate", "a rate of 0 is not a limit; write the change in a second, below 0 for a fall"
    if isinstance(keys.priority, dict) and set(keys.priority) != set(kinds):
        yield "priority", f"write a priority for each of {', '.join(kinds)}, or one for all"


def _is_set(keys: AlarmKeys, kind: Kind) -> bool:
    value = getattr(keys, kind)
    return value is not None and value is not False


def _literal(text: str) -> str:
    """Return a text as it is written in an expression."""
    for character, escape in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("\r", r"\r")):
        text = text.replace(character, escape)
    return f'"{text}"'


def _number(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)
