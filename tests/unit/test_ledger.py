"""The count of what became of every reading, and of every scan that was due."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from gateway.model.ledger import Ledger, ScheduleCounts


@pytest.mark.parametrize(
    ("ledger", "missing"),
    [
        (Ledger(), 0),
        (Ledger(acquired=10, unchanged=10), 0),
        (Ledger(acquired=10, unchanged=1, confirmed=2, pending=3, dropped=Counter(spool_full=3, rejected=1)), 0),
        (Ledger(acquired=10, confirmed=9), 1),
        (Ledger(acquired=10, confirmed=11), -1),
        (Ledger(acquired=10, pending=10, dropped=Counter(spool_full=1)), -1),
    ],
)
def test_the_ledger_balances_where_every_reading_is_accounted_for(ledger: Ledger, missing: int) -> None:
    """A reading too many is as wrong as a reading too few: it was stored twice, or invented."""
    assert ledger.missing == missing
    assert ledger.balanced is (missing == 0)


def test_the_ledger_is_reported_with_the_reasons_of_drops() -> None:
    """As plain data, which is published every second."""
    ledger = Ledger(
        acquired=6, unchanged=1, confirmed=1, pending=1, dropped=Counter(spool_full=2, rejected_by_store=1)
    )
    report = {
        "acquired": 6, "unchanged": 1, "dropped": {"spool_full": 2, "rejected_by_store": 1}, "pending": 1,
        "confirmed": 1,
    }  # fmt: skip
    assert ledger.as_dict() == report
    assert orjson.loads(orjson.dumps(ledger.as_dict())) == report


def test_two_ledgers_do_not_share_their_counts() -> None:
    """A gateway has one each; the demo has several in one report."""
    one, other = Ledger(), Ledger()
    one.dropped["spool_full"] += 1
    assert other.dropped == {}


def test_the_counts_of_a_ledger_make_the_same_ledger_again() -> None:
    """The spool keeps these counts of the ledger, and counts the pending readings itself."""
    ledger = Ledger(acquired=6, unchanged=1, confirmed=1, pending=1, dropped=Counter(spool_full=2, damaged=1))
    assert Ledger.of(ledger.counts(), 1) == ledger
    assert Ledger.of({}, 0) == Ledger()


def test_the_schedule_is_reported() -> None:
    """A person who reads the report checks `due = taken + missed`."""
    schedule = ScheduleCounts()
    schedule.took(late=0.002, lasted=0.01)
    schedule.took(late=0.004, lasted=0.03)
    schedule.skipped(3)
    assert schedule.as_dict() == {
        "due": 5, "taken": 2, "missed": 3,
        "late_ms": {"mean": 3.0, "most": 4.0}, "lasted_ms": {"mean": 20.0, "most": 30.0},
    }  # fmt: skip
