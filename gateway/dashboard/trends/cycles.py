"""Cycles of a machine: the spans between the changes of a point that mark their beginnings."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.dashboard.texts.text import _
from gateway.dashboard.trends.changes import changes
from gateway.dashboard.trends.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drivers.base import Value
    from gateway.dashboard.trends.changes import Change
    from gateway.dashboard.trends.facts import PointFacts
    from gateway.dashboard.trends.readers import OpenStore
    from gateway.dashboard.trends.selection import PointName
    from gateway.dashboard.trends.stop import Stop

MAX_CYCLES = 500
"""Cycles of one answer: the newest."""

MAX_SPAN = 7 * 86_400_000_000
"""Microseconds of the longest span that is searched for cycles."""


_GAP = 130_000_000
"""Microseconds without a reading that are a gap, of a point that is not known."""


class Cycle(NamedTuple):
    """A cycle from `begin` to before `end`, in microseconds since the epoch.

    `value` is the value of the boundary point from its beginning on. `whole` is False where the point was bad, or had
    no readings for a time: then a beginning may be missing.
    """

    begin: int
    end: int
    value: Value
    whole: bool = True


def beginning_of(written: str | None, facts: PointFacts | None) -> Value | None:
    """Return the value with which a cycle begins: that of a label, a number, or a text.

    Without one, it is the lowest label above 0 of a state, and true of a bit; None for a counter, each change of
    which begins a cycle. Raises `BadRequest`.
    """
    labels: Mapping[str, str] = facts.labels if facts else {}
    kind = facts.type if facts else ""
    if written is None:
        if labels:
            numbers = sorted(int(one) for one in labels)
            return next((one for one in numbers if one > 0), numbers[0])
        return True if kind == "bool" else None
    by_label = {label.lower(): int(number) for number, label in labels.items()}
    if written.lower() in by_label:
        return by_label[written.lower()]
    if kind == "bool":
        return written.lower() in {"true", "1"}
    if kind in {"string", "json"}:
        return written
    try:
        return float(written)
    except ValueError:
        value = repr(written)
        if not labels:
            raise BadRequest(_("{value} is not a value of this point", value=value)) from None
        choice = ", ".join(labels.values())
        raise BadRequest(
            _("{value} is not a value of this point; its labels are {labels}", value=value, labels=choice)
        ) from None


def newest_cycles(
    store: OpenStore, point: PointName, facts: PointFacts | None, beginning: Value | None, span: tuple[int, int],
    most: int, stop: Stop,
) -> tuple[list[Cycle], int]:  # fmt: skip
    """Return the newest cycles of a span, oldest first, and the number of all.

    Raises `StoreError`, `TimedOut` and `Cancelled`.
    """
    gap = (facts.gap if facts else None) or _GAP
    kept: deque[Cycle] = deque(maxlen=most)
    number = 0
    for series in store.find([point]):
        for one in cycles(changes(store.store, series, *span, gap, stop), beginning, gap):
            kept.append(one)
            number += 1
    return sorted(kept), number


def cycles(found: Iterable[Change], beginning: Value | None, gap: int) -> Iterator[Cycle]:
    """Yield the cycles that begin and end within changes, in order. `gap` is as for `changes`."""
    value: Value | None = None
    begun: Cycle | None = None
    before: Change | None = None
    whole = True
    for one in found:
        whole = whole and one.value is not None and (before is None or one.time - before.until <= gap)
        # the first value of a span may have begun before it
        begins = before is not None and one.value not in {None, value} and beginning in {None, one.value}
        if begins and one.value is not None:
            if begun is not None:
                yield begun._replace(end=one.time, whole=whole)
            begun, whole = Cycle(one.time, one.time, one.value), True
        value = value if one.value is None else one.value
        before = one
