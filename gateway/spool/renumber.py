"""Change the gateway, spool and sequence number of an encoded record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.codecs.base import Codec


def renumber(codec: Codec, gateway: str, payload: bytes, spool: str, seq: int) -> bytes:
    """Return a record's payload under another gateway, spool and sequence number. Raises `Undecodable`."""
    return codec.encode(replace(codec.decode(payload), gateway=gateway, spool=spool, seq=seq))
