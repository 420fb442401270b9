"""Confirmations to gateways: the records that the stores hold, and those that are accepted and may still be lost."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from gateway.common.seq_ranges import SeqRanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.ingest.batch import Batch, Sender
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.topics import Topics


MAX_PENDING = 1000
"""Confirmations that are kept to be sent again over the next connection."""


class _Confirmation:
    """The content of a message to one gateway."""

    def __init__(self) -> None:
        self.stored, self.accepted = SeqRanges(), SeqRanges()
        self.set_aside: dict[str, int] = {}

    def encode(self, spool: str, by: str, instance: str) -> bytes:
        data: dict[str, Any] = {"spool": spool, "by": by, "ranges": list(self.stored), "set_aside": self.set_aside}
        if self.accepted:
            data |= {"taken": list(self.accepted), "instance": instance}
        return orjson.dumps(data)


class PendingConfirmations:
    """Confirmations that the broker has not acknowledged: they are sent again over the next connection.

    A gateway whose confirmation is lost would send its records again only after a time-out.
    """

    def __init__(self) -> None:
        self._pending: dict[int, tuple[str, bytes]] = {}
        self._next = 0

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
        """Send those with these numbers, or all. Raises `MqttError` on a lost connection; they stay queued."""
        for number in list(self._pending) if numbers is None else numbers:
            if number in self._pending:
                topic, payload = self._pending[number]
                client.send(topic, payload, partial(self._acknowledged, number))

    def _acknowledged(self, number: int, _: int) -> None:
        """Remove a confirmation, also where the broker refuses it: it would do so again."""
        self._pending.pop(number, None)


def confirmation_messages(
    topics: Topics, by: str, instance: str, stored: Iterable[Batch], accepted: Iterable[Batch]
) -> list[tuple[str, bytes]]:
    """Return topic and payload of a confirmation to each gateway with records in these batches.

    The records of `stored` may leave the spool. Those of `accepted` are in a store that may still lose them, and in
    the memory of this `instance` of ingest.
    """
    found: dict[Sender, _Confirmation] = defaultdict(_Confirmation)
    for batch in stored:
        for index, (sender, record) in enumerate(batch.records):
            if index not in batch.unconfirmed:
                confirmation = found[sender]
                confirmation.stored.add(record.seq)
                if refused := batch.refused.get(index):
                    confirmation.set_aside[str(record.seq)] = refused
    for batch in accepted:
        for sender, record in batch.records:
            found[sender].accepted.add(record.seq)
    return [
        (
            topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed"),
            confirmation.encode(sender.spool, by, instance),
        )
        for sender, confirmation in found.items()
    ]
