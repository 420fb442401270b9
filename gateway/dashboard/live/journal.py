"""The journal: changes in the plants since the page was started, bounded, and earlier changes out of a store."""

from __future__ import annotations

import time as clock
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

EVENTS = 5_000
"""Events that are remembered, and earlier events out of a store."""


class JournalEvent(NamedTuple):
    """A change: its kind, the subject that changed, the new state as `event`, and further `fields`.

    `kind` is `machine`, `production`, `gateway`, `ingest`, `store`, `broker`, `configuration`, `alarm` or `operator`.
    `time` is in microseconds since the epoch, UTC. `level` is `info`, `warning` or `error`.
    """

    number: int
    time: int
    kind: str
    subject: str
    event: str
    level: str
    fields: Mapping[str, str]


class Journal:
    """The last events. `number` is that of the newest, 0 before the first; `began` is when the journal began.

    Events from before that time have numbers from 0 down.
    """

    def __init__(self) -> None:
        self.began = clock.time_ns() // 1000
        self.number = 0
        self._events: deque[JournalEvent] = deque(maxlen=EVENTS)
        self._earlier: list[JournalEvent] = []

    def add(self, time: int, kind: str, subject: str, event: str, level: str = "info", **fields: str) -> None:
        """Add an event. It did not happen after now, whatever the clock of a device says."""
        self.number += 1
        time = min(time, clock.time_ns() // 1000)
        self._events.append(JournalEvent(self.number, time, kind, subject, event, level, fields))

    def add_earlier(self, events: Iterable[JournalEvent]) -> None:
        """Add events from before the journal began, in any order; the latest of them, as far as there is room."""
        latest = sorted(events, key=lambda event: event.time, reverse=True)[: EVENTS - len(self._earlier)]
        first = -len(self._earlier)
        self._earlier += [event._replace(number=first - place) for place, event in enumerate(latest)]

    @property
    def earliest(self) -> int:
        """The time of the first event out of a store, `began` without one."""
        return min((event.time for event in self._earlier), default=self.began)

    def since(self, number: int) -> Iterator[JournalEvent]:
        """Yield the events after a number, the newest first."""
        for event in reversed(self._events):
            if event.number <= number:
                return
            yield event

    def before(self, number: int) -> Iterator[JournalEvent]:
        """Yield the events before a number, the newest first, then those out of a store."""
        return (event for event in chain(reversed(self._events), self._earlier) if event.number < number)
