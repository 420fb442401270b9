"""Sets of sequence numbers, kept as ranges: a backlog of a million records is one pair of numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SeqRange = tuple[int, int]
"""First and last number, both included."""


class SeqRanges:
    """A set of whole numbers that mostly follow each other.

    The bounds are kept in two sorted lists. With n ranges, a look-up costs O(log n), and a change also moves the
    ranges behind it: cheap at the end, where the newest numbers are, however many gaps an old backlog has.
    """

    def __init__(self, ranges: Iterable[SeqRange] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        """Return the number of ranges, not of numbers."""
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SeqRanges):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"SeqRanges({list(self)})"

    def __iter__(self) -> Iterator[SeqRange]:
        """Yield the ranges in ascending order; the set may change meanwhile."""
        at = 0
        while at < len(self._firsts):
            first, last = self._firsts[at], self._lasts[at]
            yield first, last
            if at < len(self._firsts) and self._firsts[at] == first and self._lasts[at] == last:
                at += 1
            else:
                at = bisect_right(self._firsts, last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and self._lasts[at - 1] >= number

    @property
    def first(self) -> int | None:
        """The lowest number, None for the empty set."""
        return self._firsts[0] if self._firsts else None

    @property
    def last(self) -> int | None:
        """The highest number, None for the empty set."""
        return self._lasts[-1] if self._lasts else None

    def copy(self) -> Self:
        """Return an independent copy. Costs O(n)."""
        other = type(self)()
        other._firsts = self._firsts.copy()  # noqa: SLF001 - of the same class
        other._lasts = self._lasts.copy()  # noqa: SLF001 - of the same class
        return other

    def add(self, first: int, last: int | None = None) -> None:
        """Add `first` to `last`, or `first` alone."""
        last = first if last is None else last
        firsts, lasts = self._firsts, self._lasts
        if not lasts or first > lasts[-1] + 1:  # the usual case: a new number at the end
            firsts.append(first)
            lasts.append(last)
            return
        low = bisect_left(lasts, first - 1)
        high = bisect_right(firsts, last + 1)
        if low < high:
            first = min(first, firsts[low])
            last = max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]

    def remove(self, first: int, last: int | None = None) -> list[SeqRange]:
        """Remove `first` to `last`, or `first` alone; returns the parts of it that were in the set."""
        last = first if last is None else last
        low, high = self._overlapping(first, last)
        if low == high:
            return []
        removed = list(zip(self._firsts[low:high], self._lasts[low:high], strict=True))
        kept: list[SeqRange] = []
        if removed[0][0] < first:
            kept.append((removed[0][0], first - 1))
            removed[0] = first, removed[0][1]
        if removed[-1][1] > last:
            kept.append((last + 1, removed[-1][1]))
            removed[-1] = removed[-1][0], last
        self._firsts[low:high] = [pair[0] for pair in kept]
        self._lasts[low:high] = [pair[1] for pair in kept]
        return removed

    def remove_to(self, last: int) -> None:
        """Remove everything up to and including `last`."""
        if self._firsts:
            self.remove(min(self._firsts[0], last), last)

    def count(self, first: int, last: int) -> int:
        """Return how many of `first` to `last` are in the set."""
        low, high = self._overlapping(first, last)
        if low == high:
            return 0
        total = sum(self._lasts[low:high]) - sum(self._firsts[low:high]) + high - low
        return total - max(0, first - self._firsts[low]) - max(0, self._lasts[high - 1] - last)

    def lowest(self, most: int) -> SeqRange | None:
        """Return the lowest numbers that follow each other, at most `most`; None for the empty set."""
        if not self._firsts:
            return None
        return self._firsts[0], min(self._lasts[0], self._firsts[0] + most - 1)

    def pop(self, most: int) -> SeqRange | None:
        """Remove and return the lowest numbers that follow each other, at most `most`; None for the empty set."""
        lowest = self.lowest(most)
        if lowest is not None:
            self.remove(*lowest)
        return lowest

    def pop_ranges(self, most: int) -> list[SeqRange]:
        """Remove and return the lowest ranges, at most `most`."""
        popped = list(zip(self._firsts[:most], self._lasts[:most], strict=True))
        del self._firsts[:most], self._lasts[:most]
        return popped

    def covered(self, most: int) -> list[SeqRange]:
        """Return at most `most` ranges (two or more) that hold the whole set, and more where it has more ranges.

        The newest half is exact. Of the older ranges as many as needed are joined, gaps included, in groups of equal
        length. Costs O(most).
        """
        total = len(self._firsts)
        if total <= most:
            return list(zip(self._firsts, self._lasts, strict=True))
        exact = total - most // 2
        step = -(-exact // (most - most // 2))
        starts = range(0, exact, step)
        older = [(self._firsts[at], self._lasts[min(at + step, exact) - 1]) for at in starts]
        return older + list(zip(self._firsts[exact:], self._lasts[exact:], strict=True))

    def _overlapping(self, first: int, last: int) -> SeqRange:
        """Return which of the ranges, as a slice, share a number with `first` to `last`."""
        low = bisect_left(self._lasts, first)
        return low, max(low, bisect_right(self._firsts, last))


def ranges_of(numbers: Iterable[int]) -> list[SeqRange]:
    """Return the ranges of some numbers, in ascending order."""
    found: list[SeqRange] = []
    first = last = None
    for number in sorted(numbers):
        if last is None or first is None:
            first = number
        elif number > last + 1:
            found.append((first, last))
            first = number
        last = number
    return found if first is None or last is None else [*found, (first, last)]


def within(seqs: Mapping[int, object], ranges: Iterable[SeqRange]) -> list[int]:
    """Return those of `seqs` that are in the ranges; costs no more for a range without end."""
    found: list[int] = []
    for first, last in ranges:
        if last - first < len(seqs):
            found += [seq for seq in range(first, last + 1) if seq in seqs]
        else:
            found += [seq for seq in seqs if first <= seq <= last]
    return found
