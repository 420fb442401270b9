"""The feed of the journal: all events at first, in parts, then each further event."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.dashboard.feeds.base import BadArguments, Feed
from gateway.dashboard.texts.text import _

if TYPE_CHECKING:
    from gateway.dashboard.live.journal import JournalEvent
    from gateway.dashboard.plants import Plants

PART = 500
"""Events of a message: a page shows the newest at once, and receives the others behind."""


class EventsFeed(Feed):
    """The journal. A page that connects again gives `began`, `after` and `before` of its events, and gets the rest.

    A message has `events`: number, time, kind, subject, event, level and fields of each, the newest first; and, when
    they change, `began` (the time at which the journal began), and `earliest` (from when on it has changes of
    production, out of a store). With `all` the page forgets its events.
    """

    every = 0.3

    def __init__(self, plants: Plants) -> None:
        super().__init__(plants)
        self._newest: int | None = None
        self._oldest = 0
        self._times: tuple[int, int] | None = None

    def choose(self, arguments: dict[str, Any]) -> None:
        began, after, before = (arguments.get(name, 0) for name in ("began", "after", "before"))
        if not all(type(one) is int for one in (began, after, before)):
            raise BadArguments(_("began, after and before are numbers"))
        journal = self.plants.journal
        if began == journal.began and before <= after <= journal.number:
            self._newest, self._oldest = after, before
        else:
            self._newest = None

    def changes(self) -> dict[str, Any] | None:
        journal = self.plants.journal
        content: dict[str, Any] = {}
        events: list[JournalEvent] = []
        if self._newest is None:
            content["all"] = True
            self._times = None
            self._newest, self._oldest = journal.number, journal.number + 1
        else:
            events += journal.since(self._newest)
            self._newest = journal.number
        if len(events) < PART:
            older = list(islice(journal.before(self._oldest), PART - len(events)))
            self._oldest = older[-1].number if older else self._oldest
            events += older
        if self._times != (times := (journal.began, journal.earliest)):
            self._times = times
            content |= {"began": times[0], "earliest": times[1]}
        if events:
            content["events"] = [list(event) for event in events]
        return content or None
