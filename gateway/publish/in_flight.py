"""Records in flight: how many more may go, and which have to go again.

No I/O and no clock: each event comes with its time, in seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.seq_ranges import SeqRanges, within
from gateway.mqtt.constants import ANSWER_TIMEOUT, NO_SUBSCRIBERS, REFUSED
from gateway.publish.congestion import BacklogLimit
from gateway.publish.topic_backoff import TopicBackoff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange

IN_FLIGHT, IN_FLIGHT_BYTES = 100, 4 * 2**20
"""What may wait for the broker's acknowledgement."""

UNCONFIRMED = 500
"""Records that may wait for confirmation: fewer than a broker queues for an ingest that is away (1,000)."""

QUIET, UNCONFIRMED_QUIET = 1.0, 100
"""The same where nothing was confirmed for so many seconds: an ingest that comes back gets these first."""

FOR_FRESH = 0.25
"""The part of either that the backlog leaves to fresh records."""

OVERTAKEN = 2.0
"""Seconds by which an unconfirmed record may be older than a confirmed one before it counts as lost on its way."""

PROBE_FIRST, PROBE_MAX = 10.0, 60.0
"""Seconds without any confirmation until the oldest record is sent again, alone; doubling."""

MOST_TAKEN, TAKEN_PATIENCE = 50_000, 120.0
"""Records that a store has taken and may still lose, and the seconds until the oldest of them is sent again: within
some fifteen they are safe."""

NOBODY_WAIT = 0.2
"""Seconds until a record is sent again after the broker had nobody to give one to."""

SHORT, CAREFUL = 10.0, 30.0
"""Seconds: a connection that was lost sooner was short; after some of these, records go one by one for so long."""

STRIKES, SUSPECT = 3, 16 * 2**10
"""So often a record of at least so many bytes is the only one under way when the broker hangs up, to be held for too
large: brokers that speak MQTT 3.1.1 do not say what they take."""


@dataclass(slots=True)
class _Sent:
    """A record on its way."""

    topic: str
    size: int
    when: float
    backlog: bool
    acknowledged: bool = False


class _Taken(NamedTuple):
    """A record that a store has, since when, and which ingest wrote it."""

    since: float
    by: str


