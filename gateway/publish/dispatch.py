"""Send records from the spool over a connection, and act on the answers: one class for each order of sending.

`FreshFirst` sends new records at once, and the backlog of an outage behind them. `InOrder` sends a record only when
the record before it of the same machine is confirmed.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import structlog
from aiomqtt import MqttError

from drivers.timer_grid import wait_for_slot
from gateway.codecs.signature import LARGEST
from gateway.common.seq_ranges import ranges_of
from gateway.common.state_log import RepeatLog, StateLog
from gateway.mqtt.constants import ANSWER_TIMEOUT, NO_SUBSCRIBERS, REFUSED
from gateway.publish.in_flight import InFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from gateway.common.seq_ranges import SeqRange
    from gateway.mqtt.client import MqttClient
    from gateway.publish.proofs import Proofs
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger(__name__)

READ_AHEAD = 100
"""Records of the backlog that are read from the disk before there is room to send them."""

RESEND_EVERY, RESEND_IDLE = 0.25, 1.0
"""Seconds between two checks for records to send again; the second while none is in flight or waits. Each check wakes
the process, and the longer interval ends when a wave of scans begins."""

MAX_TOPICS = 20_000
"""Topics that are remembered; then all of them are found again."""


class _Route(NamedTuple):
    """The way of the records of one topic over the present connection.

    `topic` is where they go now, `encoded` the same in UTF-8, `limit` the most bytes of a payload.
    """

    topic: str
    encoded: bytes
    limit: int


class Dispatch(ABC):
    """The records in flight from one spool, over one connection after the other.

    `window` bounds and remembers them. `too_large` is called with a record that is too large for the broker, and the
    bytes that it takes. `rebase` returns the topic that a record of this topic goes to: the root of all topics may
    have changed since the record was made. `proofs` keeps the receipts of the records that ingest has to confirm.
    """

    def __init__(
        self,
        spool: Spool,
        too_large: Callable[[Spooled, int], None],
        rebase: Callable[[str], str],
        proofs: Proofs,
        *,
        by_broker: bool,
    ) -> None:
        self.window = InFlight(by_broker=by_broker)
        self.sign: Callable[[str, bytes], bytes] | None = None
        """Signs a record for its topic; set it before the first record is sent."""
        self._proofs = proofs
        self._spool = spool
        self._too_large = too_large
        self._rebase = rebase
        self._topics: dict[str, str] = {}  # as in the spool -> as now
        self._routes: dict[str, _Route] = {}  # by topic in the spool
        self._by_broker = by_broker
        self._progress = asyncio.Event()
        self._subscribers = StateLog(log, "mqtt.subscribers_unstable")
        self._confirmations = StateLog(log, "records.confirmations_unstable")
        self._by_topic = RepeatLog(log)
        self._now = asyncio.get_running_loop().time

    @abstractmethod
    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        """Return the coroutines that send until cancelled or the connection is lost, by the names of their tasks."""

    @abstractmethod
    def _drop_leased(self) -> Iterable[Spooled]:
        """Forget the records that were leased and not sent, and return them."""

    def jobs(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        """Return the coroutines to run while a connection lasts, by task name; then call `take_back`."""
        self.window.open(link.receive_maximum, self._now())
        self._routes.clear()  # their limits are those of the broker
        return self._senders(link) | {"resend": self._resend()}

    def take_back(self) -> None:
        """Give all that is not confirmed back to the spool, to be sent over the next connection."""
        self._spool.release((record.seq, record.seq) for record in self._drop_leased())
        self._spool.release(self.window.close(self._now()))

    def confirmed(self, ranges: Sequence[SeqRange], set_aside: Mapping[int, int]) -> None:
        """Free records that a store holds; `set_aside` counts the readings of a record that it refused."""
        if self.window.stalled:
            self._confirmations.enter("records.confirmations_resumed", healthy=True)
        self.window.confirmed(ranges, self._now())
        self._spool.confirm(ranges, dict(set_aside))
        self._on_room()

    def accepted(self, ranges: Sequence[SeqRange], by: str) -> None:
        """Make room for others: a store has accepted these records, and may lose them; `by` wrote them."""
        self.window.accepted(ranges, self._now(), by)
        self._on_room()

    def lost_by_store(self, ranges: Sequence[SeqRange]) -> None:
        """Send accepted records again: a store has lost them, or may have."""
        self.window.lost_by_store(ranges)

    def ingest_came(self, before: str) -> None:
        """Send again the records that the process `before` had accepted, and probe whether others arrived."""
        self.window.ingest_came(before)

    def _on_room(self) -> None:
        self._progress.set()

    async def _wait(self) -> None:
        """Wait for progress: an answer of the broker, a confirmation, or the next check for records to send again."""
        self._progress.clear()
        await self._progress.wait()

    def _send_records(self, link: MqttClient, records: Sequence[Spooled], *, backlog: bool) -> None:
        """Send records, except those that have to wait. Raises `MqttError` where the connection is lost."""
        window, now, going = self.window, self._now(), []
        blocked = window.blocked if len(window.blocked) else None
        known = window.known([record.seq for record in records])
        for record in records:
            seq, payload = record.seq, record.payload
            route = self._routes.get(record.topic) or self._route(link, record)
            size = len(payload)
            if seq in known or (blocked is not None and blocked.holds(seq, route.topic)):
                continue
            if size > route.limit or (window.has_strikes and window.suspects(seq)):
                self._too_large(record, min(route.limit, size - 1))
                continue
            # all are noted before the first is sent: where sending fails, `take_back` finds them
            window.sent(seq, route.topic, size, now, backlog=backlog)
            going.append((seq, route.encoded, payload))
        if self.sign is not None or not self._by_broker:
            going = [self._sealed(*one) for one in going]
        link.send_records(going, self._answered)

    def _sealed(self, seq: int, encoded: bytes, payload: bytes) -> tuple[int, bytes, bytes]:
        """Sign a record if that is configured, and keep its receipt if ingest confirms it."""
        topic = self.window.topic(seq)
        if self.sign is not None:
            payload = self.sign(topic, payload)
        if not self._by_broker:
            self._proofs.sent(seq, topic, payload)
        return seq, encoded, payload

    def _route(self, link: MqttClient, record: Spooled) -> _Route:
        """Return the way of a record over this connection."""
        if len(self._routes) >= MAX_TOPICS:
            self._routes.clear()
        topic = self._topic_of(record)
        limit = link.largest(topic) - (0 if self.sign is None else LARGEST)
        route = self._routes[record.topic] = _Route(topic, topic.encode(), limit)
        return route

    def _topic_of(self, record: Spooled) -> str:
        """Return the topic that a record goes to now."""
        topic = self._topics.get(record.topic)
        if topic is None:
            if len(self._topics) >= MAX_TOPICS:
                self._topics.clear()
            topic = self._topics[record.topic] = self._rebase(record.topic)
        return topic

    def _answered(self, accepted: Sequence[int], others: Sequence[tuple[int, int]]) -> None:
        """Act on the broker's answers to records: those that it accepted, and others with their reason codes."""
        if len(self.window.blocked):  # an accepted record may unblock its topic
            others = [*((seq, 0) for seq in accepted), *others]
        else:
            self.window.accepted_by_broker(accepted, self._now())
            if self._by_broker and accepted:
                self._spool.confirm(ranges_of(accepted))
        for seq, reason in others:
            self._answered_alone(seq, reason)
        self._on_room()

    def _answered_alone(self, seq: int, reason: int) -> None:
        """Act on the broker's answer to a record; a change of the answer is logged once."""
        topic = self.window.topic(seq)
        changed = self.window.acknowledged(seq, reason, self._now())
        if self._by_broker and reason < REFUSED and reason != NO_SUBSCRIBERS:
            self._spool.confirm([(seq, seq)])
        if changed:
            self._log_answer(topic, reason)

    def _log_answer(self, topic: str, reason: int) -> None:
        if reason >= REFUSED:
            hint = f"grant this gateway's client the right to publish to {topic}"
            self._by_topic.error("mqtt.publish_denied", key=topic, topic=topic, reason=hex(reason), hint=hint)
        elif reason == NO_SUBSCRIBERS and self._by_broker:
            hint = f"subscribe a consumer to {topic}"
            self._by_topic.warning("mqtt.no_subscribers", key=topic, topic=topic, hint=hint)
        elif reason == NO_SUBSCRIBERS:  # ingest subscribes to all topics: the first says it for all
            self._subscribers.enter("mqtt.no_subscribers", topic=topic, hint="start ingest")
        elif not self._subscribers.healthy and not self.window.blocked.without_subscribers:
            self._subscribers.enter("mqtt.subscribers_found", healthy=True, topic=topic)
        else:
            self._by_topic.info("mqtt.publish_resumed", key=topic, topic=topic)

    async def _resend(self) -> None:
        while True:
            await wait_for_slot(RESEND_IDLE if self.window.idle else RESEND_EVERY)
            if topic := self.window.unanswered(self._now()):
                hint = "; this broker may not deliver names with a dot" if "." in topic else ""
                raise MqttError(f"no acknowledgement of a record on {topic} in {ANSWER_TIMEOUT:g} s{hint}")
            stalled = self.window.stalled
            self._give_back(self.window.again(self._now()))
            if self.window.stalled and not stalled:
                self._confirmations.enter(
                    "records.unconfirmed", records=len(self.window), hint="start ingest or its store"
                )
            if self._waits():
                self._on_room()

    def _waits(self) -> bool:
        """Return True if records wait for room."""
        return True

    def _give_back(self, again: list[SeqRange]) -> None:
        self._spool.release(again)


