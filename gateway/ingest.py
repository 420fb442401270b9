"""From the broker into the stores, and the answer back: which records the stores hold.

A message is acknowledged only after every store has it. Messages gather while a write is under way, so batches
are as large as the store is slow; a slow store makes the broker wait, not the gateway.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
from aiomqtt import MqttError

from gateway.backoff import Backoff
from gateway.codecs.base import Undecodable
from gateway.latency import Latencies
from gateway.meta import decode_meta, meta_of
from gateway.mqtt import Link
from gateway.ranges import Ranges
from gateway.stores.base import MachineMeta, MachineScan, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from paho.mqtt.client import MQTTMessage

    from gateway.codecs.base import Codec
    from gateway.dead_letters import DeadLetters
    from gateway.model import MachinePath, Record
    from gateway.settings.factory import Factory
    from gateway.stores.base import Refusal, Store
    from gateway.topics import Topics

log = structlog.get_logger()

RECONNECT_FIRST, RECONNECT_MAX = 0.3, 15.0
"""Seconds between two attempts to reach the broker."""

STORE_FIRST, STORE_MAX = 0.2, 10.0
"""Seconds between two attempts to write to a store that can't be reached."""


class _Sender(NamedTuple):
    """Whose records are confirmed together."""

    enterprise: str
    site: str
    gateway: str
    spool: str


@dataclass(slots=True)
class _Batch:
    """Messages that are written together, and what was in them."""

    messages: list[MQTTMessage] = field(default_factory=list)
    records: list[tuple[_Sender, Record]] = field(default_factory=list)
    scans: list[MachineScan] = field(default_factory=list)


@dataclass(slots=True)
class IngestCounts:
    """What ingest has done since it started."""

    records: int = 0
    readings: int = 0
    set_aside: int = 0
    dead_letters: int = 0
    first_stored: float | None = None
    """When the first reading was stored: seconds since the epoch."""


