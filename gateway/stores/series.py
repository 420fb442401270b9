"""The series of a store, and the choice of some of them by a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.model.path import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading


class SeriesId(NamedTuple):
    """The identity of a series: a point whose unit was changed has two."""

    path: MachinePath
    point: str
    unit: str

    def __str__(self) -> str:
        return f"{self.path}/{self.point}"


@dataclass(frozen=True, slots=True)
class Series:
    """The readings of one point with one unit, in a store.

    `type` is the type of the values as the store knows it; empty if it does not. `first` and `last` are the times
    of the oldest and the newest reading, in microseconds since the epoch; None if the store can't say cheaply.
    `key` is the store's own name of the series.
    """

    id: SeriesId
    type: str = ""
    first: int | None = None
    last: int | None = None
    key: Any = None

    def __str__(self) -> str:
        return str(self.id)


def id_of(reading: Reading) -> SeriesId:
    """Return the series that a reading belongs to."""
    return SeriesId(reading.path, reading.point, reading.unit)


def matching(series: Iterable[Series], pattern: str) -> list[Series]:
    """Return the series whose `path/point` matches a glob, in the order of their names."""
    found = (one for one in series if matches(pattern, one.id.path, one.id.point))
    return sorted(found, key=lambda one: one.id)


def positions(series: Sequence[Series]) -> dict[SeriesId, int]:
    """Return the position of each series in a selection."""
    return {one.id: position for position, one in enumerate(series)}
