"""The report of several workers is that of one gateway: its sums are right, and its ledger balances."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.ledger import Ledger, ScheduleCounts
from gateway.workers.positions import Marks, Position
from gateway.workers.reports import at_rest, joined_details, ledger_of, past_of, summed_past, summed_reports

counts = st.integers(0, 10**12)
slots = st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), max_size=20)


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """Return a ledger that balances."""
    dropped = Counter(draw(st.dictionaries(st.sampled_from(["spool_full", "damaged"]), counts)))
    ledger = Ledger(0, draw(counts), draw(counts), draw(counts), dropped)
    ledger.acquired = ledger.unchanged + ledger.confirmed + ledger.pending + dropped.total()
    return ledger


def schedule(taken: list[tuple[float, float]], missed: int) -> ScheduleCounts:
    found = ScheduleCounts()
    for late, lasted in taken:
        found.took(late, lasted)
    found.skipped(missed)
    return found


def report(ledger: Ledger, scans: ScheduleCounts, oldest: float | None = 0.0) -> dict[str, Any]:
    """Return the report of a process, as `GatewayService` makes it."""
    return {
        "ledger": ledger.as_dict(),
        "balanced": ledger.balanced,
        "spool_bytes": 100,
        "oldest_seconds": oldest,
        "broker": {"again": 1, "nobody": 0, "refused": 2},
        "schedule": scans.as_dict(),
        "clock": {"trusted": True, "steps": 1, "ahead_ms": 0.0},
        "points": {"configured": 4, "good": 3, "uncertain": 0, "bad": 1},
        "drivers": {"requests": 5},
    }


@given(st.lists(st.tuples(ledgers(), slots, st.integers(0, 50)), max_size=5), ledgers())
def test_sums_are_those_of_the_workers_and_the_ledger_balances(
    parts: list[tuple[Ledger, list[tuple[float, float]], int]], retired: Ledger
):
    """With the ledger of the spools that no worker has any more."""
    found = summed_reports([report(ledger, schedule(taken, missed)) for ledger, taken, missed in parts], [], retired)
    assert found["balanced"]
    total = ledger_of(found)
    assert total.acquired == retired.acquired + sum(ledger.acquired for ledger, _, _ in parts)
    assert total.balanced
    everything = schedule([one for _, taken, _ in parts for one in taken], sum(missed for _, _, missed in parts))
    expected = everything.as_dict()
    assert {name: found["schedule"][name] for name in ("due", "taken", "missed")} == {
        name: expected[name] for name in ("due", "taken", "missed")
    }
    assert found["schedule"]["due"] == found["schedule"]["taken"] + found["schedule"]["missed"]
    for name in ("late_ms", "lasted_ms"):
        assert found["schedule"][name]["most"] == expected[name]["most"]
        assert abs(found["schedule"][name]["mean"] - expected[name]["mean"]) <= 0.02
    assert found["spool_bytes"] == 100 * len(parts)
    assert found["clock"]["trusted"]


def test_the_oldest_record_is_that_of_any_worker_and_unknown_where_a_former_process_made_one():
    """A number must not hide an older record whose age is not known."""
    waiting = [report(Ledger(), ScheduleCounts(), age) for age in (0.0, 12.5, 3.0)]
    assert summed_reports(waiting, [], Ledger())["oldest_seconds"] == 12.5
    waiting.append(report(Ledger(), ScheduleCounts(), None))
    assert summed_reports(waiting, [], Ledger())["oldest_seconds"] is None
    assert summed_reports([], [], Ledger())["oldest_seconds"] == 0.0


def test_an_unbalanced_worker_makes_the_gateway_unbalanced():
    """It is an error in Lineside, and must be seen."""
    wrong = report(Ledger(acquired=5, confirmed=4), ScheduleCounts())
    assert not summed_reports([wrong], [], Ledger())["balanced"]


def test_the_counts_of_a_process_that_ended_stay_and_its_points_are_not_good():
    """Its ledger is in the spool, and its machines are not read until the next process runs."""
    ended = report(Ledger(acquired=5, pending=5), schedule([(0.1, 0.1)], 2))
    past = [past_of(ended)]
    assert summed_past(past) == past[0]
    found = summed_reports([at_rest(ended)], past, Ledger())
    assert found["ledger"]["pending"] == 5
    assert found["points"] == {"configured": 4, "good": 0, "uncertain": 0, "bad": 0}
    assert (found["schedule"]["due"], found["broker"]["again"], found["drivers"]["requests"]) == (3, 1, 5)
    after = summed_reports([report(Ledger(acquired=5, pending=5), schedule([(0.1, 0.1)], 0))], past, Ledger())
    assert (after["schedule"]["due"], after["ledger"]["acquired"], after["drivers"]["requests"]) == (4, 5, 10)


def test_machines_and_devices_of_all_workers_are_in_the_closing_report():
    """A worker that was killed has none."""
    one = {"never_good": ["p"], "devices": {"d": {"requests": 1}}, "clocks_ahead": {"d": 0.5}, "machines": {"m": {}}}
    two = {"never_good": [], "devices": {"d": {"requests": 2}}, "clocks_ahead": {}, "machines": {"n": {}}}
    assert joined_details([one, two, {}]) == {
        "never_good": ["p"],
        "devices": {"d": {"requests": 3}},
        "clocks_ahead": {"d": 0.5},
        "machines": {"m": {}, "n": {}},
    }


def test_a_mark_is_passed_when_all_spools_have_confirmed_the_records_before_it():
    """A record before it may need the description of a machine that was removed at this mark."""
    spools = {"one": Position(1, 5), "two": Position(3, 3)}
    marks = Marks(lambda: spools)
    first = marks.mark()
    assert marks.passed() < first
    spools["one"] = Position(4, 9)
    second = marks.mark()
    assert second > first
    assert marks.passed() < first
    spools["one"] = Position(5, 9)
    assert marks.passed() == first
    spools["one"], spools["two"] = Position(9, 9), Position(7, 8)
    assert marks.passed() == second
    spools["three"] = Position(1, 2)
    third = marks.mark()
    assert marks.passed() == second
    del spools["three"], spools["two"]
    spools["one"] = Position(9, 12)
    assert marks.passed() == third, "a spool that is drained has no records"