class Ingest:
    """Takes records off the broker into all stores."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        codec: Codec,
        stores: Sequence[Store],
        dead_letters: DeadLetters,
        clock: Callable[[], int],
    ) -> None:
        self.counts = IngestCounts()
        self.latency = Latencies()
        self._factory = factory
        self._settings = factory.ingest
        self._topics = topics
        self._codec = codec
        self._stores = stores
        self._dead_letters = dead_letters
        self._clock = clock
        self._metas = {machine.path: meta_of(machine) for machine in factory.machines}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._opened: set[int] = set()

    async def run(self) -> None:
        """Receive and write until cancelled; outages are told once."""
        broker = self._factory.broker
        backoff = Backoff(RECONNECT_FIRST, RECONNECT_MAX)
        down = False
        try:
            while True:
                try:
                    identifier = f"lineside-{self._settings.id}-{self._factory.gateway.id}"
                    async with Link(broker, identifier, keep_session=True) as link:
                        log.info("broker.connected", broker=broker.url)
                        backoff.reset()
                        down = False
                        # QoS 0: retained, so sent anew at each connect, and some brokers take no further
                        # subscription before the retained messages of the last one are acknowledged
                        await link.subscribe([(self._topics.all_machines("meta"), 0)])
                        await link.subscribe([(self._topics.all_machines("data"), 1)])
                        await self._serve(link)
                except MqttError as error:
                    if not down:
                        log.warning("broker.not_connected", broker=broker.url, error=str(error))
                    down = True
                await backoff.wait()
        finally:
            await self._close()

    async def _close(self) -> None:
        for index in self._opened:
            await self._in_thread(self._stores[index].close)
        self._thread.shutdown()

    async def _serve(self, link: Link) -> None:
        while True:
            batch = _Batch()
            self._take(batch, await link.receive())
            await asyncio.sleep(self._settings.batch_wait)
            while link.waiting() and len(batch.messages) < self._settings.batch_records:
                self._take(batch, await link.receive())
            if batch.scans:
                refusals = await self._write(link, batch)
                self._answer(link, batch, refusals)
            for message in batch.messages:
                link.acknowledge(message)

    # -- reading --

    def _take(self, batch: _Batch, message: MQTTMessage) -> None:
        """Put a message into the batch. What is no record is set aside: it must not come again for ever."""
        found = self._topics.machine_of(message.topic)
        if found is not None and found[1] == "meta":
            self._learn(found[0], message)
            return
        batch.messages.append(message)
        if found is None:
            self._set_aside(message, "no machine has this topic")
            return
        path, _ = found
        try:
            record = self._codec.decode(bytes(message.payload))
        except Undecodable as error:
            self._set_aside(message, str(error))
            return
        meta = self._metas.get(path)
        if meta is None:
            log.warning("machine.unknown", machine=str(path), hint="it has sent no meta: its units are not known")
            meta = self._metas[path] = MachineMeta("unknown")
        index = len(batch.records)
        batch.records.append((_Sender(path.enterprise, path.site, record.gateway, record.spool), record))
        batch.scans += [MachineScan(path, meta, scan, index) for scan in record.scans]

    def _learn(self, path: MachinePath, message: MQTTMessage) -> None:
        try:
            self._metas[path] = decode_meta(bytes(message.payload))
        except ValueError as error:
            self._set_aside(message, str(error))

    def _set_aside(self, message: MQTTMessage, reason: str) -> None:
        log.warning("message.set_aside", topic=message.topic, reason=reason, file=str(self._dead_letters.file))
        self._dead_letters.add(message.topic, reason, bytes(message.payload))
        self.counts.dead_letters += 1

    # -- writing --

    async def _write(self, link: Link, batch: _Batch) -> list[Refusal]:
        """Write a batch to every store, trying again until it is written; returns what the stores refused.

        Raises `MqttError` where the broker is lost meanwhile: it will give the messages again.
        """
        refusals: list[Refusal] = []
        for index, store in enumerate(self._stores):
            backoff = Backoff(STORE_FIRST, STORE_MAX)
            down = False
            while True:
                try:
                    await self._write_once(index, store, batch.scans)
                except Unavailable as error:
                    if not down:
                        log.warning("store.unavailable", store=type(store).__name__, error=str(error))
                    down = True
                except Rejected as error:
                    refusals += error.refusals
                    break
                else:
                    break
                await link.check()
                await backoff.wait()
            if down:
                log.info("store.available_again", store=type(store).__name__)
        return refusals

    async def _write_once(self, index: int, store: Store, scans: Sequence[MachineScan]) -> None:
        if index not in self._opened:
            await self._in_thread(store.open)
            self._opened.add(index)
        await self._in_thread(store.write, scans)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - any call
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # -- answering --

    def _answer(self, link: Link, batch: _Batch, refusals: Sequence[Refusal]) -> None:
        """Tell every gateway which of its records the stores hold."""
        now = self._clock()
        self.counts.first_stored = self.counts.first_stored or now / 1e6
        refused: dict[int, int] = defaultdict(int)
        for refusal in refusals:
            # two stores may refuse the same readings: a record can't lose more than it has
            readings = len(batch.records[refusal.record][1])
            refused[refusal.record] = min(readings, refused[refusal.record] + refusal.readings)
            log.warning("rows.set_aside", readings=refusal.readings, reason=refusal.message)
            self._dead_letters.add("store", refusal.message, refusal.row.encode())
        stored: dict[_Sender, Ranges] = defaultdict(Ranges)
        aside: dict[_Sender, dict[str, int]] = defaultdict(dict)
        for index, (sender, record) in enumerate(batch.records):
            stored[sender].add(record.seq)
            if refused[index]:
                aside[sender][str(record.seq)] = refused[index]
            self.counts.records += 1
            self.counts.readings += len(record) - refused[index]
            for scan in record.scans:
                self.latency.add((now - scan.time) / 1e6, len(scan))
        self.counts.set_aside += sum(refused.values())
        for sender, ranges in stored.items():
            answer = {"spool": sender.spool, "ranges": list(ranges), "set_aside": aside[sender]}
            topic = self._topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed")
            link.send(topic, orjson.dumps(answer), _no_matter)


def _no_matter(_: int) -> None:
    """Take no interest in the broker's answer: what is not confirmed is sent again."""
