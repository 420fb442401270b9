"""Queue records with unknown metadata, and request the metadata from their gateways.

A record names the id of its metadata. Ingest may not know it: a broker lost its retained messages, or an edge box ran
for months before its server was installed. Ingest then asks the gateway of the record, which responds from its disk.
Meanwhile the record waits here. A confirmation names it as accepted, so that its gateway sends the records after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.model.path import GatewayPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ingest.batch import ReceivedRecord, Sender

MAX_WAITING, MAX_WAITING_BYTES = 50_000, 32 * 2**20
"""Number of records that may wait, and their bytes of memory; the gateways send further records again."""

ASK_FIRST, ASK_MAX = 5.0, 60.0
"""Seconds until an unanswered request is repeated: the first, doubled up to the last."""

FORGET = 600.0
"""Seconds after which the records of a gateway that does not respond stop waiting; if it exists, it sends them
again."""

PATIENCE, REQUESTS = 60.0, 3
"""Seconds and requests after which a gateway is not asked again, if it sends records and does not respond."""


def gateway_of(sender: Sender) -> GatewayPath:
    """Return the gateway of a spool."""
    return GatewayPath(sender.enterprise, sender.site, sender.gateway)


@dataclass(slots=True)
class _Request:
    """The records of one gateway that wait for one id, by receipt, and the times of its requests."""

    since: float
    next: float
    delay: float = ASK_FIRST
    asked: int = 0
    records: dict[bytes, ReceivedRecord] = field(default_factory=dict)


class MetadataRequests:
    """The waiting records by gateway and id. Times are seconds of the monotonic `clock`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests: dict[GatewayPath, dict[str, _Request]] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: ReceivedRecord, meta_id: str) -> list[ReceivedRecord]:
        """Queue a record for an id; return the records that stop waiting, because their gateway does not respond."""
        now, gateway = self._clock(), gateway_of(record.sender)
        request = self._requests.get(gateway, {}).get(meta_id)
        if request is None or record.receipt not in request.records:
            if self._count >= MAX_WAITING or self._bytes + record.size > MAX_WAITING_BYTES:
                return []
            request = self._requests.setdefault(gateway, {}).setdefault(meta_id, request or _Request(now, now))
            self._count += 1
            self._bytes += record.size
            request.records[record.receipt] = record
        if request.asked >= REQUESTS and now - request.since > PATIENCE:
            return self.take(gateway, meta_id)
        return []

    def asked(self, gateway: GatewayPath, meta_id: str) -> bool:
        """Return True if a gateway is asked for an id."""
        return meta_id in self._requests.get(gateway, {})

    def take(self, gateway: GatewayPath, meta_id: str) -> list[ReceivedRecord]:
        """Remove and return the records of a gateway that wait for an id."""
        requests = self._requests.get(gateway, {})
        request = requests.pop(meta_id, None)
        if not requests:
            self._requests.pop(gateway, None)
        if request is None:
            return []
        records = list(request.records.values())
        self._count -= len(records)
        self._bytes -= sum(record.size for record in records)
        return records

    def take_known(self, meta_id: str) -> list[ReceivedRecord]:
        """Remove and return the records of all gateways that wait for an id."""
        waiting = [gateway for gateway, requests in self._requests.items() if meta_id in requests]
        return [record for gateway in waiting for record in self.take(gateway, meta_id)]

    def due(self) -> dict[GatewayPath, list[str]]:
        """Return the ids to request from each gateway now, and count the requests.

        Records of a gateway that never responds are dropped after `FORGET`: they are in its spool, and must not take
        the room of others.
        """
        now = self._clock()
        self._forget(now)
        found: dict[GatewayPath, list[str]] = {}
        for gateway, requests in self._requests.items():
            for meta_id, request in requests.items():
                if request.next <= now:
                    request.asked += 1
                    request.next = now + request.delay
                    request.delay = min(request.delay * 2, ASK_MAX)
                    found.setdefault(gateway, []).append(meta_id)
        return found

    def _forget(self, now: float) -> None:
        old = [
            (gateway, meta_id)
            for gateway, requests in self._requests.items()
            for meta_id, request in requests.items()
            if now - request.since > FORGET
        ]
        for gateway, meta_id in old:
            self.take(gateway, meta_id)
