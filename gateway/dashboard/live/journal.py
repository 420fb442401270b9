"""The journal: changes in the plants since the page was started, bounded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EVENTS = 5_000
"""Events that are remembered."""


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
    """The last events. `number` is that of the newest, 0 before the first."""

    def __init__(self) -> None:
        self.number = 0
        self._events: deque[JournalEvent] = deque(maxlen=EVENTS)

    def add(self, time: int, kind: str, subject: str, event: str, level: str = "info", **fields: str) -> None:
        """Add an event."""
        self.number += 1
        self._events.append(JournalEvent(self.number, time, kind, subject, event, level, fields))

    def since(self, number: int) -> Iterator[JournalEvent]:
        """Yield the events after a number, the newest first."""
        for event in reversed(self._events):
            if event.number <= number:
                return
            yield event
