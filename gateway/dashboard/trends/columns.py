"""Readings and buckets as the columns of a JSON answer, one set for each series. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivers.base import Quality
from gateway.dashboard.live.points import declared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivers.base import Value
    from gateway.dashboard.trends.facts import PointFacts
    from gateway.model.reading import Reading
    from gateway.stores.buckets import BucketColumns
    from gateway.stores.series import Series

QUALITY_CODES = {Quality.GOOD: 1, Quality.UNCERTAIN: 2, Quality.BAD: 3}
"""The quality of a reading as a number; 0 is for a point without a reading."""

MAX_VALUE = 200
"""Characters of a text that are sent."""

LARGEST = 2**53
"""Whole numbers beyond it are sent as floats: JavaScript has no others."""


def shown(value: Value | None) -> Value | None:
    """Return a value as the page can show it: a long text is cut."""
    if isinstance(value, str) and len(value) > MAX_VALUE:
        return value[:MAX_VALUE] + "…"
    return float(value) if isinstance(value, int) and abs(value) > LARGEST else value


def described(series: Series, facts: PointFacts | None, store: str) -> dict[str, Any]:
    """Return the description of a series, without its data. `range` and `normal` are pairs, or null."""
    steps = series.type in {"bool", "string", "json"} if facts is None else facts.steps
    return {
        "point": str(series), "unit": series.id.unit, "store": store,
        "type": series.type or (facts.type if facts else ""), "steps": steps,
        "description": facts.description if facts else "",
        "range": facts.range if facts else None, "normal": facts.normal if facts else None,
        "labels": dict(facts.labels) if facts else {}, "gap": facts.gap if facts else None,
    }  # fmt: skip


def of_readings(readings: Sequence[Reading], type_: str = "") -> dict[str, Any]:
    """Return the readings of one series, of a declared type, as columns.

    `quality` is null where all are good. `reasons` has the reason, and code, of each other reading by its position.
    """
    quality = [QUALITY_CODES[one.quality] for one in readings]
    reasons = {
        str(position): f"{one.reason} {one.code}".strip()
        for position, one in enumerate(readings)
        if one.quality is not Quality.GOOD
    }
    values = [one.value for one in readings]
    if type_ in {"int", "bool"}:
        values = [declared(one, type_) for one in values]
    return {
        "kind": "readings",
        "time": [one.time for one in readings],
        "value": [shown(one) for one in values],
        "quality": quality if reasons else None,
        "reasons": reasons,
    }


def of_buckets(buckets: BucketColumns, width: int) -> dict[str, Any]:
    """Return the buckets of one series as the page has them, named as the fields of a bucket.

    `width` is in microseconds. `uncertain` and `bad`, numbers of readings, are null where there are none. Values that
    are not numbers have null as `min`, `max` and `mean`.
    """
    start, values, total, low, high, first, last, uncertain, bad = buckets
    return {
        "kind": "buckets", "width": width, "start": start,
        "min": _shown(low), "max": _shown(high), "first": _shown(first), "last": _shown(last),
        "mean": [None if one is None or not count else one / count for one, count in zip(total, values, strict=True)],
        "values": values, "uncertain": uncertain if any(uncertain) else None, "bad": bad if any(bad) else None,
    }  # fmt: skip


def _shown(column: Sequence[Value | None]) -> Sequence[Value | None]:
    """Return a column as the page can show it; most have floats alone, which are not touched."""
    return column if all(type(one) is float for one in column) else [shown(one) for one in column]
