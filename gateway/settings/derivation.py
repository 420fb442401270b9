"""Derived points, which the gateway calculates from the points of a machine: checked with their types and units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PrivateAttr

from drivers.base import Source, ValueType
from gateway.settings.expressions.check import as_float, check, in_unit, points_of
from gateway.settings.expressions.program import Input
from gateway.settings.expressions.syntax import WrongExpression
from gateway.settings.point import Point
from gateway.settings.point_builder import ENABLED, doubt, filled, is_on, whole_point
from gateway.settings.problems import unknown
from gateway.settings.quantities import NUMBER, DifferenceOfTemperatures, NotConvertible, Unit, unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.settings.expressions.program import Program, Table
    from gateway.settings.parameters import Scalar
    from gateway.settings.point_builder import Written

EXPRESSION = "expression"

NOT_DERIVED = frozenset({"name", "source", "scale", "offset", "total"})
"""Fields of a point that a derived point does not have: the expression says it."""

KEYS = frozenset(Point.model_fields) - NOT_DERIVED | {EXPRESSION, ENABLED}
"""The keys of a derived point."""

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})


class Derivation(Source):
    """How a derived point is calculated."""

    expression: str
    """The calculation from other points of the machine, as in `rate(pressure)`."""

    _program: Program | None = PrivateAttr(None)

    @classmethod
    def of(cls, program: Program) -> Derivation:
        """Return the source of a checked expression."""
        found = cls(expression=program.expression)
        found._program = program
        return found

    @property
    def program(self) -> Program:
        """The checked expression."""
        if self._program is None:
            raise LookupError("the expression was not checked")
        return self._program

    @property
    def value_type(self) -> ValueType | None:
        """The type of the result."""
        return None if self._program is None else self._program.type


class DerivedPoints:
    """The derived points of a template or a machine, as written."""

    def __init__(self, written: Mapping[str, Written], tables: Mapping[str, Table]) -> None:
        self._written = written
        self._tables = tables

    def build(
        self, points: Iterable[Point], others: Iterable[str], values: Mapping[str, Scalar]
    ) -> tuple[Point, ...]:
        """Return the derived points that are right, in an order in which each follows those that it is derived from.

        `points` are those of the machine, `others` the names of its points that are off or wrong. `values` are its
        parameters.
        """
        building = _Building(points, set(others), self._tables)
        for name, one in self._written.items():
            if name in building.known:
                one.place.report(f"there is a point {name}; write another name")
            elif (whole := filled(one, values)) is not None and is_on(whole):
                building.add(name, whole)
            else:
                building.off.add(name)
        return building.all()


class _Building:
    """The derivations of one machine while they are checked, one after another."""

    def __init__(self, points: Iterable[Point], off: set[str], tables: Mapping[str, Table]) -> None:
        self.known = {point.name: input_of(point) for point in points if can_be_input(point)}
        self.off = off
        self._unusable = {point.name: why_not(point) for point in points if not can_be_input(point)}
        self._tables = tables
        self._waiting: dict[str, Written] = {}
        self._inputs: dict[str, list[str]] = {}
        self._found: dict[str, Point] = {}
        self._failed: set[str] = set()

    def add(self, name: str, written: Written) -> None:
        """Add a derived point with its keys; report the keys that are unknown or missing."""
        strange = sorted(set(written.keys) - KEYS)
        for key in strange:
            written.report(key, unknown("key", key, KEYS))
        text = written.keys.get(EXPRESSION)
        if text is None and not strange:
            written.report(EXPRESSION, "expression is missing; write one, as in expression: rate(pressure)")
        elif text is not None and not isinstance(text, str):
            written.report(EXPRESSION, f"{text!r} is not an expression; put it in quotes")
            text = None
        self._waiting[name] = written
        try:
            self._inputs[name] = points_of(text) if text is not None else []
        except WrongExpression as error:
            written.report(EXPRESSION, str(error))
            text = None
        if text is None or strange:
            self._failed.add(name)

    def all(self) -> tuple[Point, ...]:
        for name in self._waiting:
            self._derive(name, ())
        return tuple(self._found.values())

    def _derive(self, name: str, above: tuple[str, ...]) -> None:
        """Build a point after those that it is derived from."""
        if name in self._found or name in self._failed:
            return
        if name in above:
            circle = above[above.index(name) :]
            self._waiting[circle[0]].report(
                EXPRESSION, f"is derived from itself: {' -> '.join((*circle, name))}; leave one of them out"
            )
            self._failed |= set(circle)
            return
        for one in self._inputs[name]:
            if one in self._waiting:
                self._derive(one, (*above, name))
        if name in self._failed or not self._names_are_right(name):
            self._failed.add(name)
            return
        point = self._built(name, self._waiting[name])
        if point is None:
            self._failed.add(name)
        else:
            self._found[name] = point
            self.known[name] = input_of(point)

    def _names_are_right(self, name: str) -> bool:
        """Report the names that are not points; those of points that are wrong themselves are reported there."""
        written, right = self._waiting[name], True
        for one in self._inputs[name]:
            if one in self.known:
                continue
            right = False
            if one in self._failed or one in self._waiting:
                continue
            if one in self._unusable:
                written.report(EXPRESSION, self._unusable[one])
            elif one in self.off:
                written.report(EXPRESSION, f"the point {one} is off or wrong; write enabled: false here, too")
            else:
                written.report(EXPRESSION, _unknown(one, {*self.known, *self._waiting}))
        return right

    def _built(self, name: str, written: Written) -> Point | None:
        text = str(written.keys[EXPRESSION]).strip()
        try:
            program = check(text, self.known, self._tables)
        except WrongExpression as error:
            written.report(EXPRESSION, str(error))
            return None
        own = {key: value for key, value in written.keys.items() if key not in {EXPRESSION, ENABLED}}
        source = Derivation.of(program)
        keys = {"name": name, "source": source} | own
        if program.type not in _NUMBERS:
            if own.get("unit"):
                written.report("unit", f"a unit is for numbers, and this is of type {program.type}; leave it out")
                return None
        elif "unit" not in own and program.unit is not None:
            keys["unit"] = program.unit.text
        point = whole_point(keys, source, written)
        if point is not None and "every" not in own:
            point = point.model_copy(update={"every": min(one.every for one in program.inputs)})
        return None if point is None else _fitted(point, program, written)


def _fitted(point: Point, program: Program, written: Written) -> Point | None:
    """Return the point with its result in its own type and unit, or None after reporting why that is not possible."""
    found = _in_own_unit(point, program, written) if program.type in _NUMBERS else program
    if found is None:
        return None
    if (message := _other_type(point, found)) is not None:
        written.report("type", message)
        return None
    if point.type is ValueType.FLOAT and found.type is ValueType.INT:
        found = as_float(found)
    doubt(point, written)
    return point.model_copy(update={"source": Derivation.of(found)})


def _in_own_unit(point: Point, program: Program, written: Written) -> Program | None:
    """Return the program with its result in the unit of the point, or None after reporting why it can't be."""
    computed = NUMBER if program.unit is None else program.unit
    if computed.powers and not computed.text and not point.unit:
        written.report("unit", "is missing; the result has a unit that has no code of its own")
        return None
    try:
        return in_unit(program, _unit(point.unit))
    except DifferenceOfTemperatures as error:
        written.report("unit", str(error))
    except NotConvertible:
        hint = f"write unit: {_quoted(computed)}" if computed.text else "leave unit out"
        wanted = point.unit or "a number without a unit"
        message = f"the expression gives {computed.shown}, not {wanted}; {hint}, or correct the expression"
        written.report("unit", message)
    return None


