"""Topics that the broker refuses: their records wait, so that the records of other topics need not.

A broker refuses a topic until somebody gives the right to publish there (MQTT 5, 3.4.2.1: 0x87 and others), or, where
it alone confirms, has nobody to give its records to until a consumer subscribes (0x10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.common.seq_ranges import SeqRange

RETRY_FIRST, RETRY_MAX = 2.0, 60.0
"""Seconds until a refused topic is tried again, with one record; doubling."""


@dataclass(slots=True)
class _Topic:
    """The records of a refused topic lie between `first` and `last`, with others' among them."""

    first: int
    last: int
    try_at: float
    wait: float = RETRY_FIRST
    trial: bool = False


class TopicBackoff:
    """Which topics are refused, and where their records are in the spool."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def holds(self, seq: int, topic: str) -> bool:
        """Return True if the topic of a record is blocked, and remember that the record waits."""
        if not self._topics or (blocked := self._topics.get(topic)) is None:
            return False
        if blocked.trial:
            blocked.trial = False
            return False
        blocked.first, blocked.last = min(blocked.first, seq), max(blocked.last, seq)
        return True

    def refused(self, seq: int, topic: str, now: float) -> None:
        """Note that the broker refused a record."""
        blocked = self._topics.setdefault(topic, _Topic(seq, seq, now + RETRY_FIRST))
        blocked.first, blocked.last = min(blocked.first, seq), max(blocked.last, seq)

    def accepted(self, topic: str) -> SeqRange | None:
        """Note that the broker took a record; returns where those are that waited, if the topic was refused."""
        if not self._topics or (blocked := self._topics.pop(topic, None)) is None:
            return None
        return blocked.first, blocked.last

    def again(self, now: float) -> list[SeqRange]:
        """Let one record of each topic through whose time has come; returns what is to be given back for that."""
        back = []
        for blocked in self._topics.values():
            if now < blocked.try_at:
                continue
            blocked.wait = min(blocked.wait * 2, RETRY_MAX)
            blocked.try_at = now + blocked.wait
            blocked.trial = True
            back.append((blocked.first, blocked.last))
        return back

    def clear(self) -> list[SeqRange]:
        """Forget all; returns where the records are that waited."""
        spans = [(blocked.first, blocked.last) for blocked in self._topics.values()]
        self._topics.clear()
        return spans
