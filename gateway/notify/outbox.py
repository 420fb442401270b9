"""The alarms that a target has yet to be notified of: bounded, each once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from gateway.settings.alarm_set import Priority

if TYPE_CHECKING:
    from gateway.model.alarm_notice import AlarmNotice

    _Key = tuple[str, str, int, object]

MOST = 1_000
"""Alarms that wait for one target."""


class Waiting(NamedTuple):
    """An alarm that waits, and the monotonic time in seconds from which on it does."""

    notice: AlarmNotice
    since: float


class Outbox:
    """The alarms of one target. `change` is set while some wait.

    Those that are being sent stay here until they are sent: `take` leases them.
    """

    def __init__(self, room: int = MOST) -> None:
        self.change = asyncio.Event()
        self.left_out = 0
        """Alarms that had no room since the last message."""
        self._room = room
        self._waiting: dict[Priority, dict[_Key, Waiting]] = {priority: {} for priority in Priority}
        self._leased: dict[_Key, Waiting] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._leased)

    def put(self, notice: AlarmNotice, now: float) -> AlarmNotice | None:
        """Add an alarm, unless it is here; return the alarm that has no room any more, if there is one.

        That is the oldest of the lowest priority.
        """
        waiting = self._waiting[notice.priority]
        if notice.key in self._leased or notice.key in waiting:
            return None
        waiting[notice.key] = Waiting(notice, now)
        self.change.set()
        if len(self) <= self._room:
            return None
        lowest = next(one for one in (self._waiting[each] for each in sorted(Priority, reverse=True)) if one)
        dropped = lowest.pop(next(iter(lowest)))
        self.left_out += 1
        return dropped.notice

    def withdraw(self, notice: AlarmNotice) -> None:
        """Remove an escalation that waits: nobody has to act on it any more. A first message is sent all the same."""
        if notice.step.after:
            for waiting in self._waiting.values():  # an alarm of a device may have changed its priority
                waiting.pop(notice.key, None)

    def forget(self, machine: str) -> None:
        """Remove all alarms of a machine that wait."""
        for waiting in self._waiting.values():
            for key in [key for key, one in waiting.items() if one.notice.machine == machine]:
                del waiting[key]

    def take(self) -> list[Waiting]:
        """Lease all alarms that wait."""
        self.change.clear()
        for waiting in self._waiting.values():
            self._leased |= waiting
            waiting.clear()
        return list(self._leased.values())

    def sent(self, left_out: int) -> None:
        """Forget the leased alarms, and those without room that the message has named."""
        self._leased.clear()
        self.left_out -= left_out

    def give_back(self, before: float) -> list[AlarmNotice]:
        """Let the leased alarms wait again, without those that have waited since `before`; return these."""
        given_up: list[AlarmNotice] = []
        leased, self._leased = self._leased, {}
        newer, self._waiting = self._waiting, {priority: {} for priority in Priority}
        for key, one in leased.items():
            if one.since <= before:
                given_up.append(one.notice)
            else:
                self._waiting[one.notice.priority][key] = one
        for priority, waiting in newer.items():
            self._waiting[priority] |= waiting
        if any(self._waiting.values()):
            self.change.set()
        return given_up
