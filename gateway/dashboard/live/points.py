"""A point as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.results import content_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import Value
    from gateway.mqtt.messages import DisplayedMeta
    from gateway.settings.factory import Machine


class PointInfo(NamedTuple):
    """A point as people see it; `range` and `labels` are empty where it has none.

    `every` is in seconds, as is `at_least_every`: the longest time between two readings, 0 where no limit is known.
    `content` is the kind of the events that a point has, empty for a point with a value.
    """

    name: str
    type: str
    unit: str = ""
    description: str = ""
    range: tuple[float, float] | None = None
    labels: Mapping[str, str] = {}
    every: float = 0.0
    revised: Mapping[str, float] = {}
    at_least_every: float = 0.0
    content: str = ""


def declared(value: Value | None, type_: str) -> Value | None:
    """Return a value out of a store in the declared type of its point.

    VictoriaMetrics has numbers alone: there 6.0 is the state 6, and 1.0 is true.
    """
    if not isinstance(value, float):
        return value
    if type_ == "bool":
        return value != 0
    return int(value) if type_ == "int" and value.is_integer() else value


def described_points(meta: DisplayedMeta) -> tuple[PointInfo, ...]:
    """Return the points that a machine has published."""
    return tuple(
        PointInfo(
            name, one.type.value, one.unit, one.description, one.range, one.labels, one.every, one.revised,
            one.at_least_every, one.content,
        )
        for name, one in meta.points.items()
    )  # fmt: skip


def configured_points(machine: Machine) -> tuple[PointInfo, ...]:
    """Return the points of a machine's configuration, until the machine publishes them."""
    return tuple(
        PointInfo(
            one.name, one.type.value, one.unit, one.description, one.range,
            {str(number): label for number, label in (one.labels or {}).items()}, one.every, content=content_of(one),
        )
        for one in machine.all_points
    )  # fmt: skip
