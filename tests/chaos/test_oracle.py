"""The judge itself: a check that can't fail proves nothing."""

from __future__ import annotations

import pytest

from chaos.machines import check_of, third_of
from chaos.oracle import BEFORE_KILL, LATE, Stored, Window, differences, judge

SECOND = 1_000_000
START = 1_764_000_000 * SECOND
SERVED = {1: [START + i * SECOND for i in range(10)], 2: [START + i * SECOND for i in range(10)]}
"""Two units that answered ten times each."""


def scan(unit: int, count: int, time: int | None = None) -> list[Stored]:
    at = SERVED[unit][count] + 1000 if time is None else time
    values = {"count": count, "check": check_of(count), "third": third_of(count)}
    return [Stored(unit, point, at, value) for point, value in values.items()]


def everything() -> list[Stored]:
    return [reading for unit in SERVED for count in range(10) for reading in scan(unit, count)]


def without(unit: int, count: int) -> list[Stored]:
    return [one for u in SERVED for c in range(10) if (u, c) != (unit, count) for one in scan(u, c)]


def test_all_that_was_served_and_nothing_else_is_good():
    """The promise, kept."""
    verdict = judge("store", SERVED, everything(), [], 0)
    assert verdict.good
    assert (verdict.served, verdict.stored, verdict.excused, verdict.dropped) == (20, 20, 0, 0)


def test_a_missing_answer_is_lost():
    """One of thousands is one too many."""
    verdict = judge("store", SERVED, without(2, 4), [], 0)
    assert len(verdict.lost) == 1
    assert "unit 2: answer 4" in verdict.lost[0]


def test_an_answer_around_the_death_of_the_gateway_may_be_missing():
    """What was not on disk yet was not promised."""
    died = SERVED[2][4] + 1000
    verdict = judge("store", SERVED, without(2, 4), [Window(died - BEFORE_KILL, died + LATE)], 0)
    assert verdict.good
    assert verdict.excused == 1
    assert not judge("store", SERVED, without(2, 4), [Window(died + 1, died + LATE)], 0).good


def test_what_the_ledger_counts_as_dropped_may_be_missing_and_no_more():
    """Dropping is allowed where it is counted."""
    assert judge("store", SERVED, without(2, 4), [], 3).good
    fewer = [one for one in without(2, 4) if (one.unit, one.time) != (1, SERVED[1][7] + 1000)]
    assert len(judge("store", SERVED, fewer, [], 3).lost) == 1
    assert judge("store", SERVED, fewer, [], 6).good


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (scan(1, 3), "twice"),
        (scan(1, 3, SERVED[1][3] + 5000), "answer 3 2 times"),
    ],
    ids=["the same row", "another time"],
)
def test_an_answer_that_is_there_twice_is_doubled(extra: list[Stored], told: str):
    """Also under another time, which no store would notice."""
    verdict = judge("store", SERVED, [*everything(), *extra], [], 0)
    assert any(told in one for one in verdict.doubled)
    assert not verdict.good


@pytest.mark.parametrize(
    ("readings", "told"),
    [
        ([*without(1, 3), *scan(1, 3)[:2]], "a part of an answer"),
        ([*everything(), Stored(1, "count", START, 99), Stored(1, "check", START, 1), Stored(1, "third", START, 1.0)],
         "never served"),
        ([*without(1, 3), *scan(1, 3)[:2], Stored(1, "third", SERVED[1][3] + 1000, 1.5)], "served otherwise"),
        ([*without(1, 3), *scan(1, 3, SERVED[1][3] + LATE + 1)], "was served at"),
        ([*without(1, 3), *scan(1, 3, SERVED[1][3] - 2)], "was served at"),
        ([*everything(), Stored(1, "count", START + 500, None)], "is bad"),
    ],
    ids=["a part", "never served", "changed", "late", "early", "bad"],
)  # fmt: skip
def test_what_was_not_served_so_is_wrong(readings: list[Stored], told: str):
    """Nothing may be invented, changed, or torn."""
    verdict = judge("store", SERVED, readings, [], 0)
    assert any(told in one for one in verdict.wrong)
    assert not verdict.good


def test_a_coarser_store_may_lack_and_merge_and_nothing_else():
    """VictoriaMetrics resolves milliseconds: of two answers in one it keeps what it likes."""
    finer = everything()
    coarser = [one._replace(time=one.time // 1000 * 1000) for one in finer]
    assert differences(finer, coarser, 1000) == ([], [])
    missing, other = differences(finer, coarser[1:], 1000)
    assert (len(missing), other) == (1, [])
    crowded = [*finer, *scan(1, 3, SERVED[1][3] + 1001)]
    kept = [*(one for one in coarser if (one.unit, one.time) != (1, SERVED[1][3] + 1000)), coarser[9]]
    assert differences(crowded, kept, 1000)[1] == []
    for wrong in ([*coarser, coarser[0]], [coarser[0]._replace(value=7.5), *coarser[1:]],
                  [*coarser, Stored(2, "count", START - 1000, 1)]):  # fmt: skip
        assert len(differences(finer, wrong, 1000)[1]) == 1
