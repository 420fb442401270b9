"""Write records from the broker to the stores, and send the confirmations to the gateways.

A message is acknowledged only after every store has it. The next batch is decoded while a batch is written, so a
slow store gets larger batches, and delays the broker, not the gateway.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiomqtt import MqttError

from gateway.common.dead_letters import DeadLetter
from gateway.common.rising_numbers import RisingNumbers
from gateway.common.setting_types import MissingSecret
from gateway.common.tasks import BestEffort, errors_of, supervise
from gateway.common.worker_thread import WorkerThread
from gateway.ingest.batch import Batch
from gateway.ingest.confirmations import PendingConfirmations, confirmation_messages
from gateway.ingest.decoder import MessageDecoder
from gateway.ingest.durability_queue import DurabilityQueue
from gateway.ingest.learned_owners import LearnedOwners
from gateway.ingest.metadata_requests import MetadataRequests
from gateway.ingest.owners import MachineOwners, NoteRefused
from gateway.ingest.periodic_report import PeriodicReport
from gateway.ingest.retained import RetainedRecords
from gateway.ingest.set_aside import SetAside
from gateway.ingest.signatures import Signatures
from gateway.ingest.status import IngestStatus
from gateway.mqtt.broker_support import check_shared_subscription
from gateway.mqtt.constants import REFUSED
from gateway.mqtt.messages import encode_wanted
from gateway.mqtt.session import INGEST, Presence, Session
from gateway.mqtt.signed import NUMBERS, MessageSigner
from gateway.mqtt.verifier import verifier_of
from gateway.settings.sections import Confirm, Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.batch import Confirmation, WrittenBatch
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.store_writer import StoreWriter
    from gateway.model.path import GatewayPath
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.session import LinkStatus
    from gateway.mqtt.topics import Topics
    from gateway.settings.factory import Factory
    from gateway.stores.base import Refusal

log = structlog.get_logger(__name__)

MAX_BATCH_READINGS = 50_000
"""Most readings in a batch."""

MAX_BATCH_BYTES = 64 * 2**20
"""Most bytes of memory of a batch while its records are decoded."""

DECODE_INTERVAL = 0.005
"""Seconds between two looks for messages to decode while a batch is written."""

SAVE_INTERVAL = 1.0
"""Seconds between two checks whether files have to be saved."""

ASK_INTERVAL = 1.0
"""Seconds between two checks whether gateways have to be asked for metadata."""

RECEIVE_MAXIMUM = 1_000
"""Messages that an MQTT 5 broker may send unacknowledged (3.1.2.11.3); the default of Mosquitto, 20, is low."""


class Ingest:
    """Receive records from the broker, and write them to every store."""

    def __init__(
        self,
        factory: Factory,
        topics: Topics,
        writers: Sequence[StoreWriter],
        metadata: MetadataRegistry,
        dead_letters: DeadLetters,
        clock: Callable[[], int],
        note_refused: NoteRefused | None = None,
    ) -> None:
        """Prepare; no I/O. `note_refused` is called with each record of a wrong gateway."""
        self.status = IngestStatus()
        self._factory = factory
        self._settings = factory.ingest
        self._topics = topics
        self._writers = writers
        self._metadata = metadata
        self._clock = clock
        self._set_aside = SetAside(dead_letters, self.status, self._confirm_late)
        # with `confirm: broker` a gateway deletes acknowledged records, so acknowledge only durable records
        self._acknowledge_late = late = factory.gateway.confirm is Confirm.BROKER
        self._requests = MetadataRequests(time.monotonic)
        own = factory.factory.enterprise, factory.factory.site
        self._learned = LearnedOwners(factory.ingest.folder / f"{factory.ingest.id}.owners.json")
        # MQTT 3.1.1 has no answer for a client without the right to publish
        self._retained = RetainedRecords(self.status, may_clear=factory.broker.version is Version.V5)
        self._decoder = self._make_decoder(note_refused)
        self._queue = DurabilityQueue(writers)
        name = f"{factory.ingest.id}-{factory.gateway.id}"
        self._presence = Presence(topics.ingest(*own, name), factory.ingest.id, INGEST)
        self._presence.details = {"config": factory.digest}
        # a broker still queues messages for a subscriber of a shared subscription that is offline and has a session:
        # without a session it does not, and the gateways send unconfirmed records again
        keep = factory.ingest.share is None or late
        self._session = Session(
            factory.broker, f"lineside-{name}", presence=self._presence, keep_session=keep, receive=RECEIVE_MAXIMUM
        )
        self._reports = PeriodicReport(
            topics.ingest(*own, name, "report"), self.report, self._session.note_publish,
            self._session.signed,
        )  # fmt: skip
        for writer in writers:
            writer.on_change = self._reports.request
        self._numbers = RisingNumbers(factory.ingest.folder / f"{factory.ingest.id}{NUMBERS}")
        self._name = name
        self._confirmations = PendingConfirmations(self._confirmation_answered, self._session.signed)
        self._disk = WorkerThread("files")
        self._link: MqttClient | None = None
        self._linked = asyncio.Event()
        self._redeliver = asyncio.Event()

    def _make_decoder(self, note_refused: NoteRefused | None) -> MessageDecoder:
        own, keys = self._factory.factory, self._settings.public_keys
        place = own.enterprise, own.site
        owners = MachineOwners(self.status, self._settings.gateways, place, self._learned, note_refused)
        return MessageDecoder(
            self._topics, self._metadata, self._requests, self.status, owners, self._retained,
            Signatures(keys) if keys else None, verifier_of(self._factory),
            gateway_resends=not self._acknowledge_late, note_refused=note_refused,
        )  # fmt: skip

    @property
    def session(self) -> Session:
        """The session with the broker."""
        return self._session

    @property
    def not_durable(self) -> int:
        """The number of written batches that a store may still lose."""
        return len(self._queue)

    @property
    def waiting_letters(self) -> int:
        """The number of dead letters that are not on the disk yet."""
        return self._set_aside.waiting

    async def run(self) -> None:
        """Receive and write until cancelled; log an outage once. Raises `MissingSecret` at the start."""
        self._decoder.confirm_key = self._factory.gateway.reveal_confirm_key()
        self._session.signer = MessageSigner.of_secret(
            self._name, self._topics, self._numbers, self._settings.sign_key, "ingest.sign_key"
        )
        if self._session.signer is not None:
            await self._numbers.begin()
        await self._disk.run(self._metadata.load)
        if not self._settings.gateways:  # which fixes the gateways of all machines
            await self._disk.run(self._learned.load)
        for machine in self._factory.machines:
            self._metadata.add(machine.path, [machine.meta])
        try:
            async with asyncio.TaskGroup() as tasks:
                for writer in self._writers:
                    tasks.create_task(writer.open(), name=f"open {writer.name}")
                parts: dict[str, Callable[[], Awaitable[None]]] = {
                    "durability": partial(self._queue.run, self._confirm_durable, self._request_again),
                    "dead letters": self._set_aside.run,
                    "keep files": self._keep_files,
                    "ask for metadata": self._ask_for_metadata,
                    "receive": partial(self._session.run, self._serve),
                    "check shared subscriptions": self._check_share,
                }
                if self._session.signer is not None:
                    parts["numbers of signed messages"] = self._numbers.keep
                for name, run in parts.items():
                    tasks.create_task(supervise(run, BestEffort(name, passing=(MissingSecret,))), name=name)
        finally:
            await asyncio.gather(
                self._save_files(wait=True), self._set_aside.close(), *(writer.close() for writer in self._writers)
            )
            self._disk.stop()

    @property
    def link(self) -> LinkStatus:
        """The status of the connection to the broker."""
        return self._session.link

    def report(self) -> dict[str, Any]:
        """Return the present counts, and the states of the stores."""
        stores = [writer.report() for writer in self._writers]
        return {"config": self._factory.digest} | self.status.present() | {"stores": stores}

    async def _serve(self, client: MqttClient) -> None:
        """Serve one connection until it is lost."""
        helpers: list[asyncio.Task[None]] = []
        try:
            await self._subscribe(client)
            helpers = [
                asyncio.create_task(self._subscribe_to_gateways(client), name="subscribe to gateways"),
                asyncio.create_task(self._reports.run(client), name="report"),
            ]
            await self._receive(client)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._link = None
            self._linked.clear()

    async def _subscribe(self, client: MqttClient) -> None:
        session = self._session
        # QoS 0: retained, so sent again at each connect, and some brokers accept no further
        # subscription before the retained messages of the last one are acknowledged
        await session.subscribe(client, self._topics.all_machines("meta"), qos=0)
        await session.subscribe(client, self._shared(self._topics.all_machines("event")))
        data = self._shared(self._topics.all_machines("data"))
        await session.subscribe(client, data)
        log.info("ingest.subscribed", topic=data)
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

    async def _subscribe_to_gateways(self, client: MqttClient) -> None:
        """Subscribe to topics of gateways; a broker that denies one of them must not delay the other records."""
        async with asyncio.TaskGroup() as tasks:
            for topic in (self._shared(self._topics.all_gateways("data")), self._topics.all_gateways("metadata")):
                tasks.create_task(self._session.subscribe(client, topic), name=f"subscribe to {topic}")

    def _confirmation_answered(self, topic: str, reason: int) -> None:
        self._session.note_publish(topic, reason)
        self.status.confirmations_denied += reason >= REFUSED

    def _shared(self, every: str) -> str:
        """Return the topic filter of all records, or of a shared subscription to them (MQTT 5, 4.8.2)."""
        return every if self._settings.share is None else f"$share/{self._settings.share}/{every}"

    async def _receive(self, client: MqttClient) -> None:
        """Decode a batch while the batch before it is written. Raises `MqttError` when the connection is lost."""
        writing: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._acknowledge_late:
                    tasks.create_task(self._wait_for_redelivery(), name="redelivery")
                while True:
                    batch = await self._collect(client, writing)
                    if self._acknowledge_late:  # acknowledged records and their metadata are not sent again
                        await self._metadata.save(self._disk, wait=True)
                    if batch.records or batch.waiting or batch.other_letters:
                        writing = tasks.create_task(self._process(batch), name="write batch")
                    else:
                        self._acknowledge(batch)
                    await self._queue.wait_for_room()
        except BaseExceptionGroup as group:
            if lost := errors_of(group, MqttError):
                raise lost[-1] from None  # of the connection itself, where a write has failed as well
            raise

    async def _collect(self, client: MqttClient, writing: asyncio.Task[None] | None) -> Batch:
        """Return the next batch: it is complete when the batch before it is written, at the earliest.

        Raises `MqttError` when the connection is lost, after that write: its confirmation goes over the next one.
        """
        batch = Batch(client)
        try:
            await self._receive_into(batch)
            await asyncio.sleep(self._settings.batch_wait)
            await self._receive_waiting(batch)
            while writing is not None and not writing.done():
                await asyncio.wait((writing,), timeout=DECODE_INTERVAL if self._has_room(batch) else None)
                await self._receive_waiting(batch)
        except MqttError:
            if writing is not None:
                await asyncio.wait((writing,))
            raise
        return batch

    async def _receive_waiting(self, batch: Batch) -> None:
        while batch.client.waiting() and self._has_room(batch):
            await self._receive_into(batch)

    async def _wait_for_redelivery(self) -> None:
        """End the connection when the broker has to send unacknowledged records again: raise `MqttError`."""
        self._redeliver.clear()
        await self._redeliver.wait()
        raise MqttError("a store has restarted: the broker sends its records again")

    def _has_room(self, batch: Batch) -> bool:
        return (
            len(batch.messages) < self._settings.batch_records
            and batch.readings < MAX_BATCH_READINGS
            and batch.decoded_size < MAX_BATCH_BYTES
        )

    async def _receive_into(self, batch: Batch) -> None:
        message = await batch.client.receive()
        if message.topic == self._presence.topic:
            self._presence.heard(message.payload, retained=message.retain, signer=self._session.signer)
        else:
            self._decoder.add(batch, message)
            if message.retain:
                self._retained.clear(batch.client)

    # -- files --

    async def _keep_files(self) -> None:
        """Save the files after their content has changed, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_INTERVAL)
            await self._save_files()

    async def _save_files(self, *, wait: bool = False) -> None:
        """Save the metadata and the learned owners where they have changed."""
        for kept in (self._metadata, self._learned):
            await kept.save(self._disk, wait=wait)

    # -- metadata --

    async def _ask_for_metadata(self) -> None:
        """Ask gateways for the metadata that records wait for, until cancelled."""
        while True:
            await asyncio.sleep(ASK_INTERVAL)
            await self._linked.wait()
            with suppress(MqttError):  # connection lost: they are asked again later
                self._ask(self._requests.due())

    def _ask(self, due: dict[GatewayPath, list[str]]) -> None:
        for gateway, ids in due.items():
            topic = self._topics.gateway(*gateway, "wanted")
            for payload in encode_wanted(ids):
                if self._link is not None:
                    note = partial(self._session.note_publish, topic)
                    self._link.send(topic, self._session.signed(topic, payload), note)

    # -- writing --

    async def _process(self, batch: Batch) -> None:
        """Write a batch to every store, retrying until it is written; then confirm it, or queue it until durable.

        Raises `MqttError` if the broker is lost meanwhile: the broker or the gateway sends the messages again.
        """
        instances = [writer.instance for writer in self._writers]
        if batch.scans:
            self._refuse(batch, await self._write(batch))
        await self._set_aside.write(batch)
        self._count(batch)
        if not self._queue.seconds:
            self._confirm(batch.client, list(batch.confirmations()), list(batch.unsettled()))
            self._acknowledge(batch)
            return
        if not self._acknowledge_late:
            self._acknowledge(batch)  # before the batch is queued, with the messages that are left
        self._queue.add(batch, instances)
        self._confirm(batch.client, [], list(batch.accepted()))

    async def _write(self, batch: Batch) -> list[Refusal]:
        if len(self._writers) == 1:
            return list(await self._writers[0].write(batch.scans, batch.client.check))
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = [
                    tasks.create_task(writer.write(batch.scans, batch.client.check), name=f"write {writer.name}")
                    for writer in self._writers
                ]
        except BaseExceptionGroup as group:
            if errors_of(group, MqttError):
                raise MqttError("lost while a store was written to") from group
            raise
        return [refusal for task in writing for refusal in task.result()]

    def _refuse(self, batch: Batch, refusals: Iterable[Refusal]) -> None:
        for refusal in refusals:
            letter = DeadLetter("store", refusal.message, refusal.row.encode("utf-8", "replace"))
            self.status.not_stored[refusal.kind] += batch.refuse(refusal.record, refusal.readings, letter)

    def _count(self, batch: Batch) -> None:
        now, status = self._clock(), self.status
        status.first_stored = status.first_stored or now / 1e6
        refused = sum(batch.refused.values())
        status.records += len(batch.records)
        status.readings += batch.readings - refused
        status.set_aside += refused
        for scan in batch.scans:
            status.latency.add((now - scan.scan.time) / 1e6, len(scan.scan))
        if batch.scans:
            status.last_stored = now
            status.lag = (now - min(scan.scan.time for scan in batch.scans)) / 1e6

    # -- confirming --

    async def _confirm_durable(self, batches: list[WrittenBatch]) -> None:
        """Confirm durable batches over the present connection or the next connection."""
        await self._linked.wait()
        confirmations = [confirmation for batch in batches for confirmation in batch.confirmations()]
        with suppress(MqttError):  # connection lost: the confirmation is sent over the next connection
            if self._link is not None:
                self._confirm(self._link, confirmations, [])
        for batch in batches:
            if self._acknowledge_late and batch.client is self._link:
                self._acknowledge(batch)

    async def _request_again(self, batches: list[WrittenBatch]) -> None:
        """Ask for records that a store may have lost: the gateways, or with `confirm: broker` the broker.

        A broker sends again what was not acknowledged, over the next connection (MQTT 5, 4.4).
        """
        if self._acknowledge_late:
            if any(batch.client is self._link for batch in batches):
                self._redeliver.set()
            return
        with suppress(MqttError):  # connection lost: it is sent over the next connection
            self._confirm(self._link, [], [], [record for batch in batches for record in batch.lost()])

    def _confirm_late(self, confirmations: list[Confirmation]) -> None:
        """Confirm records whose dead letters were written late."""
        with suppress(MqttError):
            self._confirm(self._link, confirmations, [])

    @staticmethod
    def _acknowledge(batch: Batch | WrittenBatch) -> None:
        for message in batch.messages:
            batch.client.acknowledge(message)
        batch.messages.clear()

    def _confirm(
        self,
        client: MqttClient | None,
        stored: list[Confirmation],
        accepted: list[Confirmation],
        lost: Sequence[Confirmation] = (),
    ) -> None:
        """Send confirmations; without a client, send them over the next connection."""
        if not self._settings.confirms:
            return
        by, instance = self._settings.share or self._settings.id, self._presence.instance
        numbers = self._confirmations.add(confirmation_messages(self._topics, by, instance, stored, accepted, lost))
        if client is not None:
            self._confirmations.send(client, numbers)
