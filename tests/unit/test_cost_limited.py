"""A costly value is computed again only as often as it costs little."""

from __future__ import annotations

import pytest

from gateway.common.cost_limited import LONGEST, PART, SOON, YOUNG, CostLimited


class Clocks:
    """A wall clock and a clock of processor time; each computation takes `cost` seconds of both."""

    def __init__(self, cost: float) -> None:
        self.now = self.used = 0.0
        self.cost = cost
        self.computed = 0
        self.value = CostLimited(self.compute, lambda: self.now, lambda: self.used)

    def compute(self) -> int:
        self.now += self.cost
        self.used += self.cost
        self.computed += 1
        return self.computed


EARLY = 20
"""Computations in the first minute, at most, that are more than the cost would allow."""


def bound(cost: float, seconds: float) -> float:
    """Return the seconds of processor time that a value may cost."""
    return max(PART * seconds * 1.1 + cost, cost * (seconds / LONGEST + 1))


@pytest.mark.parametrize("cost", [1e-6, 0.0005, 0.003, 0.03, 2.0])
def test_a_value_costs_a_small_part_of_the_time(cost: float) -> None:
    clocks = Clocks(cost)

    def ask_for(steps: int) -> None:
        for _ in range(steps):
            clocks.now += 0.01
            clocks.value()

    ask_for(6_000)
    assert clocks.used <= EARLY * cost + bound(cost, clocks.now)
    now, used, computed = clocks.now, clocks.used, clocks.computed
    ask_for(10_000)
    assert clocks.used - used <= bound(cost, clocks.now - now)
    assert clocks.computed - computed >= min(10_000, int((clocks.now - now) / (LONGEST + cost + 0.01)))


@pytest.mark.parametrize("cost", [0.0005, 0.03])
def test_a_young_value_is_soon_computed_again(cost: float) -> None:
    """The counts of the first seconds of a gateway are those of some moments ago, not of its start."""
    clocks = Clocks(cost)
    ages: list[tuple[float, float]] = []
    seen, computed_at = 0, 0.0
    while clocks.now < 30.0:
        clocks.now += 0.01
        if clocks.value() != seen:
            seen, computed_at = clocks.computed, clocks.now
        ages.append((clocks.now, clocks.now - computed_at))
    assert all(age <= max(SOON, YOUNG * now) + 0.02 for now, age in ages)


def test_a_cheap_value_is_always_fresh() -> None:
    clocks = Clocks(0.0)
    assert [clocks.value() for _ in range(3)] == [1, 2, 3]


def test_a_fresh_value_is_computed_at_once() -> None:
    """The closing report is exact."""
    clocks = Clocks(0.05)
    assert [clocks.value(), clocks.value(), clocks.value(fresh=True), clocks.value()] == [1, 1, 2, 2]
