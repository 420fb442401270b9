"""Derived points for tests: built from text as a template has them, and fed with scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers import protocol
from drivers.base import Connection, Group, Scan
from gateway.model.path import MachinePath
from gateway.pipeline.calculation import Surroundings
from gateway.pipeline.calculations import Calculations, calculations_of
from gateway.pipeline.derive import MachineDerivation, group_of
from gateway.settings.derivation import DerivedPoints, OnLine
from gateway.settings.document import Document
from gateway.settings.factory import Machine, Place
from gateway.settings.line_points import LinePoints
from gateway.settings.point_builder import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drivers.base import Fault, Value
    from gateway.settings.point import Point

MACHINE = "e/s/a/l/machine"
SECOND = 1_000_000
START = 1_764_000_000_000_000


def derived(points: Sequence[Point], tables: dict[str, Any] | None = None, **keys: Any) -> tuple[Point, ...]:
    """Return derived points, given as expressions or as their keys. Raises `AssertionError` with the problems."""
    document = Document(Path("t.yaml"), {})
    found = DerivedPoints(_written(document, keys), tables or {}).build(points, (), {})
    assert not document.problems, "\n".join(map(str, document.problems))
    return found


def _written(document: Document, keys: dict[str, Any]) -> dict[str, Written]:
    place = Place(document, ())
    return {
        name: Written({}, {}, place).over({"expression": one} if isinstance(one, str) else one, place)
        for name, one in keys.items()
    }


class Bench:
    """The derived points of a machine with groups of points, and what was derived."""

    def __init__(self, *groups: Sequence[Point], tables: dict[str, Any] | None = None, **keys: Any) -> None:
        every = [point for points in groups for point in points]
        self.points = derived(every, tables, **keys)
        self.scans: list[Scan] = []
        self.groups = [_group(points) for points in groups]
        self.derivation = MachineDerivation(
            group_of(MACHINE, Connection(), self.points), self.points, self.scans.append
        )
        self.steps = [self.derivation.step(group) for group in self.groups]

    def take(self, seconds: float, *values: Value | None, group: int = 0, **faults: Fault) -> dict[str, Any]:
        """Take a whole scan; return the derived values or faults by name."""
        found = {int(key[1:]): fault for key, fault in faults.items()}
        return self.of(Scan(self.groups[group], START + round(seconds * SECOND), list(values), found))

    def of(self, scan: Scan) -> dict[str, Any]:
        """Take a scan; return the derived values, or the faults of those without, by name."""
        self.scans.clear()
        step = self.steps[self.groups.index(scan.group)]
        assert step is not None
        step(scan)
        return {name: fault if value is None else value for name, value, fault, _ in self.readings()}

    def readings(self) -> list[tuple[str, Value | None, Fault | None, float]]:
        """Return the derived readings of the last scan: name, value, fault, and time in seconds."""
        return [reading for scan in self.scans for reading in readings_of(scan)]


def readings_of(scan: Scan) -> list[tuple[str, Value | None, Fault | None, float]]:
    """Return the readings of a scan: name, value, fault, and time in seconds."""
    positions = scan.points if scan.points is not None else range(len(scan.values))
    times = scan.times or [scan.time] * len(scan.values)
    return [
        (scan.group.names[position], scan.values[i], scan.faults.get(i), (time - START) / SECOND)
        for i, (position, time) in enumerate(zip(positions, times, strict=True))
    ]


def _group(points: Sequence[Point], machine: str = MACHINE) -> Group:
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    return Group(machine, Connection(), names, sources, points[0].every)


class LineBench:
    """Machines of one line with a group of points each, whose derived points use points of one another."""

    def __init__(self, points: dict[str, Sequence[Point]], **derive: dict[str, Any]) -> None:
        """Prepare; `points` are those of each machine, and `derive` its derived points, as expressions or keys."""
        self.scans: list[Scan] = []
        self.groups = {name: _group(some, _path(name)) for name, some in points.items()}
        self.derived = derived_on_line(points, derive)
        self.calculations = Calculations()
        self.machines = [_machine(name, points[name], self.derived[name]) for name in points]
        for machine in self.machines:
            found = calculations_of(machine, surroundings(self._sink))
            self.calculations.configure(str(machine.path), found)
        self.calculations.tie(self.machines)

    def _sink(self, group: Group, points: Sequence[Point]) -> Callable[[Scan], None]:
        del group, points
        return self.scans.append

    def take(self, machine: str, seconds: float, *values: Value | None, **faults: Fault) -> dict[str, Any]:
        """Take a whole scan of a machine; return the derived values or faults by machine and point."""
        found = {int(key[1:]): fault for key, fault in faults.items()}
        return self.of(Scan(self.groups[machine], START + round(seconds * SECOND), list(values), found))

    def of(self, scan: Scan) -> dict[str, Any]:
        """Take a scan; return the derived values, or the faults of those without, by machine and point."""
        self.scans.clear()
        if (follow := self.calculations.follow(scan.group.machine, scan.group)) is not None:
            follow(scan)
        return {name: fault if value is None else value for name, value, fault, _ in self.readings()}

    def readings(self) -> list[tuple[str, Value | None, Fault | None, float]]:
        """Return the derived readings of the last scan: machine and point, value, fault, and time in seconds."""
        return [(f"{scan.group.machine.rpartition('/')[2]}.{name}", *more)
                for scan in self.scans for name, *more in readings_of(scan)]  # fmt: skip


def derived_on_line(points: dict[str, Sequence[Point]], derive: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the derived points of the machines of a line. Raises `AssertionError` with the problems."""
    document = Document(Path("t.yaml"), {})
    line = LinePoints("l", lambda _: [])
    begun = {}
    for name, some in points.items():
        written = _written(document, derive.get(name, {}))
        begun[name] = DerivedPoints(written, {}).begin(some, (), {}, OnLine(name, line))
        line.add_waiting(name, begun[name])
    found = {name: one.all() for name, one in begun.items()}
    assert not document.problems, "\n".join(map(str, document.problems))
    return found


def surroundings(sink: Callable[[Group, Sequence[Point]], Callable[[Scan], None]]) -> Surroundings:
    """Return the parts of a gateway that derived points use."""
    return Surroundings(sink, lambda: START, lambda: 0.0, lambda: None)


def _path(name: str) -> str:
    return MACHINE.rpartition("/")[0] + f"/{name}"


def _machine(name: str, points: Sequence[Point], derived: tuple[Point, ...]) -> Machine:
    path = MachinePath(*_path(name).split("/"))
    return Machine(path, "t", protocol("modbus"), Connection(), tuple(points), derived)