class FreshFirst(Dispatch):
    """New records go at once, the backlog of an outage goes behind them."""

    def __init__(
        self,
        spool: Spool,
        too_large: Callable[[Spooled, int], None],
        rebase: Callable[[str], str],
        proofs: Proofs,
        *,
        by_broker: bool,
    ) -> None:
        super().__init__(spool, too_large, rebase, proofs, by_broker=by_broker)
        self._ahead: deque[Spooled] = deque()

    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        return {
            "send fresh": self._send_fresh(link),
            "send backlog": self._send_backlog(link),
            "read backlog": self._read_backlog(),
        }

    def _drop_leased(self) -> Iterable[Spooled]:
        leased = list(self._ahead)
        self._ahead.clear()
        return leased

    def _waits(self) -> bool:
        return bool(self._ahead) or self._spool.has_fresh

    async def _send_fresh(self, link: MqttClient) -> None:
        while True:
            await self._spool.fresh()
            if room := self.window.room(self._now()):
                self._send_records(link, self._spool.lease_fresh(room), backlog=False)
            else:
                await self._wait()

    async def _send_backlog(self, link: MqttClient) -> None:
        while True:
            if self._ahead and self.window.backlog_room(self._now()):
                self._send_records(link, [self._ahead.popleft()], backlog=True)
            else:
                await self._wait()

    async def _read_backlog(self) -> None:
        while True:
            await self._spool.backlog()
            if len(self._ahead) > READ_AHEAD // 2:
                await self._wait()
                continue
            self._ahead += await self._spool.lease_backlog(READ_AHEAD // 2)
            self._progress.set()


class InOrder(Dispatch):
    """The records of a machine leave, and arrive, in the order of their numbers: one is in flight at a time."""

    def __init__(
        self,
        spool: Spool,
        too_large: Callable[[Spooled, int], None],
        rebase: Callable[[str], str],
        proofs: Proofs,
        *,
        by_broker: bool,
    ) -> None:
        super().__init__(spool, too_large, rebase, proofs, by_broker=by_broker)
        self._queues: dict[str, deque[Spooled]] = {}
        self._current: dict[str, int] = {}  # topic -> seq
        self._reading = False
        self._returned: list[SeqRange] = []

    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        return {"send in order": self._send(link), "read in order": self._read()}

    def _drop_leased(self) -> Iterable[Spooled]:
        leased = [record for queue in self._queues.values() for record in queue]
        self._queues.clear()
        return leased

    async def _send(self, link: MqttClient) -> None:
        while True:
            if self.window.lost:
                self._give_back(self.window.again(self._now()))
            for topic, queue in list(self._queues.items()):
                while queue and self._current.get(topic, 0) not in self.window and self.window.room(self._now()):
                    record = queue.popleft()
                    self._current[topic] = record.seq
                    self._send_records(link, [record], backlog=False)
                if not queue:
                    del self._queues[topic]
            await self._wait()

    async def _read(self) -> None:
        while True:
            await self._spool.sendable()
            if sum(map(len, self._queues.values())) > READ_AHEAD // 2:
                await self._wait()
                continue
            self._reading = True
            try:
                records = await self._spool.lease_in_order(READ_AHEAD // 2)
            finally:
                self._reading = False
            if self._returned:  # they may come before these: lease all of them again
                returned, self._returned = self._returned, []
                self._spool.release([*returned, *((record.seq, record.seq) for record in records)])
                continue
            for record in records:
                self._queues.setdefault(self._topic_of(record), deque()).append(record)
            self._progress.set()

    def take_back(self) -> None:
        super().take_back()
        self._spool.release(self._returned)
        self._returned = []

    def _give_back(self, again: list[SeqRange]) -> None:
        """Give records back, and all that wait behind them."""
        if not again:
            return
        again += [(record.seq, record.seq) for record in self._drop_leased()]
        if self._reading:
            self._returned += again
        else:
            self._spool.release(again)
