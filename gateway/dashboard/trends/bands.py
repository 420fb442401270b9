"""Bands of a machine: its states, its phases and its alarms along the time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.dashboard.live.points import PointInfo
from gateway.dashboard.live.roles import kind_of, roles_of, state_name
from gateway.dashboard.trends.changes import changes
from gateway.dashboard.trends.selection import PointName
from gateway.stores.buckets import width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drivers.base import Value
    from gateway.dashboard.trends.changes import Change
    from gateway.dashboard.trends.facts import PointFacts
    from gateway.dashboard.trends.readers import OpenStore
    from gateway.dashboard.trends.stop import Stop
    from gateway.model.path import MachinePath
    from gateway.stores.buckets import Bucket
    from gateway.stores.series import Series

Naming = Callable[["Value"], "tuple[str, str] | None"]
"""Returns the label and the kind of a value; None for a value that has no band."""

PHASES = 6
"""Kinds of phases."""

MAX_LANE_SPAN = 400 * 86_400_000_000
"""Microseconds of the longest span."""

_PHASE, _ALARMS = "phase", "alarm_word"
"""Points of the bundled templates."""

_BUCKETS = 1_000

_GAP = 130_000_000
"""Microseconds without a reading that are a gap, of a point that is not known."""

MAX_SPAN_OF_CHANGES = 2 * 86_400_000_000
"""Microseconds of the longest span of which each change is read; longer spans have buckets."""

MAX_BANDS = 5_000
"""Bands of one lane."""

_NOT_CONNECTED = frozenset({"not_connected", "no_response"})


class Band(NamedTuple):
    """A span from `begin` to before `end`, in microseconds since the epoch; `end` is None while it lasts."""

    begin: int
    end: int | None
    label: str
    kind: str


def lanes(
    store: OpenStore, path: MachinePath, facts: Mapping[str, PointFacts], span: tuple[int, int], stop: Stop
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the lanes of a machine: its state, its phase and its alarms, as far as it has points for them.

    Each has its name, its point, and its bands. Raises `StoreError`, `TimedOut` and `Cancelled`.
    """
    found = []
    for name, point, naming in _points(facts):
        series = store.find([PointName(path, point)])
        if series:
            bands = _bands(store, series[-1], facts[point], naming, span, stop)
            kept = list(islice(bands, MAX_BANDS + 1))
            found.append(
                {
                    "lane": name, "point": f"{path}/{point}", "cut": len(kept) > MAX_BANDS,
                    "bands": [one._asdict() for one in kept[:MAX_BANDS]],
                }
            )  # fmt: skip
    return found


def _points(facts: Mapping[str, PointFacts]) -> Iterator[tuple[str, str, Naming]]:
    """Yield the name, the point and the naming of each lane."""
    infos = [PointInfo(name, one.type, labels=one.labels) for name, one in facts.items()]
    state = roles_of(infos).state
    if state is not None:
        yield "state", infos[state].name, partial(_state, infos[state])
    if (phase := facts.get(_PHASE)) is not None and (phase.labels or phase.type == "string"):
        yield "phase", _PHASE, partial(_phase, phase)
    if (alarms := facts.get(_ALARMS)) is not None and alarms.type in {"int", "bool"}:
        yield "alarms", _ALARMS, _alarm


def _state(info: PointInfo, value: Value) -> tuple[str, str]:
    name = state_name(info, value)
    return name, kind_of(name)


def _phase(facts: PointFacts, value: Value) -> tuple[str, str] | None:
    """Return the label of a phase, with one of the kinds `phase-0` to `phase-5`; none for the number 0, no phase."""
    if isinstance(value, str):
        return (value, f"phase-{sum(value.encode()) % PHASES}") if value else None
    number = int(value)
    return (facts.labels.get(str(number), str(number)), f"phase-{number % PHASES}") if number else None


def _alarm(value: Value) -> tuple[str, str] | None:
    """Return the number of active alarms: each is a bit of an alarm word."""
    number = int(value)
    count = (number & (2**64 - 1)).bit_count()
    return (str(count), "alarm") if count else None


def _bands(
    store: OpenStore, series: Series, facts: PointFacts, naming: Naming, span: tuple[int, int], stop: Stop
) -> Iterator[Band]:  # fmt: skip
    since, until = span
    if until - since > MAX_SPAN_OF_CHANGES:
        width = width_of(since, until, _BUCKETS)
        yield from of_buckets(stop.each(store.store.reduced([series], since, until, width)), width, naming, until)
    else:
        gap = facts.gap or _GAP
        # the state at the beginning may have been sent before it
        yield from of_changes(changes(store.store, series, since - gap, until, gap, stop), naming, until, gap)


def of_changes(
    found: Iterable[Change], name: Naming, until: int, gap: int
) -> Iterator[Band]:  # fmt: skip
    """Yield the bands of values that change, in order. A bad value is a band of the kind `offline` or `unknown`.

    A band ends at the next one, but no later than `gap` after its last reading; the last has no end if it lasts
    until the end of the span.
    """
    before: Change | None = None
    for one in found:
        if before is not None:
            yield from _band(before, min(one.time, before.until + gap), name)
        before = one
    if before is not None:
        lasts = before.until + gap >= until
        yield from _band(before, None if lasts else before.until, name)


def _band(
    one: Change, end: int | None, name: Naming
) -> Iterator[Band]:  # fmt: skip
    if one.value is None:
        kind = "offline" if one.reason in _NOT_CONNECTED else "unknown"
        yield Band(one.time, end, one.reason, kind)
    elif (named := name(one.value)) is not None:
        yield Band(one.time, end, *named)


def of_buckets(
    buckets: Iterable[Bucket], width: int, name: Naming, until: int
) -> Iterator[Band]:  # fmt: skip
    """Yield the bands of buckets, which have one value each, or `several`; equal bands that touch are joined."""
    now: Band | None = None
    for bucket in buckets:
        named = _of_bucket(bucket, name)
        end = min(until, bucket.start + width)
        if now is not None and named == (now.label, now.kind) and now.end == bucket.start:
            now = now._replace(end=end)
            continue
        if now is not None:
            yield now
        now = None if named is None else Band(bucket.start, end, *named)
    if now is not None:
        yield now


def _of_bucket(bucket: Bucket, name: Naming) -> tuple[str, str] | None:
    if not bucket.values or bucket.last is None:
        return ("bad", "unknown") if bucket.bad else None
    if bucket.first == bucket.last and bucket.min == bucket.max:
        return name(bucket.last)
    return "several", "several"
