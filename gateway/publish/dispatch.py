"""Records from the spool onto the link, and what becomes of them: one order of sending a class.

`FreshFirst` sends what was just taken at once, and the backlog of an outage behind it. `InOrder` sends a record only
when the one before it of the same machine is confirmed.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.mqtt.client import ANSWER_TIMEOUT, NO_SUBSCRIBERS, REFUSED
from gateway.publish.in_flight import InFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.mqtt.client import MqttClient
    from gateway.spool.files import Spooled
    from gateway.spool.spool import Spool

log = structlog.get_logger()

AHEAD = 100
"""Records of the backlog that are read from the disk before they can go."""

TICK = 0.25
"""Seconds between two looks for what has to go again."""


class Dispatch(ABC):
    """What is on its way from one spool, over one link after the other.

    `too_large` is called with a record that the broker does not take, and the bytes that it does.
    """

    def __init__(self, spool: Spool, too_large: Callable[[Spooled, int], None], *, by_broker: bool) -> None:
        self.window = InFlight(by_broker=by_broker)
        self._spool = spool
        self._too_large = too_large
        self._by_broker = by_broker
        self._moved = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    @abstractmethod
    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        """Return what sends, until cancelled or the link is lost; by names of tasks."""

    @abstractmethod
    def _leased(self) -> Iterable[Spooled]:
        """Return, and forget, what was leased and not sent."""

    def jobs(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        """Return what is to run while a link lasts, by names of tasks. Call `take_back` when these have ended."""
        self.window.open(link.receive_maximum, self._now())
        return self._senders(link) | {"resend": self._resend()}

    def take_back(self) -> None:
        """Give all that is not confirmed back to the spool, to be sent over the next link."""
        self._spool.release((record.seq, record.seq) for record in self._leased())
        self._spool.release(self.window.close(self._now()))

    def confirmed(self, ranges: list[SeqRange], set_aside: dict[int, int]) -> None:
        """Free what a store holds; `set_aside` says how many of a record's readings it refused."""
        if self.window.stalled or not self.window.listening:
            log.info("records.confirmed_again")
        self.window.confirmed(ranges, self._now())
        self._spool.confirm(ranges, set_aside)
        self._on_room()

    def taken(self, ranges: list[SeqRange], by: str) -> None:
        """Make room for what follows: these are with a store that may still lose them; `by` is ingest's process."""
        self.window.taken(ranges, self._now(), by)
        self._on_room()

    def ingest_came(self, before: str) -> None:
        """Send again what was with the process that was there `before`; and look whether all else has arrived."""
        self.window.ingest_came(before)

    def _on_room(self) -> None:
        self._moved.set()

    async def _wait(self) -> None:
        """Wait until something has moved: an answer of the broker, a confirmation, a tick."""
        self._moved.clear()
        await self._moved.wait()

    def _go(self, link: MqttClient, records: Iterable[Spooled], *, backlog: bool) -> None:
        """Send records, but those that can't go now. Raises `MqttError` where the link is lost."""
        window, now, going = self.window, self._now(), []
        for record in records:
            size, limit = len(record.payload), link.largest(record.topic)
            if record.seq in window or window.barred.holds(record.seq, record.topic):
                continue
            if size > limit or window.suspects(record.seq):
                self._too_large(record, min(limit, size - 1))
                continue
            # all are noted before the first is sent: what is noted can't be forgotten
            window.sent(record.seq, record.topic, size, now, backlog=backlog)
            going.append(record)
        for record in going:
            link.send(record.topic, record.payload, partial(self._fate, record.seq, record.topic))

    def _fate(self, seq: int, topic: str, reason: int) -> None:
        """Take the broker's answer; what it says anew is told once."""
        window = self.window
        listening, barred = window.listening, topic in window.barred
        window.acknowledged(seq, reason, self._now())
        if self._by_broker and reason < REFUSED and reason != NO_SUBSCRIBERS:
            self._spool.confirm([(seq, seq)], {})
        if window.listening is not listening or (topic in window.barred) is not barred:
            self._tell(topic, reason)
        self._on_room()

    def _tell(self, topic: str, reason: int) -> None:
        if reason >= REFUSED:
            log.error("broker.refused", topic=topic, reason=hex(reason), hint="may this gateway publish there?")
        elif reason == NO_SUBSCRIBERS:
            hint = "is a consumer subscribed?" if self._by_broker else "is an ingest running?"
            log.warning("broker.nobody_listens", topic=topic, hint=hint)
        else:
            log.info("broker.takes_again", topic=topic)

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self.window.unanswered(self._now()):
                raise MqttError(f"no acknowledgement in {ANSWER_TIMEOUT:g} s")
            stalled = self.window.stalled
            self._give_back(self.window.again(self._now()))
            if self.window.stalled and not stalled:
                log.warning("records.unconfirmed", records=len(self.window))
            self._on_room()

    def _give_back(self, again: list[SeqRange]) -> None:
        self._spool.release(again)


