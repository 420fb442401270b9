"""Decodes the beginning of every response: its type id, and the response header (Part 4, 7.33)."""

from __future__ import annotations

import struct

from asyncua import ua

from drivers.opcua.codec.binary import body, count, diagnostic, text, type_id
from drivers.opcua.errors import MALFORMED, DecodeError, ServiceFault

_FAULT = ua.ObjectIds.ServiceFault_Encoding_DefaultBinary
_HEADER = struct.Struct("<qII").unpack_from


def parameters_at(data: bytes, expected: int) -> int:
    """Read type id and header; return the offset of the parameters.

    Raises `ServiceFault` if the server refused the service, one of `MALFORMED` for an unexpected response.
    """
    kind, at = type_id(data, 0)
    if kind not in {expected, _FAULT}:
        raise DecodeError(f"an answer of type {kind}; expected is {expected}")
    _, _, status = _HEADER(data, at)
    if kind == _FAULT or status >> 31:
        raise ServiceFault(status)
    _, at = diagnostic(data, at + 16)
    size, at = count(data, at, 4)
    for _ in range(size):  # texts that the diagnostics point to
        _, at = text(data, at)
    _, at = type_id(data, at)
    _, at, end = body(data, at)
    if end is None:
        raise DecodeError(f"byte {at - 4}: the length of the additional header is missing")
    return end


def check(data: bytes) -> None:
    """Raise `ServiceFault` for a service fault, and `DecodeError` for a malformed response. Other responses pass."""
    try:
        kind, at = type_id(data, 0)
        status = _HEADER(data, at)[2] if kind == _FAULT else 0
    except MALFORMED as error:
        raise malformed(data, error) from error
    if kind == _FAULT:
        raise ServiceFault(status)


def malformed(message: bytes, error: Exception) -> DecodeError:
    """Return the error of a message that a decoder could not read."""
    return DecodeError(f"a message of {len(message)} bytes ends early, or breaks the rules: {error}")
