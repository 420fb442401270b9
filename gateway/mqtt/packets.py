"""Encode and decode the MQTT packets that carry records: PUBLISH and PUBACK.

paho spends some 100 µs on a message that it sends and 60 µs on its answer: it reads a packet in three system calls,
and makes objects for reason codes and properties. A record is one message, so this is a large part of its cost. All
other packets are left to paho.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISH, PUBACK = 0x30, 0x40
"""Packet types, in the upper half of the first byte (MQTT 5, 2.1.2)."""

MORE = 0x80
"""The bit of a variable byte integer that says that another byte follows (MQTT 5, 1.5.5)."""

MAX_LENGTH_BYTES = 4
"""Bytes of the longest variable byte integer (MQTT 5, 1.5.5)."""

_ACCEPTED = Struct(">2xH")
"""A PUBACK that says success: packet type, length and packet identifier."""

RETAIN, QOS_SHIFT, QOS_MASK = 0x01, 1, 0x03
"""The flags of a PUBLISH (MQTT 5, 3.3.1)."""


class MalformedPacket(ValueError):
    """A packet breaks the rules of the protocol (MQTT 5, 4.13)."""


class ReceivedMessage(NamedTuple):
    """A message that came in. `mid` is its packet identifier, 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    mid: int = 0


def encode_publish(topic: bytes, payload: bytes, mid: int, *, retain: bool, five: bool) -> tuple[bytes, bytes]:
    """Return the header and the payload of a PUBLISH (MQTT 5, 3.3; 3.1.1, 3.3).

    With a packet identifier it has QoS 1, and with 0 it has QoS 0.
    """
    length = len(topic) + len(payload) + (2 if mid else 0) + (3 if five else 2)
    header = b"%c%b%b%b%b%b" % (
        PUBLISH | bool(mid) << QOS_SHIFT | retain, _encode_length(length), len(topic).to_bytes(2), topic,
        mid.to_bytes(2) if mid else b"", b"\0" if five else b"",
    )  # fmt: skip
    return header, payload


def encode_puback(mid: int) -> bytes:
    """Return a PUBACK that says success, in the form that both versions have (MQTT 5, 3.4.2.1; 3.1.1, 3.4)."""
    return b"\x40\x02" + mid.to_bytes(2)


def decode_puback(body: bytes) -> tuple[int, int]:
    """Return the packet identifier and the reason code (MQTT 5, 3.4.2.1: 0 without one)."""
    if len(body) < 2:  # noqa: PLR2004 - the identifier
        raise MalformedPacket("a PUBACK without a packet identifier")
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0  # noqa: PLR2004 - after the identifier


def decode_publish(flags: int, body: bytes, *, five: bool) -> ReceivedMessage:
    """Return the message of a PUBLISH; its properties are skipped (MQTT 5, 3.3.2.3).

    Raises `UnicodeDecodeError` for a topic that is not UTF-8, after which `message_id` still returns the packet
    identifier, and `MalformedPacket`.
    """
    at = _topic_end(body)
    qos = flags >> QOS_SHIFT & QOS_MASK
    topic_end, mid = at, 0
    if qos:
        mid, at = _identifier(body, at)
    if five:
        try:
            length, at = _decode_length(body, at)
        except IndexError:
            raise MalformedPacket("a PUBLISH without the length of its properties") from None
        at += length
        if at > len(body):
            raise MalformedPacket("properties that are longer than their packet")
    return ReceivedMessage(body[2:topic_end].decode(), body[at:], qos, bool(flags & RETAIN), mid)


def message_id(flags: int, body: bytes) -> int:
    """Return the packet identifier of a PUBLISH, 0 with QoS 0. Raises `MalformedPacket`."""
    return _identifier(body, _topic_end(body))[0] if flags >> QOS_SHIFT & QOS_MASK else 0


def _topic_end(body: bytes) -> int:
    end = 2 + (body[0] << 8 | body[1]) if len(body) >= 2 else len(body) + 1  # noqa: PLR2004 - its length
    if end > len(body):
        raise MalformedPacket("a topic that is longer than its packet")
    return end


def _identifier(body: bytes, at: int) -> tuple[int, int]:
    if at + 2 > len(body):
        raise MalformedPacket("a PUBLISH without a packet identifier")
    return body[at] << 8 | body[at + 1], at + 2


class PacketReader:
    """Split a stream of bytes into packets."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0

    def accepted(self, data: bytes) -> list[int]:
        """Return the packet identifiers if bytes are whole PUBACKs that say success, and nothing else.

        Return an empty list otherwise, or if a packet is incomplete: then `feed` reads the bytes. The answers to the
        records of a wave come together.
        """
        count, rest = divmod(len(data), _ACCEPTED.size)
        if rest or self._rest or data[::4] != b"\x40" * count or data[1::4] != b"\x02" * count:
            return []
        return [mid for (mid,) in _ACCEPTED.iter_unpack(data)]

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the first byte and the body of each packet that is complete. Raises `MalformedPacket`."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:  # a large packet comes in many pieces: look when it is there
                return
            data = bytes(self._rest)
            self._rest = bytearray()
        at, end = 0, len(data)
        self._needed = 0
        while at + 2 <= end:
            length, start = data[at + 1], at + 2
            if length & MORE:
                try:
                    length, start = _decode_length(data, at + 1)
                except IndexError:
                    break
            if start + length > end:
                self._needed = start + length - at
                break
            first, body, at = data[at], data[start : start + length], start + length
            yield first, body
        self._rest += data[at:]


def _decode_length(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer, and the position behind it (MQTT 5, 1.5.5).

    Raises `IndexError` if it is not complete, and `MalformedPacket`.
    """
    value = 0
    for digit in range(MAX_LENGTH_BYTES):
        byte = data[at + digit]
        value |= (byte & 0x7F) << 7 * digit
        if not byte & MORE:
            return value, at + digit + 1
    raise MalformedPacket("a length of more than four bytes")


def _encode_length(value: int) -> bytes:
    if value < MORE:
        return bytes((value,))
    encoded = bytearray()
    while value:
        value, digit = value >> 7, value & 0x7F
        encoded.append(digit | (MORE if value else 0))
    return bytes(encoded)
