"""Pack requests and unpack responses of Modbus TCP, RTU and ASCII. Pure: bytes in, frames out.

Sources: MODBUS Messaging on TCP/IP V1.0b (MBAP header), MODBUS over Serial Line V1.02 (RTU, ASCII).
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from binascii import unhexlify
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from drivers.modbus.pdu import EXCEPTION

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct(">HHHB")  # transaction id, protocol id (0), length of the remaining bytes, unit id
PDU_AT = _HEADER.size
"""The position of the function code in a frame of Modbus TCP."""

_LENGTH_END = PDU_AT - 1  # the length in the header counts from the unit id on
_LENGTH_MIN, _LENGTH_MAX = 3, 254  # unit id, function code and data: 253 bytes of PDU at most (clause 4.1)
_RTU_MIN, _RTU_MAX = 5, 256  # unit, function code, a byte, CRC; 253 bytes of PDU (Serial Line, clause 2.5.1)
_ASCII_MAX = 513  # characters (Serial Line, clause 2.5.2)

_SENT_MAX = 64  # requests whose responses are recognized among other bytes

_IDENTIFY, _MEI_IDENTIFICATION, _FIFO = 43, 14, 24
_COUNTED = {1, 2, 3, 4, 12, 17, 20, 21, 23}
_FIXED = {5: 4, 6: 4, 7: 1, 8: 4, 11: 4, 15: 4, 16: 4, 22: 6}
"""Function codes by the length of their responses: counted objects, a byte count, or a fixed length (clause 6)."""


class Frame(NamedTuple):
    """One response. `transaction` is None where the framing has no transaction ids."""

    transaction: int | None
    unit: int
    pdu: bytes


class LostSync(Exception):
    """The position of the next frame in the stream is unknown."""


class Framing(ABC):
    """Packs requests, and cuts the received bytes into responses.

    `matched` is True if a response names its request; else only one request may be pending.
    `discarded` counts received bytes outside of frames.
    """

    __slots__ = ("_received", "discarded")

    matched = False

    def __init__(self) -> None:
        self.discarded = 0
        self._received = bytearray()

    @abstractmethod
    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """Return the frame of a request."""

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[Frame]:
        """Append received bytes; yield each complete response.

        Raises `LostSync` after the responses before the unreadable part.
        """

    def forget(self) -> None:
        """Drop an incomplete frame."""
        self.discarded += len(self._received)
        self._received.clear()


class Mbap(Framing):
    """Modbus TCP: a header with transaction id and length before each PDU."""

    __slots__ = ()

    matched = True

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        return _HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu

    def single(self, data: bytes) -> tuple[int, int] | None:
        """Return the transaction and the unit if received bytes are one whole response; its PDU begins at `PDU_AT`.

        Return None if they are not, or if they continue an incomplete response: then `feed` reads them.
        """
        if self._received or not _LENGTH_END + _LENGTH_MIN <= len(data) <= _LENGTH_END + _LENGTH_MAX:
            return None
        transaction, protocol, length, unit = _HEADER.unpack_from(data)
        return (transaction, unit) if protocol == 0 and length == len(data) - _LENGTH_END else None

    def feed(self, data: bytes) -> Iterator[Frame]:
        received = self._received
        received += data
        while len(received) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(received)
            if protocol != 0 or not _LENGTH_MIN <= length <= _LENGTH_MAX:
                raise LostSync(f"garbage received: protocol id {protocol}, length {length}")
            end = _HEADER.size - 1 + length
            if len(received) < end:
                break
            frame = Frame(transaction, unit, bytes(received[_HEADER.size : end]))
            del received[:end]
            yield frame


class MbapAnyTransaction(Mbap):
    """Modbus TCP of a device that does not repeat the transaction id of a request."""

    matched = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        for frame in super().feed(data):
            yield frame._replace(transaction=None)


class MbapInNoise(Mbap):
    """Modbus TCP in a stream that has other bytes between the frames, such as registration and heartbeat packets.

    A frame begins where a header has the transaction id of a request, and the function code is that of the request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sent: dict[int, int] = {}  # transaction -> function code

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        self._sent.pop(transaction, None)
        self._sent[transaction] = pdu[0]
        if len(self._sent) > _SENT_MAX:
            del self._sent[next(iter(self._sent))]
        return super().pack(transaction, unit, pdu)

    def feed(self, data: bytes) -> Iterator[Frame]:
        received = self._received
        received += data
        while (start := self._find()) is not None:
            self.discarded += start
            del received[:start]
            end = _HEADER.size - 1 + int.from_bytes(received[4:6], "big")
            if len(received) < end:
                return
            frame = Frame(int.from_bytes(received[:2], "big"), received[6], bytes(received[_HEADER.size : end]))
            del received[:end]
            yield frame
        surplus = max(0, len(received) - _HEADER.size)  # the rest may be the begin of a header
        self.discarded += surplus
        del received[:surplus]

    def _find(self) -> int | None:
        """Return the position of the first header of a response, with its function code."""
        received = self._received
        for start in range(len(received) - _HEADER.size):
            transaction, protocol, length, _ = _HEADER.unpack_from(received, start)
            function = self._sent.get(transaction)
            if function is None or protocol or not _LENGTH_MIN <= length <= _LENGTH_MAX:
                continue
            if received[start + _HEADER.size] & ~EXCEPTION == function:
                return start
        return None


