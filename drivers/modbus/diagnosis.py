"""Diagnose a device from its messages: its unexpected responses, and the option to write.

`WireRecord` collects the facts, `WireRecord.diagnose` states them. Only `lineside check` uses it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.modbus.connection import Transport
from drivers.modbus.framing import crc, rtu_size
from drivers.modbus.observed_client import BY_US
from drivers.modbus.pdu import (
    ACKNOWLEDGE,
    BUSY,
    EXCEPTION,
    EXCEPTIONS,
    PATH_UNAVAILABLE,
    TARGET_SILENT,
    answers_request,
    read_request,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.modbus.address import Table
    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.framing import Frame

KEPT = 200
"""Requests that are kept: enough for a diagnosis, and bounded."""

SHOWN = 16
"""Unexpected bytes that a message shows."""

SOON = 0.05
"""Seconds after a response in which a device may not be ready for the next request."""

PAUSE = 0.005
"""Seconds of the shortest pause that counts as a need of a device; less may be chance."""

OFTEN = 2
"""Occurrences after which an odd response is the habit of a device and not an accident."""

_OTHER_PROTOCOLS = (
    (b"HTTP/", "an HTTP server answers: this is the port of its web page; Modbus is usually at port 502"),
    (b"SSH-", "an SSH server answers: Modbus is usually at port 502"),
    (b"\x15\x03", "it answers as TLS does: write modbus+tls://"),
    (b"\x16\x03", "it answers as TLS does: write modbus+tls://"),
    (b"ACKF", "an OPC UA server answers: write opc.tcp:// and protocol: opcua"),
    (b"ERRF", "an OPC UA server answers: write opc.tcp:// and protocol: opcua"),
    (b"\x03\x00\x00", "an ISO-on-TCP (S7) server answers: its Modbus server has another port, usually 502"),
    (b"220 ", "an FTP or mail server answers: Modbus is usually at port 502"),
    (b"\xff\xfb", "a Telnet server answers: Modbus is usually at port 502"),
    (b"\xff\xfd", "a Telnet server answers: Modbus is usually at port 502"),
)
"""First bytes of an answer of another protocol, and the instruction."""


@dataclass(slots=True)
class _Request:
    """One request, and the seconds until its response came, if one came.

    `after` are the seconds since the last received bytes; less than 0 for the first request of a connection.
    """

    at: float
    transaction: int
    unit: int
    pdu: bytes
    after: float
    answered: float | None = None


@dataclass(slots=True)
class _UnitRecord:
    """The responses of one unit. Counters are by the odd property of a response."""

    sent: int = 0
    right: int = 0
    other_units: Counter[int] = field(default_factory=Counter)
    other_transactions: Counter[int] = field(default_factory=Counter)
    exceptions: Counter[int] = field(default_factory=Counter)
    slowest_exception: dict[int, float] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    surplus: int = 0  # the most bytes that were sent beyond the requested
    doubled: set[tuple[Table, int, int]] = field(default_factory=set)  # reads with twice the bytes
    wrong: set[tuple[Table, int, int]] = field(default_factory=set)  # reads with other bytes than requested
    wrong_count: int = 0
    answered: dict[Table, set[int]] = field(default_factory=dict)  # entries that were read
    largest: dict[Table, int] = field(default_factory=dict)  # entries of the largest read that was answered
    failed: set[tuple[Table, int, int]] = field(default_factory=set)  # reads that were refused
    busy: int = 0

    @property
    def silent_target(self) -> bool:
        """Whether a gateway reports that the unit does not answer it."""
        return bool(self.exceptions.keys() & {PATH_UNAVAILABLE, TARGET_SILENT}) and not self.right


class WireRecord:
    """The record of a connection over a check; implements `WireObserver`."""

    def __init__(self, connection: ModbusConnection) -> None:
        self._connection = connection
        self._units: dict[int, _UnitRecord] = {}
        self._requests: list[_Request] = []
        self._stray = bytearray()  # received bytes that belong to no response
        self._strays = 0
        self._responses = 0
        self._closes: Counter[str] = Counter()
        self._asked = self._heard = False  # on the present connection
        self._first = True  # whether the next request is the first of its connection
        self._last_heard = 0.0
        self._arrival = asyncio.Event()

    async def wait_for_late(self, unit: int, seconds: float) -> None:
        """Wait until the last request to a unit is answered, at most so long."""
        last = next((one for one in reversed(self._requests) if one.unit == unit), None)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while last is not None and last.answered is None:
                    self._arrival.clear()
                    await self._arrival.wait()

    def _unit(self, number: int) -> _UnitRecord:
        return self._units.setdefault(number, _UnitRecord())

    # -- observing --

    def opened(self, where: str) -> None:
        del where
        self._asked = self._heard = False
        self._first = True

    def sent(self, transaction: int, unit: int, pdu: bytes, frame: bytes) -> None:
        del frame
        self._asked = True
        self._unit(unit).sent += 1
        now = _now()
        after = -1.0 if self._first else now - self._last_heard
        self._first = False
        self._requests.append(_Request(now, transaction, unit, pdu, after))
        del self._requests[:-KEPT]

    def received(self, data: bytes, frames: Sequence[Frame]) -> None:
        self._heard = True
        self._last_heard = _now()
        self._responses += len(frames)
        if not frames:
            self._strays += 1
            self._stray += data[: 64 - len(self._stray)]
        for frame in frames:
            self._note(frame)
        self._arrival.set()

    def closed(self, reason: str) -> None:
        if reason != BY_US and not self._heard:
            self._closes["asked" if self._asked else "connected"] += 1

    def _note(self, frame: Frame) -> None:
        request = self._request_of(frame)
        if request is None:
            return
        record = self._unit(request.unit)
        if frame.unit != request.unit:
            record.other_units[frame.unit] += 1
            return
        if frame.transaction is not None and frame.transaction != request.transaction:
            record.other_transactions[frame.transaction] += 1
            return
        took = request.answered = _now() - request.at
        if took > self._connection.timeout:
            record.late.append(took)
        if frame.pdu[0] & EXCEPTION:
            code = frame.pdu[1]
            record.exceptions[code] += 1
            record.busy += code in {ACKNOWLEDGE, BUSY}
            if code not in {ACKNOWLEDGE, BUSY} and (read := read_request(request.pdu)) is not None:
                record.failed.add(read)
            record.slowest_exception[code] = max(took, record.slowest_exception.get(code, 0.0))
            return
        record.right += 1
        self._note_size(record, request, frame)

    def _request_of(self, frame: Frame) -> _Request | None:
        """Return the request that a response belongs to, by its transaction, else by its function and unit."""
        pending = [one for one in self._requests if one.answered is None]
        for one in pending:
            if frame.transaction == one.transaction and one.pdu[0] == frame.pdu[0] & ~EXCEPTION:
                return one
        known = {one.transaction for one in self._requests}
        if frame.transaction in known:
            return None  # a duplicate
        for one in reversed(pending):
            if one.unit == frame.unit and answers_request(frame.pdu, one.pdu):
                return one
        same = [one for one in pending if one.pdu[0] == frame.pdu[0] & ~EXCEPTION]
        return same[-1] if same else None

    def _note_size(self, record: _UnitRecord, request: _Request, frame: Frame) -> None:
        read = read_request(request.pdu)
        if read is None or len(frame.pdu) < 2:  # noqa: PLR2004 - function code and byte count
            return
        table, first, count = read
        expected = (count + 7) // 8 if table.bits else 2 * count
        came = min(frame.pdu[1], len(frame.pdu) - 2)
        surplus = len(frame.pdu) - 2 - expected
        if came == expected and surplus == 0:
            record.answered.setdefault(table, set()).update(range(first, first + count))
            record.largest[table] = max(count, record.largest.get(table, 0))
            return
        record.wrong.add(read)
        record.wrong_count += 1
        if came < expected:
            return  # the driver itself warns of it
        if came == 2 * expected and not table.bits:
            record.doubled.add(read)
        else:
            record.surplus = max(record.surplus, surplus)

    # -- stating --

    def diagnose(self, unit: int) -> list[str]:
        """Return instructions about one unit, the most important first; empty if its responses are as expected."""
        record = self._unit(unit)
        found = [
            *self._identity(unit, record),
            *self._times(unit, record),
            *self._pauses(unit),
            *self._sizes(unit, record),
        ]
        if not found and not record.right and not record.exceptions:
            found += self._connection_habits()
        return found

    def _identity(self, unit: int, record: _UnitRecord) -> Iterator[str]:
        if record.other_units and record.other_units.total() >= record.right:
            other, count = record.other_units.most_common(1)[0]
            yield (
                f"unit {other} answered {count} of {record.sent} requests to unit {unit}: write unit={other}; if the "
                f"device gives this number for every unit, write any_unit=true"
            )
        if record.other_transactions and record.other_transactions.total() >= OFTEN:
            number, count = record.other_transactions.most_common(1)[0]
            yield (
                f"responses come with the wrong transaction id ({number} in {count} of {record.sent}): write "
                f"any_transaction=true"
            )

    def _times(self, unit: int, record: _UnitRecord) -> Iterator[str]:
        dead = [other for other, one in self._units.items() if other != unit and one.silent_target]
        if record.late and dead:
            yield (
                f"responses came up to {max(record.late):.1f} s after their requests, since the gateway waits for "
                f"unit {dead[0]}, which does not answer it: shorten the time-out of the gateway, or remove the unit"
            )
        elif record.late and not record.silent_target:
            longest = max(record.late)
            yield (
                f"responses came after the timeout of {self._connection.timeout:g} s, up to {longest:.1f} s after "
                f"their request: write timeout={_rounded_up(1.5 * longest):g}"
            )
        for code in (PATH_UNAVAILABLE, TARGET_SILENT):
            if record.exceptions[code] and record.silent_target:
                after = record.slowest_exception[code]
                yield (
                    f"a gateway answers in place of unit {unit}, after {after:.1f} s: exception {code} "
                    f"{EXCEPTIONS[code]}. Look at the power, wiring, speed and unit id of the device behind it"
                )
                return
        others = record.exceptions.keys() - {PATH_UNAVAILABLE, TARGET_SILENT}
        if others and not record.right and record.exceptions.total() >= record.sent // 2:
            code, count = record.exceptions.most_common(1)[0]
            yield (
                f"unit {unit} answers, and refuses {count} of {record.sent} requests with exception {code} "
                f"{EXCEPTIONS.get(code, 'unknown')}"
            )

    def _pauses(self, unit: int) -> Iterator[str]:
        """Yield the pauses that a device needs, since only requests that come too soon are not answered."""
        requests = [one for one in self._requests if one.unit == unit]
        ignored = [one for one in requests if 0 <= one.after < SOON and one.answered is None]
        served = [one for one in requests if one.after >= 0 and one.answered is not None]
        first = [one for one in requests if one.after < 0]
        answered = {one.pdu for one in requests if one.answered is not None}
        # the pause that the device needs is between the two; a busy computer sends some requests that much later
        soonest = min((one.after for one in served), default=0.0)
        apart = soonest >= PAUSE and all(one.after < soonest for one in ignored)
        if len(ignored) >= OFTEN and apart and {one.pdu for one in ignored} & {one.pdu for one in served}:
            yield "requests that follow a response at once are not answered, later requests are: write pause=100ms"
        elif first and all(one.answered is None for one in first) and {one.pdu for one in first} <= answered:
            yield (
                "the first request after connecting is not answered, the same request is later: write "
                "pause_after_connect=500ms"
            )

    def _sizes(self, unit: int, record: _UnitRecord) -> Iterator[str]:
        silent = {read for one in self._requests if one.unit == unit and one.answered is None
                  if (read := read_request(one.pdu)) is not None}  # fmt: skip
        for table, largest in record.largest.items():
            # entries that are answered in smaller reads are not the cause of a failure: the size is
            larger = [
                count
                for other, first, count in record.failed | silent
                if other is table and set(range(first, first + count)) <= record.answered[table]
            ]
            if larger and min(larger) > largest:
                option = "max_bits" if table.bits else "max_registers"
                yield (
                    f"reads of {min(larger)} and more entries of table {table} fail, reads of up to {largest} are "
                    f"answered: write {option}={largest}"
                )
        if record.busy and record.busy >= record.sent // 10:
            yield (
                f"the unit was busy at {record.busy} of {record.sent} requests: write retries=3, and "
                "busy_pause=200ms for more time between them"
            )
        if record.doubled and record.doubled == record.wrong:
            tables = dict.fromkeys(table for table, _, _ in record.doubled)
            spans = ", ".join(_span_text(table, record.doubled) for table in tables)
            yield f"these registers have 32 bits each, not 16: write wide: [{spans}]"
        elif record.surplus and record.wrong_count >= OFTEN:
            yield f"responses have up to {record.surplus} bytes more than were requested: write surplus=true"

    def _connection_habits(self) -> Iterator[str]:
        if self._strays and not self._responses:
            yield self._stray_text()
        elif self._closes["connected"]:
            yield (
                "the device accepts the connection and closes it at once: it may serve a single client, and have one "
                "already, or accept only certain addresses"
            )
        elif self._closes["asked"]:
            yield (
                "the device accepts the connection and closes it at the first request: it may have another client "
                "already, not know this unit id, or expect TLS (modbus+tls://) or RTU frames (modbus+rtutcp://)"
            )

    def _stray_text(self) -> str:
        data = bytes(self._stray)
        shown = data[:SHOWN].hex(" ").upper()
        for start, text in _OTHER_PROTOCOLS:
            if data.startswith(start):
                return f"{text} (it sent {shown})"
        transport = self._connection.transport
        if transport.serial:
            return (
                f"bytes came that are not a frame ({shown}): look at baud, parity and stop bits, for two devices "
                "with one unit id, and at the wires A and B"
            )
        if transport is Transport.RTU_TCP and _is_mbap(data):
            return f"it answers with Modbus TCP frames ({shown}): write modbus+tcp://"
        if transport is not Transport.RTU_TCP and _is_rtu(data):
            return f"it answers with RTU frames ({shown}): write modbus+rtutcp://"
        return f"bytes came that are not Modbus ({shown}): is this the address and port of the device?"


def _span_text(table: Table, reads: set[tuple[Table, int, int]]) -> str:
    """Return the entries from the first to the last of reads of a table, as options have them."""
    spans = [(first, first + count - 1) for other, first, count in reads if other is table]
    return f"{table} {min(first for first, _ in spans)}..{max(last for _, last in spans)}"


def _is_mbap(data: bytes) -> bool:
    return len(data) > 7 and data[2:4] == b"\0\0" and int.from_bytes(data[4:6], "big") == len(data) - 6  # noqa: PLR2004 - header and function code


def _is_rtu(data: bytes) -> bool:
    size = rtu_size(data)
    return bool(size) and len(data) >= (size or 0) and crc(data[: (size or 0) - 2]) == data[(size or 0) - 2 : size]


def _rounded_up(seconds: float) -> float:
    return max(0.5, -(-seconds // 0.5) * 0.5)


def _now() -> float:
    return asyncio.get_running_loop().time()
