"""From the broker into the stores, and the answer back: which records the stores hold.

A message is acknowledged only after every store has it. Messages gather while a write is under way, so batches
are as large as the store is slow; a slow store makes the broker wait, not the gateway.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from aiomqtt import MqttError

from gateway.answers import answers
from gateway.batches import Batch, Held
from gateway.connection import TakenOver
from gateway.intake import Intake
from gateway.latency import Latencies
from gateway.meta import meta_of
from gateway.mqtt import Link
from gateway.reconnect import Reconnect
from gateway.settings.sections import Confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.codecs.base import Codec
    from gateway.dead_letters import DeadLetters
    from gateway.meta import Metas
    from gateway.settings.factory import Factory
    from gateway.stores.base import Refusal
    from gateway.topics import Topics
    from gateway.writers import Writer

log = structlog.get_logger()

QUICK, QUICK_TIMES = 5.0, 3
"""A connection that is lost within so many seconds, so often one after the other, is taken by another one's."""

THROWN_OUT_WAIT = 30.0
"""Seconds for which the field is left to another ingest of the same id."""

_THROWN_OUT = "another ingest has this ingest.id: give each its own, and a share where they are to divide the work"

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
        writers: Sequence[Writer],
        metas: Metas,
        dead_letters: DeadLetters,
        clock: Callable[[], int],
    ) -> None:
        self.counts = IngestCounts()
        self.latency = Latencies()
        self._factory = factory
        self._settings = factory.ingest
        self._topics = topics
        self._writers = writers
        self._metas = metas
        self._clock = clock
        self._held = Held(writers)
        # a gateway that takes the broker's word does not send again what we have acknowledged
        self._acknowledge_late = late = factory.gateway.confirm is Confirm.BROKER
        self.intake = Intake(topics, codec, metas, dead_letters, now_or_never=late)
        self._link: Link | None = None
        self._linked = asyncio.Event()

    async def run(self) -> None:
        """Receive and write until cancelled; outages are told once."""
        self._metas.load()
        for machine in self._factory.machines:
            self._metas.add(machine.path, [meta_of(machine)])
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
        identifier = f"lineside-{settings.id}-{self._factory.gateway.id}"
        # a broker goes on giving its share to a member that is away and has a session: better that it forgets it at
        # once, and the gateways send again what is not confirmed
        keep = settings.share is None or self._acknowledge_late
        reconnect = Reconnect()
        now = asyncio.get_running_loop().time
        down, quick = False, 0
        while True:
            began, failed = now(), None
            try:
                async with Link(broker, identifier, keep_session=keep, receive=RECEIVE_MAXIMUM) as link:
                    log.info("broker.connected", broker=broker.url)
                    down = False
                    await self._subscribe(link)
                    await self._serve(link)
            except MqttError as error:
                failed = error
                quick = quick + 1 if self._link is not None and now() - began < QUICK else 0
                if isinstance(error, TakenOver) or quick >= QUICK_TIMES:
                    log.error("ingest.thrown_out", id=settings.id, hint=_THROWN_OUT)  # noqa: TRY400 - told, not traced
                    await asyncio.sleep(THROWN_OUT_WAIT)
                elif not down:
                    log.warning("broker.not_connected", broker=broker.url, error=str(error))
                down = True
            finally:
                self._link = None
                self._linked.clear()
            await reconnect.wait(failed, now() - began)

    async def _subscribe(self, link: Link) -> None:
        # QoS 0: retained, so sent anew at each connect, and some brokers take no further
        # subscription before the retained messages of the last one are acknowledged
        await link.subscribe([(self._topics.all_machines("meta"), 0)])
        await link.subscribe([(self._filter("event"), 1)])
        await link.subscribe([(self._filter("data"), 1)])
        log.info("ingest.subscribed", topic=self._filter("data"))
        self._link = link
        self._linked.set()

    def _filter(self, leaf: str) -> str:
        """Return what to subscribe to: all records, or a share of them (MQTT 5, 4.8.2)."""
        every = self._topics.all_machines(leaf)
        return every if self._settings.share is None else f"$share/{self._settings.share}/{every}"

    async def _serve(self, link: Link) -> None:
        while True:
            batch = Batch(link)
            self.intake.take(batch, await link.receive())
            await asyncio.sleep(self._settings.batch_wait)
            most = self._settings.batch_records
            while link.waiting() and len(batch.messages) < most and batch.readings < BATCH_READINGS:
                self.intake.take(batch, await link.receive())
            self.intake.keep_metas()
            if batch.scans:
                await self._store(batch)
            else:
                self._acknowledge(batch)
            await self._held.room()

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
        while True:
            await self._linked.wait()
            try:
                if self._link is not None:
                    self._answer(self._link, batches, [])
                    break
            except MqttError:
                self._linked.clear()
        for batch in batches:
            if self._acknowledge_late and batch.link is self._link:
                self._acknowledge(batch)

    @staticmethod
    def _acknowledge(batch: Batch) -> None:
        for message in batch.messages:
            batch.link.acknowledge(message)
        batch.messages.clear()

    def _answer(self, link: Link, stored: list[Batch], taken: list[Batch]) -> None:
        if self._settings.confirms:
            for topic, payload in answers(self._topics, self._settings.share or self._settings.id, stored, taken):
                link.send(topic, payload, _no_matter)


def _no_matter(_: int) -> None:
    """Take no interest in the broker's answer: what is not confirmed is sent again."""