class FreshFirst(Dispatch):
    """New readings go at once, whatever an outage has left goes behind them."""

    def __init__(self, spool: Spool, too_large: Callable[[Spooled, int], None], *, by_broker: bool) -> None:
        super().__init__(spool, too_large, by_broker=by_broker)
        self._ahead: deque[Spooled] = deque()

    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        return {
            "send fresh": self._send_fresh(link),
            "send backlog": self._send_backlog(link),
            "read backlog": self._read_backlog(),
        }

    def _leased(self) -> Iterable[Spooled]:
        leased = list(self._ahead)
        self._ahead.clear()
        return leased

    async def _send_fresh(self, link: MqttClient) -> None:
        while True:
            await self._spool.fresh()
            if room := self.window.room(self._now()):
                self._go(link, self._spool.lease_fresh(room), backlog=False)
            else:
                await self._wait()

    async def _send_backlog(self, link: MqttClient) -> None:
        while True:
            if self._ahead and self.window.backlog_room(self._now()):
                self._go(link, [self._ahead.popleft()], backlog=True)
            else:
                await self._wait()

    async def _read_backlog(self) -> None:
        while True:
            await self._spool.backlog()
            if len(self._ahead) > AHEAD // 2:
                await self._wait()
                continue
            self._ahead += await self._spool.lease_backlog(AHEAD // 2)
            self._moved.set()


class InOrder(Dispatch):
    """The records of a machine leave, and arrive, in the order of their numbers: one is under way at a time."""

    def __init__(self, spool: Spool, too_large: Callable[[Spooled, int], None], *, by_broker: bool) -> None:
        super().__init__(spool, too_large, by_broker=by_broker)
        self._queues: dict[str, deque[Spooled]] = {}
        self._under_way: dict[str, int] = {}  # topic -> seq
        self._reading = False
        self._back: list[SeqRange] = []

    def _senders(self, link: MqttClient) -> dict[str, Coroutine[None, None, None]]:
        return {"send in order": self._send(link), "read in order": self._read()}

    def _leased(self) -> Iterable[Spooled]:
        leased = [record for queue in self._queues.values() for record in queue]
        self._queues.clear()
        return leased

    async def _send(self, link: MqttClient) -> None:
        while True:
            if self.window.lost:
                self._give_back(self.window.again(self._now()))
            for topic, queue in list(self._queues.items()):
                while queue and self._under_way.get(topic, 0) not in self.window and self.window.room(self._now()):
                    record = queue.popleft()
                    self._under_way[topic] = record.seq
                    self._go(link, [record], backlog=False)
                if not queue:
                    del self._queues[topic]
            await self._wait()

    async def _read(self) -> None:
        while True:
            await self._spool.sendable()
            if sum(map(len, self._queues.values())) > AHEAD // 2:
                await self._wait()
                continue
            self._reading = True
            try:
                records = await self._spool.lease_in_order(AHEAD // 2)
            finally:
                self._reading = False
            if self._back:  # it may be before these: all of it once more
                back, self._back = self._back, []
                self._spool.release([*back, *((record.seq, record.seq) for record in records)])
                continue
            for record in records:
                self._queues.setdefault(record.topic, deque()).append(record)
            self._moved.set()

    def take_back(self) -> None:
        super().take_back()
        self._spool.release(self._back)
        self._back = []

    def _give_back(self, again: list[SeqRange]) -> None:
        """Give back, and with it all that waits behind it."""
        if not again:
            return
        again += [(record.seq, record.seq) for record in self._leased()]
        if self._reading:
            self._back += again
        else:
            self._spool.release(again)
