"""Decode messages from the broker: records into a batch, metadata into the registry; set all others aside."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from gateway.codecs import Undecodable, codec_of, decode
from gateway.common.dead_letters import DeadLetter
from gateway.common.state_log import RepeatLog
from gateway.ingest.batch import ReceivedRecord, Sender
from gateway.ingest.owners import OTHER_GATEWAY, MachineOwners, NoteRefused
from gateway.ingest.placement import check_levels, placed_scans, source_of
from gateway.ingest.retained import RetainedRecords
from gateway.ingest.signatures import BAD_SIGNATURE, HINT, Signatures
from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.receipt import receipt_of
from gateway.model.record import GatewayRecord
from gateway.mqtt.messages import BadMessage, parse_meta, parse_metadata
from gateway.mqtt.verifier import REPEATED, Verifier
from gateway.stores.base import MachineScan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.ingest.batch import Batch
    from gateway.ingest.metadata_registry import MetadataRegistry
    from gateway.ingest.metadata_requests import MetadataRequests
    from gateway.ingest.placement import Source
    from gateway.ingest.status import IngestStatus
    from gateway.model.path import GatewayPath
    from gateway.model.record import AnyRecord, PlacedScan
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.mqtt.topics import Topics

log = structlog.get_logger(__name__)

MAX_CACHED_TOPICS = 10_000
"""Topics whose sources are cached; beyond it the cache starts empty."""

MAX_REFUSED = 10_000
"""Refused records and messages that are remembered: they are sent again and again."""

NO_METADATA = MachineMeta("unknown")
"""The metadata of a machine that publishes no metadata, and whose records name none."""

UNKNOWN_METADATA = "unknown_metadata"
"""Drop reason of readings whose metadata no gateway knows."""


MESSAGE_REFUSED = "message-refused"
"""The action of a message with metadata that is not signed as it has to be."""

RECORD_REFUSED = "record-refused"
"""The action of a gateway that publishes records of another gateway, or without its signature."""


class MessageDecoder:
    """Decode messages into batches, whatever the codec of each.

    `gateway_resends` says whether gateways send unconfirmed records again. Where they do not (`confirm: broker`), a
    record without known metadata is set aside at once.
    """

    def __init__(
        self,
        topics: Topics,
        metadata: MetadataRegistry,
        requests: MetadataRequests,
        status: IngestStatus,
        owners: MachineOwners | None = None,
        retained: RetainedRecords | None = None,
        signatures: Signatures | None = None,
        verifier: Verifier | None = None,
        *,
        gateway_resends: bool,
        note_refused: NoteRefused | None = None,
    ) -> None:
        """Prepare. Without `owners` the gateways of machines are learned; without `retained` nothing is cleared.

        Without `signatures` no record has to be signed, without a `verifier` no metadata. `note_refused` is called
        with each record of a wrong gateway, and each message that is refused.
        """
        self._topics = topics
        self._metadata = metadata
        self._requests = requests
        self._status = status
        self._owners = owners or MachineOwners(status)
        self._retained = retained or RetainedRecords(status)
        self._signatures = signatures
        self._verifier = verifier or Verifier(topics.root, {})
        self._gateway_resends = gateway_resends
        self._note_refused = note_refused
        self.confirm_key = b""
        """The secret of the receipts; set it before the first message."""
        self._refused: dict[bytes, None] = {}
        self._sources: dict[str, tuple[str, Source]] = {}
        self._senders: dict[Sender, Sender] = {}
        self._unnamed: set[MachinePath] = set()
        self._repeats = RepeatLog(log)

    def add(self, batch: Batch, message: ReceivedMessage) -> None:
        """Decode a message into the batch. Set other messages than records aside, so that the broker deletes them."""
        batch.messages.append(message)
        if message.retain and not message.topic.endswith("/meta"):
            self._retained.ignore(message.topic)
            return
        known = self._sources.get(message.topic) or self._read_topic(batch, message)
        if known is None:
            return
        topic, source = known
        payload = message.payload
        if not payload:
            return  # an empty message removes the retained message (MQTT 5, 3.3.1.3)
        try:
            record = decode(payload)
            scans = placed_scans(source, record)
        except Undecodable as error:
            batch.other_letters.append(DeadLetter(topic, str(error), payload))
            return
        place = self._topics.place(topic)
        receipt = receipt_of(place, payload, self.confirm_key)
        received = ReceivedRecord(self._sender(source, record), record.seq, topic, payload, len(record), receipt)
        if self._signatures is not None and (fault := self._signatures.fault(record.gateway, place, payload)):
            self._repeats.error(
                "record.signature_refused", key=f"{record.gateway} {topic}", gateway=record.gateway, topic=topic,
                error=fault, hint=HINT,
            )  # fmt: skip
            self._refuse(batch, received, BAD_SIGNATURE, fault)
            return
        paths = (source,) if isinstance(source, MachinePath) else {placed.path for placed in scans}
        if (path := self._owners.denied(received.sender, paths)) is not None:
            self._refuse(
                batch, received, OTHER_GATEWAY, f"gateway {record.gateway} may not publish records of {path}"
            )
            return
        self._append_or_queue(batch, received, scans)

    def _refuse(self, batch: Batch, received: ReceivedRecord, kind: str, reason: str) -> None:
        """Set a record aside that its gateway must not, or did not, publish.

        It is not confirmed, since its gateway may be forged. A gateway sends it again until the configuration is
        right: its copies are set aside once.
        """
        if not self._is_new(received.receipt):
            return
        self._status.not_stored[kind] += received.readings
        self._status.set_aside += received.readings
        batch.other_letters.append(DeadLetter(received.topic, reason, received.payload))
        if self._note_refused is not None:
            self._note_refused(RECORD_REFUSED, received.sender.gateway, received.topic, kind)

    def _is_new(self, digest: bytes) -> bool:
        """Return whether a refused message is not a copy of one before it, and remember it."""
        if digest in self._refused:
            return False
        if len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = None
        return True

    def _sender(self, source: Source, record: AnyRecord) -> Sender:
        """Return the spool of a record, the same object for all its records."""
        sender = Sender(source[0], source[1], record.gateway, record.spool)
        known = self._senders.get(sender)
        if known is None:
            if len(self._senders) >= MAX_CACHED_TOPICS:
                self._senders.clear()
            known = self._senders[sender] = sender
        return known

    def _metas_of(self, scans: Iterable[PlacedScan]) -> tuple[Mapping[str, MachineMeta], Mapping[str, MachinePath]]:
        """Return the metadata of scans as in `Batch`, and the unknown ids with one of their machines."""
        metas: dict[str, MachineMeta] = {}
        missing: dict[str, MachinePath] = {}
        for placed in scans:
            key = _metadata_key(placed)
            if key in metas or key in missing:
                continue
            meta = self._metadata.find(placed.path, placed.meta)
            if meta is not None:
                metas[key] = meta
            elif placed.meta:
                missing[key] = placed.path
            else:
                self._warn_of_unnamed(placed.path)
                metas[key] = NO_METADATA
        return metas, missing

    def _warn_of_unnamed(self, path: MachinePath) -> None:
        if path not in self._unnamed and len(self._unnamed) < MAX_CACHED_TOPICS:
            self._unnamed.add(path)
            log.warning("meta.unknown", machine=str(path), hint="publish its metadata: it has no units")

    def _append(
        self, batch: Batch, received: ReceivedRecord, scans: Iterable[PlacedScan], metas: Mapping[str, MachineMeta]
    ) -> int:
        """Add a record with the scans whose metadata is known; return its position."""
        position = len(batch.records)
        batch.records.append(received)
        batch.scans += _with_metas(scans, metas, position)
        batch.readings += received.readings
        batch.size += received.size
        return position

    def _scans_of(self, received: ReceivedRecord) -> list[PlacedScan]:
        """Decode a record that was decoded before."""
        source = source_of(self._topics, received.topic)
        return [] if source is None else placed_scans(source, decode(received.payload))

    # -- topics --

    def _read_topic(self, batch: Batch, message: ReceivedMessage) -> tuple[str, Source] | None:
        """Return the topic and the source of a record; None if the message is not a record."""
        topic = message.topic
        gateway, machine = self._topics.gateway_of(topic), self._topics.machine_of(topic)
        if gateway is not None and gateway[1] == "metadata":
            if payload := self._verified(batch, message):
                self._read_answer(batch, gateway[0], topic, payload)
            return None
        try:
            source = source_of(self._topics, topic)
            if source is None and machine is not None and machine[1] == "meta":
                check_levels(machine[0])
                if payload := self._verified(batch, message):
                    self._read_metadata(batch, machine[0], topic, payload)
                return None
        except Undecodable as error:
            batch.other_letters.append(DeadLetter(topic, str(error), message.payload))
            return None
        if source is None:
            batch.other_letters.append(DeadLetter(topic, "no machine has this topic", message.payload))
            return None
        if len(self._sources) >= MAX_CACHED_TOPICS:
            self._sources.clear()
        self._sources[topic] = topic, source
        return topic, source

    # -- metadata --

    def _verified(self, batch: Batch, message: ReceivedMessage) -> bytes:
        """Return the payload of a message that may be believed; empty for others, which are set aside once.

        An empty message removes the retained message (MQTT 5, 3.3.1.3), which changes nothing here. A message that
        repeats an earlier message has nothing to set aside.
        """
        verdict = self._verifier.check(message)
        if not verdict.fault:
            return verdict.payload
        self._status.messages_refused = self._verifier.refused
        key = sha256(message.topic.encode() + b"\0" + message.payload).digest()
        if message.payload and verdict.reason not in {"", REPEATED} and self._is_new(key):
            batch.other_letters.append(DeadLetter(message.topic, verdict.fault, message.payload))
        if verdict.reason and self._note_refused is not None:
            self._note_refused(MESSAGE_REFUSED, verdict.by, message.topic, verdict.reason)
        return b""

    def _read_metadata(self, batch: Batch, path: MachinePath, topic: str, payload: bytes) -> None:
        try:
            metas = parse_meta(payload).metas
        except BadMessage as error:
            batch.other_letters.append(DeadLetter(topic, f"is not metadata: {error}", payload))
            return
        self._metadata.add(path, metas)
        self._release(batch, (meta.id for meta in metas))

    def _read_answer(self, batch: Batch, gateway: GatewayPath, topic: str, payload: bytes) -> None:
        """Read the response of a gateway to a request: store the records that waited for it, or set them aside."""
        try:
            answer = parse_metadata(payload)
        except BadMessage as error:
            batch.other_letters.append(DeadLetter(topic, f"is not an answer with metadata: {error}", payload))
            return
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
                # a record of a gateway may have to wait for another id
                self._append_or_queue(batch, received, self._scans_of(received))

    def _append_or_queue(self, batch: Batch, received: ReceivedRecord, scans: Iterable[PlacedScan]) -> None:
        """Append a record if all its metadata is known; else queue it for one of its unknown ids."""
        metas, missing = self._metas_of(scans)
        if missing:
            meta_id, path = next(iter(missing.items()))
            self._without_metadata(batch, received, meta_id, str(path))
        else:
            self._append(batch, received, scans, metas)

    def _without_metadata(self, batch: Batch, received: ReceivedRecord, meta_id: str, machine: str) -> None:
        """Queue a record with unknown metadata, or set its readings aside.

        Stored without its units it would be wrong, and would become another series once they are known.
        """
        self._repeats.warning(
            "meta.unknown", key=f"{machine} {meta_id}", machine=machine, meta=meta_id,
            hint="its gateway is asked for it; until then the records wait" if self._gateway_resends else "",
        )  # fmt: skip
        if not self._gateway_resends:
            self._give_up(batch, [received], f"its meta {meta_id} was never published")
            return
        self._status.waiting_for_metadata += 1
        batch.waiting.append(received)
        if expired := self._requests.add(received, meta_id):
            reason = f"gateway {received.sender.gateway} does not answer for its metadata {meta_id}"
            self._give_up(batch, expired, reason)

    def _give_up(self, batch: Batch, records: Iterable[ReceivedRecord], reason: str) -> None:
        """Set the readings without metadata aside; they are confirmed as set aside, and all others are stored."""
        for received in records:
            scans = self._scans_of(received)
            metas, missing = self._metas_of(scans)
            position = self._append(batch, received, scans, metas)
            lost = [placed for placed in scans if placed.meta in missing]
            topic, payload = received.topic, received.payload
            if lost and len(lost) < len(scans):
                sender = received.sender
                rest = GatewayRecord(sender.gateway, sender.spool, received.seq, lost)
                payload = codec_of(payload).encode(rest)
            refused = batch.refuse(position, sum(map(len, lost)), DeadLetter(topic, reason, payload))
            self._status.not_stored[UNKNOWN_METADATA] += refused


def _metadata_key(placed: PlacedScan) -> str:
    """Return the metadata id of a scan, or the path of its machine where the record names none."""
    return placed.meta or str(placed.path)


def _with_metas(scans: Iterable[PlacedScan], metas: Mapping[str, MachineMeta], position: int) -> list[MachineScan]:
    """Return the scans whose metadata is known, as stores take them."""
    return [
        MachineScan(placed.path, meta, placed.scan, position)
        for placed in scans
        if (meta := metas.get(_metadata_key(placed))) is not None
    ]
