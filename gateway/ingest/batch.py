"""Define the batch of records that ingest writes together, and the numbers that wait until it is durable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.common.dead_letters import DeadLetter
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.packets import ReceivedMessage
    from gateway.stores.base import MachineScan

RECORD_OVERHEAD = 300
"""Bytes of memory of a received record beside its payload (measured: 175 on CPython 3.11, and 73 of its receipt)."""

WRITTEN_OVERHEAD, WRITTEN_RECORD = 1_500, 250
"""Bytes of memory of a written batch, and of each of its records: number and receipt."""

DECODED_READING, DECODED_SCAN = 130, 900
"""Bytes of memory of a decoded reading, and of a scan around it (measured: 100 and 800)."""


class Sender(NamedTuple):
    """The spool of a gateway: its records are confirmed together."""

    enterprise: str
    site: str
    gateway: str
    spool: str


class ReceivedRecord(NamedTuple):
    """A received record, kept encoded: decoded, a waiting record would need ten times the memory.

    `topic` is the same object for all records of a topic, because millions may wait.
    """

    sender: Sender
    seq: int
    topic: str
    payload: bytes
    readings: int
    receipt: bytes

    @property
    def size(self) -> int:
        """Return the bytes of memory that the record needs."""
        return len(self.payload) + RECORD_OVERHEAD


class Confirmation(NamedTuple):
    """A received record with its receipt, and the number of its readings that were set aside."""

    sender: Sender
    seq: int
    receipt: bytes
    set_aside: int = 0


@dataclass(slots=True)
class Settlement:
    """A record with unwritten dead letters: it is confirmed when it is `durable` and they are written."""

    record: ReceivedRecord
    refused: int
    durable: bool = False
    written: bool = False

    def confirmation(self) -> Confirmation:
        """Return the confirmation to send."""
        return Confirmation(self.record.sender, self.record.seq, self.record.receipt, self.refused)


@dataclass(slots=True)
class WrittenBatch:
    """The numbers and receipts of the records of a written batch, until they are durable: their senders have them.

    `stored`      without the records of `settlements`
    `settlements` records whose dead letters were not written in time
    `instances`   the stores' server processes before the write, in the order of the writers
    `durable_at`  the time of the event loop at which the write is durable
    `size`        bytes of memory
    `client`, `messages`  of `confirm: broker`: they are acknowledged to the broker when the batch is durable
    """

    client: MqttClient
    messages: list[ReceivedMessage]
    records: int
    stored: list[Confirmation]
    settlements: list[Settlement]
    instances: list[str | None]
    durable_at: float
    size: int = field(init=False)

    def __post_init__(self) -> None:
        messages = sum(len(message.payload) + RECORD_OVERHEAD for message in self.messages)
        messages += sum(settlement.record.size for settlement in self.settlements)
        self.size = WRITTEN_OVERHEAD + WRITTEN_RECORD * self.records + messages

    def confirmations(self) -> Iterator[Confirmation]:
        """Yield the confirmations, now that it is durable, without records whose dead letters are not written yet."""
        yield from self.stored
        for settlement in self.settlements:
            settlement.durable = True
            if settlement.written:
                yield settlement.confirmation()

    def lost(self) -> Iterator[Confirmation]:
        """Yield all records, to ask for them again; a record with a settlement then gets a new settlement."""
        yield from self.stored
        for settlement in self.settlements:
            yield settlement.confirmation()


@dataclass(slots=True)
class Batch:
    """Messages of one connection that are written together, and the records in them.

    `scans` are those of records with metadata; a `MachineScan` names its record by the position in `records`.

    `refused`     readings of a record that are not stored, by position
    `letters`     dead letters of such a record, by position; `other_letters` are those of other messages
    `settlements` records whose dead letters are not written yet, by position
    `waiting`     records that are kept in memory until their metadata is known
    """

    client: MqttClient
    messages: list[ReceivedMessage] = field(default_factory=list)
    records: list[ReceivedRecord] = field(default_factory=list)
    scans: list[MachineScan] = field(default_factory=list)
    readings: int = 0
    size: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    letters: dict[int, list[DeadLetter]] = field(default_factory=dict)
    other_letters: list[DeadLetter] = field(default_factory=list)
    settlements: dict[int, Settlement] = field(default_factory=dict)
    waiting: list[ReceivedRecord] = field(default_factory=list)

    @property
    def decoded_size(self) -> int:
        """Return the bytes of memory of the batch while its scans are decoded."""
        return self.size + len(self.scans) * DECODED_SCAN + self.readings * DECODED_READING

    def refuse(self, position: int, readings: int, letter: DeadLetter) -> int:
        """Set readings of a record aside; return the number of readings that this adds to the unstored readings."""
        record, before = self.records[position], self.refused.get(position, 0)
        # two stores may refuse the same readings: a record can't lose more than it has
        self.refused[position] = min(record.readings, before + readings)
        self.letters.setdefault(position, []).append(letter)
        return self.refused[position] - before

    def confirmations(self) -> Iterator[Confirmation]:
        """Yield the confirmations of a durable batch, without the records whose dead letters are not written yet."""
        for position in range(len(self.records)):
            settlement = self.settlements.get(position)
            if settlement is not None:
                settlement.durable = True
                if not settlement.written:
                    continue
            yield self._confirmation(position)

    def _confirmation(self, position: int) -> Confirmation:
        record = self.records[position]
        return Confirmation(record.sender, record.seq, record.receipt, self.refused.get(position, 0))

    def accepted(self) -> Iterator[Confirmation]:
        """Yield all unconfirmed records in the memory of this ingest."""
        for record in (*self.records, *self.waiting):
            yield Confirmation(record.sender, record.seq, record.receipt)

    def unsettled(self) -> Iterator[Confirmation]:
        """Yield the records of a durable batch that can't be confirmed yet."""
        for position, settlement in self.settlements.items():
            if not settlement.written:
                yield self._confirmation(position)
        for record in self.waiting:
            yield Confirmation(record.sender, record.seq, record.receipt)

    def written(self, instances: list[str | None], durable_at: float) -> WrittenBatch:
        """Return the numbers of the batch, and its messages, to be kept until it is durable."""
        stored = [self._confirmation(at) for at in range(len(self.records)) if at not in self.settlements]
        return WrittenBatch(
            self.client, self.messages, len(self.records), stored, list(self.settlements.values()), instances,
            durable_at,
        )  # fmt: skip
