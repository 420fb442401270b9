"""The judge itself: a check that can't fail proves nothing."""

from __future__ import annotations

import pytest

from chaos.machines import check_of, third_of
from chaos.oracle import UNSPOOLED, Stored, Truth, betrayed, differences, judge

SECOND = 1_000_000
START = 1_764_000_000 * SECOND
SERVED = {1: [START + i * SECOND for i in range(10)], 2: [START + i * SECOND for i in range(10)]}
"""Two units that answered ten times each."""

TRUTH = Truth(SERVED)


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
    verdict = judge("store", TRUTH, everything(), 0)
    assert verdict.good
    assert (verdict.served, verdict.stored, verdict.excused, verdict.dropped) == (20, 20, 0, 0)


def test_a_missing_answer_is_lost():
    """One of thousands is one too many."""
    verdict = judge("store", TRUTH, without(2, 4), 0)
    assert len(verdict.lost) == 1
    assert "unit 2: answer 4" in verdict.lost[0]


def dead(spooled: dict[int, int], *held_up: tuple[int, int], at: int = 10) -> Truth:
    """Return the truth where the gateway was killed after ten seconds, with so many answers on its disk.

    `held_up` are seconds in which it could not write: its disk was full, or it was frozen.
    """
    truth = Truth(SERVED)
    truth.died(START + at * SECOND, spooled, [(START + a * SECOND, START + b * SECOND) for a, b in held_up])
    return truth


def test_an_answer_that_was_not_on_disk_at_the_kill_of_the_gateway_may_be_missing():
    """It was not promised yet; all that was on disk is an obligation."""
    verdict = judge("store", dead({1: 9, 2: 8}), without(2, 9), 0)
    assert verdict.good
    assert verdict.excused == 1
    assert not judge("store", dead({1: 9, 2: 9}), without(2, 9), 0).good
    assert not judge("store", dead({1: 9, 2: 8}), without(1, 9), 0).good
    assert not judge("store", dead({1: 9, 2: 8}), without(2, 8), 0).good


def test_a_gateway_may_not_keep_answers_from_its_disk_for_long():
    """One that never writes anything down would else keep every promise."""
    kept_for = UNSPOOLED // SECOND
    missing = 9 - kept_for
    assert judge("store", dead({1: 9, 2: missing}), without(2, missing + 1), 0).good
    assert not judge("store", dead({1: 9, 2: missing - 2}), without(2, missing - 1), 0).good


def test_answers_may_wait_in_memory_while_the_gateway_can_not_write():
    """Until a moment after: answers that are not written by then are lost with it.

    As seen with seed 2304: it is killed in the moment in which it was frozen no more.
    """
    assert judge("store", dead({1: 9, 2: 1}, (2, 8), at=10), without(2, 2), 0).good
    assert judge("store", dead({1: 9, 2: 1}, (2, 8), at=12), without(2, 2), 0).good
    assert not judge("store", dead({1: 9, 2: 1}, (2, 8), at=14), without(2, 2), 0).good
    assert not judge("store", dead({1: 9, 2: 1}, (8, 9), at=14), without(2, 2), 0).good


def test_a_disk_may_be_full_again_before_pending_answers_were_written():
    """As seen with seed 312: it is filled again in the moment in which it has room."""
    assert judge("store", dead({1: 9, 2: 1}, (2, 5), (5, 18), at=19), without(2, 2), 0).good
    assert not judge("store", dead({1: 9, 2: 1}, (2, 5), (11, 18), at=19), without(2, 2), 0).good


def test_an_answer_to_the_next_gateway_is_an_obligation():
    """Those of the dead one end with it."""
    truth = Truth({unit: list(times) for unit, times in SERVED.items()})
    truth.died(START + 9 * SECOND + 1, {1: 8, 2: 8})
    truth.served[2].append(START + 10 * SECOND)
    verdict = judge("store", truth, without(2, 9), 0)
    assert verdict.excused == 1
    assert [one[:16] for one in verdict.lost] == ["unit 2: answer 1"]


def test_an_answer_that_was_on_disk_is_an_obligation_also_when_it_is_damaged_later():
    """As seen with seed 21: the ledger counts it as damaged, and it must not be excused as well."""
    truth = dead({1: 9, 2: 9})
    truth.died(START + 11 * SECOND, {1: 9, 2: 7})  # the newest two are damaged
    assert truth.spooled == sum(map(len, SERVED.values()))
    assert not judge("store", truth, without(2, 9), 0).good
    assert judge("store", truth, without(2, 9), 3).good


def test_readings_that_the_ledger_counts_as_dropped_may_be_missing_and_no_more():
    """Dropping is allowed where it is counted."""
    assert judge("store", TRUTH, without(2, 4), 3).good
    fewer = [one for one in without(2, 4) if (one.unit, one.time) != (1, SERVED[1][7] + 1000)]
    assert len(judge("store", TRUTH, fewer, 3).lost) == 1
    assert judge("store", TRUTH, fewer, 6).good


