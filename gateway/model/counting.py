"""The parts that a counter has counted between two readings, though it wraps, is reset, or jumps. Pure."""

from __future__ import annotations

from typing import NamedTuple

WRAPS = (10**4, 2**15, 2**16, 10**5, 10**6, 10**7, 10**8, 10**9, 2**31, 2**32)
"""Numbers at which counters of controllers begin at 0 again."""

MOST_PER_SECOND = 100
"""Parts that a machine of any kind makes in a second at the most: a counter that rises faster was set."""


class Step(NamedTuple):
    """The parts that a counter counted from the reading before to a time, in microseconds since the epoch.

    `event` is empty for a plain step; `wrapped` and `reset` for a counter that began again, `jumped` for one that was
    set to another number: then nothing is counted.
    """

    time: int
    parts: int
    event: str = ""


def step(last: tuple[int, int], now: tuple[int, int], most: float | None = None) -> Step:
    """Return the step from a reading to the next, each a time and a number.

    `most` are the parts that are possible in this time: a counter that rises by more was set. After a reset the parts
    since the reset are counted; those between the last reading and the reset are not known.
    """
    time, value = now
    if most is None:
        most = MOST_PER_SECOND * (1 + (time - last[0]) / 1e6)
    rise = value - last[1]
    if rise >= 0:
        return Step(time, rise) if rise <= most else Step(time, 0, "jumped")
    for limit in WRAPS:
        if last[1] < limit and value >= 0 and limit - last[1] + value <= min(most, limit / 10):
            return Step(time, limit - last[1] + value, "wrapped")
    return Step(time, value, "reset") if 0 <= value <= most else Step(time, 0, "jumped")
