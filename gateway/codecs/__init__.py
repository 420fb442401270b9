"""Wire formats of records: one file for each codec, one line in `CODECS`."""

from gateway.codecs.base import Codec, Undecodable
from gateway.codecs.json import JsonCodec

CODECS: dict[str, Codec] = {"json": JsonCodec()}
"""Codec name -> codec, as `gateway.codec` names it."""

__all__ = ["CODECS", "Codec", "Undecodable"]
