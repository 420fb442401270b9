"""Accepted records, which a store may still lose: they use no room in the window, and are not forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.publish import in_flight
from gateway.publish.in_flight import ACCEPTED_TIMEOUT, UNCONFIRMED, InFlight

if TYPE_CHECKING:
    import pytest


def window_with(count: int, first: int = 1) -> InFlight:
    window = InFlight(by_broker=False)
    window.open(0xFFFF, 0.0)
    send(window, count, first)
    return window


def send(window: InFlight, count: int, first: int) -> None:
    for seq in range(first, first + count):
        window.sent(seq, "topic", 100, 0.0, backlog=False)
        window.acknowledged(seq, 0, 0.0)


def test_accepted_records_make_room_before_they_are_confirmed() -> None:
    """Otherwise a store that confirms after 15 s would limit a gateway to 33 records a second."""
    window = window_with(UNCONFIRMED)
    assert window.room(1.0) == 0
    window.accepted([(1, UNCONFIRMED)], 1.0)
    assert window.room(1.0) > 0
    assert window.again(1.0) == []


def test_accepted_records_are_not_overtaken_by_confirmed_records() -> None:
    """They wait for their store, and are not lost on the way."""
    window = window_with(10)
    window.accepted([(1, 10)], 1.0)
    window.sent(11, "topic", 100, 50.0, backlog=False)
    window.confirmed([(11, 11)], 51.0)
    assert window.again(52.0) == []


def test_accepted_records_that_are_never_confirmed_are_sent_again() -> None:
    """The ingest that had them may have died."""
    window = window_with(10)
    window.accepted([(1, 10)], 1.0)
    window.confirmed([(3, 5)], 16.0)
    window.sent(11, "topic", 100, 120.0, backlog=False)
    assert window.again(1.0 + ACCEPTED_TIMEOUT - 0.1) == []
    assert window.again(1.0 + ACCEPTED_TIMEOUT + 0.1) == [(1, 2), (6, 10)]


def test_accepted_records_are_sent_again_over_the_next_connection() -> None:
    """Their confirmation may have been lost with the connection."""
    window = window_with(10)
    window.accepted([(1, 4)], 1.0)
    assert window.close(2.0) == [(1, 10)]


def test_accepted_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never confirms must not use memory without limit; the receipt of each record is kept."""
    monkeypatch.setattr(in_flight, "MAX_ACCEPTED", 400)
    window = window_with(0)
    send(window, 400, 1)
    window.accepted([(1, 399)], 0.0)
    assert window.room(0.0) > 0
    window.accepted([(400, 400)], 0.0)
    assert window.room(0.0) == 0
    window.confirmed([(398, 410)], 0.0)
    assert window.room(0.0) > 0
    assert window.accepted_records == 397


def test_records_that_a_store_has_lost_are_sent_again_at_once() -> None:
    """Ingest kept only their numbers. The records that the store still has are confirmed later."""
    window = window_with(10)
    window.accepted([(1, 4)], 1.0, "ingest")
    window.accepted([(5, 8)], 3.0, "ingest")
    window.lost_by_store([(3, 6), (9, 9)])
    assert window.again(3.5) == [(3, 6)]
    assert window.counts["again"] == 4
    window.confirmed([(1, 2), (7, 10)], 4.0)
    assert window.accepted_records == 0
    assert window.again(4.5) == []


def test_records_accepted_by_an_ingest_are_sent_again_when_it_is_replaced() -> None:
    """The records in the memory of the old process are lost; the other ingest still has its records."""
    window = window_with(10)
    window.accepted([(1, 4)], 1.0, "dead")
    window.accepted([(5, 6)], 1.0, "alive")
    window.confirmed([(7, 10)], 1.0)
    window.ingest_came("dead")
    assert window.again(2.0) == [(1, 4)]
    assert window.counts["again"] == 4
    window.ingest_came("")
    assert window.again(3.0) == []


def test_an_ingest_that_comes_gets_an_unconfirmed_record_at_once() -> None:
    """With MQTT 3.1.1 a broker does not report missing subscribers. All others follow a confirmed record."""
    window = window_with(10)
    assert window.again(5.0) == []
    window.ingest_came("")
    assert window.again(5.1) == [(1, 1)]
    assert not window.stalled
    assert window.again(5.4) == []
    window.sent(1, "topic", 100, 5.4, backlog=True)
    window.confirmed([(1, 1)], 5.5)
    assert window.again(5.6) == [(2, 10)]