class MbapDatagram(Mbap):
    """Modbus over UDP: each datagram is a whole MBAP frame; other datagrams are dropped."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        with suppress(LostSync):
            yield from super().feed(data)
        self.forget()


class Rtu(Framing):
    """RTU: unit, PDU and CRC. The function code gives the length, since a stream has no silent gaps."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited: tuple[bytes, ...] = ()

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        del transaction
        body = bytes((unit,)) + pdu
        self._awaited = (body[:2], bytes((unit, pdu[0] | EXCEPTION)))
        return body + crc(body)

    def feed(self, data: bytes) -> Iterator[Frame]:
        received = self._received
        received += data
        while len(received) >= _RTU_MIN:
            size = rtu_size(received)
            if size is None or len(received) < size:
                if (size := self._find_awaited()) is None:
                    break
            elif not size or not _sound(received[:size]):
                # noise, or the end of a frame: look for a frame from the next byte on
                del received[0]
                self.discarded += 1
                continue
            frame = Frame(None, received[0], bytes(received[1 : size - 2]))
            del received[:size]
            yield frame

    def _find_awaited(self) -> int | None:
        """Find the expected response behind bytes that look like the start of a longer frame.

        Noise before a response, common when an RS-485 line changes direction, would hide it until the time-out. Only
        a frame that ends with the last received byte counts. Drops the bytes before it, and returns its length.
        """
        received = self._received
        if received.startswith(self._awaited):
            return None
        for awaited in self._awaited:
            at = received.find(awaited, 1)
            while at > 0:
                if rtu_size(received[at:]) == len(received) - at and _sound(received[at:]):
                    del received[:at]
                    self.discarded += at
                    return len(received)
                at = received.find(awaited, at + 1)
        return None


def _sound(frame: bytes | bytearray) -> bool:
    return crc(frame[:-2]) == frame[-2:]


def rtu_size(received: bytes | bytearray) -> int | None:
    """Return the length of the first response with its CRC; None if more bytes are needed, 0 if there is none."""
    if len(received) < _RTU_MIN:
        return None
    function = received[1]
    size: int | None = 0
    if function & EXCEPTION:
        size = 5
    elif function in _COUNTED:
        size = 5 + received[2]
    elif function in _FIXED:
        size = 4 + _FIXED[function]
    elif function == _FIFO:
        size = 6 + int.from_bytes(received[2:4], "big")
    elif function == _IDENTIFY:
        size = _identification_size(received)
    return 0 if size is not None and size > _RTU_MAX else size


def _identification_size(received: bytes | bytearray) -> int | None:
    """Return the length of a device identification response: a list of counted objects (clause 6.21)."""
    at = 8  # after unit, function, MEI type, read code, conformity, more follows, next object, count
    if received[2] != _MEI_IDENTIFICATION:
        return 0
    if len(received) < at:
        return None
    for _ in range(received[at - 1]):
        if len(received) < at + 2:
            return None
        at += 2 + received[at + 1]
    return at + 2


class Ascii(Framing):
    """ASCII: a colon, hexadecimal digits with an LRC, carriage return and line feed."""

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        del transaction
        body = bytes((unit,)) + pdu
        return b":" + (body + lrc(body)).hex().upper().encode() + b"\r\n"

    def feed(self, data: bytes) -> Iterator[Frame]:
        received = self._received
        received += data
        while (end := received.find(b"\n")) >= 0:
            line = bytes(received[: end + 1])
            del received[: end + 1]
            start = line.rfind(b":")
            body = _decoded(line[start + 1 :]) if start >= 0 and len(line) - start <= _ASCII_MAX else b""
            if len(body) > 3 and lrc(body[:-1]) == body[-1:]:  # noqa: PLR2004 - unit, function, a byte, LRC
                self.discarded += start
                yield Frame(None, body[0], body[1:-1])
            else:
                self.discarded += len(line)
        start = received.rfind(b":")  # a colon always begins a frame
        if start < 0 or len(received) - start > _ASCII_MAX:
            self.forget()
        elif start:
            del received[:start]
            self.discarded += start


def _decoded(digits: bytes) -> bytes:
    try:
        return unhexlify(digits.removesuffix(b"\n").removesuffix(b"\r"))
    except ValueError:
        return b""


def lrc(body: bytes) -> bytes:
    """Return the longitudinal redundancy check (Serial Line V1.02, clause 6.2.1)."""
    return bytes((-sum(body) & 0xFF,))


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc(body: bytes | bytearray) -> bytes:
    """Return the CRC-16 of an RTU frame, low byte first (Serial Line V1.02, clause 6.2.2)."""
    value = 0xFFFF
    for byte in body:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")