def _other_type(point: Point, program: Program) -> str | None:
    """Return why a result can't have the type of its point, None if it can."""
    if point.type is program.type or (point.type is ValueType.FLOAT and program.type is ValueType.INT):
        return None
    if point.labels and point.type is ValueType.STRING:
        return None
    if point.type is ValueType.INT and program.type is ValueType.FLOAT:
        return "the expression gives a float; write type: float, or round(...)"
    if point.type is ValueType.BOOL and program.type in _NUMBERS:
        return "the expression gives a number; compare it, as in x > 0"
    if point.type in _NUMBERS and program.type is ValueType.BOOL:
        return "the expression gives a condition; write type: bool, or condition ? 1 : 0"
    return f"the expression gives {program.type}; write type: {program.type}"


def _unknown(name: str, known: Iterable[str]) -> str:
    machine, dot, point = name.partition(".")
    if dot and machine not in known:
        return f"{name} is a point of another machine; only points of the same machine can be used, as in {point}"
    return unknown("point", name, known)


def _quoted(measured: Unit) -> str:
    return f'"{measured.text}"' if measured.text.startswith(("{", "[", "%")) else measured.text


def can_be_input(point: Point) -> bool:
    """Return whether an expression can name a point."""
    return point.type is not ValueType.JSON and not point.source.events and not point.source.search


def why_not(point: Point) -> str:
    """Return why a point can't be used in an expression."""
    if point.source.search:
        return f"{point.name} is a search; the points that it finds can't be used here"
    if point.source.events:
        return f"{point.name} is an event, which has no value between two events"
    return f"{point.name} has type json; a point of its own for each part can be used"


def meaning_of(point: Point) -> tuple[object, ...]:
    """Return all of a point that the points that are derived from it depend on."""
    labels = tuple(point.labels.items()) if point.labels else ()
    source = point.source
    return (
        point.name, point.type, point.unit, labels, point.every, source.pushed, source.events, source.search
    )  # fmt: skip


def input_of(point: Point) -> Input:
    """Return a point as an expression sees it."""
    labels = tuple(point.labels.items())
    return Input(point.name, point.type, _unit(point.unit), labels, point.every, point.source.pushed)


def _unit(text: str) -> Unit:
    try:
        return unit(text)
    except ValueError:  # with powers that nobody calculates with
        return Unit(text, ((text, 1),))