class InFlight:
    """What one gateway has sent and not heard of.

    `counts` adds up what went wrong, in records: `again` (sent a second time), `nobody` (the broker had no
    subscriber for it), `refused` by the broker. `listening` says whether the broker has somebody to give records to,
    as far as it tells; `stalled` whether confirmations are overdue.
    """

    def __init__(self, *, by_broker: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.listening = True
        self.stalled = False
        self.blocked = TopicBackoff()
        self._by_broker = by_broker
        self._sent: dict[int, _Sent] = {}  # oldest first
        self._taken: dict[int, _Taken] = {}  # oldest first
        self._look = self._probe = False
        self._most = IN_FLIGHT
        self._in_flight = self._in_flight_bytes = 0
        self._backlog = 0
        self._backlog_limit = BacklogLimit()
        self._newest = self._heard = self._quiet = self._opened = self._probe_at = 0.0
        self._patience = PROBE_FIRST
        self._lost = SeqRanges()
        self._careful = False
        self._short = 0
        self._strikes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, seq: int) -> bool:
        return seq in self._sent

    # -- the connection --

    def open(self, receive_maximum: int, now: float) -> None:
        """Begin on a new connection; the broker takes so many unacknowledged messages (MQTT 5, 3.2.2.3.3)."""
        self._most = min(IN_FLIGHT, receive_maximum)
        self._backlog_limit = BacklogLimit()
        self._opened = self._heard = self._quiet = now
        self._newest = 0.0
        self._patience = PROBE_FIRST
        self.listening, self.stalled, self._probe = True, False, False
        self._careful = self._short >= STRIKES - 1

    def close(self, now: float) -> list[SeqRange]:
        """Return all that has to go again over the next connection."""
        waiting = [seq for seq, sent in self._sent.items() if not sent.acknowledged]
        self._short = self._short + 1 if waiting and now - self._opened < SHORT else 0
        if self._careful and len(waiting) == 1 and self._sent[waiting[0]].size >= SUSPECT:
            self._strikes[waiting[0]] += 1
        for seq in (*self._sent, *self._taken):
            self._lost.add(seq)
        self._taken.clear()
        for span in self.blocked.clear():
            self._lost.add(*span)
        again, self._lost = list(self._lost), SeqRanges()
        self._sent.clear()
        self._in_flight = self._in_flight_bytes = self._backlog = 0
        return again

    # -- what may go --

    def room(self, now: float) -> int:
        """Return how many more records may go."""
        if len(self._taken) >= MOST_TAKEN:
            return 0
        if self._careful and now - self._opened < CAREFUL:
            return 0 if self._in_flight else 1
        if not self.listening:
            return 0 if self._in_flight or now < self._probe_at else 1
        if self._in_flight_bytes >= IN_FLIGHT_BYTES:
            return 0
        unconfirmed = UNCONFIRMED if now - self._quiet <= QUIET else UNCONFIRMED_QUIET
        # a probe takes the place of the record that was given up for it, however many wait
        waiting = max(unconfirmed - len(self._sent), self._probe)
        return max(0, min(self._most - self._in_flight, waiting))

    def backlog_room(self, now: float) -> bool:
        """Return whether a record of the backlog may go as well; one may always, however large."""
        if not self.room(now):
            return False
        return (
            self._probe
            or not self._backlog
            or (
                self._backlog < self._backlog_limit.size
                and self._in_flight < max(1, round(self._most * (1 - FOR_FRESH)))
                and len(self._sent) < UNCONFIRMED * (1 - FOR_FRESH)
            )
        )

    def suspects(self, seq: int) -> bool:
        """Return whether a record alone made the broker hang up, again and again."""
        return self._strikes[seq] >= STRIKES if self._strikes else False

    def unanswered(self, now: float) -> bool:
        """Return whether the broker has owed an acknowledgement for so long that the connection is held for lost."""
        oldest = next((sent for sent in self._sent.values() if not sent.acknowledged), None)
        return oldest is not None and now - oldest.when > ANSWER_TIMEOUT

    # -- what happens --

    def sent(self, seq: int, topic: str, size: int, now: float, *, backlog: bool) -> None:
        """Note that a record goes."""
        if not self._sent:
            self._heard = self._quiet = max(self._heard, now)  # the waiting begins
        self._probe = False
        self._sent[seq] = _Sent(topic, size, now, backlog)
        self._in_flight += 1
        self._in_flight_bytes += size
        self._backlog += size * backlog

    def acknowledged(self, seq: int, reason: int, now: float) -> None:
        """Note the broker's answer; what was not taken comes out of `again`."""
        sent = self._sent.get(seq)
        if sent is None or sent.acknowledged:
            return  # confirmed before the broker had answered, which has settled it
        self._arrived(sent)
        self._strikes.pop(seq, None)
        if reason == NO_SUBSCRIBERS or reason >= REFUSED:
            self._not_taken(seq, sent.topic, reason, now)
            return
        if span := self.blocked.accepted(sent.topic):
            self._lost.add(*span)
        if self._by_broker:
            self.confirmed([(seq, seq)], now)

    def _not_taken(self, seq: int, topic: str, reason: int, now: float) -> None:
        self._forget(seq)
        self.counts["nobody" if reason == NO_SUBSCRIBERS else "refused"] += 1
        if reason != NO_SUBSCRIBERS or self._by_broker:
            self.blocked.refused(seq, topic, now)
        else:  # ingest takes all topics, or none
            self.listening = False
            self._probe_at = now + NOBODY_WAIT
            self._lost.add(seq)

    def confirmed(self, ranges: Iterable[SeqRange], now: float) -> None:
        """Note what has arrived."""
        ranges = list(ranges)
        for seq in within(self._taken, ranges):
            del self._taken[seq]
        self._arrive(ranges, now)

    def taken(self, ranges: Iterable[SeqRange], now: float, by: str = "") -> None:
        """Note what ingest has written to a store that may still lose it: it is on its way no more, nor confirmed.

        `by` is the process that did; it will write it again where the store loses it.
        """
        self._taken |= dict.fromkeys(self._arrive(ranges, now), _Taken(now, by))

    def ingest_came(self, before: str) -> None:
        """Note that an ingest has come. What the one `before` it had taken goes again.

        What is on its way may have reached nobody: the oldest record goes again to find out.
        """
        self._look = True
        if before:
            self._give_up([seq for seq, taken in self._taken.items() if taken.by == before])

    def _give_up(self, taken: list[int]) -> None:
        for seq in taken:
            del self._taken[seq]
            self._lost.add(seq)
        self.counts["again"] += len(taken)

    def _arrive(self, ranges: Iterable[SeqRange], now: float) -> list[int]:
        """Take what has arrived off the way; returns which these are."""
        arrived = within(self._sent, ranges)
        for seq in arrived:
            if sent := self._forget(seq):
                self._newest = max(self._newest, sent.when)
                used = self._backlog + sent.size if sent.backlog else 0
                self._backlog_limit.learn(now - sent.when, sent.size, used, now)
        self._heard = self._quiet = now
        self._patience = PROBE_FIRST
        self.listening, self.stalled = True, False
        return arrived

    def _arrived(self, sent: _Sent) -> None:
        if not sent.acknowledged:
            sent.acknowledged = True
            self._in_flight -= 1
            self._in_flight_bytes -= sent.size

    def _forget(self, seq: int) -> _Sent | None:
        sent = self._sent.pop(seq, None)
        if sent is not None:
            self._backlog -= sent.size * sent.backlog
            self._arrived(sent)
        return sent

    # -- what has to go again --

    @property
    def lost(self) -> bool:
        """Whether something has to go again at once."""
        return bool(self._lost)

    def again(self, now: float) -> list[SeqRange]:
        """Return the records that are to go again now: given to nobody, overtaken, or a probe."""
        lost = [seq for seq, sent in self._sent.items() if sent.when + OVERTAKEN < self._newest]
        overdue = now - self._heard > self._patience
        if not lost and self._sent and (overdue or self._look):
            # one tells as much as all: what was sent before it is lost where it alone is confirmed
            lost.append(next(iter(self._sent)))
            self._heard, self._probe = now, True
            if overdue:
                self._patience = min(self._patience * 2, PROBE_MAX)
                self.stalled = True
        self._look = False
        self.counts["again"] += len(lost)
        for seq in lost:
            self._forget(seq)
            self._lost.add(seq)
        while self._taken and now - self._taken[oldest := next(iter(self._taken))].since > TAKEN_PATIENCE:
            self._give_up([oldest])
        for span in self.blocked.again(now):
            self._lost.add(*span)
        again, self._lost = list(self._lost), SeqRanges()
        return again
