"""The history of parts for tests: the work as a template has it, fed with scans."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from drivers.base import Connection, Group, Reason, Scan, bad
from gateway.model.path import MachinePath
from gateway.pipeline.parts import MachineParts
from gateway.settings.document import Document
from gateway.settings.factory import Machine, Place
from gateway.settings.parts import PartTable, by_place, laid_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Fault, Value
    from gateway.settings.operation import Operation
    from gateway.settings.point import Point

PATH = MachinePath("e", "s", "a", "l", "machine")
SECOND = 1_000_000
START = 1_764_000_000_000_000


def operations(points: Sequence[Point], *parts: dict[str, Any]) -> tuple[Operation, ...]:
    """Return the work on parts, given as its keys. Raises `AssertionError` with the problems."""
    document = Document(Path("t.yaml"), {})
    written = laid_over({}, by_place(parts, document, ()))
    found = PartTable(written, {}).build(points, (), {})
    assert not document.problems, "\n".join(map(str, document.problems))
    assert Place(document, ()).document is document
    return found


class PartBench:
    """A machine with groups of points whose parts are followed, and the records that were made."""

    def __init__(self, *groups: Sequence[Point], parts: Sequence[dict[str, Any]], saved: bytes | None = None) -> None:
        every = [point for points in groups for point in points]
        self.now = 100.0
        self.records: list[dict[str, Any]] = []
        self.times: list[int] = []
        works = operations(every, *parts)
        machine = Machine(
            PATH, "press", None, Connection(), tuple(every), operations=works  # type: ignore[arg-type] # not read
        )  # fmt: skip
        self.parts = MachineParts(machine, self._sink, self._clock, lambda: self.now, lambda: None)
        self.groups = [_group(points) for points in groups]
        self.steps = [self.parts.step(group) for group in self.groups]
        self._last = 0
        self._before: dict[int, tuple[list[Value | None], dict[int, Fault]]] = {}
        self._at: dict[int, float] = {}
        if saved is not None:
            assert self.parts.load(saved) == ([], [])

    def _clock(self) -> int:
        self._last = max(self._last + 1, START + round(self.now * SECOND))
        return self._last

    def _sink(self, scan: Scan) -> None:
        assert isinstance(scan.values[0], str)
        self.times.append(scan.time)
        self.records.append(orjson.loads(scan.values[0]))

    def take(
        self,
        seconds: float,
        *values: Value | None,
        group: int = 0,
        at: float | None = None,
        gap: bool = False,
        **faults: Fault,
    ) -> None:
        """Take a whole scan; until then each group is read every second, but for a `gap`.

        `at` is the time of the readings, if it differs.
        """
        while not gap and self._at and (due := min(self._at.items(), key=lambda one: one[1]))[1] + 1 < seconds - 0.01:
            self._at[due[0]] += 1
            self._scan(self._at[due[0]], due[0], *self._before[due[0]])
        found = {int(key[1:]): fault for key, fault in faults.items()}
        found |= {i: bad(Reason.NO_RESPONSE) for i, value in enumerate(values) if value is None and i not in found}
        self._before[group], self._at[group] = (list(values), found), seconds
        self._scan(seconds, group, list(values), found, at)

    def _scan(
        self,
        seconds: float,
        group: int,
        values: list[Value | None],
        faults: dict[int, Fault],
        at: float | None = None,
    ) -> None:
        self.wait_until(seconds)
        step = self.steps[group]
        assert step is not None
        time = START + round((seconds if at is None else at) * SECOND)
        step(Scan(self.groups[group], time, list(values), dict(faults)))

    def wait_until(self, seconds: float) -> None:
        """Let time pass, with ticks."""
        end = 100.0 + seconds
        while self.parts.due <= end:
            self.now = max(self.now, self.parts.due + 0.05)  # a tick comes a little later
            self.parts.tick(self.now)
        self.now = max(self.now, end)

    def taken(self) -> list[dict[str, Any]]:
        """Return the records since the last call; times are in seconds."""
        found, self.records = self.records, []
        for record in found:
            for key in ("began", "ended"):
                if record[key] is not None:
                    record[key] = (record[key] - START) / SECOND
        return found


def brief(records: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the serial number, begin, end, result, and what is missing of each record."""
    return [(one["serial"], one["began"], one["ended"], one["result"], one.get("missing", "")) for one in records]


def values_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the captured values by name: number, text, or reason."""
    return {
        one["name"]: one["value"] if "value" in one else one.get("text", one.get("reason"))
        for one in record["values"]
    }  # fmt: skip


def _group(points: Sequence[Point]) -> Group:
    names, sources = tuple(point.name for point in points), tuple(point.source for point in points)
    return Group(str(PATH), Connection(), names, sources, points[0].every)
