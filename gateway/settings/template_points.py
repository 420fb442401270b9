"""The points of a template, and of a machine that uses it: with its parameters, and with its own changes."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from gateway.settings.alarm_set import NO_ALARMS, AlarmSet
from gateway.settings.alarms import AlarmTable
from gateway.settings.derivation import EXPRESSION, Derivation, DerivedPoints, OnLine, meaning_of
from gateway.settings.factory import Place
from gateway.settings.parameters import names_in
from gateway.settings.parts import PartTable, laid_over
from gateway.settings.point_builder import Pattern, Written, build, filled, is_on
from gateway.settings.problems import Severity, unknown
from gateway.settings.production import WrittenProduction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from drivers.base import Protocol
    from gateway.settings.derivation import Derivations
    from gateway.settings.document import Document
    from gateway.settings.expressions.program import Table
    from gateway.settings.line_points import LinePoints
    from gateway.settings.line_sections import Keys
    from gateway.settings.operation import Operation
    from gateway.settings.parameters import Scalar
    from gateway.settings.point import Point
    from gateway.settings.production import Production

Values = dict[str, "Scalar"]

T = TypeVar("T")

_LINE = re.compile(r"\bline\s*\[")
"""The begin of a point of another machine, in an expression."""


class TemplatePoints:
    """A template as it is written, with that of the templates it extends. Points are built once, and shared.

    `written`     its points' keys, by their names
    `derived`     the keys of its derived points, by their names
    `alarms`      the keys of its alarms, by their names
    `parts`       the keys of the work on parts, by its places
    `tables`      the tables that expressions name
    `production`  its section `production`
    `parameters`  the values that hold where a machine says nothing; None where it has to
    """

    def __init__(
        self,
        protocol: Protocol,
        written: Mapping[str, Written],
        parameters: Mapping[str, Scalar | None],
        derived: Mapping[str, Written] = MappingProxyType({}),
        tables: Mapping[str, Table] = MappingProxyType({}),
        alarms: Mapping[str, Written] = MappingProxyType({}),
        parts: Mapping[str, Written] = MappingProxyType({}),
        production: WrittenProduction | None = None,
    ) -> None:
        self.protocol = protocol
        self.production = production or WrittenProduction(None)
        self.tables = tables
        # without parameters braces are plain text
        self.written = {name: one.with_parameters() if parameters else one for name, one in written.items()}
        self.derived = {name: one.with_parameters() if parameters else one for name, one in derived.items()}
        self.alarms = {name: one.with_parameters() if parameters else one for name, one in alarms.items()}
        self.parts = {name: one.with_parameters() if parameters else one for name, one in parts.items()}
        self.parameters = dict(parameters)
        self._names_derived = _names_of(self.derived)
        self.names_line = any(_names_line(one.keys.get(EXPRESSION)) for one in self.derived.values())
        # a message names parameters and points in braces, and is filled in later
        self._names_in_alarms = _names_of(self.alarms) | {
            name for one in self.alarms.values() for name in names_in(one.keys.get("message", ""))
        }
        self._alarms: dict[tuple[object, ...], AlarmSet] = {}
        self._names_in_parts = _names_of(self.parts)
        self._operations: dict[tuple[object, ...], tuple[Operation, ...]] = {}
        self._derived: dict[tuple[object, ...], tuple[Point, ...]] = {}
        self._one_derived: dict[tuple[object, ...], Point] = {}
        self._built: dict[tuple[object, ...], tuple[Point, ...]] = {}
        self._shared: dict[str, list[Point]] = {}
        self._failed: set[str] = set()
        self._patterns: dict[str, Pattern] = {}
        self._looked = False

    def values(self, given: Mapping[str, Scalar], place: Place) -> Values | None:
        """Return the parameters of one machine, or None after reporting which it lacks or has too many."""
        right = True
        for name in given:
            if name not in self.parameters:
                Place(place.document, (*place.path, "parameters", name)).report(
                    unknown("parameter", name, self.parameters)
                )
                right = False
        values: Values = {}
        for name, default in self.parameters.items():
            value = given.get(name, default)
            if value is None:
                place.report(f"the parameter {name} is missing; write parameters: {{{name}: VALUE}}")
                right = False
            else:
                values[name] = value
        return values if right else None

    def points(self, values: Values, changed: Mapping[str, Keys], place: Place) -> tuple[Point, ...]:
        """Return the points that are right; for the others there are problems.

        `changed` are keys of points that one machine has instead, or more points; it stands at `place`.
        """
        key = _key(values)
        if changed:
            return self._laid_over(values, changed, place)
        if key not in self._built:
            self._built[key] = self._collect(((name, self._one(name, values, place)) for name in self.written), place)
        return self._built[key]

    def derive(
        self, points: tuple[Point, ...], values: Values, changed: Mapping[str, Keys], place: Place
    ) -> tuple[Point, ...]:
        """Return the derived points that are right; for the others there are problems.

        `points` are those of a machine. `changed` are keys that it has instead, or more derived points.
        """
        if not changed and not self.derived:
            return ()
        if changed:
            written = self._changed(values, changed, place, "derive", self.derived)
            return self._derive_apart(written, points, values, place)
        key = _key(values)
        if self._built.get(key) is not points:
            return self._derive_apart(self.derived, points, values, place)
        # machines whose points differ in their addresses alone share their derived points
        used = {name: values[name] for name in sorted(self._names_derived & values.keys())}
        meaning = *_key(used), *map(meaning_of, points)
        if meaning not in self._derived:
            self._derived[meaning] = self._derive(self.derived, points, values)
        return self._derived[meaning]

    def needs_line(self, values: Values, changed: Mapping[str, Keys]) -> bool:
        """Return whether derived points of a machine may name points of other machines of its line."""
        if not changed and not self.derived:
            return False
        texts = (keys.get(EXPRESSION) for keys in changed.values())
        return self.names_line or any(map(_names_line, values.values())) or any(map(_names_line, texts))

    def begin_derive(
        self, points: tuple[Point, ...], values: Values, changed: Mapping[str, Keys], place: Place,
        machine: str, line: LinePoints,
    ) -> Derivations:  # fmt: skip
        """Return the derivations of a machine of a line, which wait for the points of the others."""
        written = self._changed(values, changed, place, "derive", self.derived) if changed else self.derived
        others = self.written.keys() - {point.name for point in points}
        on_line = OnLine(machine, line, partial(_named, place=place), None if changed else self._one_derived)
        with _named(*(written.values() if changed else ()), place=place):
            return DerivedPoints(written, self.tables).begin(points, others, values, on_line)

    def shared(
        self, derived: tuple[Point, ...], points: tuple[Point, ...], values: Values, changed: Mapping[str, Keys]
    ) -> tuple[Point, ...]:
        """Return equal derived points of an earlier machine where there are some, so that machines share them."""
        if changed or self._built.get(_key(values)) is not points:
            return derived
        used = {name: values[name] for name in sorted(self._names_derived & values.keys())}
        programs = (one.source.program for one in derived if isinstance(one.source, Derivation))
        inputs = (one.as_list() for program in programs for one in program.inputs)
        meaning = *_key(used), *map(meaning_of, points), *(one.name for one in derived), *map(repr, inputs)
        return self._derived.setdefault(meaning, derived)

    def off(self, points: Iterable[Point]) -> set[str]:
        """Return the names of the points of the template that a machine with these points does not have."""
        return (self.written.keys() | self.derived.keys()) - {point.name for point in points}

    def alarm_set(
        self,
        points: tuple[Point, ...],
        derived: tuple[Point, ...],
        values: Values,
        changed: Mapping[str, Keys],
        place: Place,
    ) -> AlarmSet:
        """Return the alarms that are right; for the others there are problems.

        `points` and `derived` are those of a machine. `changed` are keys that it has instead, or more alarms.
        """
        if not changed and not self.alarms:
            return NO_ALARMS
        every = (*points, *derived)
        others = (self.written.keys() | self.derived.keys()) - {point.name for point in every}
        if changed:
            written = self._changed(values, changed, place, "alarms", self.alarms)
            return self._apart(written, place, lambda: AlarmTable(written, self.tables).build(every, others, values))
        used = {name: values[name] for name in sorted(self._names_in_alarms & values.keys())}
        meaning = *_key(used), *map(meaning_of, every)
        if meaning not in self._alarms:
            self._alarms[meaning] = AlarmTable(self.alarms, self.tables).build(every, others, values)
        return self._alarms[meaning]

    def operations(
        self, points: tuple[Point, ...], values: Values, changed: Mapping[str, tuple[Keys, Place]], place: Place
    ) -> tuple[Operation, ...]:
        """Return the work on parts that is right; for the rest there are problems.

        `points` are those of a machine, derived points included. `changed` are keys that it has instead, by place.
        """
        if not changed and not self.parts:
            return ()
        others = (self.written.keys() | self.derived.keys()) - {point.name for point in points}
        if changed:
            own = {name: whole for name, one in self.parts.items() if (whole := filled(one, values)) is not None}
            written = laid_over(own, changed)
            return self._apart(written, place, lambda: PartTable(written, self.tables).build(points, others, values))
        used = {name: values[name] for name in sorted(self._names_in_parts & values.keys())}
        meaning = *_key(used), *map(meaning_of, points)
        if meaning not in self._operations:
            self._operations[meaning] = PartTable(self.parts, self.tables).build(points, others, values)
        return self._operations[meaning]

    def production_of(
        self, points: tuple[Point, ...], values: Values, changed: Keys, place: Place
    ) -> Production | None:
        """Return how the production of a machine is calculated; None without any, or after reporting a problem.

        `points` are those of the machine, the derived points included. `changed` are keys that it has instead.
        """
        if self.production.written is None and not changed:
            return None
        here = Place(place.document, (*place.path, "production"))
        off = (self.written.keys() | self.derived.keys()) - {point.name for point in points}
        return self.production.of(points, values if self.parameters else None, changed, off, here)

    def _derive_apart(
        self, written: Mapping[str, Written], points: tuple[Point, ...], values: Values, place: Place
    ) -> tuple[Point, ...]:
        """Derive points of one machine that has changes."""
        return self._apart(written, place, lambda: self._derive(written, points, values))

    def _apart(self, written: Mapping[str, Written], place: Place, build: Callable[[], T]) -> T:
        """Build a part of one machine that has changes; it is named in problems that others do not have."""
        with _named(*written.values(), place=place):
            return build()

    def _derive(self, written: Mapping[str, Written], points: tuple[Point, ...], values: Values) -> tuple[Point, ...]:
        others = self.written.keys() - {point.name for point in points}
        return DerivedPoints(written, self.tables).build(points, others, values)

    @staticmethod
    def _changed(
        values: Values, changed: Mapping[str, Keys], place: Place, section: str, base: Mapping[str, Written]
    ) -> dict[str, Written]:
        """Return derived points or alarms with the different keys of a machine."""
        written = dict(base)
        for name, keys in changed.items():
            here = Place(place.document, (*place.path, section, name))
            whole = written.get(name)
            filled_in = Written({}, {}, here) if whole is None else filled(whole, values)
            if filled_in is not None:
                written[name] = filled_in.over(keys, here)
        return written

    def on_its_own(self, place: Place) -> tuple[tuple[Point, ...], int]:
        """Return the points with the defaults of the parameters, and how many need parameters without a default."""
        values: Values = {name: default for name, default in self.parameters.items() if default is not None}
        needed = self.parameters.keys() - values.keys()
        ready = _without(needed, self.written)
        points = self._collect(((name, self._one(name, values, place)) for name in ready), place)
        unread = len(self.written) - len(ready)
        if self.names_line:  # the line is not known; the form of the expressions is checked alone
            DerivedPoints(_without(needed, self.derived), self.tables).begin(points, self.written.keys(), values)
        if needed or self.names_line:  # an expression may name a point that is not known yet
            return points, unread + len(self.derived)
        derived = self.derive(points, values, {}, place)
        self.alarm_set(points, derived, values, {}, place)  # reports the problems, as the next do
        self.operations((*points, *derived), values, {}, place)
        self.production_of((*points, *derived), values, {}, place)
        return (*points, *derived), unread

    def _laid_over(self, values: Values, changed: Mapping[str, Keys], place: Place) -> tuple[Point, ...]:
        """Return the points with the changes of one machine."""
        names = {point.name for point in self.points(values, {}, place)}  # and report the problems of the template
        built: dict[str, list[Point]] = {
            name: [] if name in changed else self._one(name, values, place) for name in self.written
        }
        ours = Place(place.document, (*place.path, "points"))
        for name, keys in changed.items():
            here = Place(ours.document, (*ours.path, name))
            whole = self.written.get(name) or self._new(keys, here)
            if whole is not None:
                written = filled(whole, values)
                built[name] = [] if written is None else self._expanded(name, written.over(keys, here))
            elif not self._element(name, keys, built, values, here):
                here.report(unknown("point", name, {*names, *self.written}) + " (a new point says where it is)")
        return self._collect(built.items(), place)

    def _new(self, keys: Keys, place: Place) -> Written | None:
        """Return a point that the template lacks; it has to say where it is."""
        needed = [key for key, field in self.protocol.source.model_fields.items() if field.is_required()]
        return Written({}, {}, place) if all(key in keys for key in needed) else None

    def _element(self, name: str, keys: Keys, built: dict[str, list[Point]], values: Values, place: Place) -> bool:
        """Change one element of a point with a count; returns whether there is one of this name."""
        for whole, points in built.items():
            at = next((i for i, point in enumerate(points) if point.name == name != whole), None)
            written = None if at is None else filled(self.written[whole], values)
            if at is not None and written is not None:
                of_one = self.protocol.source.expand(whole, written.keys)[name]
                changed = Written(of_one, written.blame, written.place).over(keys, place)
                built[whole] = [*points[:at], *self._expanded(name, changed), *points[at + 1 :]]
                return True
        return False

    def _one(self, name: str, values: Values, place: Place) -> list[Point]:
        """Return the point, or points, that one of the template stands for."""
        written = self.written[name]
        if not written.open:
            if name not in self._shared:
                self._shared[name] = self._expanded(name, written)
            return self._shared[name]
        if name in self._failed:
            return []  # the same problem was reported for another machine
        if name in self._patterns and (point := self._patterns[name].point(values)) is not None:
            return [point]
        before = [len(document.problems) for document in _documents(written)]
        whole = filled(written, values)
        points = [] if whole is None else self._expanded(name, whole)
        if whole is not None and (points or not is_on(whole)):
            if len(points) == 1 and points[0].name == name:
                self._patterns[name] = Pattern(self.protocol, written, points[0])
            return points
        self._failed.add(name)
        user = f", as {'.'.join(map(str, place.path))} has it" if place.path else ""
        suffix = f" (with {_shown(values)}{user})" if values else ""
        for document, count in zip(_documents(written), before, strict=True):
            problems = document.problems[count:]
            document.problems[count:] = [problem._replace(message=problem.message + suffix) for problem in problems]
        return []

    def _expanded(self, name: str, written: Written) -> list[Point]:
        points: list[Point] = []
        if not is_on(written):
            return points
        for one, keys in self.protocol.source.expand(name, written.keys).items():
            point = build(self.protocol, one, keys, written)
            if point is None:
                return []  # the other elements have the same problem
            points.append(point)
        return points

    def _collect(self, built: Iterable[tuple[str, list[Point]]], place: Place) -> tuple[Point, ...]:
        """Return all points, after a check for equal names and overlaps."""
        found: dict[str, Point] = {}
        whose: dict[str, str] = {}
        for whole, points in built:
            for point in points:
                if point.name in found:
                    array = whole if whole != point.name else whose[point.name]
                    where = self.written[array].place if array in self.written else place
                    where.report(f"one of its elements is {point.name}, and there is another {point.name}")
                found[point.name], whose[point.name] = point, whole
        if not self._looked:
            self._looked = True
            self._doubt(list(found.values()), whose)
        return tuple(found.values())

    def _doubt(self, points: list[Point], whose: Mapping[str, str]) -> None:
        for position, other, message in self.protocol.doubts([point.source for point in points]):
            written = self.written[whose[points[position].name]]
            written.place.report(f"{message} of {points[other].name}", Severity.WARNING)


def _without(parameters: AbstractSet[str], written: Mapping[str, Written]) -> dict[str, Written]:
    """Return the points whose keys have none of some parameters."""
    return {
        name: one for name, one in written.items()
        if not any(parameters & names_in(one.keys[key]) for key in one.open)
    }  # fmt: skip


def _documents(written: Written) -> list[Document]:
    found = {id(document): document for document, _ in (*written.blame.values(), written.place)}
    return list(found.values())


@contextmanager
def _named(*written: Written, place: Place) -> Iterator[None]:
    """Name the machine at a place in problems of these keys that others do not have."""
    before = {id(one): (one, len(one.problems)) for whole in written for one in _documents(whole)}
    yield
    for document, count in before.values():
        had = set(document.problems[:count])
        suffix = "" if document is place.document else f" (as {'.'.join(map(str, place.path))} has it)"
        new = [one._replace(message=one.message + suffix) for one in document.problems[count:] if one not in had]
        document.problems[count:] = new


def _names_line(written: object) -> bool:
    return isinstance(written, str) and _LINE.search(written) is not None


def _names_of(written: Mapping[str, Written]) -> set[str]:
    """Return the names of parameters in the keys of derived points or alarms."""
    return {name for one in written.values() for key in one.open for name in names_in(one.keys[key])}


def _key(values: Values) -> tuple[object, ...]:
    return tuple((type(value), value) for value in values.values())


def _shown(values: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())
