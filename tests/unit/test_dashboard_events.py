"""The journal and its feed: the newest at once, then each event one time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from dashboard_plant import PRESS, SECOND, STATES, T0, FedPlant, plants

from drivers.base import Quality
from gateway.dashboard.backfill import Backfill
from gateway.dashboard.feeds.base import BadArguments
from gateway.dashboard.feeds.events import PART, EventsFeed
from gateway.dashboard.live.journal import EVENTS, Journal, JournalEvent
from gateway.model.reading import Reading

if TYPE_CHECKING:
    from gateway.dashboard.plants import Plants


@pytest.fixture
def page() -> Plants:
    """A page without a plant."""
    return plants()


def opened(page: Plants, **arguments: Any) -> EventsFeed:
    feed = EventsFeed(page)
    feed.choose(arguments)
    return feed


def numbers(message: dict[str, Any] | None) -> list[int]:
    return [event[0] for event in (message or {}).get("events", [])]


def drained(feed: EventsFeed) -> list[int]:
    """Return the numbers of all messages until nothing is sent."""
    found: list[int] = []
    while (message := feed.changes()) is not None:
        assert orjson.dumps(message)
        found += numbers(message)
    return found


def test_a_page_gets_the_newest_events_at_once_and_every_event_one_time(page: Plants):
    """A journal that is full must not delay what happens now."""
    for number in range(PART * 2 + 7):
        page.journal.add(T0 + number, "machine", str(PRESS), "offline", "error")
    feed = opened(page)
    first = feed.changes()
    assert first is not None
    assert first["all"]
    assert numbers(first) == list(range(1007, 507, -1))
    page.journal.add(T0, "machine", str(PRESS), "online")
    second = numbers(feed.changes())
    assert second[:2] == [1008, 507]
    assert sorted(numbers(first) + second + drained(feed)) == list(range(1, 1009))
    assert feed.changes() is None


def test_a_page_that_connects_again_gets_what_it_lacks(page: Plants):
    """After a minute without a network nobody wants five thousand events again."""
    for _ in range(10):
        page.journal.add(T0, "broker", "b", "connected")
    feed = opened(page, began=page.journal.began, after=8, before=3)
    assert drained(feed) == [10, 9, 2, 1]
    assert sorted(drained(opened(page, began=page.journal.began + 1, after=8, before=3))) == list(range(1, 11))
    assert sorted(drained(opened(page, began=page.journal.began, after=99, before=3))) == list(range(1, 11))


def test_earlier_events_follow_those_of_the_journal_and_are_bounded(page: Plants):
    """A store may have weeks of states."""
    page.journal.add(T0 + 9 * SECOND, "production", str(PRESS), "held", "warning")
    feed = opened(page)
    assert drained(feed) == [1]
    earlier = [JournalEvent(0, T0 + at, "production", str(PRESS), "idle", "info", {}) for at in range(EVENTS + 3)]
    page.journal.add_earlier(earlier[:10])
    message = feed.changes()
    assert message is not None
    assert numbers(message) == list(range(0, -10, -1))
    assert message["events"][0][1] == T0 + 9
    assert message["earliest"] == T0
    page.journal.add_earlier(earlier[10:])
    assert len(drained(feed)) == EVENTS - 10


def test_the_journal_is_bounded_and_no_event_is_in_the_future():
    """A device whose clock is a year ahead must not stay on top for a year."""
    journal = Journal()
    for number in range(EVENTS + 5):
        journal.add(2**60, "alarm", str(PRESS), f"active {number}")
    events = list(journal.since(0))
    assert len(events) == EVENTS
    assert all(event.time <= time.time_ns() // 1000 for event in events)
    assert [event.number for event in journal.before(8)] == [7, 6]


def test_changes_of_production_before_the_page_started_come_from_the_store():
    """The shift leader asks when the press stopped, and the page was restarted since."""
    plant = FedPlant()
    page = plants(plant)
    plant.meta()
    codes = enumerate(("6", "6", "11", "2"))
    stored = [Reading(PRESS, "state", T0 + at * SECOND, int(code), "", Quality.GOOD) for at, code in codes]
    Backfill(page).fill([], stored)
    found = [(event.event, event.level, event.time - T0, event.fields) for event in page.journal.before(1)]
    assert found == [
        ("stopped", "info", 3 * SECOND, {"was": "held"}),
        ("held", "warning", 2 * SECOND, {"was": STATES["6"]}),
    ]
    assert page.journal.number == 0
    assert page.journal.earliest == T0 + 2 * SECOND


@pytest.mark.parametrize("arguments", [{"after": "1"}, {"began": None}, {"before": 1.5}, {"after": True}])
def test_arguments_that_are_not_numbers_are_refused(page: Plants, arguments: dict[str, Any]):
    """A page that sends them has a defect."""
    with pytest.raises(BadArguments, match="are numbers"):
        EventsFeed(page).choose(arguments)
