"""Derived points, which the gateway calculates from the points of a machine: checked with their types and units.

Points of other machines of the line can be inputs, too. A derived point is built after all that it is derived from,
on whatever machine these are.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pydantic import PrivateAttr

from drivers.base import Source, ValueType
from gateway.settings.expressions.check import as_float, check, in_unit, names_of
from gateway.settings.expressions.program import Input, key_of
from gateway.settings.expressions.syntax import WrongExpression
from gateway.settings.point import Point
from gateway.settings.point_builder import ENABLED, doubt, filled, is_on, whole_point
from gateway.settings.problems import likely_name, unknown
from gateway.settings.quantities import NUMBER, DifferenceOfTemperatures, NotConvertible, Unit, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from gateway.settings.expressions.program import Program, Table
    from gateway.settings.expressions.syntax import Name
    from gateway.settings.line_points import LinePoints
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
    """The calculation from other points of the machine, or of its line, as in `rate(pressure)`."""

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
        return self.begin(points, others, values).all()

    def begin(
        self, points: Iterable[Point], others: Iterable[str], values: Mapping[str, Scalar], line: OnLine | None = None
    ) -> Derivations:
        """Return the derivations of a machine, checked for their keys and the form of their expressions.

        `line` is the line of the machine, None where points of other machines can't be named.
        """
        found = Derivations(points, set(others), self._tables, line)
        for name, one in self._written.items():
            if name in found.points:
                one.place.report(f"there is a point {name}; write another name")
            elif (whole := filled(one, values)) is not None and is_on(whole):
                found.add(name, whole)
            else:
                found.off.add(name)
        return found


def _not_named(written: Written) -> AbstractContextManager[None]:
    del written
    return nullcontext()


class OnLine(NamedTuple):
    """A machine on its line: its name there, and the points of the others.

    Within `named` the problems of a point that other machines do not have name the machine. `built` are the points of
    earlier machines of the template, which the next machines share where their inputs are alike.
    """

    machine: str
    points: LinePoints
    named: Callable[[Written], AbstractContextManager[None]] = _not_named
    built: dict[tuple[object, ...], Point] | None = None


class Derivations:
    """The derivations of one machine while they are checked, one after another."""

    def __init__(
        self, points: Iterable[Point], off: set[str], tables: Mapping[str, Table], line: OnLine | None = None
    ) -> None:
        self.points = {point.name: point for point in points}
        self.off = off
        self._known: dict[str, Input] = {}
        self._tables = tables
        self._line = line
        self._waiting: dict[str, Written] = {}
        self._inputs: dict[str, Sequence[Name]] = {}
        self._found: dict[str, Point] = {}
        self._failed: set[str] = set()

    @property
    def machine(self) -> str:
        """The name of the machine on its line, empty where points of other machines can't be named."""
        return "" if self._line is None else self._line.machine

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
            self._inputs[name] = names_of(text, self.machine) if text is not None else ()
        except WrongExpression as error:
            written.report(EXPRESSION, str(error))
            self._inputs[name] = ()
            text = None
        if text is None or strange:
            self._failed.add(name)

    def all(self) -> tuple[Point, ...]:
        """Return the derived points that are right; for the others there are problems.

        Their order depends on this machine alone: it is the same whichever machine of the line was checked first.
        """
        for name in self._waiting:
            self.derive(name)
        done: set[_Node] = set()
        order = [node for name in self._waiting for node in _post_order((self, name), _own_below, _nothing, done)]
        return tuple(self._found[name] for _, name in order if name in self._found)

    def derive(self, name: str) -> None:
        """Build a point after those that it is derived from, on whatever machine they are."""
        if not self.is_open(name):
            return
        for derivations, one in _post_order((self, name), _below, _report_circle, set()):
            derivations.finish(one)

    def find(self, name: str, machine: str = "") -> Input | str:
        """Return a point, or why it can't be an input: empty if that is reported where the point is written.

        `machine` is the name of this machine where another one asks.
        """
        of = f" of {machine}" if machine else ""
        if name in self._known:
            return self._known[name]
        if name in self._failed or name in self._waiting:
            return ""
        if (point := self.points.get(name)) is not None:
            if not can_be_input(point):
                return f"{machine}: {why_not(point)}" if machine else why_not(point)
            self._known[name] = input_of(point)
            return self._known[name]
        if name in self.off:
            return f"the point {name}{of} is off or wrong; write enabled: false here, too"
        usable = (point.name for point in self.points.values() if can_be_input(point))
        return _unknown(name, {*usable, *self._waiting}, of)

    def below(self, name: str) -> Iterator[_Node]:
        """Yield the derived points that a point names, on whatever machine, and that are not built yet."""
        for one in self._inputs[name]:
            there = self._of(one.machine)
            if there is not None and there.is_open(one.name):
                yield there, one.name

    def own_below(self, name: str) -> Iterator[_Node]:
        """Yield the derived points of this machine that a point names."""
        return ((self, one.name) for one in self._inputs[name] if not one.machine and one.name in self._waiting)

    def is_open(self, name: str) -> bool:
        """Return whether a derived point is to be built: it is neither there nor wrong."""
        return name in self._waiting and name not in self._found and name not in self._failed

    def _of(self, machine: str) -> Derivations | None:
        if not machine:
            return self
        return None if self._line is None else self._line.points.waiting(machine)

    def report(self, name: str, message: str) -> None:
        """Report a problem at the expression of a point; the point is wrong."""
        with self._named(name):
            self._waiting[name].report(EXPRESSION, message)
        self._failed.add(name)

    def fail(self, name: str) -> None:
        """Note that a point is wrong, after a report of it elsewhere."""
        self._failed.add(name)

    def _named(self, name: str) -> AbstractContextManager[None]:
        if self._line is None or not any(one.machine for one in self._inputs[name]):
            return nullcontext()
        return self._line.named(self._waiting[name])

    def finish(self, name: str) -> None:
        """Build a point after those that it is derived from."""
        if not self.is_open(name):
            return
        inputs = self._inputs_of(name)
        point = None if inputs is None else self._shared(name, inputs)
        if point is None:
            self._failed.add(name)
        else:
            self._found[name] = point
            self._known[name] = input_of(point)

    def _shared(self, name: str, inputs: Mapping[str, Input]) -> Point | None:
        """Return the point of an earlier machine with the same keys and inputs, else a new point."""
        built = None if self._line is None else self._line.built
        key: tuple[object, ...] = ()
        if built is not None:
            key = name, repr(self._waiting[name].keys), *inputs.values()
            if (point := built.get(key)) is not None:
                return point
        with self._named(name):
            point = self._built(name, self._waiting[name], inputs)
        if built is not None and point is not None:
            built[key] = point
        return point

    def _inputs_of(self, name: str) -> dict[str, Input] | None:
        """Return the inputs by their keys, None after reporting the names that are not points.

        Those of points that are wrong themselves are reported there.
        """
        inputs: dict[str, Input] = {}
        for one in self._inputs[name]:
            found = self._input(one)
            if isinstance(found, Input):
                inputs[one.key] = found
            elif found:
                self.report(name, found)
        return inputs if len(inputs) == len(self._inputs[name]) else None

    def _input(self, name: Name) -> Input | str:
        if not name.machine:
            return self.find(name.name)
        if self._line is None:
            return f"{name.key} is a point of another machine, and there are no others here"
        found = self._line.points.find(name.name, name.machine)
        return replace(found, machine=name.machine) if isinstance(found, Input) else found

    def _built(self, name: str, written: Written, inputs: Mapping[str, Input]) -> Point | None:
        text = str(written.keys[EXPRESSION]).strip()
        try:
            program = check(text, inputs, self._tables, self.machine)
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


