"""Divide the points of a machine into point groups, which are read together."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from drivers.base import Group, ValueType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivers.base import Connection
    from gateway.settings.factory import Machine
    from gateway.settings.point import Point


def by_connection(machines: Iterable[Machine]) -> dict[Connection, list[Machine]]:
    """Return the machines of each connection, which share one driver, in the order of their first machines."""
    found: dict[Connection, list[Machine]] = {}
    for machine in machines:
        found.setdefault(machine.connection.shared(), []).append(machine)
    return found


def groups_of(machine: Machine) -> Iterator[tuple[Group, list[Point]]]:
    """Yield the groups of a machine with their points: points with the same period that are read in the same way.

    Discovered points of one search are a separate group: when it finds more, reading of the others continues.
    """
    together: dict[tuple[float, bool, bool, str], list[Point]] = defaultdict(list)
    for point in machine.points:
        search = machine.found.get(point.name, "")
        together[point.every, point.source.pushed, point.source.events, search].append(point)
    for (every, pushed, events, _), points in together.items():
        yield _group(machine, points, every, pushed=pushed, events=events), points


def searches_of(machine: Machine) -> Iterator[tuple[Group, list[Point]]]:
    """Yield the group of a machine's searches, if it has any."""
    if machine.searches:
        points = list(machine.searches)
        yield _group(machine, points, math.inf, search=True), points


def _group(machine: Machine, points: list[Point], every: float, **what: bool) -> Group:
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    deadbands = _if_any(point.least_change / abs(point.scale) for point in points)
    percents = _if_any(point.percent for point in points)
    types = tuple(point.type for point in points)
    return Group(
        str(machine.path),
        machine.connection,
        names,
        sources,
        every,
        deadbands=deadbands,
        percents=percents,
        types=types if ValueType.JSON in types else (),
        repeats=_if_any(map(_repeat, points)),
        **what,
    )


def _repeat(point: Point) -> float:
    """Return the seconds after which a driver that reports changes reports a value again; 0 if nobody wrote them."""
    return point.at_least_every if point.repeated and not point.source.events else 0.0


def _if_any(numbers: Iterable[float]) -> tuple[float, ...]:
    found = tuple(numbers)
    return found if any(found) else ()
