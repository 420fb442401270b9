"""The parts that a counter has counted in a span of time, though it wraps, is reset, or jumps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WRAPS = (10**4, 2**15, 2**16, 10**5, 10**6, 10**7, 10**8, 10**9, 2**31, 2**32)
"""Numbers at which counters of controllers begin at 0 again."""

MOST_PER_SECOND = 100
"""Parts that a machine makes in a second at the most: a counter that rises faster was set."""


class Step(NamedTuple):
    """The parts that a counter counted from the reading before to a time, in microseconds since the epoch.

    `event` is empty for a plain step; `wrapped` and `reset` for a counter that began again, `jumped` for one that was
    set to another number: then nothing is counted.
    """

    time: int
    parts: int
    event: str = ""


def steps(readings: Iterable[tuple[int, float | None]]) -> list[Step]:
    """Return the steps between readings in the order of their times; None is a bad reading, and does not count.

    After a reset the parts since the reset are counted; those between the last reading and the reset are not known.
    """
    found: list[Step] = []
    last: tuple[int, int] | None = None
    for time, value in readings:
        if value is None:
            continue
        now = round(value)
        if last is not None:
            step = _step(last, (time, now))
            if step.parts or step.event:
                found.append(step)
        last = time, now
    return found


def _step(last: tuple[int, int], now: tuple[int, int]) -> Step:
    time, value = now
    most = MOST_PER_SECOND * (1 + (time - last[0]) / 1e6)
    rise = value - last[1]
    if rise >= 0:
        return Step(time, rise) if rise <= most else Step(time, 0, "jumped")
    for limit in WRAPS:
        if last[1] < limit and value >= 0 and limit - last[1] + value <= min(most, limit / 10):
            return Step(time, limit - last[1] + value, "wrapped")
    return Step(time, value, "reset") if 0 <= value <= most else Step(time, 0, "jumped")


class Counted(NamedTuple):
    """The parts of a span, and the number of each event that makes them less certain."""

    parts: int
    events: dict[str, int]


def counted(found: Iterable[Step], since: int, until: int) -> Counted:
    """Return the parts of the steps from `since` to before `until`."""
    own = [step for step in found if since <= step.time < until]
    events = Counter(step.event for step in own if step.event)
    return Counted(sum(step.parts for step in own), dict(events))


class Label(NamedTuple):
    """A text that holds from a time on, as the number of an order."""

    time: int
    text: str


def by_label(found: Iterable[Step], labels: Sequence[Label]) -> dict[str, int]:
    """Return the parts of the steps for each label that applied at their time; empty text before the first label."""
    times = [label.time for label in labels]
    sums: Counter[str] = Counter()
    for step in found:
        at = bisect_right(times, step.time) - 1
        sums[labels[at].text if at >= 0 else ""] += step.parts
    return dict(sums)