_Node = tuple[Derivations, str]
"""A derived point of a machine."""


def _below(node: _Node) -> Iterator[_Node]:
    return node[0].below(node[1])


def _own_below(node: _Node) -> Iterator[_Node]:
    return node[0].own_below(node[1])


def _nothing(circle: Sequence[_Node]) -> None:
    del circle


def _report_circle(circle: Sequence[_Node]) -> None:
    """Report points that are derived from one another at the first of them; all of them are wrong."""
    several = len({derivations for derivations, _ in circle}) > 1
    names = [f"{one.machine}.{name}" if several else name for one, name in (*circle, circle[0])]
    derivations, first = circle[0]
    derivations.report(first, f"is derived from itself: {' -> '.join(names)}; leave one of them out")
    for one, name in circle:
        one.fail(name)


def _post_order(
    first: _Node,
    below: Callable[[_Node], Iterator[_Node]],
    report_circle: Callable[[Sequence[_Node]], None],
    done: set[_Node],
) -> Iterator[_Node]:
    """Yield all points below a point and the point itself, each after those below it, without those that are `done`.

    A line may be longer than Python's stack is deep: each machine may add to the point of the machine before it.
    """
    if first in done:
        return
    above = {first: below(first)}
    while above:
        node, rest = next(reversed(above.items()))
        for one in rest:
            if one in above:
                path = list(above)
                report_circle(path[path.index(one) :])
            elif one not in done:
                above[one] = below(one)
                break
        else:
            del above[node]
            done.add(node)
            yield node


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


def _unknown(name: str, known: Collection[str], of: str) -> str:
    machine, dot, point = name.partition(".")
    dotted = sorted(one for one in known if "." in one)
    if dot and not of and likely_name("point", name, dotted) is None:
        return f"unknown point {name!r}; a point of another machine of the line is written {key_of(point, machine)}"
    return unknown("point", name, known, of)


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
    pushed = point.source.pushed
    if isinstance(point.source, Derivation):  # its readings come with those of its inputs
        pushed = any(one.pushed for one in point.source.program.inputs)
    return Input(point.name, point.type, _unit(point.unit), labels, point.every, pushed)


def _unit(text: str) -> Unit:
    try:
        return unit(text)
    except ValueError:  # with powers that nobody calculates with
        return Unit(text, ((text, 1),))
