"""Topics that the broker does not accept records on: their records wait, so that the records of others need not.

A broker refuses a topic until somebody grants the right to publish there (MQTT 5, 3.4.2.1: 0x87 and others), or it
has no matching subscribers for it (0x10). Both say something of this topic, and nothing of any other.

A refused topic is tried again after two seconds, then less and less often, up to a minute. Where ingest confirms,
a topic without subscribers is tried again as soon as another topic has some, since ingest subscribes to all; until
then one topic after the other is tried, so that an ingest that comes back without a sign is found within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.common.seq_ranges import SeqRange

RETRY_FIRST, RETRY_MAX = 2.0, 60.0
"""Seconds until a blocked topic is tried again, with one record; doubling."""

PROBE_EVERY = 0.2
"""Seconds between two tries of topics without subscribers, where ingest confirms: of one topic, in turn."""


@dataclass(slots=True)
class _Topic:
    """A blocked topic. Its records are between `first` and `last`, with those of other topics among them."""

    first: int
    last: int
    try_at: float
    no_subscribers: bool
    wait: float = RETRY_FIRST
    trial: bool = False
    trial_since: float = 0.0


class TopicBackoff:
    """Which topics are blocked, and where their records are in the spool."""

    def __init__(self, *, by_broker: bool) -> None:
        """Prepare; `by_broker` is whether the broker confirms, and not ingest, which subscribes to all topics."""
        self._by_broker = by_broker
        self._topics: dict[str, _Topic] = {}
        self._probe_at = 0.0

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    @property
    def trying(self) -> bool:
        """Whether a record of a blocked topic may go to try it."""
        return any(blocked.trial for blocked in self._topics.values())

    @property
    def without_subscribers(self) -> bool:
        """Whether a topic is blocked because it has no subscribers."""
        return any(blocked.no_subscribers for blocked in self._topics.values())

    def holds(self, seq: int, topic: str) -> bool:
        """Return True if the topic of a record is blocked, and remember that the record waits."""
        if (blocked := self._topics.get(topic)) is None:
            return False
        if blocked.trial:
            blocked.trial = False
            return False
        blocked.first, blocked.last = min(blocked.first, seq), max(blocked.last, seq)
        return True

    def block(self, seq: int, topic: str, now: float, *, no_subscribers: bool) -> None:
        """Block the topic of a record that the broker did not accept."""
        blocked = self._topics.get(topic)
        if blocked is None:
            self._topics[topic] = _Topic(seq, seq, now + RETRY_FIRST, no_subscribers)
            return
        blocked.no_subscribers = no_subscribers
        blocked.first, blocked.last = min(blocked.first, seq), max(blocked.last, seq)

    def accepted(self, topic: str) -> list[SeqRange]:
        """Unblock a topic that the broker accepted a record on. Return where records are that can go now."""
        found: list[SeqRange] = []
        if (blocked := self._topics.pop(topic, None)) is not None:
            found.append((blocked.first, blocked.last))
            if blocked.no_subscribers and not self._by_broker:
                found += self.subscribers_came()
        return found

    def subscribers_came(self) -> list[SeqRange]:
        """Unblock all topics without subscribers. Return where their records are."""
        came = {topic: blocked for topic, blocked in self._topics.items() if blocked.no_subscribers}
        for topic in came:
            del self._topics[topic]
        return [(blocked.first, blocked.last) for blocked in came.values()]

    def again(self, now: float) -> list[SeqRange]:
        """Let one record through of each topic whose time has come. Return where these records are."""
        return list(self._again(now)) if self._topics else []

    def _again(self, now: float) -> Iterator[SeqRange]:
        in_turn = None
        for topic, blocked in self._topics.items():
            if blocked.no_subscribers and not self._by_broker:
                in_turn = in_turn or topic
            elif now >= blocked.try_at:
                blocked.wait = min(blocked.wait * 2, RETRY_MAX)
                blocked.try_at = now + blocked.wait
                yield self._try(blocked, now)
        if in_turn is not None and now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY
            blocked = self._topics[in_turn] = self._topics.pop(in_turn)
            yield self._try(blocked, now)

    @staticmethod
    def _try(blocked: _Topic, now: float) -> SeqRange:
        """Let one record through: the oldest; where that is gone from the spool, the next that comes."""
        if not blocked.trial:
            blocked.trial, blocked.trial_since = True, now
        gone = now - blocked.trial_since > RETRY_FIRST
        return blocked.first, blocked.last if gone else blocked.first

    def clear(self) -> list[SeqRange]:
        """Unblock all topics. Return where their records are."""
        spans = [(blocked.first, blocked.last) for blocked in self._topics.values()]
        self._topics.clear()
        return spans