def test_a_confirmed_answer_may_never_be_missing():
    """However much else is dropped, as it is where a spool is full of records that are stored and not confirmed."""
    truth = Truth(SERVED, confirmed={(2, 4)})
    assert "unit 2: answer 4" in judge("store", truth, without(2, 4), 3000).lost[0]
    assert judge("store", truth, without(2, 5), 3000).good


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (scan(1, 3), "twice"),
        (scan(1, 3, SERVED[1][3] + 5000), "answer 3 2 times"),
    ],
    ids=["the same row", "another time"],
)
def test_an_answer_that_is_there_twice_is_doubled(extra: list[Stored], complaint: str):
    """Also under another time, which no store would notice."""
    verdict = judge("store", TRUTH, [*everything(), *extra], 0)
    assert any(complaint in one for one in verdict.doubled)
    assert not verdict.good


@pytest.mark.parametrize(
    ("readings", "complaint"),
    [
        ([*without(1, 3), *scan(1, 3)[:2]], "a part of an answer"),
        ([*everything(), Stored(1, "count", START, 99), Stored(1, "check", START, 1), Stored(1, "third", START, 1.0)],
         "never served"),
        ([*without(1, 3), *scan(1, 3)[:2], Stored(1, "third", SERVED[1][3] + 1000, 1.5)], "served otherwise"),
        ([*without(1, 3), *scan(1, 3, SERVED[1][4] + 2000)], "was served at"),
        ([*without(1, 3), *scan(1, 3, SERVED[1][3] - 2)], "was served at"),
        ([*everything(), Stored(1, "count", START + 500, None)], "is bad"),
    ],
    ids=["a part", "never served", "changed", "late", "early", "bad"],
)  # fmt: skip
def test_a_scan_that_was_not_served_so_is_wrong(readings: list[Stored], complaint: str):
    """Nothing may be invented, changed, or torn."""
    verdict = judge("store", TRUTH, readings, 0)
    assert any(complaint in one for one in verdict.wrong)
    assert not verdict.good


def test_points_may_be_bad_once_the_machines_are_off():
    """That is what their gateway then has to say."""
    readings = [*everything(), Stored(1, "count", START + 20 * SECOND, None)]
    assert judge("store", Truth(SERVED, off=START + 19 * SECOND), readings, 0).good
    assert not judge("store", Truth(SERVED, off=START + 21 * SECOND), readings, 0).good


def test_a_coarser_store_may_lack_and_merge_and_nothing_else():
    """VictoriaMetrics resolves milliseconds: of two answers in one it keeps either."""
    finer = everything()
    coarser = [one._replace(time=one.time // 1000 * 1000) for one in finer]
    assert differences(finer, coarser, 1000) == ([], [])
    missing, other = differences(finer, coarser[1:], 1000)
    assert (len(missing), other) == (1, [])
    crowded = [*finer, *scan(1, 3, SERVED[1][3] + 1001)]
    kept = [*(one for one in coarser if (one.unit, one.time) != (1, SERVED[1][3] + 1000)), coarser[9]]
    assert differences(crowded, kept, 1000)[1] == []
    assert betrayed(missing, finer, Truth(SERVED, confirmed={(1, 1)}), 1000) == []
    [complaint] = betrayed(missing, finer, Truth(SERVED, confirmed={(1, 0)}), 1000)
    assert complaint == "unit 1: answer 0, confirmed, its count"
    for wrong in ([*coarser, coarser[0]], [coarser[0]._replace(value=7.5), *coarser[1:]],
                  [*coarser, Stored(2, "count", START - 1000, 1)]):  # fmt: skip
        assert len(differences(finer, wrong, 1000)[1]) == 1


def test_a_time_may_be_that_of_the_stepped_clock_and_beside_the_step_only_if_it_is_marked():
    """A gateway follows its clock at once; it marks the times that it can't know."""
    ahead = 3600 * SECOND
    stepped = [one._replace(time=one.time + ahead) for one in scan(1, 3)]
    marked = [one._replace(doubtful=True) for one in stepped]
    during = Truth(SERVED, steps=[[SERVED[1][2] - 10, SERVED[1][4], ahead]])
    after = Truth(SERVED, steps=[[SERVED[1][0] - 20 * SECOND, SERVED[1][0] - 10 * SECOND, ahead]])
    assert judge("store", during, [*without(1, 3), *stepped], 0).good
    assert judge("store", after, [*without(1, 3), *marked], 0).good
    assert not judge("store", after, [*without(1, 3), *stepped], 0).good
    assert not judge("store", TRUTH, [*without(1, 3), *marked], 0).good
