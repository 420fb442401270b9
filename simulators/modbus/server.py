"""Machines served over Modbus. Frames and requests are pymodbus's, so that no mistake of our driver is met in kind.

The transports are asyncio's: TCP, TLS, UDP, a pseudo-terminal for a serial line, or dialling in to a gateway that
listens.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, cast

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.framer import FRAMER_NAME_TO_CLASS, FramerType
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU

from drivers.modbus.connection import Transport
from drivers.modbus.pdu import READ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulators.machines.outputs import Link
    from simulators.modbus.registers import Unit

_TABLES = {code: table for table, code in READ.items()}
_DECODER = DecodePDU(is_server=True)

FRAMERS = {
    Transport.RTU: FramerType.RTU,
    Transport.RTU_TCP: FramerType.RTU,
    Transport.ASCII: FramerType.ASCII,
}
"""How requests are framed; as in Modbus TCP where nothing else is said."""

LONGEST = 600
"""Bytes that a request may have in any framing; more without a frame in it is noise."""

READ_REQUEST = 5
"""Bytes of a request to read: function, first entry, count."""


class _Tables:
    """What pymodbus's requests ask for values: its `context`."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units

    async def async_getValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Answer a read."""
        if device_id not in self._units:
            raise NoSuchIdException(f"no unit {device_id}")
        table = _TABLES[func_code]
        entries = self._units[device_id].read(table, address, count)
        if entries is None:
            return ExcCodes.ILLEGAL_ADDRESS
        return [bool(entry) for entry in entries] if table.bits else entries

    async def async_setValues(self, *_: object) -> ExcCodes:  # noqa: N802 - pymodbus's name
        """Refuse a write: these machines are for reading."""
        return ExcCodes.ILLEGAL_FUNCTION

    def device_ids(self) -> list[int]:
        """Return the units."""
        return list(self._units)


class Answering:
    """Turns requests into answers: bytes in, answers out."""

    def __init__(self, transport: Transport, units: Mapping[int, Unit]) -> None:
        self._framer = FRAMER_NAME_TO_CLASS[FRAMERS.get(transport, FramerType.SOCKET)](_DECODER)
        self._units = units
        self._context: Any = _Tables(units)
        # a unit that is not on the line can't answer; a gateway says in its place that there is none (clause 7)
        self._on_a_line = transport.serial
        self._noise = Random(0)
        self._received = b""

    def feed(self, data: bytes) -> list[tuple[float, bytes]]:
        """Return the answers to what was received, each with the seconds by which it is late."""
        self._received += data
        answers = []
        while self._received:
            size, unit, transaction, frame = self._framer.decode(self._received)
            self._received = self._received[size:]
            if not size or not frame:
                break
            link = self._link(unit)
            if link is not None and link.silent:
                continue
            answer = self._answer(unit, transaction, frame)
            if link is not None and link.garbage:
                answer = self._noise.randbytes(len(answer))
            if answer:
                answers.append((link.slow if link is not None else 0.0, answer))
        if len(self._received) > LONGEST:
            self._received = b""
        return answers

    def _link(self, unit: int) -> Link | None:
        return self._units[unit].machines[0].link if unit in self._units else None

    def _answer(self, unit: int, transaction: int, frame: bytes) -> bytes:
        if unit not in self._units and self._on_a_line:
            return b""
        request = _DECODER.decode(frame)
        if request is None:
            known = _DECODER.lookupPduClass(bytes((unit,)) + frame) is not None
            code = ExcCodes.ILLEGAL_VALUE if known and len(frame) >= READ_REQUEST else ExcCodes.ILLEGAL_FUNCTION
            answer: ModbusPDU = ExceptionResponse(frame[0], code)
        else:
            request.dev_id, request.transaction_id = unit, transaction
            try:
                answer = _at_once(request.datastore_update(self._context, unit))
            except NoSuchIdException:
                answer = ExceptionResponse(request.function_code, ExcCodes.GATEWAY_NO_RESPONSE)
        answer.dev_id, answer.transaction_id = unit, transaction
        return self._framer.buildFrame(answer)


def _at_once(coroutine: Any) -> ModbusPDU:  # noqa: ANN401 - a coroutine of pymodbus's
    """Return what a coroutine returns that waits for nothing: our tables are in memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("ModbusPDU", done.value)
    raise RuntimeError("a request waits for something")


class Conversation(asyncio.Protocol):
    """One connection of a stream: TCP, TLS, or a serial line."""

    def __init__(self, answering: Answering, open_ones: set[Conversation]) -> None:
        self._answering = answering
        self._open = open_ones
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        for late, answer in self._answering.feed(data):
            if late:
                asyncio.get_running_loop().call_later(late, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


class Datagrams(asyncio.DatagramProtocol):
    """Modbus over UDP: each datagram is a request."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        for late, answer in Answering(Transport.UDP, self._units).feed(data):
            asyncio.get_running_loop().call_later(late, self._send, answer, addr)

    def _send(self, answer: bytes, address: tuple[Any, ...]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, address)
