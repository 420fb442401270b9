"""Records in flight: how many more may go, and which have to go again.

No I/O and no clock: each event comes with its time, in seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.seq_ranges import SeqRanges, ranges_of, within
from gateway.mqtt.constants import ANSWER_TIMEOUT, NO_SUBSCRIBERS, REFUSED
from gateway.publish.congestion import BacklogLimit
from gateway.publish.topic_backoff import PROBE_EVERY, TopicBackoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.common.seq_ranges import SeqRange

IN_FLIGHT, IN_FLIGHT_BYTES = 400, 4 * 2**20
"""Records, and bytes, that may wait for the broker's acknowledgement: those of a wave of scans go at once."""

UNCONFIRMED = 500
"""Records that may wait for confirmation: fewer than a broker queues for an ingest that is away (1,000)."""

QUIET, UNCONFIRMED_QUIET = 1.0, 100
"""Seconds without a confirmation after which fewer may wait: an ingest that comes back gets these first."""

FOR_FRESH = 0.25
"""The part of either limit that the backlog leaves to fresh records."""

OVERTAKEN = 2.0
"""Seconds by which an unconfirmed record may be older than a confirmed record before it counts as lost."""

RESENDS, RESEND_FIRST, RESEND_MAX = 3, 4.0, 30.0
"""Times that an overtaken record goes again at once; then it waits for so many seconds, doubling. Ingest may not be
able to confirm it, and such records must not take the room of all others."""

MAX_REMEMBERED = 10_000
"""Records whose resends are counted, and that wait for the next."""

PROBE_FIRST, PROBE_MAX = 10.0, 60.0
"""Seconds without any confirmation until the oldest record is sent again, alone; doubling."""

MAX_ACCEPTED, ACCEPTED_TIMEOUT = 100_000, 120.0
"""Records that a store has accepted and may still lose (at most 10 MB of memory, and 20 MB for their receipts), and
the seconds until the oldest of them are sent again: they are usually durable within fifteen."""

SUBSCRIBED = 5.0
"""Seconds after an accepted record in which the broker counts as having subscribers, though not for every topic."""

SHORT, CAREFUL = 10.0, 30.0
"""Seconds: a connection that was lost sooner was short; after some of these, records go one by one for so long."""

STRIKES, SUSPECT = 3, 16 * 2**10
"""Times that a record of at least so many bytes is the only record in flight when the broker closes the connection,
until it counts as too large: brokers that speak MQTT 3.1.1 do not name their limit."""


@dataclass(slots=True)
class _Sent:
    """A record in flight."""

    topic: str
    size: int
    when: float
    backlog: bool
    acknowledged: bool = False


class _Accepted(NamedTuple):
    """The records that a process of ingest wrote within a second to a store that may lose them: their key."""

    second: int
    by: str


