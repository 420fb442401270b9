"""Refused messages in the audit log: the first of a kind soon, its repetitions as one entry with their number.

A client of the broker can forge as many messages as the broker delivers, and must fill neither the log nor the
processor of the box.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.audit.apart import Entry, log_exists
from gateway.audit.life_file import now_text

if TYPE_CHECKING:
    from gateway.audit.apart import ServiceLog

log = structlog.get_logger(__name__)

REPEAT_AFTER = 600.0
"""Seconds after an entry in which further messages of its kind are counted."""

PAUSE = 10.0
"""Seconds between two looks for messages to record."""

MOST_KINDS = 50
"""Kinds that are counted apart; messages of all others are counted together."""

OTHERS = "others"
"""The object and the sender of these."""


class _Kind(NamedTuple):
    action: str
    sender: str
    object: str
    reason: str


class _Count:
    """Messages of a kind that no entry has, since a time; `recorded` is the monotonic time of its last entry."""

    __slots__ = ("messages", "recorded", "since")

    def __init__(self) -> None:
        self.messages = 0
        self.since = ""
        self.recorded = -REPEAT_AFTER


class Incidents:
    """The refused messages of a service. `note` never waits; belongs to the event loop."""

    def __init__(self, audit: ServiceLog) -> None:
        """Prepare; no I/O."""
        self._audit = audit
        self._counts: dict[_Kind, _Count] = {}
        self._noted = asyncio.Event()
        self._active = True

    def note(self, action: str, sender: str, object_: str, reason: str, messages: int = 1) -> None:
        """Count messages that `sender` is said to have sent, and that were refused for a reason."""
        if not self._active:
            return
        kind = _Kind(action, sender, object_, reason)
        count = self._counts.get(kind)
        if count is None:
            if len(self._counts) >= MOST_KINDS:
                kind = _Kind(action, OTHERS, OTHERS, reason)
            count = self._counts.setdefault(kind, _Count())
        if not count.messages:
            count.since = now_text()
        count.messages += messages
        self._noted.set()

    async def run(self) -> None:
        """Record noted messages until cancelled; returns where there is no audit log."""
        if not await asyncio.to_thread(log_exists, self._audit.section):
            self._active = False
            self._counts.clear()
            return
        while True:
            await self._noted.wait()
            await self.record(time.monotonic())
            await asyncio.sleep(PAUSE)

    async def record(self, now: float) -> None:
        """Record the kinds that are due at a monotonic time; those that can't be recorded stay counted."""
        self._forget(now)
        due = {
            kind: (count.messages, count.since)
            for kind, count in self._counts.items()
            if count.messages and now - count.recorded >= REPEAT_AFTER
        }
        if not due:
            return
        entries = [
            Entry(
                action=kind.action, object=kind.object, outcome="refused",
                after={"sender": kind.sender, "reason": kind.reason, "messages": messages, "since": since},
            )
            for kind, (messages, since) in due.items()
        ]  # fmt: skip
        if error := await self._audit.write(entries):
            log.warning("audit.not_recorded", action=entries[-1].action, error=error)
            return
        for kind, (messages, _) in due.items():
            count = self._counts[kind]
            count.messages -= messages  # others may have come meanwhile
            count.recorded = now

    def _forget(self, now: float) -> None:
        """Forget kinds that have not come again, and wait for the next if nothing is counted."""
        idle = [kind for kind, one in self._counts.items() if not one.messages and now - one.recorded >= REPEAT_AFTER]
        for kind in idle:
            del self._counts[kind]
        if not any(count.messages for count in self._counts.values()):
            self._noted.clear()
