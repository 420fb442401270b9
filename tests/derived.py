"""Derived points for tests: built from text as a template has them, and fed with scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.base import Connection, Group, Scan
from gateway.pipeline.derive import MachineDerivation, group_of
from gateway.settings.derivation import DerivedPoints
from gateway.settings.document import Document
from gateway.settings.factory import Place
from gateway.settings.point_builder import Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Fault, Value
    from gateway.settings.point import Point

MACHINE = "e/s/a/l/machine"
SECOND = 1_000_000
START = 1_764_000_000_000_000


def derived(points: Sequence[Point], tables: dict[str, Any] | None = None, **keys: Any) -> tuple[Point, ...]:
    """Return derived points, given as expressions or as their keys. Raises `AssertionError` with the problems."""
    document = Document(Path("t.yaml"), {})
    place = Place(document, ())
    written = {
        name: Written({}, {}, place).over({"expression": one} if isinstance(one, str) else one, place)
        for name, one in keys.items()
    }
    found = DerivedPoints(written, tables or {}).build(points, (), {})
    assert not document.problems, "\n".join(map(str, document.problems))
    return found


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
        return [
            (scan.group.names[position], scan.values[i], scan.faults.get(i), (time - START) / SECOND)
            for scan in self.scans
            for i, (position, time) in enumerate(
                zip(
                    scan.points if scan.points is not None else range(len(scan.values)),
                    scan.times or [scan.time] * len(scan.values),
                    strict=True,
                )
            )
        ]


def _group(points: Sequence[Point]) -> Group:
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    return Group(MACHINE, Connection(), names, sources, points[0].every)
