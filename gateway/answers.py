"""What ingest says to gateways: which of their records the stores hold, which are taken and may still be lost."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import orjson

from gateway.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.batches import Batch, Sender
    from gateway.topics import Topics


class _Answer:
    """To one gateway."""

    def __init__(self) -> None:
        self.stored, self.taken = Ranges(), Ranges()
        self.set_aside: dict[str, int] = {}

    def encode(self, spool: str, by: str) -> bytes:
        told: dict[str, Any] = {"spool": spool, "by": by, "ranges": list(self.stored), "set_aside": self.set_aside}
        if self.taken:
            told["taken"] = list(self.taken)
        return orjson.dumps(told)


def answers(topics: Topics, by: str, stored: Iterable[Batch], taken: Iterable[Batch]) -> list[tuple[str, bytes]]:
    """Return topic and payload of a message to each gateway with records in these batches.

    Records are confirmed by what is in `stored`; those in `taken` are written by a store that may still lose them.
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
        (topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed"), answer.encode(sender.spool, by))
        for sender, answer in found.items()
    ]
