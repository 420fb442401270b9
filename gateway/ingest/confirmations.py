"""Encode and send confirmations to gateways: records that are stored, accepted and may still be lost, or lost.

A confirmation contains a proof for each record that this ingest has received it, see `gateway.model.receipt`.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model.receipt import Claim, proof_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.ingest.batch import Confirmation, Sender
    from gateway.mqtt.client import MqttClient
    from gateway.mqtt.topics import Topics

MAX_PENDING = 1000
"""Confirmations that are kept to be sent again over the next connection."""

MAX_RANGES = 1_000
"""Ranges, and records with readings set aside, in one message; more go into further messages."""

MAX_RECORDS = 5_000
"""Records in one message, whose proofs take 53 KB: some brokers take no more than 64 KiB."""

_KEYS = {Claim.STORED: "ranges", Claim.TAKEN: "taken", Claim.LOST: "lost"}


@dataclass(slots=True)
class _Message:
    """The content of one message. Two records of one number are there twice: one of them is not its gateway's."""

    ranges: list[list[int]] = field(default_factory=list)
    proofs: list[bytes] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)

    def has_room(self, one: Confirmation) -> bool:
        """Return whether a record fits; the readings set aside of one number are there once."""
        return (
            len(self.ranges) < MAX_RANGES
            and len(self.proofs) < MAX_RECORDS
            and (not one.set_aside or (len(self.set_aside) < MAX_RANGES and str(one.seq) not in self.set_aside))
        )

    def add(self, claim: Claim, one: Confirmation) -> None:
        """Add a record whose number is not below that of the last."""
        if self.ranges and self.ranges[-1][1] == one.seq - 1:
            self.ranges[-1][1] = one.seq
        else:
            self.ranges.append([one.seq, one.seq])
        self.proofs.append(proof_of(claim, one.receipt, one.set_aside))
        if one.set_aside and claim is Claim.STORED:
            self.set_aside[str(one.seq)] = one.set_aside

    def encode(self, claim: Claim, base: dict[str, Any]) -> bytes:
        """Return the payload."""
        proofs = b2a_base64(b"".join(self.proofs), newline=False).decode()
        content = {"ranges": [], "set_aside": self.set_aside, _KEYS[claim]: self.ranges, "proofs": proofs}
        return orjson.dumps(base | content)


def _encode(claim: Claim, confirmations: Iterable[Confirmation], base: dict[str, Any]) -> Iterator[bytes]:
    """Yield the payloads of one claim to the records of one spool."""
    message = _Message()
    for one in sorted(set(confirmations)):  # a record may have been received twice
        if not message.has_room(one):
            yield message.encode(claim, base)
            message = _Message()
        message.add(claim, one)
    yield message.encode(claim, base)


class PendingConfirmations:
    """Confirmations that the broker has not acknowledged; they are sent again over the next connection.

    Otherwise a gateway whose confirmation is lost sends its records again after a timeout. `on_result` is called
    with the topic and the reason code of each acknowledgement. `sign` signs a message for a topic, each time that it
    is sent: a signature is of one connection.
    """

    def __init__(
        self,
        on_result: Callable[[str, int], None] | None = None,
        sign: Callable[[str, bytes], bytes] = lambda _, payload: payload,
    ) -> None:
        self._pending: dict[int, tuple[str, bytes]] = {}
        self._next = 0
        self._on_result = on_result
        self._sign = sign

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
                client.send(topic, self._sign(topic, payload), partial(self._acknowledged, number))

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
    accepted: Iterable[Confirmation],
    lost: Iterable[Confirmation] = (),
) -> list[tuple[str, bytes]]:
    """Return topics and payloads of the confirmations to each gateway.

    The spool may delete the records of `stored`. The records of `accepted` are in the memory of this `instance` of
    ingest, or in a store that may still lose them. A store has lost the records of `lost`, or may have.
    """
    messages: list[tuple[str, bytes]] = []
    for claim, confirmations in ((Claim.STORED, stored), (Claim.TAKEN, accepted), (Claim.LOST, lost)):
        found: dict[Sender, list[Confirmation]] = defaultdict(list)
        for one in confirmations:
            found[one.sender].append(one)
        for sender, records in found.items():
            topic = topics.gateway(sender.enterprise, sender.site, sender.gateway, "confirmed")
            base: dict[str, Any] = {"spool": sender.spool, "by": by}
            if claim is Claim.TAKEN:
                base["instance"] = instance
            messages += ((topic, payload) for payload in _encode(claim, records, base))
    return messages
