"""The readings at which a point changes, found without reading all of a long span.

A store has the extremes of each minute at hand. If the lowest, the highest and the last value before a minute are the
same, the minute has no change, so its readings are not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drivers.base import Quality
from gateway.stores.buckets import MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import Value
    from gateway.dashboard.trends.stop import Stop
    from gateway.stores.base import Store
    from gateway.stores.buckets import Bucket
    from gateway.stores.series import Series


class Change(NamedTuple):
    """From `time` on, in microseconds since the epoch, a point has a value; None and a reason while it is bad.

    `until` is the time of the last reading with the same, or up to a minute later.
    """

    time: int
    value: Value | None
    reason: str
    until: int


_SHORT = 5 * MINUTE
"""A span whose readings are all read."""


def changes(store: Store, series: Series, since: int, until: int, gap: int, stop: Stop) -> Iterator[Change]:
    """Yield each value of a point with the span in which it did not change, in order.

    Without a reading for longer than `gap` microseconds the value is not known: then the next reading is a change.
    Raises `StoreError`, `TimedOut` and `Cancelled`.
    """
    now: Change | None = None
    for time, value, reason, last in _spans(store, series, since, until, stop):
        if now is not None and (value, reason) == (now.value, now.reason) and time - now.until <= gap:
            now = now._replace(until=last)
            continue
        if now is not None:
            yield now
        now = Change(time, value, reason, last)
    if now is not None:
        yield now


def _spans(store: Store, series: Series, since: int, until: int, stop: Stop) -> Iterator[Change]:
    """Yield readings, and whole minutes in which nothing changes."""
    if until - since <= _SHORT:
        yield from _all(store, series, since, until, stop)
        return
    value: Value | None = None
    pending: tuple[int, int] | None = None  # minutes to read
    for bucket in stop.each(store.reduced([series], since, until, MINUTE)):
        if not _is_flat(bucket, value):
            begin = bucket.start if pending is None or pending[1] != bucket.start else pending[0]
            if pending is not None and begin == bucket.start:
                yield from _all(store, series, max(since, pending[0]), min(until, pending[1]), stop)
            pending = begin, bucket.start + MINUTE
            value = bucket.last
            continue
        if pending is not None:
            yield from _all(store, series, max(since, pending[0]), min(until, pending[1]), stop)
            pending = None
        yield Change(max(since, bucket.start), bucket.last, "", min(until, bucket.start + MINUTE) - 1)
    if pending is not None:
        yield from _all(store, series, max(since, pending[0]), min(until, pending[1]), stop)


def _is_flat(bucket: Bucket, before: Value | None) -> bool:
    """Return whether a bucket is known to have one value alone, which is that before it."""
    if bucket.bad or not bucket.values or bucket.last != before:
        return False
    if bucket.min is None:  # a text: only its ends are known
        return bucket.values <= 2 and bucket.first == bucket.last  # noqa: PLR2004 - both ends
    return bucket.min == bucket.max


def _all(store: Store, series: Series, since: int, until: int, stop: Stop) -> Iterator[Change]:
    for reading in stop.each(store.range([series], since, until)):
        reason = reading.reason or "bad" if reading.quality is Quality.BAD else ""
        yield Change(reading.time, None if reason else reading.value, reason, reading.time)
