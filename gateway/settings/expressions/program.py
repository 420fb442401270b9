"""A checked expression: its inputs, its steps with state, and the code of its result.

The code is a tree of Python's own syntax (`ast`) that the checker makes node by node; no text of a user is in it but
constants. A value is `v[n]`: first the inputs, then the results of the steps.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from drivers.base import ValueType
    from gateway.settings.quantities import Unit

VALUES = "v"
"""The name of the list of values in the code."""

Table = tuple[tuple[float, float], ...]
"""The rows of a table, a number and its value, in the order of the numbers."""


def key_of(name: str, machine: str = "") -> str:
    """Return the name of a point as expressions have it: alone, or with another machine of the line."""
    return f'line["{machine}"].{name}' if machine else name


@dataclass(frozen=True, slots=True)
class Input:
    """A point as an expression sees it; `every` is its period in seconds, and a pushed point has none.

    `machine` is the name of another machine of the line, empty for a point of the machine itself.
    """

    name: str
    type: ValueType
    unit: Unit
    labels: tuple[tuple[int, str], ...] = ()
    every: float = 1.0
    pushed: bool = False
    machine: str = ""

    @property
    def key(self) -> str:
        """The name as it is written, which no other input has."""
        return key_of(self.name, self.machine)

    @property
    def shown(self) -> str:
        """The name in the code of a fault, as in `press-02.pressure`."""
        return f"{self.machine}.{self.name}" if self.machine else self.name

    def as_list(self) -> list[Any]:
        """Return the parts that the meaning of an expression depends on."""
        parts = [self.name, str(self.type), self.unit.text, self.labels]
        return [*parts, self.machine] if self.machine else parts


@dataclass(frozen=True, slots=True)
class Code:
    """A part of an expression without state, and the values that it uses."""

    tree: ast.expr = field(compare=False, repr=False)
    uses: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """A function that keeps a state, such as `rate`. `settings` are the constants that it is called with.

    `gap` is the longest time between two readings of its argument for which the argument counts as known, in
    seconds; 0 if its values hold until the next one comes.
    """

    function: str
    argument: Code
    settings: tuple[float, ...] = ()
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Program:
    """An expression that was checked with the points that it names.

    `unit` is None if its numbers may have any, as those of a table. `tables` are the tables that it looks values up
    in.
    """

    expression: str
    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    result: Code
    type: ValueType
    unit: Unit | None
    tables: tuple[tuple[str, Table], ...] = ()

    @property
    def identity(self) -> str:
        """A digest of all that the meaning of its state depends on."""
        parts = [self.expression, [one.as_list() for one in self.inputs], self.tables]
        return blake2b(orjson.dumps(parts), digest_size=6).hexdigest()


def value_at(place: int) -> ast.expr:
    """Return the code of a value."""
    return ast.Subscript(ast.Name(VALUES, ast.Load()), ast.Constant(place), ast.Load())
