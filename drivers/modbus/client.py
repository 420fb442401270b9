"""Modbus client: send requests and match their responses, over any framing.

A response belongs to a request by its transaction id, unit and function code. A response without a pending request
(late, duplicate, foreign, or with id 0) is dropped and counted.

RTU and ASCII have no transaction ids: their responses are matched by the order of requests (`pending_requests`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from secrets import randbelow
from typing import TYPE_CHECKING, Protocol, cast
from weakref import WeakKeyDictionary

from drivers.base import NotConnected
from drivers.modbus.connection import BAUD, Transport
from drivers.modbus.framing import PDU_AT, Ascii, LostSync, Mbap, MbapAnyTransaction, MbapDatagram, MbapInNoise, Rtu
from drivers.modbus.listener import Listener
from drivers.modbus.pdu import (
    EXCEPTION,
    PATH_UNAVAILABLE,
    REPEATED,
    TARGET_SILENT,
    ExceptionResponse,
    InvalidResponse,
    ResponseTimeout,
    answers_request,
)
from drivers.modbus.pending_requests import PendingRequests
from drivers.modbus.transport import TransportProtocol, open_transport
from drivers.timer_grid import clock_of, on_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.framing import Frame, Framing
    from drivers.modbus.transport import AnyTransport

SILENT_MAX = 3
"""Consecutive requests without a response after which the connection counts as dead, whatever TCP reports."""

_FRAMINGS: dict[Transport, type[Framing]] = {
    Transport.UDP: MbapDatagram,
    Transport.RTU: Rtu,
    Transport.RTU_TCP: Rtu,
    Transport.ASCII: Ascii,
    Transport.LISTEN: MbapInNoise,
}

_GAP_BITS, _GAP_MIN = 3.5 * 11, 0.00175
"""The silence before an RTU frame: 3.5 characters, 1.75 ms at fast rates (Serial Line V1.02, clause 2.5.1.1)."""


DEADLINES_APART = 0.25
"""Seconds by which a time-out of four times as long, or longer, may be late; shorter time-outs are exact."""

LATE = 10.0
"""Seconds after which a missing response is no longer expected."""


def framing_of(connection: ModbusConnection) -> Framing:
    """Return the framing of a new connection."""
    if connection.framing == "rtu":
        return Rtu()
    if connection.any_transaction:
        return MbapAnyTransaction()
    if connection.surplus and connection.transport in {Transport.TCP, Transport.TLS}:
        return MbapInNoise()  # the length in the header may not count the surplus
    return _FRAMINGS.get(connection.transport, Mbap)()


class _Answer(Protocol):
    """Takes the response to a request, or its error: a future, or a `PreparedRequest`."""

    def done(self) -> bool: ...

    def set_result(self, result: bytes, /) -> None: ...

    def set_exception(self, exception: Exception, /) -> None: ...


@dataclass(slots=True)
class _Waiting:
    """A pending request."""

    unit: int
    pdu: bytes
    answer: _Answer


class PreparedRequest:
    """A request that is sent repeatedly without a task, see `ModbusClient.submit`; it takes its responses itself.

    `tail` is the frame of Modbus TCP without its transaction id. `deadline` and `sent` are times of the event loop.
    """

    __slots__ = ("answer", "call", "client", "deadline", "finished", "pdu", "sent", "tail", "transaction", "unit")

    def __init__(
        self, client: ModbusClient, unit: int, pdu: bytes, done: Callable[[bytes | Exception], None]
    ) -> None:
        self.unit = unit
        self.pdu = pdu
        self.tail = Mbap().pack(0, unit, pdu)[2:]
        self.answer = self  # as in `_Waiting`
        self.transaction = 0
        self.sent = self.deadline = 0.0
        self.client = client
        self.call = done
        self.finished = True

    def done(self) -> bool:
        """Return True after the response or an error."""
        return self.finished

    def set_result(self, result: bytes) -> None:
        """Take the function code of a response with its data."""
        try:
            answer: bytes | Exception = self.client.checked(self.pdu, result)
        except (ExceptionResponse, InvalidResponse) as error:
            answer = error
        self.end(answer)

    def set_exception(self, exception: Exception) -> None:
        """Take an error in place of a response."""
        self.end(exception)

    def end(self, answer: bytes | Exception) -> None:
        """Take the data of a response without the function code, or an error."""
        self.finished = True
        self.client.ended(self)
        self.call(answer)


class _DeadlineWatch:
    """Checks the deadlines of requests without a task for all connections of an event loop, with one timer.

    `waiting` are these requests, oldest first; the next check is `due`. Call `check_at` after a request was added
    whose deadline is more than `DEADLINES_APART` before that: most requests are answered long before any check.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.waiting: dict[PreparedRequest, None] = {}
        self.due = math.inf

    def check_at(self, deadline: float) -> None:
        """Check all deadlines within `DEADLINES_APART` after one of them."""
        if self._timer is not None:
            self._timer.cancel()
        self.due = on_grid(deadline, DEADLINES_APART)
        self._timer = self._loop.call_at(self.due, self._check)

    def _check(self) -> None:
        self._timer, self.due = None, math.inf
        now = self._loop.time()
        for request in [request for request in self.waiting if request.deadline <= now]:
            if request in self.waiting:  # if this closes the connection, it ends others
                request.client.timed_out(request)
        if self.waiting:
            first = min(request.deadline for request in self.waiting)
            if self.due - first > DEADLINES_APART:
                self.check_at(first)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _DeadlineWatch] = WeakKeyDictionary()


