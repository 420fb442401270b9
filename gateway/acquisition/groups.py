"""Divide the points of a machine into point groups, which are read together."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from drivers.base import Group, ValueType
from gateway.common.by_identity import cached_by_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from drivers.base import Connection, Source
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


def by_connection(machines: Iterable[Machine]) -> dict[Connection, list[Machine]]:
    """Return the machines of each connection, which share one driver, in the order of their first machines."""
    found: dict[Connection, list[Machine]] = {}
    for machine in machines:
        found.setdefault(machine.connection.shared(), []).append(machine)
    return found


@dataclass(frozen=True, slots=True)
class _Columns:
    """The points of a group as columns, which all machines with the same points share."""

    points: tuple[Point, ...]
    every: float
    kind: Mapping[str, bool]
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    deadbands: tuple[float, ...]
    percents: tuple[float, ...]
    types: tuple[ValueType, ...]
    repeats: tuple[float, ...]

    @classmethod
    def of(cls, points: tuple[Point, ...], every: float, **kind: bool) -> Self:
        types = tuple(point.type for point in points)
        return cls(
            points,
            every,
            kind,
            tuple(point.name for point in points),
            tuple(point.source for point in points),
            _if_any(point.least_change / abs(point.scale) for point in points),
            _if_any(point.percent for point in points),
            types if ValueType.JSON in types else (),
            _if_any(map(_repeat, points)),
        )

    def group(self, machine: Machine) -> Group:
        return Group(
            str(machine.path),
            machine.connection,
            self.names,
            self.sources,
            self.every,
            deadbands=self.deadbands,
            percents=self.percents,
            types=self.types,
            repeats=self.repeats,
            phase=machine.phase,
            **self.kind,
        )


def groups_of(machine: Machine) -> Iterator[tuple[Group, Sequence[Point]]]:
    """Yield the groups of a machine with their points: points with the same period that are read in the same way.

    Discovered points of one search are a separate group: when it finds more, reading of the others continues. Groups
    of machines with the same points share the sequences of names, sources and points.
    """
    columns = _divided(machine.points, machine.found) if machine.found else _divided_alike(machine.points)
    for one in columns:
        yield one.group(machine), one.points


def searches_of(machine: Machine) -> Iterator[tuple[Group, Sequence[Point]]]:
    """Yield the group of a machine's searches, if it has any."""
    if machine.searches:
        columns = _Columns.of(tuple(machine.searches), math.inf, search=True)
        yield columns.group(machine), columns.points


def _divided(points: Iterable[Point], found: Mapping[str, str]) -> list[_Columns]:
    """Return the points of each group; `found` are the searches of discovered points, by name."""
    together: dict[tuple[float, bool, bool, str], list[Point]] = defaultdict(list)
    for point in points:
        together[point.every, point.source.pushed, point.source.events, found.get(point.name, "")].append(point)
    return [
        _Columns.of(tuple(own), every, pushed=pushed, events=events)
        for (every, pushed, events, _), own in together.items()
    ]


@cached_by_identity()
def _divided_alike(points: tuple[Point, ...]) -> list[_Columns]:
    return _divided(points, {})


def _repeat(point: Point) -> float:
    """Return the seconds after which a driver that reports changes reports a value again; 0 if nobody wrote them."""
    return point.at_least_every if point.repeated and not point.source.events else 0.0


def _if_any(numbers: Iterable[float]) -> tuple[float, ...]:
    found = tuple(numbers)
    return found if any(found) else ()
