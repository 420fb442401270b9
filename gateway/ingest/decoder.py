"""Decode messages from the broker: records into a batch, metadata into the registry; set all others aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.codecs.base import Undecodable
from gateway.common.dead_letters import DeadLetter
from gateway.common.state_log import RepeatLog
from gateway.ingest.batch import ReceivedRecord, Sender
from gateway.ingest.metadata_requests import Gateway
from gateway.model.metadata import MachineMeta
from gateway.model.text import MAX_NAME, check_text
from gateway.mqtt.messages import BadMessage, parse_meta, parse_metadata
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.codecs.base import Codec
    from gateway.ingest.batch import Batch
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.metadata_requests import MetadataRequests
    from gateway.ingest.status import IngestStatus
    from gateway.model.path import MachinePath
    from gateway.model.record import Record
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.topics import Topics

log = structlog.get_logger()

MAX_CACHED_TOPICS = 10_000
"""Topics whose parsed paths are cached; beyond it the cache starts empty."""

NO_METADATA = MachineMeta("unknown")
"""The metadata of a machine that publishes no metadata, and whose records name none."""

UNKNOWN_METADATA = "unknown_metadata"
"""Drop reason of readings whose metadata no gateway knows."""


class MessageDecoder:
    """Decode messages into batches.

    `gateway_resends` says whether gateways send unconfirmed records again. Where they do not (`confirm: broker`), a
    record without known metadata is set aside at once.
    """

    def __init__(
        self,
        topics: Topics,
        codec: Codec,
        metadata: MetadataRegistry,
        requests: MetadataRequests,
        status: IngestStatus,
        *,
        gateway_resends: bool,
    ) -> None:
        self._topics = topics
        self._codec = codec
        self._metadata = metadata
        self._requests = requests
        self._status = status
        self._gateway_resends = gateway_resends
        self._paths: dict[str, MachinePath] = {}
        self._senders: dict[Sender, Sender] = {}
        self._unnamed: set[MachinePath] = set()
        self._repeats = RepeatLog(log)

    def add(self, batch: Batch, message: ReceivedMessage) -> None:
        """Decode a message into the batch. Set other messages than records aside, so that the broker deletes them."""
        batch.messages.append(message)
        topic = message.topic
        path = self._paths.get(topic)
        if path is None:
            path = self._read_topic(batch, message)
            if path is None:
                return
        payload = message.payload
        try:
            record = self._codec.decode(payload)
        except Undecodable as error:
            batch.other_letters.append(DeadLetter(topic, str(error), payload))
            return
        meta = self._metadata.find(path, record.meta)
        meta_id = (
            record.meta if meta is None else meta.id
        )  # the same object for all records, because millions may wait
        received = ReceivedRecord(self._sender(path, record), record.seq, path, meta_id, payload, len(record))
        if meta is None:
            self._without_metadata(batch, received, record)
        else:
            self._append(batch, received, record, meta)

    def _sender(self, path: MachinePath, record: Record) -> Sender:
        """Return the spool of a record, the same object for all its records."""
        sender = Sender(path.enterprise, path.site, record.gateway, record.spool)
        known = self._senders.get(sender)
        if known is None:
            if len(self._senders) >= MAX_CACHED_TOPICS:
                self._senders.clear()
            known = self._senders[sender] = sender
        return known

    def _append(self, batch: Batch, received: ReceivedRecord, record: Record, meta: MachineMeta) -> None:
        position = len(batch.records)
        path = received.path
        batch.records.append(received)
        batch.metas.append(meta)
        batch.scans += [MachineScan(path, meta, scan, position) for scan in record.scans]
        batch.readings += received.readings
        batch.size += received.size

    def scans(self, batch: Batch) -> list[MachineScan]:
        """Decode the records of a batch again, to write them again."""
        return [
            MachineScan(received.path, meta, scan, position)
            for position, (received, meta) in enumerate(zip(batch.records, batch.metas, strict=True))
            if meta is not None
            for scan in self._codec.decode(received.payload).scans
        ]

    # -- topics --

    def _read_topic(self, batch: Batch, message: ReceivedMessage) -> MachinePath | None:
        """Return the machine of a record; None if the message is not a record."""
        topic = message.topic
        gateway = self._topics.gateway_of(topic)
        if gateway is not None and gateway[1] == "metadata":
            self._read_answer(batch, message)
            return None
        found = self._topics.machine_of(topic)
        if found is None or not all(found[0]):
            batch.other_letters.append(DeadLetter(topic, "no machine has this topic", message.payload))
            return None
        path, leaf = found
        try:
            for level in path:
                check_text(level, MAX_NAME)
        except ValueError as error:
            letter = DeadLetter(topic, f"a level of the topic {error}", message.payload)
            batch.other_letters.append(letter)
            return None
        if leaf == "meta":
            self._read_metadata(batch, path, message)
            return None
        if len(self._paths) >= MAX_CACHED_TOPICS:
            self._paths.clear()
        self._paths[topic] = path
        return path

    # -- metadata --

    def _read_metadata(self, batch: Batch, path: MachinePath, message: ReceivedMessage) -> None:
        payload = message.payload
        if not payload:
            return  # an empty message removes the retained message (MQTT 5, 3.3.1.3)
        try:
            metas = parse_meta(payload).metas
        except BadMessage as error:
            batch.other_letters.append(DeadLetter(message.topic, f"is not metadata: {error}", payload))
            return
        self._metadata.add(path, metas)
        self._release(batch, (meta.id for meta in metas))

    def _read_answer(self, batch: Batch, message: ReceivedMessage) -> None:
        """Read the response of a gateway to a request: store the records that waited for it, or set them aside."""
        payload = message.payload
        try:
            answer = parse_metadata(payload)
        except BadMessage as error:
            batch.other_letters.append(DeadLetter(message.topic, f"is not an answer with metadata: {error}", payload))
            return
        levels = message.topic.removeprefix(self._topics.root + "/").split("/")
        gateway = Gateway(levels[0], levels[1], levels[3])
        # metadata that was not requested could displace the metadata of a machine
        known = {key: found for key, found in answer.known.items() if self._requests.asked(gateway, key)}
        for description in known.values():
            self._metadata.add_earlier(description.machine, description.meta)
        self._release(batch, known)
        for meta_id in answer.unknown:
            reason = f"gateway {gateway.gateway} does not know its metadata {meta_id}"
            self._give_up(batch, self._requests.take(gateway, meta_id), reason)

    def _release(self, batch: Batch, ids: Iterable[str]) -> None:
        """Append the records that waited for these ids."""
        if not len(self._requests):
            return
        for meta_id in ids:
            for received in self._requests.take_known(meta_id):
                meta = self._metadata.find(received.path, meta_id)
                if meta is not None:
                    self._append(batch, received, self._codec.decode(received.payload), meta)

    def _without_metadata(self, batch: Batch, received: ReceivedRecord, record: Record) -> None:
        """Queue a record with unknown metadata, or set it aside.

        Stored without its units it would be wrong, and would become another series once they are known.
        """
        if not record.meta:
            if received.path not in self._unnamed and len(self._unnamed) < MAX_CACHED_TOPICS:
                self._unnamed.add(received.path)
                log.warning("meta.unknown", machine=str(received.path), hint="publish its metadata: it has no units")
            self._append(batch, received, record, NO_METADATA)
            return
        self._repeats.warning(
            "meta.unknown", key=f"{received.path} {record.meta}", machine=str(received.path), meta=record.meta,
            hint="its gateway is asked for it; until then the records wait" if self._gateway_resends else "",
        )  # fmt: skip
        if not self._gateway_resends:
            self._give_up(batch, [received], f"its meta {record.meta} was never published")
            return
        self._status.waiting_for_metadata += 1
        batch.waiting.append(received)
        if expired := self._requests.add(received):
            reason = f"gateway {received.sender.gateway} does not answer for its metadata {record.meta}"
            self._give_up(batch, expired, reason)

    def _give_up(self, batch: Batch, records: Iterable[ReceivedRecord], reason: str) -> None:
        """Set whole records aside with their payloads; they are confirmed as set aside."""
        for received in records:
            position = len(batch.records)
            batch.records.append(received)
            batch.metas.append(None)
            batch.readings += received.readings
            batch.size += received.size
            letter = DeadLetter(self._topics.data(received.path), reason, received.payload)
            self._status.not_stored[UNKNOWN_METADATA] += batch.refuse(position, received.readings, letter)
