"""The description of a point, as far as a chart shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.dashboard.live.points import PointInfo
    from gateway.model.path import MachinePath
    from gateway.settings.factory import Factory
    from gateway.settings.point import Point

_MISSED = 2.5
"""Periods without a reading that are a gap: a reading can be late, and one can be lost."""

_AT_LEAST_EVERY = 60.0
"""The default of `at_least_every`, in seconds."""

_DISCRETE = frozenset({"bool", "string", "json"})


class PointFacts(NamedTuple):
    """A point as a chart shows it.

    `range` and `normal` are the lowest and the highest value, None where they are not known. `labels` are those of
    the numbers of a state. `gap` is the time in microseconds without a reading after which a line is interrupted;
    None if it is not known.
    """

    type: str = ""
    unit: str = ""
    description: str = ""
    range: tuple[float, float] | None = None
    normal: tuple[float | None, float | None] | None = None
    labels: Mapping[str, str] = {}
    every: float | None = None
    gap: int | None = None

    @property
    def steps(self) -> bool:
        """Whether its values are states, which hold until the next one."""
        return bool(self.labels) or self.type in _DISCRETE


class Facts(Protocol):
    """Where the facts of points come from."""

    def __call__(self, path: MachinePath) -> Mapping[str, PointFacts]:
        """Return the points of a machine by their names; none if the machine is not known."""


class PlantFacts:
    """The facts that configurations have; for machines without one, those that their gateways have published."""

    def __init__(self, factories: Iterable[Factory], published: Callable[[MachinePath], Iterable[PointInfo]]) -> None:
        self._machines = {machine.path: machine for factory in factories for machine in factory.machines}
        self._known: dict[MachinePath, Mapping[str, PointFacts]] = {}
        self._published = published

    def __call__(self, path: MachinePath) -> Mapping[str, PointFacts]:
        """Return the points of a machine by their names; none if the machine is not known."""
        if path not in self._known and path in self._machines:
            self._known[path] = {point.name: facts_of(point) for point in self._machines[path].points}
        configured = self._known.get(path, {})
        # a search finds points that the configuration does not name
        found = {info.name: facts_of_info(info) for info in self._published(path) if info.name not in configured}
        return {**configured, **found} if found else configured


def facts_of(point: Point) -> PointFacts:
    """Return the facts of a configured point."""
    filtered = point.on_change or point.deadband is not None
    labels = {str(number): label for number, label in (point.labels or {}).items()}
    return PointFacts(
        point.type.value, point.unit, point.description, point.range, None, labels, point.every,
        gap_of(point.every, point.at_least_every if filtered else 0.0),
    )  # fmt: skip


def facts_of_info(info: PointInfo) -> PointFacts:
    """Return the facts of a published point: whether each value of it is sent is not known."""
    gap = gap_of(info.every, _AT_LEAST_EVERY) if info.every else None
    return PointFacts(
        info.type, info.unit, info.description, info.range, None, info.labels, info.every or None, gap
    )  # fmt: skip


def gap_of(every: float, at_least_every: float) -> int:
    """Return the time in microseconds without a reading that is a gap, from periods in seconds.

    `at_least_every` is the time after which a value that did not change is sent all the same; 0 if each is sent.
    """
    return round(max(_MISSED * every, at_least_every + _MISSED * every) * 1e6)
