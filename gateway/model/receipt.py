"""Receipts of records: only a client that has received a record can prove it.

A record contains a random tag, so nobody can guess its bytes. The receipt of a record is a digest of these bytes
and of the place that they were published at. The gateway computes it when it sends the record, and ingest when it
gets the record. Ingest confirms a record with a part of the receipt, a proof. Each claim has a part of its own, so
the proof of one claim does not prove another.
"""

from __future__ import annotations

import hmac
import os
from enum import Enum
from hashlib import sha256

TAG_BYTES = 8
"""Bytes of the random tag of a record."""

TAGS_DRAWN = 64
"""Tags that are drawn at once."""

PROOF_BYTES = 8
"""Bytes of a proof: a guess is right once in 2^64 attempts, and each attempt is a message to the gateway."""


class Claim(Enum):
    """The claim of a confirmation, and its part of a receipt."""

    STORED = slice(0, 8)
    TAKEN = slice(8, 16)
    LOST = slice(16, 24)


_SET_ASIDE = slice(24, 32)
"""The part of a receipt that is never sent: the proof of a record with readings set aside is computed from it."""


_tags: list[str] = []
"""Tags that are drawn and not used yet: one call of the operating system draws many."""

os.register_at_fork(after_in_child=_tags.clear)  # else both processes would use them


def new_tag() -> str:
    """Return the tag of a new record, in hexadecimal."""
    try:
        return _tags.pop()
    except IndexError:
        drawn = os.urandom(TAG_BYTES * TAGS_DRAWN).hex()
        first, *_tags[:] = (drawn[at : at + 2 * TAG_BYTES] for at in range(0, len(drawn), 2 * TAG_BYTES))
        return first


def receipt_of(place: str, payload: bytes, key: bytes = b"") -> bytes:
    """Return the receipt of a record, 32 bytes.

    `place` is the topic below the root: a bridge between two brokers may change the root. With a `key` that gateway
    and ingest share, a client without the key can't compute the receipt of a record that it has read.
    """
    received = place.encode() + b"\0" + payload
    return hmac.digest(key, received, "sha256") if key else sha256(received).digest()


def proof_of(claim: Claim, receipt: bytes, set_aside: int = 0) -> bytes:
    """Return the proof of a claim; that of a stored record covers the number of its readings set aside."""
    if set_aside and claim is Claim.STORED:
        return sha256(receipt[_SET_ASIDE] + b"%d" % set_aside).digest()[:PROOF_BYTES]
    return receipt[claim.value]
