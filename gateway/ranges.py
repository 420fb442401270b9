"""Sets of sequence numbers, kept as ranges: a backlog of a million records is one pair of numbers."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""First and last, both included."""


class Ranges:
    """A set of whole numbers that mostly follow each other."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._ranges: list[Range] = []
        for first, last in ranges:
            self.add(first, last)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(self._ranges))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, number, key=_first)
        return at > 0 and self._ranges[at - 1][1] >= number

    def add(self, first: int, last: int | None = None) -> None:
        """Add `first` to `last`, or `first` alone."""
        last = first if last is None else last
        low = bisect_right(self._ranges, first - 1, key=_last_below)
        high = bisect_right(self._ranges, last + 1, key=_first)
        if low < high:
            first = min(first, self._ranges[low][0])
            last = max(last, self._ranges[high - 1][1])
        self._ranges[low:high] = [(first, last)]

    def remove_to(self, last: int) -> None:
        """Remove everything up to and including `last`."""
        self._ranges = [(max(a, last + 1), b) for a, b in self._ranges if b > last]

    def pop(self, most: int) -> Range | None:
        """Remove and return the lowest numbers that follow each other, `most` at the most."""
        if not self._ranges:
            return None
        first, last = self._ranges[0]
        end = min(last, first + most - 1)
        if end == last:
            del self._ranges[0]
        else:
            self._ranges[0] = (end + 1, last)
        return first, end


def _first(pair: Range) -> int:
    return pair[0]


def _last_below(pair: Range) -> int:
    return pair[1] + 1
