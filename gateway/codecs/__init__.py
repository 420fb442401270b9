"""Wire formats of records: one file for each codec, one line in `CODECS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.codecs.base import Codec, Undecodable
from gateway.codecs.binary import FIRST_BYTE, BinaryCodec
from gateway.codecs.json import JsonCodec

if TYPE_CHECKING:
    from gateway.model.record import AnyRecord

CODECS: dict[str, Codec] = {"json": JsonCodec(), "binary": BinaryCodec()}
"""Codec name -> codec, as `gateway.codec` names it."""


def codec_of(payload: bytes) -> Codec:
    """Return the codec that a payload was encoded with, which its first byte says."""
    return CODECS["binary" if payload[:1] == FIRST_BYTE else "json"]


def decode(payload: bytes) -> AnyRecord:
    """Return the record of a payload of any codec. Raises `Undecodable` for bytes that are not a record."""
    return codec_of(payload).decode(payload)


__all__ = ["CODECS", "Codec", "Undecodable", "codec_of", "decode"]
