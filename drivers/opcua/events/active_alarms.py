"""Makes an event for each alarm that ended during an outage.

A refresh (Part 9, 5.5.7) reports only active alarms. It does not report an alarm that ended during an outage or a
restart of the server, which would stay active in the stores.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Container

    from drivers.opcua.events.events import Event
    from drivers.opcua.settings import OpcUaGroup

MOST = 10_000
"""Maximum number of stored alarms."""

_Key = tuple["OpcUaGroup", int, tuple[str, ...]]


class ActiveAlarms:
    """The active alarms by point, whose events were delivered."""

    def __init__(self) -> None:
        self._texts: OrderedDict[_Key, str] = OrderedDict()
        self._doubtful: set[_Key] = set()

    def doubt(self) -> None:
        """Prepare for a new session, whose refresh shows which alarms are still active."""
        self._doubtful = set(self._texts)

    def forget(self, groups: Container[OpcUaGroup]) -> None:
        """Forget the alarms of removed groups."""
        for key in [key for key in self._texts if key[0] in groups]:
            del self._texts[key]
            self._doubtful.discard(key)

    def has(self, group: OpcUaGroup, position: int, event: Event) -> bool:
        """Return whether the alarm of an event is active."""
        return event.alarm is not None and (group, position, event.alarm) in self._texts

    def note(self, group: OpcUaGroup, position: int, event: Event) -> None:
        """Record the state of an alarm from its event."""
        if event.alarm is None or event.active is None:
            return
        key = group, position, event.alarm
        self._doubtful.discard(key)
        self._texts.pop(key, None)
        if event.active:
            self._texts[key] = event.text
            if len(self._texts) > MOST:
                self._doubtful.discard(self._texts.popitem(last=False)[0])

    def refreshed(self) -> list[tuple[OpcUaGroup, int, str]]:
        """Return the points and end texts of alarms that the refresh did not repeat."""
        gone = [key for key in self._texts if key in self._doubtful]
        self._doubtful.clear()
        # it has no id, since the server sent no event
        ends = [orjson.loads(self._texts.pop(key)) | {"id": "", "active": False, "retain": False} for key in gone]
        return [(key[0], key[1], orjson.dumps(end).decode()) for key, end in zip(gone, ends, strict=True)]
