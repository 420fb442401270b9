"""The parts that a counter has counted in a span of time, though it wraps, is reset, or jumps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from gateway.model.counting import step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model.counting import Step


def steps(readings: Iterable[tuple[int, float | None]]) -> list[Step]:
    """Return the steps between readings in the order of their times; None is a bad reading, and does not count."""
    found: list[Step] = []
    last: tuple[int, int] | None = None
    for time, value in readings:
        if value is None:
            continue
        now = round(value)
        if last is not None:
            one = step(last, (time, now))
            if one.parts or one.event:
                found.append(one)
        last = time, now
    return found


class Counted(NamedTuple):
    """The parts of a span, and the number of each event that makes them less certain."""

    parts: int
    events: dict[str, int]


def counted(found: Iterable[Step], since: int, until: int) -> Counted:
    """Return the parts of the steps from `since` to before `until`."""
    own = [one for one in found if since <= one.time < until]
    events = Counter(one.event for one in own if one.event)
    return Counted(sum(one.parts for one in own), dict(events))


class Label(NamedTuple):
    """A text that holds from a time on, as the number of an order."""

    time: int
    text: str


def by_label(found: Iterable[Step], labels: Sequence[Label]) -> dict[str, int]:
    """Return the parts of the steps for each label that applied at their time; empty text before the first label."""
    times = [label.time for label in labels]
    sums: Counter[str] = Counter()
    for one in found:
        at = bisect_right(times, one.time) - 1
        sums[labels[at].text if at >= 0 else ""] += one.parts
    return dict(sums)
