"""Check the proofs of confirmations: only a client that has received a record can confirm it.

Anyone with the right to publish on the topic of confirmations may publish anything there, and ingest confirms every
record that it received in the name of a gateway. So the gateway keeps the receipt of each record that it sends, and
frees the record when a confirmation contains a proof made of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from gateway.common.seq_ranges import SeqRanges, within
from gateway.model.receipt import PROOF_BYTES, Claim, proof_of, receipt_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.common.seq_ranges import SeqRange
    from gateway.mqtt.messages import Confirmation

MAX_RECEIPTS = 120_000
"""Receipts that are kept (at most 25 MB of memory): more than the records that may be in flight or accepted. The
oldest goes first; its record is sent again, and then confirmed."""

UNPROVED, WRONG_PROOF, NOT_SENT = "unproved", "wrong_proof", "not_sent"
"""Why records of a confirmation are ignored: it has no proofs, it has the proof of other bytes, or the record waits
for no confirmation. A record that was sent twice is confirmed twice, so the last is not unusual."""


class Proved(NamedTuple):
    """The part of a confirmation that is proved, see `Confirmation`."""

    ranges: list[SeqRange]
    set_aside: dict[int, int]
    taken: list[SeqRange]
    lost: list[SeqRange]


class Proofs:
    """The receipts of the records that were sent and are not confirmed.

    `refused` counts the records of confirmations that were ignored, by reason; confirmations without proofs count as
    one each. With `accept_unproved` these are valid. `root` is the root of all topics. Set `key`, see `receipt_of`,
    before the first record is sent.
    """

    def __init__(self, root: str, *, accept_unproved: bool = False) -> None:
        self.refused: Counter[str] = Counter()
        self.key = b""
        self._place_at = len(root) + 1
        self._accept_unproved = accept_unproved
        self._receipts: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._receipts)

    def sent(self, seq: int, topic: str, payload: bytes) -> None:
        """Keep the receipt of a record that is sent to a topic."""
        self._receipts.pop(seq, None)  # the latest is the last to go
        self._receipts[seq] = receipt_of(topic[self._place_at :], payload, self.key)
        if len(self._receipts) > MAX_RECEIPTS:
            del self._receipts[next(iter(self._receipts))]

    def check(self, message: Confirmation) -> Proved:
        """Return the proved part of a confirmation, and forget the receipts of records that are stored."""
        if not message.proofs:
            return self._unproved(message)
        proofs = (message.proofs[at : at + PROOF_BYTES] for at in range(0, len(message.proofs), PROOF_BYTES))
        set_aside: dict[int, int] = {}
        stored, taken, lost = SeqRanges(), SeqRanges(), SeqRanges()
        for seq, proof in zip(_numbers(message.ranges), proofs, strict=False):
            refused = message.set_aside.get(seq, 0)
            if self._is(Claim.STORED, seq, proof):
                stored.add(seq)
            elif refused and self._is(Claim.STORED, seq, proof, refused):
                stored.add(seq)
                set_aside[seq] = refused
            else:
                self._count(seq)
        for claim, ranges, found in ((Claim.TAKEN, message.taken, taken), (Claim.LOST, message.lost, lost)):
            for seq, proof in zip(_numbers(ranges), proofs, strict=False):
                if self._is(claim, seq, proof):
                    found.add(seq)
                else:
                    self._count(seq)
        self._forget(stored)
        return Proved(list(stored), set_aside, list(taken), list(lost))

    def _is(self, claim: Claim, seq: int, proof: bytes, set_aside: int = 0) -> bool:
        receipt = self._receipts.get(seq)
        return receipt is not None and proof_of(claim, receipt, set_aside) == proof

    def _count(self, seq: int) -> None:
        self.refused[WRONG_PROOF if seq in self._receipts else NOT_SENT] += 1

    def _unproved(self, message: Confirmation) -> Proved:
        if not self._accept_unproved:
            self.refused[UNPROVED] += 1
            return Proved([], {}, [], [])
        self._forget(message.ranges)
        return Proved(list(message.ranges), message.set_aside, list(message.taken), list(message.lost))

    def _forget(self, ranges: Iterable[SeqRange]) -> None:
        for seq in within(self._receipts, ranges):
            del self._receipts[seq]


def _numbers(ranges: Iterable[SeqRange]) -> Iterable[int]:
    for first, last in ranges:
        yield from range(first, last + 1)
