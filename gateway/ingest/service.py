"""From the broker into the stores, and the answer back: which records the stores hold.

A message is acknowledged only after every store has it. Messages gather while a write is under way, so batches
are as large as the store is slow; a slow store makes the broker wait, not the gateway.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.common.histogram import Histogram
from gateway.ingest.batch import Batch, DurabilityQueue
from gateway.ingest.confirmations import PendingConfirmations, confirmation_messages
from gateway.ingest.decoder import MessageDecoder
from gateway.mqtt.attendance import IngestPresence
from gateway.mqtt.client import MqttClient
from gateway.mqtt.connection import TakenOver
from gateway.mqtt.reconnect import ReconnectDelay
from gateway.settings.sections import Confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.codecs.base import Codec
    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.store_writer import StoreWriter
    from gateway.mqtt.topics import Topics
    from gateway.settings.factory import Factory
    from gateway.stores.base import Refusal

log = structlog.get_logger()

BATCH_READINGS = 50_000
"""A batch is full with so many readings, however few records they came in."""

RECEIVE_MAXIMUM = 1_000
"""Messages that a broker of MQTT 5 may send before the first is acknowledged; 20, as Mosquitto has it, are few."""


@dataclass(slots=True)
class IngestCounts:
    """What ingest has done since it started."""

    records: int = 0
    readings: int = 0
    set_aside: int = 0
    first_stored: float | None = None
    """When the first reading was stored: seconds since the epoch."""


class Ingest:
    """Takes records off the broker into all stores."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        codec: Codec,
        writers: Sequence[StoreWriter],
        metas: MetadataRegistry,
        dead_letters: DeadLetters,
        clock: Callable[[], int],
    ) -> None:
        self.counts = IngestCounts()
        self.latency = Histogram()
        self._factory = factory
        self._settings = factory.ingest
        self._topics = topics
        self._writers = writers
        self._metas = metas
        self._clock = clock
        self._held = DurabilityQueue(writers)
        # a gateway that takes the broker's word does not send again what we have acknowledged
        self._acknowledge_late = late = factory.gateway.confirm is Confirm.BROKER
        self.intake = MessageDecoder(topics, codec, metas, dead_letters, now_or_never=late)
        own, name = factory.factory, f"{factory.ingest.id}-{factory.gateway.id}"
        self._identifier = f"lineside-{name}"
        self._attendance = IngestPresence(factory.ingest.id, topics.ingest(own.enterprise, own.site, name))
        self._confirmations = PendingConfirmations()
        self._link: MqttClient | None = None
        self._linked = asyncio.Event()

    async def run(self) -> None:
        """Receive and write until cancelled; outages are told once."""
        self._metas.load()
        for machine in self._factory.machines:
            self._metas.add(machine.path, [machine.meta])
        try:
            async with asyncio.TaskGroup() as tasks:
                for writer in self._writers:
                    tasks.create_task(writer.open(), name=f"open {writer.name}")
                tasks.create_task(self._held.run(self._safe), name="held")
                tasks.create_task(self._receive(), name="receive")
        finally:
            for writer in self._writers:
                await writer.close()

    async def _receive(self) -> None:
        broker, settings = self._factory.broker, self._settings
        # a broker goes on giving its share to a member that is away and has a session: better that it forgets it at
        # once, and the gateways send again what is not confirmed
        keep = settings.share is None or self._acknowledge_late
        reconnect, presence = ReconnectDelay(), self._attendance.presence
        now = asyncio.get_running_loop().time
        down = False
        while True:
            began, failed = now(), None
            will = self._attendance.will
            try:
                async with MqttClient(
                    broker, self._identifier, will=will, keep_session=keep, receive=RECEIVE_MAXIMUM
                ) as link:
                    log.info("broker.connected", broker=link.address)
                    down, began = False, now()
                    try:
                        await self._subscribe(link)
                        await self._serve(link)
                    finally:
                        await self._attendance.leave(link)
            except MqttError as error:
                failed = error
                if isinstance(error, TakenOver):
                    presence.thrown_out()
                elif not down:
                    log.warning("broker.not_connected", broker=broker.url, error=str(error))
                down = True
            finally:
                self._link = None
                self._linked.clear()
            if presence.contested:
                await presence.stand_back()
            else:
                await reconnect.wait(failed, now() - began)

    async def _subscribe(self, link: MqttClient) -> None:
        # QoS 0: retained, so sent anew at each connect, and some brokers take no further
        # subscription before the retained messages of the last one are acknowledged
        await link.subscribe([(self._topics.all_machines("meta"), 0)])
        await link.subscribe([(self._filter("event"), 1)])
        await link.subscribe([(self._filter("data"), 1)])
        log.info("ingest.subscribed", topic=self._filter("data"))
        self._confirmations.tell(link)
        await self._attendance.arrive(link)
        self._link = link
        self._linked.set()

    def _filter(self, leaf: str) -> str:
        """Return what to subscribe to: all records, or a share of them (MQTT 5, 4.8.2)."""
        every = self._topics.all_machines(leaf)
        return every if self._settings.share is None else f"$share/{self._settings.share}/{every}"

    async def _serve(self, link: MqttClient) -> None:
        while True:
            batch = Batch(link)
            await self._take(batch)
            await asyncio.sleep(self._settings.batch_wait)
            most = self._settings.batch_records
            while link.waiting() and len(batch.messages) < most and batch.readings < BATCH_READINGS:
                await self._take(batch)
            self.intake.keep_metas()
            if batch.scans:
                await self._store(batch)
            else:
                self._acknowledge(batch)
            await self._held.room()

    async def _take(self, batch: Batch) -> None:
        message = await batch.link.receive()
        if not self._attendance.heard(message):
            self.intake.take(batch, message)

    # -- writing --

    async def _store(self, batch: Batch) -> None:
        """Write a batch to every store, trying until it is written; then answer, or hold it until it is safe.

        Raises `MqttError` where the broker is lost meanwhile: it, or the gateway, will give the messages again.
        """
        lives = [writer.life for writer in self._writers]
        self._refuse(batch, await self._write(batch))
        self._count(batch)
        if not self._held.seconds:
            self._answer(batch.link, [batch], [])
            self._acknowledge(batch)
            return
        self._held.add(batch, lives)
        self._answer(batch.link, [], [batch])
        if not self._acknowledge_late:
            self._acknowledge(batch)

    async def _write(self, batch: Batch) -> list[Refusal]:
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = [
                    tasks.create_task(writer.write(batch.scans, batch.link.check), name=f"write {writer.name}")
                    for writer in self._writers
                ]
        except* MqttError as errors:
            raise MqttError("lost while a store was written to") from errors
        return [refusal for task in writing for refusal in task.result()]

    def _refuse(self, batch: Batch, refusals: Iterable[Refusal]) -> None:
        """Set aside what stores refused. Where that fails the record is not confirmed, and comes again."""
        for refusal in refusals:
            # two stores may refuse the same readings: a record can't lose more than it has
            most = len(batch.records[refusal.record][1])
            batch.refused[refusal.record] = min(most, batch.refused.get(refusal.record, 0) + refusal.readings)
            if not self.intake.set_aside("store", refusal.message, refusal.row.encode()):
                batch.unsettled.add(refusal.record)

    def _count(self, batch: Batch) -> None:
        now, counts = self._clock(), self.counts
        counts.first_stored = counts.first_stored or now / 1e6
        refused = sum(batch.refused.values())
        counts.records += len(batch.records)
        counts.readings += batch.readings - refused
        counts.set_aside += refused
        for one in batch.scans:
            self.latency.add((now - one.scan.time) / 1e6, len(one.scan))

    # -- answering --

    async def _safe(self, batches: list[Batch]) -> None:
        """Confirm what was held, over the link that there is, or will be."""
        await self._linked.wait()
        with suppress(MqttError):  # lost meanwhile: then over the next
            if self._link is not None:
                self._answer(self._link, batches, [])
        for batch in batches:
            if self._acknowledge_late and batch.link is self._link:
                self._acknowledge(batch)

    @staticmethod
    def _acknowledge(batch: Batch) -> None:
        for message in batch.messages:
            batch.link.acknowledge(message)
        batch.messages.clear()

    def _answer(self, link: MqttClient, stored: list[Batch], taken: list[Batch]) -> None:
        if not self._settings.confirms:
            return
        by, instance = self._settings.share or self._settings.id, self._attendance.presence.instance
        told = confirmation_messages(self._topics, by, instance, stored, taken)
        self._confirmations.tell(link, self._confirmations.add(told))
