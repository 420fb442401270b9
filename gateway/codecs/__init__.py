"""Wire formats of records: one file for each codec, one line in `CODECS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codecs.base import Codec, Undecodable
from gateway.codecs.binary import BinaryCodec
from gateway.codecs.json import JsonCodec
from gateway.codecs.signature import split

if TYPE_CHECKING:
    from gateway.model.record import AnyRecord

CODECS: dict[str, Codec] = {"json": JsonCodec(), "binary": BinaryCodec()}
"""Codec name -> codec, as `gateway.codec` names it."""


_BY_FIRST_BYTE = {byte: codec for codec in CODECS.values() for byte in codec.first_bytes}


def codec_of(payload: bytes) -> Codec:
    """Return the codec that a payload was encoded with, which its first byte says; JSON names the fault of others."""
    return _BY_FIRST_BYTE.get(payload[0], CODECS["json"]) if payload else CODECS["json"]


def decode(payload: bytes) -> AnyRecord:
    """Return the record of a payload of any codec, signed or not. Raises `Undecodable` for other bytes."""
    content, _ = split(payload)
    return codec_of(content).decode(content)


__all__ = ["CODECS", "Codec", "Undecodable", "codec_of", "decode"]
