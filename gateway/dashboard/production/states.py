"""The states of a machine along the time, and the time in each. Pure.

A state is known from one reading to the next. It is not known before the first reading, after a bad reading, and
while nothing was heard: then it is `NOT_KNOWN`, a category of its own. Times are in microseconds since the epoch.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NOT_KNOWN = "not known"
"""The state while there was no connection, or no reading."""


class Segment(NamedTuple):
    """A state from `begin` to before `end`."""

    begin: int
    end: int
    state: str

    @property
    def length(self) -> int:
        """Microseconds."""
        return self.end - self.begin


class Gap(NamedTuple):
    """A time from `begin` to before `end` in which nothing was heard."""

    begin: int
    end: int


def gaps(times: Iterable[int], since: int, until: int, hold: int) -> list[Gap]:
    """Return where two times, or a time and an end of the span, are further apart than `hold` microseconds.

    A gap begins at the last time before it: the state after it is not known.
    """
    found, last = [], since
    for time in sorted({one for one in times if since <= one < until}):
        if time - last > hold:
            found.append(Gap(last, time))
        last = time
    if until - last > hold:
        found.append(Gap(last, until))
    return found


def segments(
    states: Iterable[tuple[int, str | None]], since: int, until: int, silent: Sequence[Gap] = ()
) -> list[Segment]:
    """Return the states from `since` to `until` without a hole, neighbours of one state joined.

    `states` are readings in the order of their times, of which the last before `since` counts; None is a bad reading.
    In a silent gap, and from there to the next reading, the state is not known.
    """
    changes: list[tuple[int, str]] = [(since, NOT_KNOWN)]
    for time, state in states:
        changes.append((max(time, since), NOT_KNOWN if state is None else state))
    changes = [one for one in changes if one[0] < until]
    for gap in silent:
        begin, end = max(gap.begin, since), min(gap.end, until)
        if begin < end:
            changes = [one for one in changes if not begin < one[0] < end]
            changes.append((begin, NOT_KNOWN))
    changes.sort(key=lambda one: one[0])
    return _joined(changes, until)


def _joined(changes: Sequence[tuple[int, str]], until: int) -> list[Segment]:
    """Return segments between changes; of changes at the same time the last counts."""
    found: list[Segment] = []
    for (begin, state), (end, _) in zip(changes, [*changes[1:], (until, "")], strict=True):
        if begin == end:
            continue
        if found and found[-1].state == state:
            found[-1] = found[-1]._replace(end=end)
        else:
            found.append(Segment(begin, end, state))
    return found


def durations(found: Iterable[Segment]) -> dict[str, int]:
    """Return the microseconds in each state, the longest first; their sum is the length of all segments."""
    sums: Counter[str] = Counter()
    for one in found:
        sums[one.state] += one.length
    return dict(sums.most_common())


def drawn(found: Sequence[Segment], most: int) -> list[Segment]:
    """Return about `most` segments that look the same: short segments are joined, with the longest state among them.

    Their states are not exact any more; sums are made of all segments.
    """
    if len(found) <= most:
        return list(found)
    width = max(1, (found[-1].end - found[0].begin) // most)
    joined: list[Segment] = []
    for group in _groups(found, width):
        state = max(durations(group).items(), key=lambda item: item[1])[0]
        begin, end = group[0].begin, group[-1].end
        if joined and joined[-1].state == state:
            joined[-1] = joined[-1]._replace(end=end)
        else:
            joined.append(Segment(begin, end, state))
    return joined


def _groups(found: Iterable[Segment], width: int) -> Iterable[list[Segment]]:
    """Yield neighbours that are together as long as `width`, or a longer segment alone."""
    group: list[Segment] = []
    for one in found:
        group.append(one)
        if group[-1].end - group[0].begin >= width:
            yield group
            group = []
    if group:
        yield group
