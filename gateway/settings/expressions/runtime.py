"""The functions that compiled expressions call, and the compilation.

Each expression has two forms. The quick form is for values that are all there. The careful form is for values of
which some are missing, and after a failure of the quick form: there `&&` and `||` absorb an error of one
side if the other side decides, as CEL defines them, and `has` looks for a value.
"""

from __future__ import annotations

import ast
import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from gateway.settings.expressions.program import VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.settings.expressions.program import Code, Table

    Function = Callable[[Sequence[Any]], Any]
    """The value of an expression for a list of values."""

BOTH, EITHER, HAS = "both", "either", "has"
"""Functions that only the careful form calls."""


class NoValue(Exception):
    """An expression needs a value that is missing, at a place of the list."""

    def __init__(self, place: int) -> None:
        self.place = place


class OutsideTable(ValueError):
    """A table has no value for a number."""


def _remainder(one: int, other: int) -> int:
    """Return the remainder of a division that truncates, as CEL has it: -7 % 3 is -1."""
    rest = abs(one) % abs(other)
    return -rest if one < 0 else rest


def _round(value: float, digits: int = 0) -> float:
    """Round half away from zero, as math.round of CEL."""
    if type(value) is int and digits >= 0:
        return value
    scaled = abs(value) * 10**digits
    whole = math.floor(scaled)
    rounded = math.copysign(whole + (scaled - whole >= 0.5), value)  # noqa: PLR2004 - a half
    return rounded / 10**digits if digits else int(rounded)


def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


def _lookup(value: float, table: Table) -> float:
    """Interpolate between the rows of a table; raises `OutsideTable`."""
    if not table[0][0] <= value <= table[-1][0]:
        raise OutsideTable(f"{value:g} is outside of the table, {table[0][0]:g} to {table[-1][0]:g}")
    after = min(bisect_right(table, value, key=_first), len(table) - 1)
    (low, start), (high, end) = table[after - 1], table[after]
    return start + (end - start) * (value - low) / (high - low)


def _first(row: tuple[float, float]) -> float:
    return row[0]


def _bits(word: int, first: int, count: int) -> int:
    return word >> first & (1 << count) - 1


def _mean(*values: float) -> float:
    return math.fsum(values) / len(values)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.15g}" if type(value) is float else str(value)


def _both(left: Callable[[], bool], right: Callable[[], bool]) -> bool:
    try:
        return left() and right()
    except (NoValue, ArithmeticError, ValueError):
        if not right():
            return False
        raise


def _either(left: Callable[[], bool], right: Callable[[], bool]) -> bool:
    try:
        return left() or right()
    except (NoValue, ArithmeticError, ValueError):
        if right():
            return True
        raise


def _value(values: Sequence[Any], place: int) -> Any:  # noqa: ANN401 - any value
    value = values[place]
    if value is None:
        raise NoValue(place)
    return value


_FUNCTIONS: dict[str, Any] = {
    "abs": abs, "min": min, "max": max, "mean": _mean, "round": _round, "floor": math.floor, "ceil": math.ceil,
    "sqrt": math.sqrt, "pow": _power, "int": int, "float": float, "string": _text, "remainder": _remainder,
    "lookup": _lookup, "bits": _bits, "len": len, "startswith": str.startswith, "endswith": str.endswith,
    BOTH: _both, EITHER: _either, "value": _value,
}  # fmt: skip
"""All that compiled code can name."""

_GLOBALS = {"__builtins__": {}} | _FUNCTIONS


def call(name: str, *arguments: ast.expr) -> ast.expr:
    """Return the code of a call."""
    assert name in _FUNCTIONS or name == HAS  # noqa: S101 - only the checker calls this
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


class _Quick:
    """Makes the code of the quick form, in which all values are there, with the places of the list."""

    def __init__(self, places: Mapping[int, int]) -> None:
        self._places = places

    def of(self, node: ast.expr) -> ast.expr:
        """Return a part of the code, made of new nodes."""
        match node:
            case ast.Subscript(value=values, slice=ast.Constant(value=int(place))):
                return self.value(values, self._places[place])
            case ast.Call(
                func=ast.Name(id=name), args=[ast.Subscript(value=values, slice=ast.Constant(value=int(place)))]
            ) if name == HAS:
                return self.has(values, self._places[place])
            case ast.BoolOp(op=sign, values=[left, right]):
                return self.logical(sign, self.of(left), self.of(right))
        return type(node)(**{name: self._part(part) for name, part in ast.iter_fields(node)})

    def _part(self, part: Any) -> Any:  # noqa: ANN401 - a field of a node
        if isinstance(part, list):
            return [self._part(one) for one in part]
        return self.of(part) if isinstance(part, ast.expr) else part

    def value(self, values: ast.expr, place: int) -> ast.expr:
        """Return the code of a value."""
        return ast.Subscript(values, ast.Constant(place), ast.Load())

    def has(self, values: ast.expr, place: int) -> ast.expr:
        """Return the code of `has`."""
        del values, place
        return ast.Constant(value=True)

    def logical(self, sign: ast.boolop, left: ast.expr, right: ast.expr) -> ast.expr:
        """Return the code of `&&` or `||`."""
        return ast.BoolOp(sign, [left, right])


class _Careful(_Quick):
    """Makes code that checks each value, and in which `&&` and `||` absorb errors."""

    def value(self, values: ast.expr, place: int) -> ast.expr:
        return call("value", values, ast.Constant(place))

    def has(self, values: ast.expr, place: int) -> ast.expr:
        at = ast.Subscript(values, ast.Constant(place), ast.Load())
        return ast.Compare(at, [ast.IsNot()], [ast.Constant(value=None)])

    def logical(self, sign: ast.boolop, left: ast.expr, right: ast.expr) -> ast.expr:
        sides = (ast.Lambda(_no_arguments(), side) for side in (left, right))
        return call(BOTH if isinstance(sign, ast.And) else EITHER, *sides)


def _no_arguments(*names: str) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def quick(code: Code, places: Mapping[int, int]) -> Function:
    """Compile the quick form; `places` are the places of the values in the list."""
    return _compiled(_Quick(places).of(code.tree))


def careful(code: Code, places: Mapping[int, int]) -> Function:
    """Compile the careful form. It raises `NoValue`, `ArithmeticError` or `ValueError`."""
    return _compiled(_Careful(places).of(code.tree))


def _compiled(tree: ast.expr) -> Function:
    whole = ast.fix_missing_locations(ast.Expression(ast.Lambda(_no_arguments(VALUES), tree)))
    # the tree has the nodes that the checker made of an expression, and names out of _FUNCTIONS
    function: Function = eval(compile(whole, "<expression>", "eval"), _GLOBALS)  # noqa: S307 - see above
    return function
