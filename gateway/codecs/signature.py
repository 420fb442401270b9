"""Signatures of records: Ed25519 (RFC 8032), in a part of the payload that an unsigned record lacks.

A signature is made when a record is sent, so the records in a spool have none, and a changed key counts for all of
them. It covers the place and the payload without the signature:

    "lineside record 1" NUL place NUL payload

In JSON the signature is the last key, `"sig"`, in base64, so other consumers read on. In a binary record it is behind
the body, and bit 4 of the third byte is set.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from gateway.codecs.binary import FIRST_BYTE

BYTES = 64
"""Bytes of a signature."""

_DOMAIN = b"lineside record 1\0"
"""The beginning of every signed text: the key signs nothing else."""

_KEY, _END = b',"sig":"', b'"}'

_ENCODED = (BYTES + 2) // 3 * 4

_JSON = len(_KEY) + _ENCODED + len(_END)
"""Bytes that a signature adds to a record in JSON, with the `}` at the end of the record."""

LARGEST = _JSON - 1
"""Bytes that a signature adds to a record at most."""

_BITS_AT, _SIGNED = 2, 4


def signed_text(place: str, payload: bytes) -> bytes:
    """Return the text that is signed; `place` is the topic below the root, `payload` has no signature."""
    return b"".join((_DOMAIN, place.encode(), b"\0", payload))


def with_signature(payload: bytes, signature: bytes) -> bytes:
    """Return a record of any codec with its signature."""
    if payload[:1] == FIRST_BYTE:
        bits = payload[_BITS_AT] | _SIGNED
        return b"".join((payload[:_BITS_AT], bytes((bits,)), payload[_BITS_AT + 1 :], signature))
    return b"".join((payload[:-1], _KEY, b2a_base64(signature, newline=False), _END))


def split(payload: bytes) -> tuple[bytes, bytes]:
    """Return a record without its signature, and the signature; it is empty if the record has none."""
    if payload[:1] == FIRST_BYTE:
        if len(payload) <= _BITS_AT + BYTES or not payload[_BITS_AT] & _SIGNED:
            return payload, b""
        bits = payload[_BITS_AT] & ~_SIGNED
        return b"".join((payload[:_BITS_AT], bytes((bits,)), payload[_BITS_AT + 1 : -BYTES])), payload[-BYTES:]
    if payload[-_JSON : -_JSON + len(_KEY)] != _KEY:
        return payload, b""
    try:
        signature = a2b_base64(payload[-_JSON + len(_KEY) : -len(_END)], strict_mode=True)
    except (Base64Error, ValueError):
        return payload, b""
    return (payload[:-_JSON] + b"}", signature) if len(signature) == BYTES else (payload, b"")
