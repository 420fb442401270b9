"""What ingest says to gateways: which of their records the stores hold, which are taken and may still be lost."""

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


MOST_UNHEARD = 1000
"""Messages that are told again over the next link."""


class _Answer:
    """To one gateway."""

    def __init__(self) -> None:
        self.stored, self.taken = SeqRanges(), SeqRanges()
        self.set_aside: dict[str, int] = {}

    def encode(self, spool: str, by: str, instance: str) -> bytes:
        told: dict[str, Any] = {"spool": spool, "by": by, "ranges": list(self.stored), "set_aside": self.set_aside}
        if self.taken:
            told |= {"taken": list(self.taken), "instance": instance}
        return orjson.dumps(told)


class PendingConfirmations:
    """What was told to gateways and the broker has not acknowledged: it is told again over the next link.

    A record that is confirmed to nobody would be sent again only when a time-out has passed.
    """

    def __init__(self) -> None:
        self._unheard: dict[int, tuple[str, bytes]] = {}
        self._number = 0

    def add(self, messages: Iterable[tuple[str, bytes]]) -> list[int]:
        """Take topics and payloads to be told; returns their numbers."""
        first = self._number
        for message in messages:
            self._unheard[self._number] = message
            self._number += 1
        while len(self._unheard) > MOST_UNHEARD:  # gateways send these again
            del self._unheard[next(iter(self._unheard))]
        return list(range(first, self._number))

    def tell(self, link: MqttClient, numbers: Iterable[int] | None = None) -> None:
        """Tell those with these numbers, or all. Raises `MqttError` where the link is lost: they are kept then."""
        for number in list(self._unheard) if numbers is None else numbers:
            if number in self._unheard:
                topic, payload = self._unheard[number]
                link.send(topic, payload, partial(self._heard, number))

    def _heard(self, number: int, _: int) -> None:
        """Forget what the broker has answered to; where it refuses, it would do so again."""
        self._unheard.pop(number, None)


def confirmation_messages(
    topics: Topics, by: str, instance: str, stored: Iterable[Batch], taken: Iterable[Batch]
) -> list[tuple[str, bytes]]:
    """Return topic and payload of a message to each gateway with records in these batches.

    Records are confirmed by what is in `stored`; those in `taken` are with a store that may still lose them, and in
    the memory of this `instance`.
    """
    found: dict[Sender, _Answer] = defaultdict(_Answer)
    for batch in stored:
        for index, (sender, record) in enumerate(batch.records):
            if index not in batch.unsettled:
                answer = found[sender]
                answer.stored.add(record.seq)
                if refused := batch.refused.get(index):
                    answer.set_aside[str(record.seq)] = refused
    for batch in taken:
        for sender, record in batch.records:
            found[sender].taken.add(record.seq)
    return [
        (
            topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed"),
            answer.encode(sender.spool, by, instance),
        )
        for sender, answer in found.items()
    ]
