"""Sets of sequence numbers, kept as ranges: a backlog of a million records is one pair of numbers."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SeqRange = tuple[int, int]
"""First and last, both included."""


class SeqRanges:
    """A set of whole numbers that mostly follow each other."""

    def __init__(self, ranges: Iterable[SeqRange] = ()) -> None:
        self._ranges: list[SeqRange] = []
        for first, last in ranges:
            self.add(first, last)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[SeqRange]:
        return iter(list(self._ranges))

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._ranges, number, key=_first)
        return at > 0 and self._ranges[at - 1][1] >= number

    def copy(self) -> Self:
        """Return the same numbers, to be changed without changing these."""
        other = type(self)()
        other._ranges = list(self._ranges)  # noqa: SLF001 - of the same class
        return other

    def add(self, first: int, last: int | None = None) -> None:
        """Add `first` to `last`, or `first` alone."""
        last = first if last is None else last
        low = bisect_right(self._ranges, first - 1, key=_last_below)
        high = bisect_right(self._ranges, last + 1, key=_first)
        if low < high:
            first = min(first, self._ranges[low][0])
            last = max(last, self._ranges[high - 1][1])
        self._ranges[low:high] = [(first, last)]

    def remove(self, first: int, last: int | None = None) -> None:
        """Remove `first` to `last`, or `first` alone; what is not there needs no removing."""
        last = first if last is None else last
        low, high = self._touched(first, last)
        left: list[SeqRange] = []
        for a, b in self._ranges[low:high]:
            if a < first:
                left.append((a, first - 1))
            if b > last:
                left.append((last + 1, b))
        self._ranges[low:high] = left

    def remove_to(self, last: int) -> None:
        """Remove everything up to and including `last`."""
        if self._ranges:
            self.remove(min(self._ranges[0][0], last), last)

    def count(self, first: int, last: int) -> int:
        """Return how many of `first` to `last` are in it."""
        low, high = self._touched(first, last)
        return sum(min(b, last) - max(a, first) + 1 for a, b in self._ranges[low:high])

    def lowest(self, most: int) -> SeqRange | None:
        """Return the lowest numbers that follow each other, `most` at the most."""
        if not self._ranges:
            return None
        first, last = self._ranges[0]
        return first, min(last, first + most - 1)

    def pop(self, most: int) -> SeqRange | None:
        """Remove and return the lowest numbers that follow each other, `most` at the most."""
        lowest = self.lowest(most)
        if lowest is not None:
            self.remove(*lowest)
        return lowest

    def covered(self, most: int) -> list[SeqRange]:
        """Return `most` ranges at the most that hold all of it: the smallest gaps are closed where there are more."""
        ranges = list(self._ranges)
        if len(ranges) <= most:
            return ranges
        by_gap = sorted(range(1, len(ranges)), key=lambda at: ranges[at][0] - ranges[at - 1][1], reverse=True)
        starts = [0, *sorted(by_gap[: most - 1]), len(ranges)]
        return [(ranges[a][0], ranges[b - 1][1]) for a, b in pairwise(starts)]

    def _touched(self, first: int, last: int) -> SeqRange:
        """Return which of the ranges, as a slice, have a part of `first` to `last`."""
        return bisect_right(self._ranges, first - 1, key=_last), bisect_right(self._ranges, last, key=_first)


def _first(pair: SeqRange) -> int:
    return pair[0]


def _last(pair: SeqRange) -> int:
    return pair[1]


def _last_below(pair: SeqRange) -> int:
    return pair[1] + 1


def within(seqs: Mapping[int, object], ranges: Iterable[SeqRange]) -> list[int]:
    """Return those of `seqs` that lie in the ranges."""
    found: list[int] = []
    for first, last in ranges:
        if last - first < len(seqs):
            found += [seq for seq in range(first, last + 1) if seq in seqs]
        else:  # who sends a range without end must not keep us busy without end
            found += [seq for seq in seqs if first <= seq <= last]
    return found
