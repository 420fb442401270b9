"""From the broker into the stores, and the confirmation back to the gateways.

A message is acknowledged only after every store has it. Messages gather while a write is under way, so a slow store
gets larger batches, and makes the broker wait, not the gateway.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.ingest.batch import Batch
from gateway.ingest.confirmations import PendingConfirmations, confirmation_messages
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.durability_queue import DurabilityQueue
from gateway.ingest.set_aside import SetAside
from gateway.ingest.status import IngestStatus
from gateway.mqtt.broker_support import check_shared_subscription
from gateway.mqtt.session import INGEST, Presence, Session
from gateway.settings.sections import Confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.codecs.base import Codec
    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.store_writer import StoreWriter
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.topics import Topics
    from gateway.settings.factory import Factory
    from gateway.stores.base import Refusal

log = structlog.get_logger()

MAX_BATCH_READINGS = 50_000
"""Readings in a batch, however few records they came in."""

RECEIVE_MAXIMUM = 1_000
"""Messages that an MQTT 5 broker may send unacknowledged (3.1.2.11.3); the 20 of Mosquitto are few."""


class Ingest:
    """Receives records from the broker, and writes them to every store."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        codec: Codec,
        writers: Sequence[StoreWriter],
        metadata: MetadataRegistry,
        dead_letters: DeadLetters,
        clock: Callable[[], int],
    ) -> None:
        self.status = IngestStatus()
        self._factory = factory
        self._settings = factory.ingest
        self._topics = topics
        self._writers = writers
        self._metadata = metadata
        self._clock = clock
        self._queue = DurabilityQueue(writers)
        self._set_aside = SetAside(dead_letters, self.status)
        # with `confirm: broker` a gateway forgets a record that we acknowledge: then only once it is durable
        self._acknowledge_late = late = factory.gateway.confirm is Confirm.BROKER
        self._decoder = MessageDecoder(
            topics, codec, metadata, self._set_aside, self.status, gateway_resends=not late
        )
        own, name = factory.factory, f"{factory.ingest.id}-{factory.gateway.id}"
        self._presence = Presence(topics.ingest(own.enterprise, own.site, name), factory.ingest.id, INGEST)
        # a broker goes on giving its share to a member that is away and has a session: better that it forgets it at
        # once, and the gateways send again what is not confirmed
        keep = factory.ingest.share is None or late
        self._session = Session(
            factory.broker, f"lineside-{name}", presence=self._presence, keep_session=keep, receive=RECEIVE_MAXIMUM
        )
        self._confirmations = PendingConfirmations()
        self._link: MqttClient | None = None
        self._linked = asyncio.Event()

    async def run(self) -> None:
        """Receive and write until cancelled; an outage is logged once."""
        self._metadata.load()
        for machine in self._factory.machines:
            self._metadata.add(machine.path, [machine.meta])
        try:
            async with asyncio.TaskGroup() as tasks:
                for writer in self._writers:
                    tasks.create_task(writer.open(), name=f"open {writer.name}")
                tasks.create_task(self._queue.run(self._confirm_durable), name="durability")
                tasks.create_task(self._session.run(self._serve), name="receive")
                tasks.create_task(self._check_share(), name="check shared subscriptions")
        finally:
            for writer in self._writers:
                await writer.close()

    async def _serve(self, client: MqttClient) -> None:
        """Serve one connection until it is lost."""
        try:
            await self._subscribe(client)
            await self._receive(client)
        finally:
            self._link = None
            self._linked.clear()

    async def _subscribe(self, client: MqttClient) -> None:
        session = self._session
        # QoS 0: retained, so sent anew at each connect, and some brokers take no further
        # subscription before the retained messages of the last one are acknowledged
        await session.subscribe(client, self._topics.all_machines("meta"), qos=0)
        await session.subscribe(client, self._filter("event"))
        await session.subscribe(client, self._filter("data"))
        log.info("ingest.subscribed", topic=self._filter("data"))
        self._confirmations.send(client)
        # QoS 0: only the presence of another process of this name matters there
        await session.subscribe(client, self._presence.topic, qos=0)
        await self._presence.publish_birth(session, client)
        self._link = client
        self._linked.set()

    async def _check_share(self) -> None:
        """Check once that the broker delivers over shared subscriptions, and log an instruction if it does not."""
        if self._settings.share is not None:
            await self._linked.wait()
            own, name = self._factory.factory, f"{self._factory.ingest.id}-{self._factory.gateway.id}"
            topic = self._topics.ingest(own.enterprise, own.site, name, "share")
            await check_shared_subscription(self._factory.broker, f"lineside-{name}-check", topic)

    def _filter(self, leaf: str) -> str:
        """Return what to subscribe to: all records, or a share of them (MQTT 5, 4.8.2)."""
        every = self._topics.all_machines(leaf)
        return every if self._settings.share is None else f"$share/{self._settings.share}/{every}"

    async def _receive(self, client: MqttClient) -> None:
        while True:
            batch = Batch(client)
            await self._receive_into(batch)
            await asyncio.sleep(self._settings.batch_wait)
            limit = self._settings.batch_records
            while client.waiting() and len(batch.messages) < limit and batch.readings < MAX_BATCH_READINGS:
                await self._receive_into(batch)
            self._save_metadata()
            if batch.scans:
                await self._store(batch)
            else:
                self._acknowledge(batch)
            await self._queue.wait_for_room()

    async def _receive_into(self, batch: Batch) -> None:
        message = await batch.client.receive()
        if message.topic == self._presence.topic:
            self._presence.heard(bytes(message.payload), retained=message.retain)
        else:
            self._decoder.add(batch, message)

    def _save_metadata(self) -> None:
        try:
            self._metadata.save()
        except OSError as error:
            log.warning("metadata.not_saved", error=str(error))

    # -- writing --

    async def _store(self, batch: Batch) -> None:
        """Write a batch to every store, retrying until it is written; then confirm it, or queue it until durable.

        Raises `MqttError` where the broker is lost meanwhile: it, or the gateway, sends the messages again.
        """
        instances = [writer.instance for writer in self._writers]
        self._set_refusals_aside(batch, await self._write(batch))
        self._count(batch)
        if not self._queue.seconds:
            self._confirm(batch.client, [batch], [])
            self._acknowledge(batch)
            return
        self._queue.add(batch, instances)
        self._confirm(batch.client, [], [batch])
        if not self._acknowledge_late:
            self._acknowledge(batch)

    async def _write(self, batch: Batch) -> list[Refusal]:
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = [
                    tasks.create_task(writer.write(batch.scans, batch.client.check), name=f"write {writer.name}")
                    for writer in self._writers
                ]
        except* MqttError as errors:
            raise MqttError("lost while a store was written to") from errors
        return [refusal for task in writing for refusal in task.result()]

    def _set_refusals_aside(self, batch: Batch, refusals: Iterable[Refusal]) -> None:
        """Set refused readings aside. Where that fails the record is not confirmed, and is sent again."""
        for refusal in refusals:
            # two stores may refuse the same readings: a record can't lose more than it has
            limit = len(batch.records[refusal.record][1])
            batch.refused[refusal.record] = min(limit, batch.refused.get(refusal.record, 0) + refusal.readings)
            if not self._set_aside.add("store", refusal.message, refusal.row.encode()):
                batch.unconfirmed.add(refusal.record)

    def _count(self, batch: Batch) -> None:
        now, status = self._clock(), self.status
        status.first_stored = status.first_stored or now / 1e6
        refused = sum(batch.refused.values())
        status.records += len(batch.records)
        status.readings += batch.readings - refused
        status.set_aside += refused
        for scan in batch.scans:
            status.latency.add((now - scan.scan.time) / 1e6, len(scan.scan))

    # -- confirming --

    async def _confirm_durable(self, batches: list[Batch]) -> None:
        """Confirm batches that are durable now, over the present connection or the next."""
        await self._linked.wait()
        with suppress(MqttError):  # lost meanwhile: the confirmation is sent over the next connection
            if self._link is not None:
                self._confirm(self._link, batches, [])
        for batch in batches:
            if self._acknowledge_late and batch.client is self._link:
                self._acknowledge(batch)

    @staticmethod
    def _acknowledge(batch: Batch) -> None:
        for message in batch.messages:
            batch.client.acknowledge(message)
        batch.messages.clear()

    def _confirm(self, client: MqttClient, stored: list[Batch], accepted: list[Batch]) -> None:
        if not self._settings.confirms:
            return
        by, instance = self._settings.share or self._settings.id, self._presence.instance
        messages = confirmation_messages(self._topics, by, instance, stored, accepted)
        self._confirmations.send(client, self._confirmations.add(messages))