def _watch_of(loop: asyncio.AbstractEventLoop) -> _DeadlineWatch:
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _DeadlineWatch(loop)
    return watch


class _Slots:
    """The requests that may be in flight at once. Others start in the order in which they came."""

    __slots__ = ("free", "queue")

    def __init__(self, count: int) -> None:
        self.free = count
        self.queue: list[Callable[[], None]] = []  # short, and most often empty

    def wait(self, start: Callable[[], None]) -> None:
        """Call `start` with a slot when one is free; it must not raise. Call `give_back` once it has ended."""
        self.queue.append(start)

    def give_back(self) -> None:
        """Give a slot to the next request."""
        if self.queue:
            self.queue.pop(0)()
        else:
            self.free += 1

    async def __aenter__(self) -> None:
        if self.free:
            self.free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            if granted.done():  # cancelled meanwhile
                self.give_back()
            else:
                granted.set_result(None)

        self.queue.append(grant)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():
                self.give_back()
            raise

    async def __aexit__(self, *error: object) -> None:
        self.give_back()


class ModbusClient:
    """One connection to one device or gateway. It neither retries nor reconnects.

    Counters over all connections: `requests` sent, `timeouts`, `refused` (exception responses), `connections` opened,
    and `discarded` responses without a pending request.
    """

    __slots__ = (
        "_alarm",
        "_connection",
        "_framing",
        "_gap",
        "_heard",
        "_last_heard",
        "_last_sent",
        "_last_unit",
        "_lost",
        "_mbap",
        "_overdue",
        "_paced",
        "_pending",
        "_protocol",
        "_silent",
        "_slots",
        "_taskless",
        "_time",
        "_transaction",
        "_transport",
        "_turn",
        "_units",
        "_waiting",
        "_watch",
        "_write",
        "connections",
        "discarded",
        "held",
        "held_reported",
        "listener",
        "refused",
        "requests",
        "timeouts",
    )

    def __init__(self, connection: ModbusConnection, units: AbstractSet[int] = frozenset()) -> None:
        """Prepare; `units` is a live set of the unit ids that are read over this connection."""
        self.requests = self.timeouts = self.refused = self.discarded = 0
        self.connections = 0
        self._units = units
        self._connection = connection
        self._framing: Framing = framing_of(connection)
        self._mbap = self._framing if type(self._framing) is Mbap else None  # whose frames name unit and request
        self.listener = (
            Listener(connection, self._make_protocol, units) if connection.transport is Transport.LISTEN else None
        )
        self._transport: AnyTransport | None = None
        self._slots = _Slots(connection.in_flight)
        self._alarm: asyncio.TimerHandle | None = None  # for short deadlines of requests without a task
        self._watch: _DeadlineWatch | None = None  # for other deadlines of such requests
        self._time = time.monotonic  # of the event loop while it is connected
        self._waiting: dict[int, _Waiting | PreparedRequest] = {}
        self._transaction = 0
        self.held: tuple[int, float] | None = None  # a silent unit, and for how many seconds its gateway was busy
        self.held_reported = False  # whether the gateway itself reported that (exceptions 10 and 11)
        self._overdue: dict[int, tuple[int, float]] = {}  # transaction -> unit and time of a request that timed out
        self._silent: Counter[int] = Counter()  # requests since the last answer, by unit
        # kept over connections: a new connection may reach the same serial line, which may still send old responses
        self._pending = None if self._framing.matched else PendingRequests(randbelow(0x10000))
        self._protocol: TransportProtocol | None = None
        self._gap = _silence(connection)
        self._paced = bool(connection.pause or connection.pause_between_units or self._gap)
        self._taskless = self._pending is None and not self._paced
        self._write: Callable[[bytes], None] = _nowhere
        self._last_sent = self._last_heard = 0.0
        self._last_unit = -1
        self._heard = True  # whether a frame came over the present or last connection
        self._turn = 0  # index of the address that is tried first
        self._lost = "not connected yet"

    def _make_protocol(self) -> TransportProtocol:
        if self._protocol is not None:
            self._protocol.disarm()  # late events of an earlier connection are ignored
        self._protocol = TransportProtocol(self._received, self._gone)
        return self._protocol

    async def connect(self) -> None:
        """Open the connection. Raises `NotConnected` or `Misconfigured`."""
        self.close()
        loop = asyncio.get_running_loop()
        self._time, self._watch = clock_of(loop), _watch_of(loop)
        self._silent.clear()
        self._turn = 0 if self._heard else self._turn + 1  # no frame came: start with the other address
        if self.listener is not None:
            self._transport = await self.listener.open()
        else:
            self._transport = await open_transport(self._connection, self._make_protocol, self._turn)
        if self._connection.transport is Transport.UDP:  # isinstance fails for asyncio's class
            self._write = cast("asyncio.DatagramTransport", self._transport).sendto
        else:
            self._write = cast("asyncio.Transport", self._transport).write
        self.connections += 1
        self._heard = False
        if self._connection.pause_after_connect:
            await asyncio.sleep(self._connection.pause_after_connect)

    def close(self) -> None:
        """Close the connection at once. A listener keeps its port until `end`."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._lost = "closed"
            transport.abort()
            self._fail_all(NotConnected(self._lost))
        self._framing.forget()

    def end(self) -> None:
        """Close everything."""
        self.close()
        if self.listener is not None:
            self.listener.close()

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as the client knows."""
        return self._transport is not None

    @property
    def noise(self) -> int:
        """Bytes received that belong to no frame."""
        return self._framing.discarded

    # -- sending --

    async def request(self, unit: int, pdu: bytes) -> bytes:
        """Send a function code with its data; return the data of the response without the function code.

        Raises `ExceptionResponse`, `ResponseTimeout`, `InvalidResponse`, or `NotConnected` if the connection is lost.
        """
        async with self._slots:
            if self._pending is not None and self._pending.ambiguous(unit, pdu, asyncio.get_running_loop().time()):
                await self._resynchronize(self._pending, unit, pdu)
            return await self._exchange(unit, pdu)

    def submit(self, request: PreparedRequest) -> bool:
        """Send a request without a task; return False if only `request` can send it. It must not be pending.

        Its function is called later, with the data of the response without the function code, or with the exception
        that `request` would raise.
        """
        if self._transport is None or not self._taskless:
            return False
        if self._slots.free:
            self._slots.free -= 1
            self._start(request)
        else:
            self._slots.wait(partial(self._start, request))
        return True

    def _start(self, request: PreparedRequest) -> None:
        if self._transport is None or self._watch is None:
            request.transaction = 0  # it has none
            asyncio.get_running_loop().call_soon(request.set_exception, NotConnected(self._lost))
            return
        transaction = self._transaction = self._transaction % 0xFFFF + 1
        if transaction in self._waiting:
            transaction = self._next_transaction()
        now, timeout = self._time(), self._connection.timeout
        self._waiting[transaction] = request
        request.transaction, request.finished = transaction, False
        request.sent = self._last_sent = now
        request.deadline = now + (self._patience(request.unit) if self._overdue else timeout)
        if timeout >= 4 * DEADLINES_APART:
            self._watch.waiting[request] = None
            if self._watch.due - request.deadline > DEADLINES_APART:
                self._watch.check_at(request.deadline)
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_at(request.deadline, self._ring)
        self.requests += 1
        self._last_unit = request.unit
        if self._mbap is not None:
            self._write(transaction.to_bytes(2) + request.tail)
        else:
            self._write(self._framing.pack(transaction, request.unit, request.pdu))

    def _ring(self) -> None:
        """Time out requests without a task whose short time-out is over."""
        self._alarm = None
        waiting = [one for one in self._waiting.values() if isinstance(one, PreparedRequest)]
        for request in waiting:
            if request.deadline <= self._time() and not request.finished:
                self.timed_out(request)
        deadlines = [request.deadline for request in waiting if not request.finished]
        if deadlines and self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_at(min(deadlines), self._ring)

    def timed_out(self, request: PreparedRequest) -> None:
        """End a request without a task whose deadline has passed."""
        self._waiting.pop(request.transaction, None)  # if this closes the connection, it has timed out before
        self._note_timeout(request.unit, request.transaction, request.sent)
        request.set_exception(ResponseTimeout(f"no answer within {request.deadline - request.sent:g} s"))

    def ended(self, request: PreparedRequest) -> None:
        """Forget a request that was sent without a task, and start the next."""
        self._waiting.pop(request.transaction, None)
        if self._watch is not None:
            self._watch.waiting.pop(request, None)
        if self._slots.queue:
            self._slots.give_back()
        else:
            self._slots.free += 1

    async def request_all(self, unit: int, pdus: Sequence[bytes]) -> list[bytes | Exception]:
        """Send requests, up to `in_flight` at once; return the response or the error of each."""
        return await asyncio.gather(*(self.request(unit, pdu) for pdu in pdus), return_exceptions=True)  # type: ignore[return-value] # cancelling is no result

    async def _pause_before_request(self, unit: int) -> None:
        ready = max(self._last_sent + self._connection.pause, self._last_heard + self._gap)
        if unit != self._last_unit:
            ready = max(ready, max(self._last_sent, self._last_heard) + self._connection.pause_between_units)
        wait = ready - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    async def _exchange(self, unit: int, pdu: bytes) -> bytes:
        await self._pause_before_request(unit)
        if self._transport is None:
            raise NotConnected(self._lost)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        transaction = self._transmit(_Waiting(unit, pdu, future))
        sent, patience = self._last_sent, self._patience(unit)
        alarm = loop.call_later(patience, _time_out, future, patience)
        try:
            answer = await future
        except ResponseTimeout:
            self._note_timeout(unit, transaction, sent)
            raise
        finally:
            alarm.cancel()
            self._waiting.pop(transaction, None)
        return self.checked(pdu, answer)

    def _transmit(self, waiting: _Waiting) -> int:
        """Send a request; return its transaction id."""
        unit, pdu = waiting.unit, waiting.pdu
        transaction = self._next_transaction()
        self._waiting[transaction] = waiting
        now = asyncio.get_running_loop().time()
        if self._pending is not None:
            self._framing.forget()  # bytes received before the request do not belong to its response
            self._pending.sent(unit, transaction, pdu, now)
        self._write(self._framing.pack(transaction, unit, pdu))
        self.requests += 1
        self._last_sent = now
        self._last_unit = unit
        return transaction

    def _patience(self, unit: int) -> float:
        """Return the seconds to wait for the response to the last request."""
        return self._connection.timeout + (self._held_for(unit, self._last_sent) if self._overdue else 0.0)

    def _note_timeout(self, unit: int, transaction: int, sent: float) -> None:
        if all(other == unit for other, _ in self._overdue.values()):  # else the gateway may have been busy
            self._overdue[transaction] = unit, sent
        self._unanswered(unit)

    def checked(self, pdu: bytes, answer: bytes) -> bytes:
        """Return the data of a response without the function code; raise the error that it says or has."""
        if answer[0] & EXCEPTION:
            self.refused += 1
            raise ExceptionResponse(answer[1])
        if pdu[0] in REPEATED and not answers_request(answer, pdu):
            raise InvalidResponse(f"{answer.hex(' ')} came where {pdu.hex(' ')} should be repeated")
        if self._pending is not None and not answers_request(answer, pdu):
            raise InvalidResponse(f"{len(answer)} bytes came that answer another request than {pdu.hex(' ')}")
        return answer[1:]

    def _next_transaction(self) -> int:
        while True:
            self._transaction = self._transaction % 0xFFFF + 1  # never 0: some devices answer 0 to anything
            if self._transaction not in self._waiting:
                return self._transaction

    def _unanswered(self, unit: int) -> None:
        self.timeouts += 1
        self._silent[unit] += 1
        dead = self._silent.total() >= SILENT_MAX and self._units <= self._silent.keys()
        if dead and not self._connection.transport.serial:
            lost = f"{self._silent.total()} requests in a row were not answered"
            self.close()
            self._lost = lost

    def _held_for(self, unit: int, now: float) -> float:
        """Return the seconds for which a gateway may still be busy with timed-out requests of other units."""
        self._overdue = {key: one for key, one in self._overdue.items() if now - one[1] < LATE}
        if self.held is None:
            return 0.0
        ends = [sent + self.held[1] - now for other, sent in self._overdue.values() if other != unit]
        return max([0.0, *ends])

    async def _resynchronize(self, pending: PendingRequests, unit: int, pdu: bytes) -> None:
        """Wait until no earlier response can be mistaken for the response to this request.

        Raises `ResponseTimeout` if that stays uncertain.
        """
        probe = pending.probe(unit, pdu, asyncio.get_running_loop().time())
        try:
            await self._exchange(unit, probe)
        except ExceptionResponse:
            pass  # an exception response also proves that no earlier response is outstanding
        except ResponseTimeout:
            pending.probe_timed_out(unit, probe)
            raise

    # -- receiving --

    def _received(self, data: bytes) -> None:
        if self._mbap is not None and (found := self._mbap.single(data)) is not None:
            transaction, unit = found
            waiting = self._waiting.get(transaction)
            # most responses: whole, alone, of a read request that waits without a task
            if (
                type(waiting) is PreparedRequest
                and waiting.unit == unit
                and waiting.pdu[0] == data[PDU_AT] not in REPEATED
            ):
                self._heard = True
                if self._silent:
                    self._silent.clear()
                waiting.finished = True
                self.ended(waiting)
                waiting.call(data[PDU_AT + 1 :])
                return
        self._last_heard = self._time()
        try:
            for frame in self._framing.feed(data):
                self._answered(frame)
        except LostSync as error:
            self._gone(str(error))

    def _answered(self, frame: Frame) -> None:
        self._heard = True
        transaction = frame.transaction if self._pending is None else self._match(self._pending, frame)
        waiting = None if transaction is None else self._waiting.get(transaction)
        if waiting is None or waiting.answer.done():
            self.discarded += 1
            if transaction is not None and (overdue := self._overdue.pop(transaction, None)) is not None:
                self._note_held(frame, *overdue)
            return
        self._silent.clear()
        if (waiting.unit, waiting.pdu[0]) != (frame.unit, frame.pdu[0] & ~EXCEPTION):
            if self._connection.any_unit and waiting.pdu[0] == frame.pdu[0] & ~EXCEPTION:
                waiting.answer.set_result(frame.pdu)
                return
            mismatch = f"unit {frame.unit}, function {frame.pdu[0]} answered for {waiting.unit}, {waiting.pdu[0]}"
            waiting.answer.set_exception(InvalidResponse(mismatch))
        else:
            waiting.answer.set_result(frame.pdu)

    def _match(self, pending: PendingRequests, frame: Frame) -> int | None:
        """Return the transaction of the request that a response without a transaction id belongs to."""
        unit = frame.unit
        if self._connection.any_unit and self._waiting:
            unit = next(iter(self._waiting.values())).unit  # only one request is in flight
        return pending.match(unit, frame.pdu)

    def _note_held(self, frame: Frame, unit: int, sent: float) -> None:
        """Note for how long a gateway was busy with a unit; a report of the gateway itself takes precedence."""
        reported = bool(frame.pdu[0] & EXCEPTION) and frame.pdu[1] in {PATH_UNAVAILABLE, TARGET_SILENT}
        if reported or self.held is None or self.held[0] == unit:
            self.held = unit, min(self._last_heard - sent, LATE)
            self.held_reported = reported

    def _gone(self, reason: str) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            self._lost = reason
            transport.abort()
        self._fail_all(NotConnected(self._lost))

    def _fail_all(self, error: NotConnected) -> None:
        for waiting in list(self._waiting.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(error)


def _nowhere(_: bytes) -> None:
    """Send a frame before a connection is open."""


def _silence(connection: ModbusConnection) -> float:
    """Return the seconds of silence before a frame."""
    if connection.transport is not Transport.RTU:
        return 0.0
    return max(_GAP_BITS / (connection.baud or BAUD), _GAP_MIN)


def _time_out(answer: asyncio.Future[bytes], seconds: float) -> None:
    if not answer.done():
        answer.set_exception(ResponseTimeout(f"no answer within {seconds:g} s"))
