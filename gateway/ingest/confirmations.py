"""Encode and send confirmations to gateways: records that are stored, accepted and may still be lost, or lost."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from gateway.common.seq_ranges import SeqRanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.common.seq_ranges import SeqRange
    from gateway.ingest.batch import Confirmation, Sender
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.topics import Topics

T = TypeVar("T")

MAX_PENDING = 1000
"""Confirmations that are kept to be sent again over the next connection."""

MAX_RANGES = 1_000
"""Ranges, and records with readings set aside, in one message; more go into further messages."""


class _Content:
    """The confirmed records of one gateway."""

    def __init__(self) -> None:
        self.stored, self.accepted, self.lost = SeqRanges(), SeqRanges(), SeqRanges()
        self.set_aside: dict[int, int] = {}

    def encode(self, spool: str, by: str, instance: str) -> Iterator[bytes]:
        """Yield the payloads; none has more than `MAX_RANGES` ranges, or records with readings set aside."""
        base: dict[str, Any] = {"spool": spool, "by": by}
        for ranges, set_aside in self._parts():
            yield orjson.dumps(base | {"ranges": ranges, "set_aside": set_aside})
        for part in _chunks(list(self.accepted)):
            yield orjson.dumps(base | {"ranges": [], "set_aside": {}, "taken": part, "instance": instance})
        for part in _chunks(list(self.lost)):
            yield orjson.dumps(base | {"ranges": [], "set_aside": {}, "lost": part})

    def _parts(self) -> Iterator[tuple[list[SeqRange], dict[str, int]]]:
        ranges = list(self.stored)
        if len(ranges) <= MAX_RANGES and len(self.set_aside) <= MAX_RANGES:
            if ranges:
                yield ranges, {str(seq): readings for seq, readings in self.set_aside.items()}
            return
        for seqs in _chunks(sorted(self.set_aside)):
            yield list(SeqRanges((seq, seq) for seq in seqs)), {str(seq): self.set_aside[seq] for seq in seqs}
            for seq in seqs:
                self.stored.remove(seq)
        for part in _chunks(list(self.stored)):
            yield part, {}


def _chunks(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), MAX_RANGES):
        yield items[start : start + MAX_RANGES]


class PendingConfirmations:
    """Confirmations that the broker has not acknowledged; they are sent again over the next connection.

    Otherwise a gateway whose confirmation is lost sends its records again after a timeout. `on_result` is called
    with the topic and the reason code of each acknowledgement.
    """

    def __init__(self, on_result: Callable[[str, int], None] | None = None) -> None:
        self._pending: dict[int, tuple[str, bytes]] = {}
        self._next = 0
        self._on_result = on_result

    def add(self, messages: Iterable[tuple[str, bytes]]) -> list[int]:
        """Queue topics and payloads; return their numbers."""
        first = self._next
        for message in messages:
            self._pending[self._next] = message
            self._next += 1
        while len(self._pending) > MAX_PENDING:  # gateways send these records again
            del self._pending[next(iter(self._pending))]
        return list(range(first, self._next))

    def send(self, client: MqttClient, numbers: Iterable[int] | None = None) -> None:
        """Send queued confirmations, all or by number. Raises `MqttError` on a lost connection; they stay queued."""
        for number in list(self._pending) if numbers is None else numbers:
            if number in self._pending:
                topic, payload = self._pending[number]
                client.send(topic, payload, partial(self._acknowledged, number))

    def _acknowledged(self, number: int, reason: int) -> None:
        """Remove a confirmation, even if the broker refused it: it would refuse it again."""
        topic, _ = self._pending.pop(number, ("", b""))
        if topic and self._on_result is not None:
            self._on_result(topic, reason)


def confirmation_messages(
    topics: Topics,
    by: str,
    instance: str,
    stored: Iterable[Confirmation],
    accepted: Iterable[tuple[Sender, int]],
    lost: Iterable[Confirmation] = (),
) -> list[tuple[str, bytes]]:
    """Return topics and payloads of the confirmations to each gateway.

    The spool may delete the records of `stored`. The records of `accepted` are in the memory of this `instance` of
    ingest, or in a store that may still lose them. A store has lost the records of `lost`, or may have.
    """
    found: dict[Sender, _Content] = defaultdict(_Content)
    for confirmation in stored:
        content = found[confirmation.sender]
        content.stored.add(confirmation.seq, confirmation.last)
        if confirmation.set_aside:
            content.set_aside[confirmation.seq] = confirmation.set_aside
    for sender, seq in accepted:
        found[sender].accepted.add(seq)
    for confirmation in lost:
        found[confirmation.sender].lost.add(confirmation.seq, confirmation.last)
    return [
        (topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed"), payload)
        for sender, content in found.items()
        for payload in content.encode(sender.spool, by, instance)
    ]
