"""The latest readings of the points that the history of parts uses, and expressions over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from drivers.base import Fault, Quality, Reason, bad
from gateway.pipeline.derive import PENDING, fault_of, is_sane
from gateway.settings.expressions.runtime import NoValue, careful, quick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Value
    from gateway.settings.expressions.runtime import Function
    from gateway.settings.operation import Expression

MAX_TEXT = 200
"""Characters of a serial number, lot or other text."""


class Board(NamedTuple):
    """The latest values of points by their places, and the faults of those that are not good."""

    values: list[Any]
    faults: dict[int, Fault]

    @classmethod
    def empty(cls, size: int) -> Board:
        """Return a board of points that were not read yet."""
        return cls([None] * size, dict.fromkeys(range(size), PENDING))

    def copy(self) -> Board:
        """Return the same, which does not change with this."""
        return Board(self.values.copy(), self.faults.copy())


class Formula:
    """An expression, compiled for the places of a board."""

    def __init__(self, expression: Expression, places: Mapping[str, int]) -> None:
        self.unit = expression.unit
        self.labels = dict(expression.labels)
        program = expression.program
        self._code = program.result
        self._places = {number: places[one.name] for number, one in enumerate(program.inputs)}
        self.uses = frozenset(self._places.values())
        self._names = {places[one.name]: one.name for one in program.inputs}
        self._quick = quick(self._code, self._places)
        self._careful: Function | None = None

    def of(self, board: Board) -> tuple[Value | None, Fault | None]:
        """Return the value, and the fault of one that is missing or uncertain."""
        if not board.faults or board.faults.keys().isdisjoint(self.uses):
            try:
                value: Value = self._quick(board.values)
                if is_sane(value):
                    return value, None
            except (ArithmeticError, ValueError):
                pass  # one side of && or || may decide alone
        return self._with_faults(board)

    def _with_faults(self, board: Board) -> tuple[Value | None, Fault | None]:
        if self._careful is None:
            self._careful = careful(self._code, self._places)
        try:
            value: Value = self._careful(board.values)
        except NoValue as missing:
            fault = board.faults.get(missing.place, PENDING)
            if fault is PENDING:
                return None, PENDING
            return None, bad(fault.reason, f"{self._names[missing.place]} {fault.code}".rstrip())
        except (ArithmeticError, ValueError) as error:
            return None, fault_of(error)
        if not is_sane(value):
            return None, bad(Reason.NOT_A_NUMBER if isinstance(value, float) else Reason.OVERFLOW)
        used = (board.faults[place] for place in sorted(self.uses) if place in board.faults)
        return value, next((fault for fault in used if fault.quality is Quality.UNCERTAIN), None)

    def truth(self, board: Board) -> bool | None:
        """Return a condition, None if nobody knows it."""
        value, _ = self.of(board)
        return value if isinstance(value, bool) else None

    def text(self, board: Board) -> str | None:
        """Return the value as a short text, with the label of a state; None if nobody knows it."""
        value, _ = self.of(board)
        return None if value is None else text_of(value, self.labels)


def text_of(value: Value, labels: Mapping[int, str]) -> str:
    """Return a value as a short text. Texts of devices are padded with blanks and zeros."""
    if isinstance(value, str):
        return value.strip(" \t\r\n\0")[:MAX_TEXT]
    if isinstance(value, float):
        return f"{value:.15g}"
    label = labels.get(int(value))
    return label if label is not None else str(value).lower()
