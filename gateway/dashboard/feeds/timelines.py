"""Timelines of states as a page draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Segment = list[Any]
"""`[begin, state, kind]`: the begin in microseconds since the epoch."""


def coarse(timeline: Sequence[Segment], least: int, now: int) -> list[Segment]:
    """Return a timeline without segments shorter than `least` microseconds, as far as a picture can show them.

    Short segments that follow each other become one, of the state that lasted longest among them. A picture of eight
    hours would else have thousands of segments of less than a pixel.
    """
    found: list[Segment] = []
    begin, times, kinds = 0, dict[str, int](), dict[str, str]()
    for position, (time, state, kind) in enumerate(timeline):
        end = timeline[position + 1][0] if position + 1 < len(timeline) else now
        if not times:
            begin = time
        times[state], kinds[state] = times.get(state, 0) + end - time, kind
        if end - begin >= least or position + 1 == len(timeline):
            longest = max(times, key=lambda one: times[one])
            if not found or found[-1][1] != longest:
                found.append([begin, longest, kinds[longest]])
            times.clear()
    return found