class InFlight:
    """The records that a gateway has sent, and that are not confirmed.

    `counts` adds up in records: `again` (sent a second time), `nobody` (the broker had no subscribers for it),
    `refused` by the broker. `has_subscribers` is False while the broker seems to have none for any record; `stalled`
    is True while confirmations are overdue. `blocked` are the topics that the broker does not accept records on.
    `unacknowledged` records, of so many `unacknowledged_bytes`, wait for the broker's answer. A store has accepted
    `accepted_records`, and may still lose them.

    The seconds from sending a record to its answer are appended to `acknowledgements` and `confirmations`, if these
    are lists, which their owner has to empty.
    """

    def __init__(self, *, by_broker: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.acknowledgements: list[float] | None = None
        self.confirmations: list[float] | None = None
        self.has_subscribers = True
        self.stalled = False
        self.blocked = TopicBackoff(by_broker=by_broker)
        self._by_broker = by_broker
        self._sent: dict[int, _Sent] = {}  # oldest first
        self._accepted: dict[_Accepted, SeqRanges] = {}  # oldest first
        self.accepted_records = 0
        self._probe_now = self._probe = False
        self._most = IN_FLIGHT
        self.unacknowledged = self.unacknowledged_bytes = 0
        self._backlog = 0
        self._backlog_limit = BacklogLimit()
        self._newest = self._confirmed_at = self._quiet_since = self._opened = self._probe_at = 0.0
        self._puback_at = -math.inf
        self._patience = PROBE_FIRST
        self._lost = SeqRanges()
        self._resent: dict[int, int] = {}  # how often each overtaken record went again
        self._delayed: dict[int, float] = {}  # when it goes again
        self._careful = False
        self._short = 0
        self._strikes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, seq: int) -> bool:
        return seq in self._sent or seq in self._delayed

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight, accepted, blocked, or to go again, so that no time matters."""
        waiting = self._sent or self._delayed or self._accepted or self._lost or len(self.blocked)
        return not waiting and self.has_subscribers and not self._careful

    # -- the connection --

    def open(self, receive_maximum: int, now: float) -> None:
        """Begin on a new connection; the broker takes so many unacknowledged messages (MQTT 5, 3.2.2.3.3)."""
        self._most = min(IN_FLIGHT, receive_maximum)
        self._backlog_limit = BacklogLimit()
        self._opened = self._confirmed_at = self._quiet_since = now
        self._newest = 0.0
        self._patience = PROBE_FIRST
        self.has_subscribers, self.stalled, self._probe = True, False, False
        self._puback_at = -math.inf
        self._careful = self._short >= STRIKES - 1

    def close(self, now: float) -> list[SeqRange]:
        """Return the records that have to go again over the next connection."""
        waiting = [seq for seq, sent in self._sent.items() if not sent.acknowledged]
        self._short = self._short + 1 if waiting and now - self._opened < SHORT else 0
        if self._careful and len(waiting) == 1 and self._sent[waiting[0]].size >= SUSPECT:
            self._strikes[waiting[0]] += 1
        for seq in (*self._sent, *self._delayed):
            self._lost.add(seq)
        self._give_up(list(self._accepted))
        self._delayed.clear()
        self._resent.clear()
        for span in self.blocked.clear():
            self._lost.add(*span)
        again, self._lost = list(self._lost), SeqRanges()
        self._sent.clear()
        self.unacknowledged = self.unacknowledged_bytes = self._backlog = 0
        return again

    # -- room --

    def room(self, now: float) -> int:
        """Return how many more records may go."""
        if self.accepted_records >= MAX_ACCEPTED:
            return 0
        if self._careful and now - self._opened < CAREFUL:
            return 0 if self.unacknowledged else 1
        if not self.has_subscribers:
            return 0 if self.unacknowledged or now < self._probe_at or not self._may_probe else 1
        if self.unacknowledged_bytes >= IN_FLIGHT_BYTES:
            return 0
        unconfirmed = UNCONFIRMED if now - self._quiet_since <= QUIET else UNCONFIRMED_QUIET
        # a probe takes the place of the record that was given up for it, however many wait
        waiting = max(unconfirmed - len(self._sent), self._probe)
        return max(0, min(self._most - self.unacknowledged, waiting))

    @property
    def _may_probe(self) -> bool:
        """Whether a record may go while no record has subscribers: else all of them would be read for nothing."""
        return not self.blocked.without_subscribers or self.blocked.trying

    def backlog_room(self, now: float) -> bool:
        """Return True if a record of the backlog may go as well: always if none is in flight, however large it is."""
        if not self.room(now):
            return False
        return (
            self._probe
            or not self._backlog
            or (
                self._backlog < self._backlog_limit.size
                and self.unacknowledged < max(1, round(self._most * (1 - FOR_FRESH)))
                and len(self._sent) < UNCONFIRMED * (1 - FOR_FRESH)
            )
        )

    def known(self, seqs: Iterable[int]) -> set[int]:
        """Return those of some records that are in flight, or wait to go again."""
        known = self._sent.keys() & seqs
        return known | (self._delayed.keys() & seqs) if self._delayed else known

    @property
    def has_strikes(self) -> bool:
        """Whether `suspects` returns True for any record."""
        return bool(self._strikes)

    def suspects(self, seq: int) -> bool:
        """Return True if the broker has closed the connection on this record alone, several times."""
        return self._strikes[seq] >= STRIKES if self._strikes else False

    def unanswered(self, now: float) -> str | None:
        """Return the topic of a record whose acknowledgement is overdue: the connection counts as lost then."""
        oldest = next((sent for sent in self._sent.values() if not sent.acknowledged), None)
        return oldest.topic if oldest is not None and now - oldest.when > ANSWER_TIMEOUT else None

    # -- events --

    def sent(self, seq: int, topic: str, size: int, now: float, *, backlog: bool) -> None:
        """Note that a record goes."""
        if not self._sent:
            self._confirmed_at = self._quiet_since = max(self._confirmed_at, now)  # the waiting begins
        self._probe = False
        self._sent[seq] = _Sent(topic, size, now, backlog)
        self.unacknowledged += 1
        self.unacknowledged_bytes += size
        self._backlog += size * backlog

    def topic(self, seq: int) -> str:
        """Return the topic of a record in flight, empty if it is not."""
        sent = self._sent.get(seq)
        return "" if sent is None else sent.topic

    def accepted_by_broker(self, seqs: Sequence[int], now: float) -> None:
        """Note that the broker has accepted records whose answers came together, as `acknowledged` does for one.

        Only while no topic is blocked.
        """
        answered = []
        for seq in seqs:
            sent = self._sent.get(seq)
            if sent is not None and not sent.acknowledged:
                sent.acknowledged = True
                self.unacknowledged_bytes -= sent.size
                answered.append(sent)
            if self._strikes:
                self._strikes.pop(seq, None)
        if not answered:
            return
        self.unacknowledged -= len(answered)
        if self.acknowledgements is not None:
            self.acknowledgements += [now - sent.when for sent in answered]
        self._puback_at, self.has_subscribers = now, True
        if self._by_broker:
            self.confirmed(ranges_of(seqs), now)

    def acknowledged(self, seq: int, reason: int, now: float) -> bool:
        """Note the broker's answer; `again` returns a record that was not accepted.

        Returns True if that blocks or unblocks the topic.
        """
        sent = self._sent.get(seq)
        if sent is None or sent.acknowledged:
            return False  # confirmed before the broker had answered, which has settled it
        self._acknowledge(sent)
        if self.acknowledgements is not None:
            self.acknowledgements.append(now - sent.when)
        if self._strikes:
            self._strikes.pop(seq, None)
        if reason == NO_SUBSCRIBERS or reason >= REFUSED:
            return self._not_accepted(seq, sent.topic, reason, now)
        self._puback_at, self.has_subscribers = now, True
        unblocked = sent.topic in self.blocked
        if unblocked:
            for span in self.blocked.accepted(sent.topic):
                self._lost.add(*span)
        if self._by_broker:
            self.confirmed([(seq, seq)], now)
        return unblocked

    def _not_accepted(self, seq: int, topic: str, reason: int, now: float) -> bool:
        no_subscribers = reason == NO_SUBSCRIBERS
        self._forget(seq)
        self.counts["nobody" if no_subscribers else "refused"] += 1
        blocked = topic not in self.blocked
        self.blocked.block(seq, topic, now, no_subscribers=no_subscribers)
        if no_subscribers and not self._by_broker and now - self._puback_at > SUBSCRIBED:
            self.has_subscribers = False
            self._probe_at = now + PROBE_EVERY
        return blocked

    def confirmed(self, ranges: Iterable[SeqRange], now: float) -> None:
        """Note the records that stores hold."""
        ranges = list(ranges)
        self._take_accepted(ranges)
        self._arrive(ranges, now)

    def accepted(self, ranges: Iterable[SeqRange], now: float, by: str = "") -> None:
        """Note the records that ingest has written to a store that may still lose them: they make room, unconfirmed.

        `by` is the process that wrote them; it writes them again where the store loses them.
        """
        arrived = self._arrive(ranges, now)
        if arrived:
            accepted = self._accepted.setdefault(_Accepted(math.floor(now), by), SeqRanges())
            for seq in arrived:
                accepted.add(seq)
            self.accepted_records += len(arrived)

    def lost_by_store(self, ranges: Iterable[SeqRange]) -> None:
        """Note that a store was restarted before it had these accepted records on its disk: they go again."""
        for first, last in self._take_accepted(list(ranges)):
            self._lost.add(first, last)
            self.counts["again"] += last - first + 1

    def _take_accepted(self, ranges: list[SeqRange]) -> list[SeqRange]:
        """Remove accepted records, and return those that were there."""
        taken: list[SeqRange] = []
        if not self._accepted or not ranges:
            return taken
        low, high = min(first for first, _ in ranges), max(last for _, last in ranges)
        for key, accepted in list(self._accepted.items()):
            if (accepted.first or 0) > high or (accepted.last or 0) < low:
                continue
            for span in ranges:
                taken += accepted.remove(*span)
            if not accepted:
                del self._accepted[key]
        self.accepted_records -= sum(last - first + 1 for first, last in taken)
        return taken

    def ingest_came(self, before: str) -> None:
        """Note that an ingest has come. The records that the process `before` it had accepted go again.

        Records in flight may have reached nobody: the oldest goes again to find out. Topics without subscribers have
        some now.
        """
        self._probe_now = self.has_subscribers = True
        for span in self.blocked.subscribers_came():
            self._lost.add(*span)
        self._end_delay(list(self._delayed))
        self._resent.clear()
        if before:
            self.counts["again"] += self._give_up([key for key in self._accepted if key.by == before])

    def _give_up(self, keys: Iterable[_Accepted]) -> int:
        """Let accepted records go again, and return their number."""
        records = 0
        for key in keys:
            accepted = self._accepted.pop(key)
            for first, last in accepted:
                self._lost.add(first, last)
                records += last - first + 1
        self.accepted_records -= records
        return records

    def _arrive(self, ranges: Iterable[SeqRange], now: float) -> list[int]:
        """Remove the records that have arrived, in flight or delayed, and return their numbers."""
        ranges = list(ranges)
        arrived = within(self._sent, ranges)
        self._settle(arrived, now)
        self._confirmed_at = self._quiet_since = now
        self._patience = PROBE_FIRST
        if self._resent:
            for seq in within(self._resent, ranges):
                del self._resent[seq]
                if self._delayed.pop(seq, None) is not None:
                    arrived.append(seq)
        if not self.has_subscribers:
            for span in self.blocked.subscribers_came():
                self._lost.add(*span)
        self.has_subscribers, self.stalled = True, False
        return arrived

    def _settle(self, arrived: Iterable[int], now: float) -> None:
        """Remove records in flight that have arrived, and learn from the time that they took."""
        fresh = -math.inf  # when the newest of the fresh records was sent
        for seq in arrived:
            sent = self._sent.pop(seq, None)
            if sent is None:  # ranges of a confirmation may overlap
                continue
            if not sent.acknowledged:
                self._acknowledge(sent)
            if self.confirmations is not None:
                self.confirmations.append(now - sent.when)
            if sent.backlog:
                self._newest = max(self._newest, sent.when)
                self._backlog_limit.learn(now - sent.when, sent.size, self._backlog, now)
                self._backlog -= sent.size
            elif sent.when > fresh:
                fresh = sent.when
        if fresh > -math.inf:
            self._newest = max(self._newest, fresh)
            self._backlog_limit.learn(now - fresh, 0, 0, now)

    def _acknowledge(self, sent: _Sent) -> None:
        if not sent.acknowledged:
            sent.acknowledged = True
            self.unacknowledged -= 1
            self.unacknowledged_bytes -= sent.size

    def _forget(self, seq: int) -> _Sent | None:
        sent = self._sent.pop(seq, None)
        if sent is not None:
            self._backlog -= sent.size * sent.backlog
            self._acknowledge(sent)
        return sent

    # -- records to send again --

    @property
    def lost(self) -> bool:
        """Whether a record has to go again at once."""
        return bool(self._lost)

    def again(self, now: float) -> list[SeqRange]:
        """Return the records that are to go again now: not accepted, overtaken, or a probe."""
        lost = [seq for seq, sent in self._sent.items() if sent.when + OVERTAKEN < self._newest]
        overdue = now - self._confirmed_at > self._patience
        if not lost and self._sent and (overdue or self._probe_now):
            # one shows as much as all: records that were sent before it are lost where only it is confirmed
            lost.append(next(iter(self._sent)))
            self._confirmed_at, self._probe = now, True
            if overdue:
                self._patience = min(self._patience * 2, PROBE_MAX)
                self.stalled = True
        self._probe_now = False
        self.counts["again"] += len(lost)
        for seq in lost:
            self._forget(seq)
            if not self._delay(seq, now):
                self._lost.add(seq)
        if self._delayed:
            self._end_delay([seq for seq, due in self._delayed.items() if due <= now])
        while self._accepted and now - (oldest := next(iter(self._accepted))).second > ACCEPTED_TIMEOUT:
            self.counts["again"] += self._give_up([oldest])
        for span in self.blocked.again(now):
            self._lost.add(*span)
        again, self._lost = list(self._lost), SeqRanges()
        return again

    def _delay(self, seq: int, now: float) -> bool:
        """Count that a record goes again. Return True if it went again so often that it waits now."""
        if seq not in self._resent and len(self._resent) >= MAX_REMEMBERED:
            return False
        times = self._resent[seq] = self._resent.get(seq, 0) + 1
        if times <= RESENDS:
            return False
        self._delayed[seq] = now + min(RESEND_FIRST * 2 ** (times - RESENDS - 1), RESEND_MAX)
        return True

    def _end_delay(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            del self._delayed[seq]
            self._lost.add(seq)
