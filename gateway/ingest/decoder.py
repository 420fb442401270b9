"""Messages from the broker: records are decoded into a batch, metadata into the registry, the rest is set aside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import structlog

from gateway.codecs.base import Undecodable
from gateway.ingest.batch import Sender
from gateway.model.metadata import MachineMeta, decode_meta
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from gateway.codecs.base import Codec
    from gateway.ingest.batch import Batch
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.set_aside import SetAside
    from gateway.ingest.status import IngestStatus
    from gateway.model.path import MachinePath
    from gateway.model.record import Record
    from gateway.mqtt.topics import Topics

log = structlog.get_logger()

MAX_CACHED_TOPICS = 10_000
"""Topics whose parsed paths are cached; beyond it the cache starts empty."""

NO_METADATA = MachineMeta("unknown")
"""The metadata of a machine that publishes none, whose records name none."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""Control characters: stores turn some into blanks, so that two machines would become one."""


class MessageDecoder:
    """Decodes messages into batches.

    `gateway_resends` says whether gateways send unconfirmed records again. Where they do not (`confirm: broker`), a
    record without known metadata is set aside at once.
    """

    def __init__(
        self,
        topics: Topics,
        codec: Codec,
        metadata: MetadataRegistry,
        set_aside: SetAside,
        status: IngestStatus,
        *,
        gateway_resends: bool,
    ) -> None:
        self._topics = topics
        self._codec = codec
        self._metadata = metadata
        self._set_aside = set_aside
        self._status = status
        self._gateway_resends = gateway_resends
        self._paths: dict[str, MachinePath] = {}
        self._logged: set[tuple[MachinePath, str]] = set()

    def add(self, batch: Batch, message: MQTTMessage) -> None:
        """Decode a message into the batch. What is not a record is set aside, so that the broker forgets it."""
        batch.messages.append(message)
        path = self._path(message)
        if path is None:
            return
        try:
            record = self._codec.decode(bytes(message.payload))
        except Undecodable as error:
            self._set_aside.add(message.topic, str(error), message.payload)
            return
        meta = self._metadata.find(path, record.meta) or self._missing(path, record, message)
        if meta is not None:
            index = len(batch.records)
            batch.records.append((Sender(path.enterprise, path.site, record.gateway, record.spool), record))
            batch.scans += [MachineScan(path, meta, scan, index) for scan in record.scans]
            batch.readings += len(record)

    def _path(self, message: MQTTMessage) -> MachinePath | None:
        """Return the machine whose record this is; None where the message is not a record."""
        topic = message.topic
        path = self._paths.get(topic)
        if path is not None:
            return path
        found = self._topics.machine_of(topic)
        if found is not None and found[1] == "meta":
            self._register(found[0], message)
            return None
        if found is None or not all(found[0]) or _CONTROL.search(topic):
            self._set_aside.add(topic, "no machine has this topic", message.payload)
            return None
        if len(self._paths) >= MAX_CACHED_TOPICS:
            self._paths.clear()
        path = self._paths[topic] = found[0]
        return path

    def _missing(self, path: MachinePath, record: Record, message: MQTTMessage) -> MachineMeta | None:
        """Return the metadata for a record whose own is not known; None where the record can't be stored now.

        An unconfirmed record stays in the gateway's spool and is sent again. Stored without its units it would be
        wrong, and become another series once they are known.
        """
        if (path, record.meta) not in self._logged and len(self._logged) < MAX_CACHED_TOPICS:
            self._logged.add((path, record.meta))
            hint = "the metadata of the machine was not published" + (", so its records wait" if record.meta else "")
            log.warning("meta.unknown", machine=str(path), meta=record.meta, hint=hint)
        if not record.meta:
            return NO_METADATA
        if self._gateway_resends:
            self._status.waiting_for_metadata += 1
        else:
            self._set_aside.add(message.topic, f"its meta {record.meta} was never published", message.payload)
        return None

    def _register(self, path: MachinePath, message: MQTTMessage) -> None:
        if not message.payload:
            return  # an empty retained message removes one (MQTT 5, 3.3.1.3)
        try:
            self._metadata.add(path, decode_meta(bytes(message.payload)))
        except ValueError as error:
            self._set_aside.add(message.topic, str(error), message.payload)
