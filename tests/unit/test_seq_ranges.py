"""Sets of sequence numbers: like any set of numbers, and small where they follow each other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.common.seq_ranges import SeqRanges, ranges_of

NUMBERS = st.integers(1, 40)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ([], []),
        ([(1, 3), (5, 6)], [(1, 3), (5, 6)]),
        ([(1, 3), (4, 6)], [(1, 6)]),
        ([(4, 6), (1, 3)], [(1, 6)]),
        ([(1, 3), (5, 6), (4, 4)], [(1, 6)]),
        ([(1, 9), (3, 4)], [(1, 9)]),
        ([(3, 4), (1, 9)], [(1, 9)]),
        ([(1, 2), (4, 5), (7, 8), (2, 7)], [(1, 8)]),
        ([(5, 5), (1, 1), (3, 3)], [(1, 1), (3, 3), (5, 5)]),
        ([(1, 10**12), (10**12 + 1, 10**18)], [(1, 10**18)]),
    ],
)
def test_adjacent_ranges_become_one_range(added: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    """A backlog of a million records is one pair of numbers."""
    assert list(SeqRanges(added)) == expected


@pytest.mark.parametrize(
    ("most", "popped", "left"), [(1, (2, 2), [(3, 4), (9, 9)]), (3, (2, 4), [(9, 9)]), (100, (2, 4), [(9, 9)])]
)
def test_the_lowest_that_follow_each_other_come_first(
    most: int, popped: tuple[int, int], left: list[tuple[int, int]]
) -> None:
    """The oldest records are sent first, and a gap ends a read from disk."""
    ranges = SeqRanges([(2, 4), (9, 9)])
    assert ranges.pop(most) == popped
    assert list(ranges) == left


def test_pop_from_empty_ranges_returns_none() -> None:
    """The caller gets None, and no error."""
    assert SeqRanges().pop(5) is None
    assert not SeqRanges()


def test_ranges_may_change_while_they_are_looked_at() -> None:
    """They are sent and confirmed at the same time."""
    ranges = SeqRanges([(1, 2), (5, 6)])
    for first, last in ranges:
        ranges.add(first, last + 1)
    assert list(ranges) == [(1, 3), (5, 7)]


@given(st.sets(NUMBERS), st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(numbers: set[int], random: object) -> None:
    """Confirmations come in any order."""
    shuffled = sorted(numbers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ranges = SeqRanges((number, number) for number in shuffled)
    assert [number for first, last in ranges for number in range(first, last + 1)] == sorted(numbers)


@given(st.sets(NUMBERS, min_size=1), st.integers(2, 12))
def test_few_ranges_can_cover_many(numbers: set[int], most: int) -> None:
    """A checkpoint has room for a limited number of ranges, and the newest ranges must be exact."""
    ranges = SeqRanges((number, number) for number in numbers)
    covered = ranges.covered(most)
    assert len(covered) <= most
    assert covered == sorted(covered)
    named = SeqRanges(covered)
    assert all(number in named for number in numbers)
    exact = list(ranges)
    if len(exact) <= most:
        assert covered == exact
    else:
        assert covered[-(most // 2) :] == exact[-(most // 2) :]
        assert len(covered) > most // 2


def test_ranges_are_popped_together() -> None:
    """A backlog with gaps is read with one question."""
    ranges = SeqRanges([(2, 4), (9, 9), (11, 20)])
    assert ranges.first == 2
    assert ranges.pop_ranges(2) == [(2, 4), (9, 9)]
    assert list(ranges) == [(11, 20)]
    assert ranges.pop_ranges(2) == [(11, 20)]
    assert ranges.pop_ranges(2) == []
    assert ranges.first is None


class LikeASet(RuleBasedStateMachine):
    """After any operations, ranges contain the same numbers as a set of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges, self.numbers = SeqRanges(), set()

    @rule(first=NUMBERS, more=st.integers(0, 10))
    def add(self, first: int, more: int) -> None:
        self.ranges.add(first, first + more)
        self.numbers |= set(range(first, first + more + 1))

    @rule(number=NUMBERS)
    def add_one(self, number: int) -> None:
        self.ranges.add(number)
        self.numbers.add(number)

    @rule(last=NUMBERS)
    def remove_to(self, last: int) -> None:
        self.ranges.remove_to(last)
        self.numbers = {number for number in self.numbers if number > last}

    @rule(first=NUMBERS, more=st.integers(0, 10))
    def remove(self, first: int, more: int) -> None:
        before = self.ranges.copy()
        assert before.count(first, first + more) == len(self.numbers & set(range(first, first + more + 1)))
        removed = self.ranges.remove(first, first + more)
        assert {number for a, b in removed for number in range(a, b + 1)} == self.numbers & set(
            range(first, first + more + 1)
        )
        assert before.count(-100, 100) == len(self.numbers), "a copy does not change"
        self.numbers -= set(range(first, first + more + 1))

    @rule(most=st.integers(1, 10))
    def pop(self, most: int) -> None:
        lowest = self.ranges.lowest(most)
        popped = self.ranges.pop(most)
        assert lowest == popped
        expected: list[int] = []
        for number in sorted(self.numbers):
            if len(expected) < most and (not expected or number == expected[-1] + 1):
                expected.append(number)
            else:
                break
        assert popped == ((expected[0], expected[-1]) if expected else None)
        self.numbers -= set(expected)

    @invariant()
    def hold_the_same(self) -> None:
        pairs = list(self.ranges)
        assert {number for first, last in pairs for number in range(first, last + 1)} == self.numbers
        assert bool(self.ranges) == bool(self.numbers)
        assert all(last + 1 < first for (_, last), (first, _) in pairwise(pairs))
        assert all((number in self.ranges) == (number in self.numbers) for number in range(55))


TestLikeASet = LikeASet.TestCase
TestLikeASet.settings = settings(max_examples=40, stateful_step_count=25)


@given(st.lists(NUMBERS))
def test_numbers_become_the_ranges_of_their_set(numbers: list[int]) -> None:
    """Answers of a broker come one by one, and in any order."""
    assert ranges_of(numbers) == list(SeqRanges((number, number) for number in numbers))
