"""Change the gateway, spool and sequence number of an encoded record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.codecs import decode

if TYPE_CHECKING:
    from gateway.codecs.base import Codec


def renumber(codec: Codec, gateway: str, payload: bytes, spool: str, seq: int) -> bytes:
    """Return a record, encoded again under another gateway, spool and sequence number. Raises `Undecodable`."""
    return codec.encode(replace(decode(payload), gateway=gateway, spool=spool, seq=seq))
