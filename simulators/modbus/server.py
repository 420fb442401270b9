"""Modbus requests answered by simulated machines.

Frames and requests are decoded by pymodbus, so that a mistake in our own driver's codec is not repeated here. The
transports are asyncio's; see `endpoints`.
"""

from __future__ import annotations

import asyncio
import struct
from random import Random
from typing import TYPE_CHECKING, Any, cast

from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.framer import FRAMER_NAME_TO_CLASS, FramerType
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.file_message import (
    FileRecord,
    ReadFifoQueueRequest,
    ReadFifoQueueResponse,
    ReadFileRecordRequest,
    ReadFileRecordResponse,
)
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse
from pymodbus.pdu.other_message import ReportDeviceIdRequest, ReportDeviceIdResponse

from drivers.modbus.connection import Transport
from drivers.modbus.pdu import TABLES
from simulators.modbus.behaviours import Address, Behaviours, Closed, Reply, Response, of_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulators.machines.outputs import NetworkFaults
    from simulators.modbus.registers import Unit

_DECODER = DecodePDU(is_server=True)

FRAMERS = {
    Transport.RTU: FramerType.RTU,
    Transport.RTU_TCP: FramerType.RTU,
    Transport.ASCII: FramerType.ASCII,
}
"""Transport -> framing; all others use that of Modbus TCP."""

_GROUP = struct.Struct(">BHHH")
"""Reference type, file, first register and number of registers in a request for files (clause 6.14)."""

MAX_FRAME = 600
"""Bytes of the longest request in any framing; more bytes without a frame are noise."""

READ_REQUEST = 5
"""Bytes of a read request: function code, first entry, count."""


class _Tables:
    """The data store of pymodbus's requests: its `context`."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units

    async def async_getValues(  # noqa: N802 - pymodbus's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Answer a read."""
        if device_id not in self._units:
            raise NoSuchIdException(f"no unit {device_id}")
        table = TABLES[func_code]
        entries = self._units[device_id].read(table, address, count)
        if entries is None:
            return ExcCodes.ILLEGAL_ADDRESS
        return [bool(entry) for entry in entries] if table.bits else entries

    async def async_setValues(self, *_: object) -> ExcCodes:  # noqa: N802 - pymodbus's name
        """Refuse a write: simulated machines are read-only."""
        return ExcCodes.ILLEGAL_FUNCTION

    def device_ids(self) -> list[int]:
        """Return the units."""
        return list(self._units)


class RequestHandler:
    """Decodes requests and encodes answers."""

    def __init__(self, transport: Transport, units: Mapping[int, Unit], address: Address | None = None) -> None:
        """`address` is the state that all connections of an address share."""
        self._behaviours = Behaviours(address or Address())
        self._framer = FRAMER_NAME_TO_CLASS[FRAMERS.get(transport, FramerType.SOCKET)](_DECODER)
        self._units = units
        self._context: Any = _Tables(units)
        # a unit that is not on a serial line can't answer; on TCP a gateway answers in its place (clause 7)
        self._serial = transport.serial
        self._noise = Random(0)
        self._received = b""

    @property
    def address(self) -> Address:
        """The state of the address, over all its connections."""
        return self._behaviours.address

    def accepts(self, connections: int) -> bool:
        """Return True if the device accepts one more connection beside those that are open."""
        free_after = of_address(self._units.values(), "one_connection")
        if free_after is None:
            return True
        now = asyncio.get_running_loop().time()
        return connections == 0 and now - self.address.freed_at >= free_after

    def idle_seconds(self) -> float | None:
        """Return the seconds after which the device closes a connection without requests, None if it does not."""
        return of_address(self._units.values(), "idle_close")

    def feed(self, data: bytes) -> list[Reply]:
        """Return the answers to the received bytes."""
        self._received += data
        answers: list[Reply] = []
        while self._received:
            size, unit, transaction, frame = self._framer.decode(self._received)
            self._received = self._received[size:]
            if not size or not frame:
                break
            faults = self._faults(unit)
            if faults is not None and faults.silent:
                continue
            if faults is not None and faults.behaviours:
                answers += self._behaved(unit, transaction, frame, faults)
                continue
            answer = self._answer(unit, transaction, frame)
            if faults is not None and faults.garbage:
                answer = self._noise.randbytes(len(answer))
            if answer:
                waits = max(0.0, self._behaviours.address.busy_until - asyncio.get_running_loop().time())
                answers.append(Reply((faults.slow if faults is not None else 0.0) + waits, answer))
        if len(self._received) > MAX_FRAME:
            self._received = b""
        return answers

    def _behaved(self, unit: int, transaction: int, frame: bytes, faults: NetworkFaults) -> list[Reply]:
        """Return the answers of a device with a behaviour."""
        try:
            found = self._behaviours.before(self._units[unit], unit, transaction, frame)
        except Closed:
            return [Reply(0.0, b"", close=True)]
        if found is None:
            return []
        request, response = found
        if response is None:
            answer = self._response(unit, transaction, request)
            response = Response(unit, transaction, bytes((answer.function_code,)) + answer.encode())
        return self._behaviours.after(
            faults, response, lambda one: self._framer.encode(one.pdu, one.unit, one.transaction)
        )

    def _faults(self, unit: int) -> NetworkFaults | None:
        return self._units[unit].machines[0].network if unit in self._units else None

    def _answer(self, unit: int, transaction: int, frame: bytes) -> bytes:
        if unit not in self._units and self._serial:
            return b""
        return self._framer.buildFrame(self._response(unit, transaction, frame))

    def _response(self, unit: int, transaction: int, frame: bytes) -> ModbusPDU:
        is_file = frame[0] == ReadFileRecordRequest.function_code and unit in self._units
        request = None if is_file else _DECODER.decode(frame)
        if is_file:
            answer = file_answer(frame[1:], self._units[unit])
        elif request is None:
            known = _DECODER.lookupPduClass(bytes((unit,)) + frame) is not None
            code = ExcCodes.ILLEGAL_VALUE if known and len(frame) >= READ_REQUEST else ExcCodes.ILLEGAL_FUNCTION
            answer = ExceptionResponse(frame[0], code)
        else:
            request.dev_id, request.transaction_id = unit, transaction
            try:
                own = function_answer(request, self._units[unit]) if unit in self._units else None
                answer = own or _at_once(request.datastore_update(self._context, unit))
            except NoSuchIdException:
                answer = ExceptionResponse(request.function_code, ExcCodes.GATEWAY_NO_RESPONSE)
        answer.dev_id, answer.transaction_id = unit, transaction
        return answer


