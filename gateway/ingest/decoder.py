"""What comes from the broker, read: records into a batch, descriptions into the book of them, the rest set aside."""

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
    from gateway.common.dead_letters import DeadLetters
    from gateway.ingest.batch import Batch
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.model.path import MachinePath
    from gateway.model.record import Record
    from gateway.mqtt.topics import Topics

log = structlog.get_logger()

KNOWN_TOPICS = 10_000
"""Topics whose machines are kept in mind; then all are looked up anew."""

UNKNOWN = MachineMeta("unknown")
"""Of a machine that has published no description, under records that name none."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no machine's name may have: stores make blanks of some, and two machines would be one."""


class MessageDecoder:
    """Reads messages. `waiting` counts records that wait for their description, `dead_letters` what was set aside.

    With `now_or_never` nobody would send a record again: one whose description is not known is set aside.
    """

    def __init__(
        self, topics: Topics, codec: Codec, metas: MetadataRegistry, dead_letters: DeadLetters, *, now_or_never: bool
    ) -> None:
        self.waiting = self.dead_letters = 0
        self._topics = topics
        self._codec = codec
        self._metas = metas
        self._file = dead_letters
        self._now_or_never = now_or_never
        self._machines: dict[str, MachinePath] = {}
        self._told_of: set[tuple[MachinePath, str]] = set()

    def take(self, batch: Batch, message: MQTTMessage) -> None:
        """Put a message into the batch. What is no record is set aside: it must not come again for ever."""
        batch.messages.append(message)
        path = self._machine(message)
        if path is None:
            return
        try:
            record = self._codec.decode(bytes(message.payload))
        except Undecodable as error:
            self.set_aside(message.topic, str(error), message.payload)
            return
        meta = self._metas.find(path, record.meta) or self._missing(path, record, message)
        if meta is not None:
            index = len(batch.records)
            batch.records.append((Sender(path.enterprise, path.site, record.gateway, record.spool), record))
            batch.scans += [MachineScan(path, meta, scan, index) for scan in record.scans]
            batch.readings += len(record)

    def _machine(self, message: MQTTMessage) -> MachinePath | None:
        """Return whose record this is; None where it is none."""
        topic = message.topic
        path = self._machines.get(topic)
        if path is not None:
            return path
        found = self._topics.machine_of(topic)
        if found is not None and found[1] == "meta":
            self._learn(found[0], message)
            return None
        if found is None or not all(found[0]) or _CONTROL.search(topic):
            self.set_aside(topic, "no machine has this topic", message.payload)
            return None
        if len(self._machines) >= KNOWN_TOPICS:
            self._machines.clear()
        path = self._machines[topic] = found[0]
        return path

    def _missing(self, path: MachinePath, record: Record, message: MQTTMessage) -> MachineMeta | None:
        """Decide on a record whose description is not known; None where it is not to be stored now.

        It is not confirmed then, so its gateway keeps it and sends it again: stored without its units it would be
        a lie, and another series once they are known.
        """
        if (path, record.meta) not in self._told_of and len(self._told_of) < KNOWN_TOPICS:
            self._told_of.add((path, record.meta))
            hint = "what its points are was not published" + (", so its records wait" if record.meta else "")
            log.warning("meta.unknown", machine=str(path), meta=record.meta, hint=hint)
        if not record.meta:
            return UNKNOWN
        if self._now_or_never:
            self.set_aside(message.topic, f"its meta {record.meta} was never published", message.payload)
        else:
            self.waiting += 1
        return None

    def _learn(self, path: MachinePath, message: MQTTMessage) -> None:
        if not message.payload:
            return  # how a retained message is taken back
        try:
            self._metas.add(path, decode_meta(bytes(message.payload)))
        except ValueError as error:
            self.set_aside(message.topic, str(error), message.payload)

    def keep_metas(self) -> None:
        """Write down what is new of the descriptions."""
        try:
            self._metas.save()
        except OSError as error:
            log.warning("metas.not_kept", error=str(error))

    def set_aside(self, topic: str, reason: str, payload: bytes | bytearray) -> bool:
        """Put away what can't be stored; returns whether that worked."""
        log.warning("message.set_aside", topic=topic, reason=reason, file=str(self._file.file))
        self.dead_letters += 1
        try:
            self._file.add(topic, reason, bytes(payload))
        except OSError as error:
            log.error("dead_letters.not_written", file=str(self._file.file), error=str(error))  # noqa: TRY400 - no trace
            return False
        return True
