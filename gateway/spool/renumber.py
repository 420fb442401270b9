"""Change the gateway, spool, sequence number and tag of an encoded record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.codecs import decode
from gateway.model.receipt import new_tag

if TYPE_CHECKING:
    from gateway.codecs.base import Codec


def renumber(codec: Codec, gateway: str, payload: bytes, spool: str, seq: int) -> bytes:
    """Return a record, encoded again under another gateway, spool and sequence number. Raises `Undecodable`.

    It gets a new tag: a confirmation of the former record says nothing about it.
    """
    return codec.encode(replace(decode(payload), gateway=gateway, spool=spool, seq=seq, tag=new_tag()))
