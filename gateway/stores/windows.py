"""Readings out of a server's store, in windows of time, whose answers have a limited size.

Neither InfluxQL nor the export of VictoriaMetrics returns the readings of several series in the order of their times.
So a window is fetched, sorted and yielded. A window whose answer is too large is fetched in parts, and the window
after one with a small answer is longer: memory is bounded, and a year without readings takes few requests.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from gateway.stores.base import StoreError
from gateway.stores.buckets import MINUTE
from gateway.stores.series import id_of, positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model.reading import Reading
    from gateway.stores.series import Series, SeriesId

MAX_WINDOW = 4 * 2**20
"""Bytes of an answer with the readings of a window; in memory, readings need ten times as much."""

_SHORTEST = 1_000
"""Microseconds of the shortest window."""

_LONGER, _SHORTER, _SMALL = 4, 8, 8
"""How much longer and shorter a window becomes; the part of the largest answer that is a small answer."""

LAST_TIME = 9_000_000_000_000_000
"""The latest time, in microseconds: servers count nanoseconds with 64 bits."""


class TooLarge(StoreError):
    """An answer is larger than it may be: ask for less."""

    def __init__(self) -> None:
        super().__init__("the server's answer is too large; choose fewer points, or a shorter time")


class WindowedReader(ABC):
    """Reads ranges of a store through windows."""

    @abstractmethod
    def fetch(self, series: Sequence[Series], since: int, until: int) -> tuple[list[Reading], int]:
        """Return the readings of a window in any order, and the bytes of the answers.

        Raises `TooLarge` and `StoreError`.
        """

    def range(self, series: Sequence[Series], since: int, until: int, *, newest_first: bool) -> Iterator[Reading]:
        """Yield the readings of a range in the order of their times."""
        places = positions(series)
        since, until = max(since, 0), min(until, LAST_TIME)
        width = MINUTE
        if newest_first:
            # few readings are of the future, however far it is
            width = max(MINUTE, until - time.time_ns() // 1000)
        while since < until and series:
            begin, end = (max(since, until - width), until) if newest_first else (since, min(until, since + width))
            try:
                readings, size = self.fetch(series, begin, end)
            except TooLarge:
                width = _shorter(end - begin)
                continue
            readings.sort(key=lambda one: (one.time, places[id_of(one)]), reverse=newest_first)
            yield from readings
            if newest_first:
                until = begin
            else:
                since = end
            if size < MAX_WINDOW // _SMALL:
                width = min(width * _LONGER, LAST_TIME)

    def newest(self, series: Sequence[Series]) -> list[Reading]:
        """Return the last reading of each series; a series that was found is not asked for again."""
        found: dict[SeriesId, Reading] = {}
        missing = list(series)
        now = time.time_ns() // 1000
        begin, end, width = now, LAST_TIME, MINUTE
        while missing:
            try:
                readings, _ = self.fetch(missing, begin, end)
            except TooLarge:
                width = _shorter(end - begin)
                begin = end - width
                continue
            for reading in readings:
                known = found.get(id_of(reading))
                if known is None or reading.time > known.time:
                    found[id_of(reading)] = reading
            missing = [one for one in missing if one.id not in found]
            if begin <= 0:
                break
            begin, end, width = max(0, begin - width), begin, width * _LONGER
        return [found[one.id] for one in series if one.id in found]


def _shorter(width: int) -> int:
    if width <= _SHORTEST:
        raise StoreError("the store has too many readings in a millisecond; choose fewer points")
    return max(_SHORTEST, width // _SHORTER)