def function_answer(request: ModbusPDU, unit: Unit) -> ModbusPDU | None:
    """Return the answer to a request for data outside of the tables; None for other requests, and without such data.

    pymodbus decodes the request and encodes the answer; its own answers are examples.
    """
    if request.function_code in TABLES:
        return None
    unit.refresh()
    store = unit.function_data
    answer: ModbusPDU | None = None
    match request:
        case ReadFifoQueueRequest():
            queue = store.queue(request.address)
            answer = (
                ExceptionResponse(request.function_code, ExcCodes.ILLEGAL_ADDRESS)
                if queue is None
                else ReadFifoQueueResponse(queue)
            )
        case ReportDeviceIdRequest() if store.server_id:
            answer = ServerId(bytes(store.server_id))
        case ReadDeviceInformationRequest() if store.objects:
            last = {1: 2, 2: 0x7F}.get(request.read_code or 1, 0xFF)
            objects = {key: one for key, one in sorted(store.objects.items()) if request.object_id <= key <= last}
            answer = ReadDeviceInformationResponse(request.read_code, objects)
    return answer


def file_answer(data: bytes, unit: Unit) -> ModbusPDU:
    """Return the answer to a request for registers of files, given without its function code.

    pymodbus halves the number of registers when it decodes the request, and refuses an odd number.
    """
    unit.refresh()
    size, groups = data[0] if data else 0, data[1:]
    if not size or size % _GROUP.size or size != len(groups):
        return ExceptionResponse(ReadFileRecordRequest.function_code, ExcCodes.ILLEGAL_VALUE)
    found = [unit.function_data.file(*group[1:]) for group in _GROUP.iter_unpack(groups)]
    if None in found:
        return ExceptionResponse(ReadFileRecordRequest.function_code, ExcCodes.ILLEGAL_ADDRESS)
    return ReadFileRecordResponse([FileRecord(record_data=_to_bytes(registers or ())) for registers in found])


class ServerId(ReportDeviceIdResponse):
    """A server id whose bytes are all given; pymodbus appends a run indicator, which may be anywhere."""

    def encode(self) -> bytes:
        """Return the count and the bytes."""
        return bytes((len(self.identifier),)) + self.identifier


def _to_bytes(registers: Sequence[int]) -> bytes:
    return b"".join(register.to_bytes(2, "big") for register in registers)


def _at_once(coroutine: Any) -> ModbusPDU:  # noqa: ANN401 - a coroutine of pymodbus's
    """Return the result of a coroutine that never suspends: the tables are in memory."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast("ModbusPDU", done.value)
    raise RuntimeError("the request was suspended")


class StreamConnection(asyncio.Protocol):
    """One connection: TCP, TLS, or a serial line."""

    def __init__(
        self,
        handler: RequestHandler,
        connections: set[StreamConnection],
        is_stopped: Callable[[], bool],
        first: bytes = b"",
    ) -> None:
        """`first` is sent when the connection is made; over TLS the device may be stopped in the meantime."""
        self._first = first
        self._is_stopped = is_stopped
        self._handler = handler
        self._connections = connections
        self._idle: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._is_stopped() or not self._handler.accepts(len(self._connections)):
            self.transport.abort()
            return
        self._connections.add(self)
        if self._first:
            self.transport.write(self._first)
        self._watch_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self in self._connections:
            self._connections.discard(self)
            self._handler.address.freed_at = asyncio.get_running_loop().time()
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        for reply in self._handler.feed(data):
            if reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, self._send, reply)
            else:
                self._send(reply)
        self._watch_idle()

    def _watch_idle(self) -> None:
        """Close the connection later, unless another request comes."""
        if self._idle is not None:
            self._idle.cancel()
        seconds = self._handler.idle_seconds()
        self._idle = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    def _send(self, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        if reply.data:
            self.transport.write(reply.data)
        if reply.close:
            self.transport.close()


class DatagramEndpoint(asyncio.DatagramProtocol):
    """Modbus over UDP: each datagram is a request."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self._units = units
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        for reply in RequestHandler(Transport.UDP, self._units).feed(data):
            asyncio.get_running_loop().call_later(reply.delay, self._send, reply.data, addr)

    def _send(self, answer: bytes, address: tuple[Any, ...]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, address)
