"""How well the alarms of a plant serve its operators, after EEMUA 191 and ISA-18.2. Pure.

An annunciation is the change of an alarm from inactive to active. All functions take changes of alarms in the order
of their times; times are in microseconds since the epoch.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.model.alarm_rates import (
    ACCEPTABLE,
    CHATTER,
    CHATTER_SPAN,
    FLOOD,
    MANAGEABLE,
    OVER_DEMANDING,
    WINDOW,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.dashboard.live.alarms import Alarm

MAX_WINDOWS = 1_008
"""Windows that are counted: a week."""


class Rates(NamedTuple):
    """Annunciations in windows of ten minutes.

    `counts` has one number for each window, the first of which begins at `begin`; `average` is of all windows, `peak`
    the highest, and `floods` the number of windows with more than `FLOOD`. The last window may not be over yet.
    """

    begin: int
    counts: list[int]
    average: float
    peak: int
    floods: int


class Ranked(NamedTuple):
    """An alarm with a number: how often it was announced, or how often at most within a minute."""

    alarm: Alarm
    times: int


def annunciations(changes: Iterable[Alarm]) -> Iterator[Alarm]:
    """Yield the changes with which an alarm became active. The first known change counts if it is active."""
    active: set[tuple[object, str]] = set()
    for one in changes:
        if not one.active:
            active.discard(one.place)
        elif one.place not in active:
            active.add(one.place)
            yield one


def rates(changes: Iterable[Alarm], since: int, until: int) -> Rates:
    """Return how many alarms were announced in each ten minutes from `since` to before `until`, ends included.

    Windows end at `until`; of a longer span than `MAX_WINDOWS` the last are counted.
    """
    number = min(MAX_WINDOWS, max(1, -(-(until - since) // WINDOW)))
    begin = until - number * WINDOW
    counts = [0] * number
    for one in annunciations(changes):
        if max(begin, since) <= one.time < until:
            counts[(one.time - begin) // WINDOW] += 1
    windows = min(number, max(1.0, (until - since) / WINDOW))
    return Rates(begin, counts, sum(counts) / windows, max(counts), sum(count > FLOOD for count in counts))


def most_frequent(changes: Iterable[Alarm], most: int) -> list[Ranked]:
    """Return the alarms that were announced most often, with the text that each had last."""
    counts: Counter[tuple[object, str]] = Counter()
    last: dict[tuple[object, str], Alarm] = {}
    for one in annunciations(changes):
        counts[one.place] += 1
        last[one.place] = one
    return [Ranked(last[place], count) for place, count in counts.most_common(most)]


def longest_standing(standing: Iterable[Alarm], most: int) -> list[Alarm]:
    """Return the alarms that have been active for longest."""
    return sorted((one for one in standing if one.active), key=lambda one: one.since)[:most]


def chattering(changes: Iterable[Alarm], most: int) -> list[Ranked]:
    """Return the alarms that chatter, the worst first, each with its most annunciations within a minute."""
    times: dict[tuple[object, str], deque[int]] = {}
    worst: dict[tuple[object, str], Ranked] = {}
    for one in annunciations(changes):
        recent = times.setdefault(one.place, deque())
        recent.append(one.time)
        while recent[0] <= one.time - CHATTER_SPAN:
            recent.popleft()
        if len(recent) >= CHATTER and (one.place not in worst or worst[one.place].times <= len(recent)):
            worst[one.place] = Ranked(one, len(recent))
    return sorted(worst.values(), key=lambda ranked: -ranked.times)[:most]


def level_of(found: Rates) -> str:
    """Return the meaning of an average rate for one operator, in the words of EEMUA 191."""
    levels = (ACCEPTABLE, "very likely acceptable"), (MANAGEABLE, "manageable"), (OVER_DEMANDING, "over-demanding")
    for limit, level in levels:
        if found.average <= limit:
            return level
    return "very likely unacceptable"


def in_span(changes: Sequence[Alarm], since: int, until: int) -> list[Alarm]:
    """Return the changes from `since` to before `until`."""
    return [one for one in changes if since <= one.time < until]
