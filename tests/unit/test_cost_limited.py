"""A costly value is computed again only as often as it costs little."""

from __future__ import annotations

import pytest

from gateway.common.cost_limited import LONGEST, PART, CostLimited


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


@pytest.mark.parametrize("cost", [1e-6, 0.0005, 0.003, 0.03, 2.0])
def test_a_value_costs_a_small_part_of_the_time(cost: float) -> None:
    clocks = Clocks(cost)
    for _ in range(10_000):
        clocks.now += 0.01
        clocks.value()
    assert clocks.used <= max(PART * clocks.now * 1.1 + cost, cost * (clocks.now / LONGEST + 1))
    assert clocks.computed >= min(10_000, int(clocks.now / (LONGEST + cost + 0.01)))


def test_a_cheap_value_is_always_fresh() -> None:
    clocks = Clocks(0.0)
    assert [clocks.value() for _ in range(3)] == [1, 2, 3]


def test_a_fresh_value_is_computed_at_once() -> None:
    """The closing report is exact."""
    clocks = Clocks(0.05)
    assert [clocks.value(), clocks.value(), clocks.value(fresh=True), clocks.value()] == [1, 1, 2, 2]
