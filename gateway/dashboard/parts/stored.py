"""The visits of a part out of a store, with the results that belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.dashboard.live.points import declared
from gateway.dashboard.live.roles import is_serial
from gateway.dashboard.parts.visits import Search, Suggestion, Visit, result_points
from gateway.dashboard.stored import backwards

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.dashboard.stored import Source
    from gateway.model.path import MachinePath
    from gateway.model.reading import Reading
    from gateway.stores.series import Series

RESULT_VISITS = 30
"""Visits whose results are read."""

AROUND = 65 * 1_000_000
"""Microseconds around the begin of a visit in which its results are looked for: an unchanged value is sent again."""


class FoundPart(NamedTuple):
    """The content of a store about a serial number. `since` is how far back it was searched."""

    since: int
    points: int
    machines: int
    visits: list[tuple[Visit, list[Reading]]]
    suggestions: list[Suggestion]


def search_part(source: Source, serial: str, since: int, until: int) -> FoundPart:
    """Return where a serial number was seen from `since` to before `until`. Raises `StoreError`."""
    series = source.series(lambda one: one.type in {"string", ""} and is_serial(one.id.point))
    search, oldest = Search(serial), until
    if series:
        for part in backwards(source.store.store, series, since, until, source.stop):
            search.add(reversed(part.readings))
            oldest = part.since
            if search.full:
                break
    else:
        oldest = since
    visits = search.visits()
    results = _results(source, visits[-RESULT_VISITS:])
    machines = {one.id.path for one in series}
    found = [(visit, results.get(visit, [])) for visit in visits]
    return FoundPart(oldest, len(series), len(machines), found, search.suggestions())


def _results(source: Source, visits: Iterable[Visit]) -> dict[Visit, list[Reading]]:
    """Return the results that belong to visits, as far as the time allows."""
    by_machine: dict[MachinePath, dict[str, Series]] = {}
    wanted = {visit.path for visit in visits}
    for one in source.series(lambda one: one.id.path in wanted):
        by_machine.setdefault(one.id.path, {})[one.id.point] = one
    found: dict[Visit, list[Reading]] = {}
    for visit in visits:
        points = result_points(visit.point, by_machine.get(visit.path, {}))
        if points and source.stop.left > source.stop.seconds * 0.1:
            found[visit] = _results_of(source, visit, points, by_machine[visit.path])
    return found


def _results_of(source: Source, visit: Visit, points: Iterable[str], series: Mapping[str, Series]) -> list[Reading]:
    """Return the last reading of each result up to the end of a visit, or a minute after its begin."""
    end = visit.begin + AROUND if visit.end is None else min(visit.end, visit.begin + AROUND)
    last: dict[str, Reading] = {}
    for reading in source.store.store.range([series[point] for point in points], visit.begin - AROUND, end):
        last[reading.point] = reading
    return [last[point] for point in points if point in last and last[point].value is not None]


def reading_of(one: Reading, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a result as the page shows it."""
    return {
        "point": one.point, "value": one.value, "unit": one.unit, "time": one.time,
        "quality": one.quality.value, "label": labels.get(str(declared(one.value, "int")), ""),
    }  # fmt: skip
