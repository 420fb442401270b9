"""The work on parts at one place of a machine, as the gateway follows it; `parts.py` builds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.expressions.program import Program
    from gateway.settings.point import Point

PART = "part"
"""The name of the result point with the history of parts; with several places each has a point of its own."""

CONTENT = "part"
"""The content of these points."""


class Function(StrEnum):
    """How a value is captured of the readings during the work."""

    LAST = "last"
    FIRST = "first"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression without a state. `labels` are those of a point that is named alone."""

    program: Program
    unit: str = ""
    labels: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Captured:
    """A value that is captured. `during` is the condition while which readings count, None for the whole work."""

    name: str
    function: Function
    expression: Expression
    during: Expression | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of good and of rejected parts: the counter that has counted is the result of a part."""

    good: Expression
    rejected: Expression


@dataclass(frozen=True, slots=True)
class Operation:
    """The work on parts at a place; machines of a template with the same points share it.

    `place` is empty if the machine has one place. `operation` is the name of the work, empty for that of the
    template. `finished` says that the serial number is that of the part that was finished last. `facts` are `lot`,
    `tool`, `recipe` and `operator`, as far as they are written. Times are in seconds.
    """

    place: str
    operation: str
    point: Point
    serial: Expression
    begin: Expression | None = None
    end: Expression | None = None
    finished: bool = False
    result: Expression | Counters | None = None
    results_of: Expression | None = None
    values: tuple[Captured, ...] = ()
    materials: tuple[tuple[str, Expression], ...] = ()
    facts: tuple[tuple[str, Expression], ...] = ()
    curves: tuple[str, ...] = ()
    stable: float = 0.0
    settle: float = 1.0
    wait: float = 300.0
    identity: str = field(init=False, default="")
    """A digest of all that the meaning of its state depends on."""

    def __post_init__(self) -> None:
        parts = [
            self.operation, self.finished, [(one.name, one.function) for one in self.values],
            [name for name, _ in self.materials], [one.program.identity for one in self.expressions()],
        ]  # fmt: skip
        object.__setattr__(self, "identity", blake2b(orjson.dumps(parts), digest_size=6).hexdigest())

    def triggers(self) -> Iterator[Expression]:
        """Yield the expressions of which each change matters when it happens."""
        yield self.serial
        yield from (one for one in (self.begin, self.end, self.results_of) if one is not None)
        yield from (one.during for one in self.values if one.during is not None)
        yield from (one for _, one in self.materials)

    def expressions(self) -> Iterator[Expression]:
        """Yield all expressions."""
        yield from self.triggers()
        if isinstance(self.result, Counters):
            yield from (self.result.good, self.result.rejected)
        elif self.result is not None:
            yield self.result
        yield from (one.expression for one in self.values)
        yield from (one for _, one in self.facts)
