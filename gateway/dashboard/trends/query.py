"""The data of a trend out of an open store: readings where they are few, else buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.dashboard.trends.columns import described, of_buckets, of_readings
from gateway.dashboard.trends.selection import PointName
from gateway.stores.buckets import MINUTE, columns_of, reduce_readings, width_of
from gateway.stores.series import id_of, positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.dashboard.trends.facts import PointFacts
    from gateway.dashboard.trends.readers import OpenStore
    from gateway.dashboard.trends.selection import Selection
    from gateway.dashboard.trends.stop import Stop
    from gateway.model.reading import Reading
    from gateway.stores.series import Series

MAX_BUCKETS = 100_000
"""Buckets of one answer; more points have fewer each."""

PER_PIXEL = 2
"""Readings of one series for each pixel that are few."""

MAX_READINGS = 50_000
"""Readings of one answer; beyond, they are reduced by the store."""

_BEFORE = 5 * MINUTE
"""How far before a span the reading is looked for that holds at its beginning."""


def trend(
    store: OpenStore, selection: Selection, facts: Mapping[PointName, PointFacts], stop: Stop
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the series of a selection, each with its data. Raises `StoreError`, `TimedOut` and `Cancelled`.

    A point that the store does not know has no series, and one whose unit was changed has several.
    """
    chosen = store.find(selection.points)
    if not chosen:
        return []
    known = [facts.get(PointName(one.id.path, one.id.point)) for one in chosen]
    most = max(1, min(selection.width, MAX_BUCKETS // len(chosen)))
    width = width_of(selection.since, selection.until, most)
    # readings of long spans are not counted: a store in the order of time reads those of all points for it
    readings = _readings(store, chosen, selection, facts, stop) if width < MINUTE else None
    if readings is None:
        buckets = store.store.reduced_columns(chosen, selection.since, selection.until, width, stop.check)
        data = [of_buckets(own, width) for own in buckets]
    else:
        data = [
            of_readings(own, fact.type if fact else "")
            if len(own) <= PER_PIXEL * most
            else _of_readings(own, one, selection.since, width)
            for one, fact, own in zip(chosen, known, readings, strict=True)
        ]
    return [
        described(one, fact, store.name) | columns for one, fact, columns in zip(chosen, known, data, strict=True)
    ]


def _readings(
    store: OpenStore, chosen: Sequence[Series], selection: Selection, facts: Mapping[PointName, PointFacts],
    stop: Stop,
) -> list[list[Reading]] | None:  # fmt: skip
    """Return the readings of each series, with the last before the span; None if there are too many."""
    span = selection.until - selection.since
    known = [facts.get(one) for one in selection.points]
    expected = sum(span / 1e6 / one.every for one in known if one and one.every and one.gap and not one.steps)
    if expected > MAX_READINGS:
        return None
    before = min(_BEFORE, max(span, MINUTE), max((one.gap or 0 for one in known if one), default=0))
    places = positions(chosen)
    found: list[list[Reading]] = [[] for _ in chosen]
    total = 0
    for reading in stop.each(store.store.range(chosen, selection.since - before, selection.until)):
        own = found[places[id_of(reading)]]
        if reading.time < selection.since:
            own[:] = [reading]
            continue
        total += 1
        if total > MAX_READINGS:
            return None
        own.append(reading)
    return found


def _of_readings(readings: Sequence[Reading], series: Series, since: int, width: int) -> dict[str, Any]:
    """Return readings from a time on, reduced here."""
    buckets = reduce_readings((one for one in readings if one.time >= since), [series], width)
    return of_buckets(columns_of(buckets, [series])[0], width)
