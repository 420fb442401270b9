"""Check an expression for names, types and units, and make its code.

A number that is written has no unit of its own: it takes that of the other side of a sum or comparison.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from drivers.base import ValueType
from gateway.settings.expressions.program import Code, Input, Program, Step, value_at
from gateway.settings.expressions.runtime import HAS, call
from gateway.settings.expressions.syntax import (
    LINE,
    Binary,
    Call,
    Choice,
    Listing,
    Literal,
    Name,
    Period,
    Unary,
    WrongExpression,
    parse,
)
from gateway.settings.problems import unknown
from gateway.settings.quantities import NUMBER, NotConvertible, Unit, unit
from gateway.settings.units import check_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from drivers.base import Value
    from gateway.settings.expressions.program import Table
    from gateway.settings.expressions.syntax import Node

_NUMBERS = frozenset({ValueType.INT, ValueType.FLOAT})

LATE = 3
"""Periods of a point after which its last reading no longer says what it is now."""

MOST_STEPS = 30
"""Functions with a state in one expression."""

MOST_KEPT = 1_000
"""Expressions whose inputs are kept: the machines of a template have the same."""

_SECOND = unit("s")

_USUAL_FUNCTIONS = {
    "avg": "mean", "average": "mean", "derivative": "rate", "diff": "difference", "delta": "difference",
    "lag": "previous", "last": "previous", "prev": "previous", "count": "edges", "rising": "edges",
    "integrate": "integral", "sum": "total", "counter": "total", "float": "double", "number": "double",
    "str": "string", "moving_average": "mean_over", "avg_over": "mean_over", "lowpass": "filtered", "pt1": "filtered",
    "smooth": "filtered", "interpolate": "lookup", "power": "pow", "len": "size", "length": "size", "trunc": "int",
    "exists": "has", "isset": "has", "sign": "abs", "sqr": "pow", "duration_of": "time_in", "on_time": "time_in",
}  # fmt: skip
"""The names of functions in other languages -> here."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A checked part: its type, its unit (None for a written number), its code, and what it is made of.

    `constant` is the value of a part that is written as one. `labels` are those of a point that is named alone.
    """

    type: ValueType
    unit: Unit | None
    tree: ast.expr
    uses: frozenset[int] = frozenset()
    constant: Value | None = None
    labels: tuple[tuple[int, str], ...] = ()

    @property
    def is_number(self) -> bool:
        return self.type in _NUMBERS

    @property
    def shown_unit(self) -> Unit:
        return NUMBER if self.unit is None else self.unit


def names_in(node: Node) -> Iterator[Name]:
    """Yield the names of points in a tree, in their order."""
    match node:
        case Name():
            yield node
        case Unary(operand=operand):
            yield from names_in(operand)
        case Binary(left=left, right=right):
            yield from names_in(left)
            yield from names_in(right)
        case Choice(condition=condition, then=then, other=other):
            for part in (condition, then, other):
                yield from names_in(part)
        case Listing(items=items):
            for part in items:
                yield from names_in(part)
        case Call(name=name, arguments=arguments):
            for part in arguments[:1] if name in {"lookup", "convert"} else arguments:
                yield from names_in(part)


def names_of(text: str, own: str = "") -> tuple[Name, ...]:
    """Return the points in an expression of the machine `own`, each once. Raises `WrongExpression`."""
    return _names_of(text, own if LINE in text else "")


@lru_cache(maxsize=MOST_KEPT)
def _names_of(text: str, own: str) -> tuple[Name, ...]:
    return tuple({one.key: one for one in names_in(parse(text, own))}.values())


def points_of(text: str) -> list[str]:
    """Return the points of the machine itself in an expression, each once. Raises `WrongExpression`.

    Points of other machines of the line are a mistake.
    """
    names = names_of(text)
    if (other := next((one for one in names if one.machine), None)) is not None:
        raise WrongExpression(
            f"{other.key} is a point of another machine, and only derived points can name these; write a derived "
            "point with it, and its name here", other.at,
        )  # fmt: skip
    return [one.name for one in names]


def check(text: str, known: Mapping[str, Input], tables: Mapping[str, Table], own: str = "") -> Program:
    """Return an expression that is right. Raises `WrongExpression`.

    `known` are all points that it can name, by their keys, and `own` is the name of its machine, see `parse`.
    """
    tree = parse(text, own)
    names = list(dict.fromkeys(one.key for one in names_in(tree)))
    if not names:
        raise WrongExpression("names no point, so it would never be calculated; name one", 0)
    checker = _Checker([known[name] for name in names], tables)
    whole = checker.value(tree)
    used = tuple((name, tables[name]) for name in sorted(checker.tables))
    result = Code(whole.tree, whole.uses)
    return Program(text, tuple(checker.inputs), tuple(checker.steps), result, whole.type, whole.unit, used)


def in_unit(program: Program, wanted: Unit) -> Program:
    """Return a program whose result is converted to another unit; one without a unit takes it as it is.

    Raises `NotConvertible`.
    """
    factor, offset = (1.0, 0.0) if program.unit is None else program.unit.conversion(wanted)
    if (factor, offset) == (1.0, 0.0):
        return replace(program, unit=wanted)
    tree = _converted(program.result.tree, factor, offset)
    return replace(program, result=replace(program.result, tree=tree), type=ValueType.FLOAT, unit=wanted)


def as_float(program: Program) -> Program:
    """Return a program of whole numbers whose result is a float."""
    tree = call("float", program.result.tree)
    return replace(program, result=replace(program.result, tree=tree), type=ValueType.FLOAT)


def _converted(tree: ast.expr, factor: float, offset: float) -> ast.expr:
    if factor != 1.0:
        tree = ast.BinOp(tree, ast.Mult(), ast.Constant(factor))
    return ast.BinOp(tree, ast.Add(), ast.Constant(offset)) if offset else tree


class _Checker:
    """One expression. `steps` are its functions with state, in the order of their evaluation."""

    def __init__(self, inputs: list[Input], tables: Mapping[str, Table]) -> None:
        self.inputs = inputs
        self.steps: list[Step] = []
        self.tables: set[str] = set()
        self._tables = tables
        self._places = {one.key: place for place, one in enumerate(inputs)}

    def value(self, node: Node) -> _Value:
        match node:
            case Literal(value=value):
                return _literal(value)
            case Name(key=key):
                return self._point(key)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Choice():
                return self._choice(node)
            case Call():
                return self._call(node)
            case Period(at=at):
                raise WrongExpression("a length of time is an argument, as in mean_over(pressure, 60s)", at)
            case Listing(at=at):
                raise WrongExpression("a list is the right side of in, as in state in [1, 2]", at)

    def number(self, node: Node, what: str) -> _Value:
        found = self.value(node)
        if not found.is_number:
            raise WrongExpression(f"{what} needs a number, and this is of type {found.type}", node.at)
        return found

    def condition(self, node: Node, what: str) -> _Value:
        found = self.value(node)
        if found.type is not ValueType.BOOL:
            raise WrongExpression(f"{what} needs a condition, and this is of type {found.type}; write {_test(found)}",
                                  node.at)  # fmt: skip
        return found

    def _point(self, key: str) -> _Value:
        place = self._places[key]
        point = self.inputs[place]
        measured = point.unit if point.type in _NUMBERS else NUMBER
        return _Value(point.type, measured, value_at(place), frozenset({place}), labels=point.labels)

    # -- operators --

    def _unary(self, node: Unary) -> _Value:
        if node.sign == "!":
            inner = self.condition(node.operand, "!")
            return _of([inner], ValueType.BOOL, NUMBER, ast.UnaryOp(ast.Not(), inner.tree))
        inner = self.number(node.operand, "-")
        if inner.unit is not None and inner.unit.zero is not None:
            raise WrongExpression(_on_scale(inner.unit, node.operand), node.at)
        return _of([inner], inner.type, inner.unit, ast.UnaryOp(ast.USub(), inner.tree))

    def _binary(self, node: Binary) -> _Value:
        if node.sign in {"&&", "||"}:
            both = [self.condition(side, node.sign) for side in (node.left, node.right)]
            joined = ast.BoolOp(ast.And() if node.sign == "&&" else ast.Or(), [one.tree for one in both])
            return _of(both, ValueType.BOOL, NUMBER, joined)
        if node.sign == "in":
            return self._within(node)
        if node.sign in _COMPARISONS:
            return self._comparison(node, self.value(node.left), node.right)
        left, right = self.value(node.left), self.value(node.right)
        if node.sign == "+" and left.type is right.type is ValueType.STRING:
            return _of([left, right], ValueType.STRING, NUMBER, ast.BinOp(left.tree, ast.Add(), right.tree))
        for side, found in ((node.left, left), (node.right, right)):
            if not found.is_number:
                hint = "; write x ? 1 : 0" if found.type is ValueType.BOOL else ""
                raise WrongExpression(f"{node.sign} is for numbers, and this is of type {found.type}{hint}", side.at)
        return self._arithmetic(node, left, right)

    def _arithmetic(self, node: Binary, left: _Value, right: _Value) -> _Value:
        whole = left.type is right.type is ValueType.INT
        kind = ValueType.INT if whole else ValueType.FLOAT
        measured = _unit_of(node, left, right)
        match node.sign:
            case "+" | "-":
                sign: ast.operator = ast.Add() if node.sign == "+" else ast.Sub()
                return _of([left, right], kind, measured, ast.BinOp(left.tree, sign, right.tree))
            case "*":
                return _of([left, right], kind, measured, ast.BinOp(left.tree, ast.Mult(), right.tree))
            case "/":
                if right.constant == 0:
                    raise WrongExpression("divides by 0", node.at)
                return _of([left, right], ValueType.FLOAT, measured, ast.BinOp(left.tree, ast.Div(), right.tree))
        if not whole:
            raise WrongExpression("% is for whole numbers; write round(x) where they are not", node.at)
        if right.constant == 0:
            raise WrongExpression("divides by 0", node.at)
        return _of([left, right], kind, measured, call("remainder", left.tree, right.tree))

    def _comparison(self, node: Binary, left: _Value, right_node: Node) -> _Value:
        right = self.value(right_node)
        if left.labels and right.type is ValueType.STRING:
            right = _of_label(left, right, right_node)
        elif right.labels and left.type is ValueType.STRING:
            left = _of_label(right, left, node.left)
        if not (left.is_number and right.is_number) and left.type is not right.type:
            raise WrongExpression(f"compares {left.type} with {right.type}{_other_test(left, right)}", node.at)
        if left.type is ValueType.BOOL and node.sign not in {"==", "!="}:
            raise WrongExpression(f"{node.sign} is for numbers and text; compare conditions with == or !=", node.at)
        if left.is_number and right.is_number:
            _check_same(node.sign, node.at, left, right, (node.left, right_node))
        tree = ast.Compare(left.tree, [_COMPARISONS[node.sign]()], [right.tree])
        return _of([left, right], ValueType.BOOL, NUMBER, tree)

    def _within(self, node: Binary) -> _Value:
        if not isinstance(node.right, Listing):
            raise WrongExpression("in needs a list, as in state in [1, 2]", node.right.at)
        left = self.value(node.left)
        equal = replace(node, sign="==")
        found = [self._comparison(equal, left, item) for item in node.right.items]
        whole = found[0].tree
        for one in found[1:]:
            whole = ast.BoolOp(ast.Or(), [whole, one.tree])
        return _of([left, *found], ValueType.BOOL, NUMBER, whole)

    def _choice(self, node: Choice) -> _Value:
        condition = self.condition(node.condition, "?")
        then, other, measured = self._alike("? :", node.at, (node.then, node.other))
        tree = ast.IfExp(condition.tree, then.tree, other.tree)
        return _of([condition, then, other], then.type, measured, tree)

    def _alike(self, what: str, at: int, nodes: tuple[Node, ...]) -> tuple[_Value, _Value, Unit | None]:
        one, other = (self.value(node) for node in nodes)
        if one.is_number and other.is_number:
            [one, other], measured = _same_numbers(what, at, [one, other], nodes)
            return one, other, measured
        if one.type is not other.type:
            raise WrongExpression(f"{what} has values of types {one.type} and {other.type}; write the same", at)
        return one, other, NUMBER

    # -- functions --

    def _call(self, node: Call) -> _Value:
        function = FUNCTIONS.get(node.name)
        if function is None:
            usual = _USUAL_FUNCTIONS.get(node.name.lower())
            hint = f"unknown function {node.name!r}; did you mean {usual!r}?" if usual else ""
            raise WrongExpression(hint or unknown("function", node.name, FUNCTIONS), node.at)
        few, most = function.least, function.most
        if not few <= len(node.arguments) <= most:
            raise WrongExpression(f"{node.name} is written {function.form}", node.at)
        return function.check(self, node)

    def numbers(self, node: Call) -> tuple[list[_Value], Unit | None]:
        """Return the arguments as numbers of one type and unit."""
        found = [self.number(one, node.name) for one in node.arguments]
        return _same_numbers(node.name, node.at, found, node.arguments)

    def whole(self, node: Call, index: int, lowest: int, highest: int) -> int:
        """Return an argument that is written as a whole number."""
        found = node.arguments[index]
        if not (isinstance(found, Literal) and type(found.value) is int and lowest <= found.value <= highest):
            raise WrongExpression(f"write a whole number from {lowest} to {highest} here, as in "
                                  f"{FUNCTIONS[node.name].form}", found.at)  # fmt: skip
        return found.value

    def period(self, node: Call, index: int) -> float:
        """Return an argument that is a length of time, in seconds."""
        found = node.arguments[index]
        if not (isinstance(found, Period) and found.seconds > 0):
            raise WrongExpression(f"write a length of time here, as in {FUNCTIONS[node.name].form}", found.at)
        return found.seconds

    def table(self, node: Call) -> Table:
        """Return the table that an argument names."""
        named = node.arguments[1]
        if not isinstance(named, Name):
            raise WrongExpression("write the name of a table of this template, as in lookup(level, tank)", named.at)
        if named.key not in self._tables:
            raise WrongExpression(unknown("table", named.key, self._tables), named.at)
        self.tables.add(named.name)
        return self._tables[named.name]

    def step(self, node: Call, argument: _Value, *settings: float, kind: ValueType, measured: Unit | None) -> _Value:
        """Add a function with state; returns its result."""
        if not argument.uses:
            raise WrongExpression(f"{node.name} needs a point; this value never changes", node.at)
        if len(self.steps) >= MOST_STEPS:
            raise WrongExpression(f"has more than {MOST_STEPS} functions that keep a state", node.at)
        gap = LATE * max(self._every(argument.uses), default=0.0)
        self.steps.append(Step(node.name, Code(argument.tree, argument.uses), settings, gap))
        place = len(self.inputs) + len(self.steps) - 1
        return _Value(kind, measured, value_at(place), frozenset({place}))

    def _every(self, uses: frozenset[int]) -> Iterator[float]:
        """Yield the periods of the points behind some values; none if one of them is pushed."""
        inputs = self._inputs(uses)
        if not any(point.pushed for point in inputs):
            for point in inputs:
                yield point.every

    def _inputs(self, uses: frozenset[int]) -> list[Input]:
        found: list[Input] = []
        for place in uses:
            if place < len(self.inputs):
                found.append(self.inputs[place])
            else:
                found += self._inputs(self.steps[place - len(self.inputs)].argument.uses)
        return found


_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE,
}  # fmt: skip


def _of(parts: list[_Value], kind: ValueType, measured: Unit | None, tree: ast.expr) -> _Value:
    return _Value(kind, measured, tree, frozenset().union(*(part.uses for part in parts)))


def _literal(value: Value) -> _Value:
    kinds = {bool: ValueType.BOOL, int: ValueType.INT, float: ValueType.FLOAT, str: ValueType.STRING}
    kind = kinds[type(value)]
    return _Value(kind, None if kind in _NUMBERS else NUMBER, ast.Constant(value), constant=value)


def _test(value: _Value) -> str:
    """Return a condition that a value is likely meant to be."""
    if value.labels and value.type is ValueType.INT:
        return f'x == "{value.labels[0][1]}"'
    return 'x == "text"' if value.type is ValueType.STRING else "x != 0"


def _other_test(left: _Value, right: _Value) -> str:
    if ValueType.BOOL in {left.type, right.type}:
        return "; a condition is compared with true or false, or written alone"
    return "; the labels of a point are compared with text, and this point has none"


def _of_label(point: _Value, label: _Value, node: Node) -> _Value:
    """Return the number of a label, or the label itself where it is the value."""
    if not isinstance(label.constant, str):
        if point.type is ValueType.STRING:
            return label
        raise WrongExpression("a label is written as text, as in state == 'running'", node.at)
    numbers = {text: number for number, text in reversed(point.labels)}
    if label.constant not in numbers:
        raise WrongExpression(unknown("label", label.constant, numbers), node.at)
    if point.type is ValueType.STRING:
        return label
    number = numbers[label.constant]
    return replace(_literal(bool(number) if point.type is ValueType.BOOL else number), constant=None)


def _on_scale(measured: Unit, node: Node) -> str:
    name = node.key if isinstance(node, Name) else "x"
    return (
        f"a temperature in {measured.text} can't be added, multiplied or negated: its zero is arbitrary; write "
        f'mean(x, y) for a mean, or convert({name}, "K")'
    )


def _unit_of(node: Binary, left: _Value, right: _Value) -> Unit | None:
    """Return the unit of a sum, difference, product or quotient."""
    one, other = left.unit, right.unit
    if node.sign in {"+", "-"}:
        return _unit_of_sum(node, left, right)
    for side, found in ((node.left, one), (node.right, other)):
        if found is not None and found.zero is not None:
            raise WrongExpression(_on_scale(found, side), node.at)
    if one is None and other is None:
        return None
    if node.sign == "%":
        return one
    try:
        product = (one or NUMBER).times(other or NUMBER)
        return product if node.sign == "*" else (one or NUMBER).over(other or NUMBER)
    except ValueError as error:
        raise WrongExpression(str(error), node.at) from None


def _unit_of_sum(node: Binary, left: _Value, right: _Value) -> Unit | None:
    one, other = left.unit, right.unit
    if one is None or other is None:
        return one or other
    scales = one.zero is not None, other.zero is not None
    if node.sign == "-" and all(scales) and one.is_equal(other):
        return one.difference()
    if node.sign == "+" and all(scales):
        raise WrongExpression(_on_scale(one, node.left), node.at)
    if any(scales) and not all(scales):
        scale, step = (one, other) if scales[0] else (other, one)
        if step.delta and step.is_like(scale) and step.size == scale.size and (scales[0] or node.sign == "+"):
            return scale
    _check_same(node.sign, node.at, left, right, (node.left, node.right))
    return one


def _check_same(what: str, at: int, left: _Value, right: _Value, nodes: tuple[Node, Node]) -> None:
    """Raise if two numbers are of different units."""
    one, other = left.unit, right.unit
    if one is None or other is None or one.is_equal(other):
        return
    said = f"{what} has {_said(nodes[0], one)} and {_said(nodes[1], other)}"
    if not one.is_like(other):
        raise WrongExpression(f"{said}, which are different quantities", at)
    if one.note != other.note and one.size == other.size and one.zero == other.zero:
        raise WrongExpression(f"{said}, which are counted apart; divide by one of them first", at)
    name = nodes[1].key if isinstance(nodes[1], Name) else "x"
    wanted = f'convert({name}, "{one.text}")' if one.text else 'convert(x, "1")'
    raise WrongExpression(f"{said}, which are of different size; write {wanted}", at)


def _said(node: Node, measured: Unit) -> str:
    name = f"{node.key} in " if isinstance(node, Name) else ""
    return f"{name}{measured.shown}"


def _same_numbers(
    what: str, at: int, values: list[_Value], nodes: tuple[Node, ...]
) -> tuple[list[_Value], Unit | None]:
    """Return numbers of one type, with their unit. Raises `WrongExpression` if their units differ."""
    measured = [(value, node) for value, node in zip(values, nodes, strict=True) if value.unit is not None]
    for value, node in measured[1:]:
        _check_same(what, at, measured[0][0], value, (measured[0][1], node))
    whole = all(value.type is ValueType.INT for value in values)
    return values if whole else [_floated(value) for value in values], measured[0][0].unit if measured else None


def _floated(value: _Value) -> _Value:
    if value.type is ValueType.FLOAT:
        return value
    if isinstance(value.constant, int):
        return replace(value, type=ValueType.FLOAT, tree=ast.Constant(float(value.constant)))
    return replace(value, type=ValueType.FLOAT, tree=call("float", value.tree))


# -- the table of functions --


@dataclass(frozen=True, slots=True)
class Function:
    """A function: how it is written, its numbers of arguments, and its check."""

    form: str
    least: int
    most: int
    check: Callable[[_Checker, Call], _Value]


def _has(checker: _Checker, node: Call) -> _Value:
    if not isinstance(node.arguments[0], Name):
        raise WrongExpression("has needs the name of a point, as in has(pressure)", node.at)
    value = checker.value(node.arguments[0])
    return _of([value], ValueType.BOOL, NUMBER, call(HAS, value.tree))


def _keeping(name: str) -> Callable[[_Checker, Call], _Value]:
    """Return the check of a function of numbers whose result has their type and unit."""

    def checked(checker: _Checker, node: Call) -> _Value:
        values, measured = checker.numbers(node)
        kind = ValueType.FLOAT if name == "mean" else values[0].type
        return _of(values, kind, measured, call(name, *(value.tree for value in values)))

    return checked


def _to_whole(name: str) -> Callable[[_Checker, Call], _Value]:
    def checked(checker: _Checker, node: Call) -> _Value:
        value = checker.number(node.arguments[0], node.name)
        if len(node.arguments) == 1:
            return _of([value], ValueType.INT, value.unit, call(name, value.tree))
        digits = checker.whole(node, 1, 0, 12)
        return _of([value], ValueType.FLOAT, value.unit, call(name, _floated(value).tree, ast.Constant(digits)))

    return checked


def _double(checker: _Checker, node: Call) -> _Value:
    return _floated(checker.number(node.arguments[0], node.name))


def _string(checker: _Checker, node: Call) -> _Value:
    value = checker.value(node.arguments[0])
    return _of([value], ValueType.STRING, NUMBER, call("string", value.tree))


def _sqrt(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    measured = None if value.unit is None else value.unit.root()
    if value.unit is not None and (measured is None or value.unit.zero is not None):
        raise WrongExpression(f"the square root of {value.unit.shown} is not a unit", node.at)
    return _of([value], ValueType.FLOAT, measured, call("sqrt", value.tree))


def _pow(checker: _Checker, node: Call) -> _Value:
    base, exponent = (checker.number(one, node.name) for one in node.arguments)
    if exponent.shown_unit.powers:
        raise WrongExpression(f"an exponent has no unit, and this exponent has {exponent.shown_unit.text}", node.at)
    measured = base.unit
    if base.unit is not None and base.unit.powers:
        if type(exponent.constant) is not int or base.unit.zero is not None:
            raise WrongExpression(f"a power of {base.unit.text} needs a whole exponent that is written", node.at)
        try:
            measured = base.unit.power(exponent.constant)
        except ValueError as error:
            raise WrongExpression(str(error), node.at) from None
    return _of([base, exponent], ValueType.FLOAT, measured, call("pow", base.tree, exponent.tree))


def _convert(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    wanted = node.arguments[1]
    if not (isinstance(wanted, Literal) and isinstance(wanted.value, str)):
        raise WrongExpression('write a unit in quotes, as in convert(pressure, "bar")', wanted.at)
    try:
        target = unit(check_unit("" if wanted.value == "1" else wanted.value))
        factor, offset = value.shown_unit.conversion(target)
    except NotConvertible as error:
        raise WrongExpression(f"{error}: they are different quantities", node.at) from None
    except ValueError as error:
        raise WrongExpression(str(error), wanted.at) from None
    tree = _converted(_floated(value).tree, factor, offset)
    return _of([value], ValueType.FLOAT, target, tree)


def _lookup(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    rows = checker.table(node)
    tree = ast.Tuple([ast.Tuple([ast.Constant(x), ast.Constant(y)], ast.Load()) for x, y in rows], ast.Load())
    return _of([value], ValueType.FLOAT, None, call("lookup", value.tree, tree))


def _word(checker: _Checker, node: Call) -> _Value:
    value = checker.value(node.arguments[0])
    if value.type is not ValueType.INT:
        raise WrongExpression(f"{node.name} is for whole numbers, and this is of type {value.type}", node.at)
    return value


def _bit(checker: _Checker, node: Call) -> _Value:
    value = _word(checker, node)
    first = ast.Constant(checker.whole(node, 1, 0, 63))
    one = call("bits", value.tree, first, ast.Constant(1))
    return _of([value], ValueType.BOOL, NUMBER, ast.Compare(one, [ast.Eq()], [ast.Constant(1)]))


def _bits(checker: _Checker, node: Call) -> _Value:
    value = _word(checker, node)
    first, count = checker.whole(node, 1, 0, 63), checker.whole(node, 2, 1, 63)
    tree = call("bits", value.tree, ast.Constant(first), ast.Constant(count))
    return _of([value], ValueType.INT, NUMBER, tree)


def _of_text(name: str, kind: ValueType) -> Callable[[_Checker, Call], _Value]:
    def checked(checker: _Checker, node: Call) -> _Value:
        values = [checker.value(one) for one in node.arguments]
        for value, one in zip(values, node.arguments, strict=True):
            if value.type is not ValueType.STRING:
                raise WrongExpression(f"{node.name} is for text, and this is of type {value.type}", one.at)
        if name == "contains":
            tree: ast.expr = ast.Compare(values[1].tree, [ast.In()], [values[0].tree])
        else:
            tree = call(name, *(value.tree for value in values))
        return _of(values, kind, NUMBER, tree)

    return checked


def _rate(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    measured = value.shown_unit.difference().over(_SECOND)
    return checker.step(node, value, kind=ValueType.FLOAT, measured=measured)


def _difference(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    return checker.step(node, value, kind=value.type, measured=value.shown_unit.difference())


def _total(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    wraps = node.arguments[1] if len(node.arguments) > 1 else None
    if wraps is None:
        return checker.step(node, value, 0, kind=value.type, measured=value.shown_unit)
    size = wraps.value if isinstance(wraps, Literal) and type(wraps.value) in {int, float} else 0
    if not float(size) > 0:
        raise WrongExpression("write where the counter begins again, as in total(parts, 65536)", wraps.at)
    return checker.step(node, value, float(size), kind=value.type, measured=value.shown_unit)


def _integral(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    if value.shown_unit.zero is not None:
        raise WrongExpression(_on_scale(value.shown_unit, node.arguments[0]), node.at)
    measured = value.shown_unit.times(_SECOND)
    return checker.step(node, value, kind=ValueType.FLOAT, measured=measured)


def _time_in(checker: _Checker, node: Call) -> _Value:
    value = checker.condition(node.arguments[0], node.name)
    return checker.step(node, value, kind=ValueType.FLOAT, measured=_SECOND)


def _edges(checker: _Checker, node: Call) -> _Value:
    value = checker.condition(node.arguments[0], node.name)
    return checker.step(node, value, kind=ValueType.INT, measured=NUMBER)


def _over(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    kind = ValueType.FLOAT if node.name == "mean_over" else value.type
    return checker.step(node, value, checker.period(node, 1), kind=kind, measured=value.shown_unit)


def _filtered(checker: _Checker, node: Call) -> _Value:
    value = checker.number(node.arguments[0], node.name)
    return checker.step(node, value, checker.period(node, 1), kind=ValueType.FLOAT, measured=value.shown_unit)


def _previous(checker: _Checker, node: Call) -> _Value:
    value = checker.value(node.arguments[0])
    found = checker.step(node, value, kind=value.type, measured=value.shown_unit)
    return replace(found, labels=value.labels)


FUNCTIONS: dict[str, Function] = {
    "has": Function("has(x)", 1, 1, _has),
    "abs": Function("abs(x)", 1, 1, _keeping("abs")),
    "min": Function("min(x, y)", 2, 20, _keeping("min")),
    "max": Function("max(x, y)", 2, 20, _keeping("max")),
    "mean": Function("mean(x, y)", 2, 20, _keeping("mean")),
    "round": Function("round(x) or round(x, 2)", 1, 2, _to_whole("round")),
    "floor": Function("floor(x)", 1, 1, _to_whole("floor")),
    "ceil": Function("ceil(x)", 1, 1, _to_whole("ceil")),
    "int": Function("int(x)", 1, 1, _to_whole("int")),
    "double": Function("double(x)", 1, 1, _double),
    "string": Function("string(x)", 1, 1, _string),
    "sqrt": Function("sqrt(x)", 1, 1, _sqrt),
    "pow": Function("pow(x, 2)", 2, 2, _pow),
    "convert": Function('convert(x, "bar")', 2, 2, _convert),
    "lookup": Function("lookup(x, table)", 2, 2, _lookup),
    "bit": Function("bit(word, 3)", 2, 2, _bit),
    "bits": Function("bits(word, 4, 8)", 3, 3, _bits),
    "size": Function("size(text)", 1, 1, _of_text("len", ValueType.INT)),
    "startsWith": Function('text.startsWith("A")', 2, 2, _of_text("startswith", ValueType.BOOL)),
    "endsWith": Function('text.endsWith("A")', 2, 2, _of_text("endswith", ValueType.BOOL)),
    "contains": Function('text.contains("A")', 2, 2, _of_text("contains", ValueType.BOOL)),
    "rate": Function("rate(x)", 1, 1, _rate),
    "difference": Function("difference(x)", 1, 1, _difference),
    "previous": Function("previous(x)", 1, 1, _previous),
    "total": Function("total(counter) or total(counter, 65536)", 1, 2, _total),
    "integral": Function("integral(x)", 1, 1, _integral),
    "time_in": Function("time_in(condition)", 1, 1, _time_in),
    "edges": Function("edges(condition)", 1, 1, _edges),
    "min_over": Function("min_over(x, 60s)", 2, 2, _over),
    "max_over": Function("max_over(x, 60s)", 2, 2, _over),
    "mean_over": Function("mean_over(x, 60s)", 2, 2, _over),
    "filtered": Function("filtered(x, 5s)", 2, 2, _filtered),
}
"""All functions by their names."""
