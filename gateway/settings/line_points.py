"""The points of the machines of one line while they are checked: derived points of the others can name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.derivation import Derivations
from gateway.settings.problems import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.settings.expressions.program import Input
    from gateway.settings.point import Point


MOST_SUGGESTED = 20
"""Unknown machines of a line for which a likely name is looked up: in a long line each takes milliseconds."""


class LinePoints:
    """The machines of one line: those whose derived points wait for those of others, and those that are complete."""

    def __init__(self, line: str, elsewhere: Callable[[str], Iterable[str]]) -> None:
        """Prepare; `elsewhere` returns the names of the other lines that have a machine."""
        self._line = line
        self._elsewhere = elsewhere
        self._waiting: dict[str, Derivations] = {}
        self._complete: dict[str, tuple[tuple[Point, ...], Iterable[str]]] = {}
        self._read: dict[str, Derivations] = {}
        self._wrong: set[str] = set()
        self._unknown_machines: dict[str, str] = {}

    @property
    def machines(self) -> set[str]:
        """The names of all machines."""
        return {*self._waiting, *self._complete, *self._wrong}

    def add(self, machine: str, points: tuple[Point, ...], off: Iterable[str]) -> None:
        """Add a complete machine: its points, with those that are derived, and the names of those that are off."""
        self._complete[machine] = points, off

    def add_waiting(self, machine: str, derivations: Derivations) -> None:
        """Add a machine whose derived points wait."""
        self._waiting[machine] = derivations

    def add_wrong(self, machines: Iterable[str]) -> None:
        """Add machines whose problems are reported: points of theirs are not reported as unknown."""
        self._wrong.update(machines)

    def waiting(self, machine: str) -> Derivations | None:
        """Return the derivations of a machine that wait, None if it has none."""
        return self._waiting.get(machine)

    def find(self, name: str, machine: str) -> Input | str:
        """Return a point of a machine, or why it can't be an input: empty if that is reported elsewhere."""
        known = self._waiting.get(machine) or self._read.get(machine)
        if known is None and machine in self._complete:
            points, off = self._complete[machine]
            known = self._read[machine] = Derivations(points, set(off), _NO_TABLES)
        if known is not None:
            return known.find(name, machine)
        if machine in self._wrong:
            return ""
        if lines := sorted(self._elsewhere(machine)):
            return (
                f"{machine} is a machine of the line {lines[0]}, and only points of the same line, {self._line}, can "
                "be named"
            )
        return self._unknown(machine)

    def _unknown(self, machine: str) -> str:
        """Return the message for a machine that is not on the line, the first times with the likely name."""
        if machine not in self._unknown_machines:
            of = f" of the line {self._line}"
            known = self.machines if len(self._unknown_machines) < MOST_SUGGESTED else None
            message = f"unknown machine {machine!r}{of}" if known is None else unknown("machine", machine, known, of)
            self._unknown_machines[machine] = message
        return self._unknown_machines[machine]


_NO_TABLES: Mapping[str, tuple[tuple[float, float], ...]] = {}
