"""Requests and responses without framing: function codes, exceptions, writes (clauses 6 and 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.modbus.address import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READ = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
"""Function code by table (clauses 6.1 to 6.4)."""

TABLES = {function: table for table, function in READ.items()}
"""Table by function code."""

EXCEPTION = 0x80
"""Bit of the function code that marks an exception response (clause 7)."""

_BITS, _REGISTERS = {1, 2}, {3, 4, 23}
REPEATED = {5: 5, 6: 5, 8: 5, 15: 5, 16: 5, 22: 7}
"""Bytes of a request that its response repeats, function code included (clauses 6.5 to 6.16)."""

_READ_SIZE = 5  # bytes of a read request: function code, first entry, count

MAX_BITS = 2000
"""The most bits in one read (clause 6.1)."""

MOST_FILE_REGISTERS = 121
"""The most registers of a file in one response (clause 6.14)."""

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE = 1, 2, 3, 4
ACKNOWLEDGE, BUSY = 5, 6
MEMORY_PARITY, PATH_UNAVAILABLE, TARGET_SILENT = 8, 10, 11

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}
"""Exception codes by their names in clause 7."""


class ExceptionResponse(Exception):
    """The device answered with an exception code (clause 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code} {EXCEPTIONS.get(code, 'unknown')}")
        self.code = code


class ResponseTimeout(Exception):
    """No response came within the time-out."""


class InvalidResponse(Exception):
    """A response does not fit its request. `came` is the number of bytes that came in place of a table's entries."""

    def __init__(self, message: str, came: int = 0) -> None:
        super().__init__(message)
        self.came = came


def read(table: Table, first: int, count: int) -> bytes:
    """Return a request to read entries of a table."""
    return bytes((READ[table],)) + _words(first, count)


def read_request(pdu: bytes) -> tuple[Table, int, int] | None:
    """Return table, first entry and count of a request of `read`, None for another request."""
    table = TABLES.get(pdu[0])
    if table is None or len(pdu) < _READ_SIZE:
        return None
    return table, _word(pdu, 1), _word(pdu, 3)


def read_answer(data: bytes, size: int) -> bytes:
    """Return the payload of a read response, which must have `size` bytes. Raises `InvalidResponse`."""
    if len(data) != size + 1 or data[0] != size:
        raise InvalidResponse(f"{max(0, len(data) - 1)} bytes came where {size} belong", max(0, len(data) - 1))
    return data[1:]


def read_surplus_answer(data: bytes, size: int) -> bytes:
    """Return the first `size` bytes of a read response. Raises `InvalidResponse` if it has fewer."""
    if len(data) <= size or data[0] < size:
        return read_answer(data, size)
    return data[1 : size + 1]


def write_coil(entry: int, *, on: bool) -> bytes:
    """Return a request to write one coil (function 5)."""
    return b"\x05" + _words(entry, 0xFF00 if on else 0)


def write_register(entry: int, word: int) -> bytes:
    """Return a request to write one holding register (function 6)."""
    return b"\x06" + _words(entry, word)


def write_coils(first: int, states: Sequence[bool]) -> bytes:
    """Return a request to write coils (function 15)."""
    packed = sum(state << i for i, state in enumerate(states)).to_bytes((len(states) + 7) // 8, "little")
    return b"\x0f" + _words(first, len(states)) + bytes((len(packed),)) + packed


def write_registers(first: int, words: Sequence[int]) -> bytes:
    """Return a request to write holding registers (function 16)."""
    return b"\x10" + _words(first, len(words)) + bytes((2 * len(words),)) + _words(*words)


def mask_register(entry: int, keep: int, put: int) -> bytes:
    """Return a request that makes a register `(register AND keep) OR (put AND NOT keep)` (function 22)."""
    return b"\x16" + _words(entry, keep, put)


def read_write_registers(first: int, count: int, at: int, words: Sequence[int]) -> bytes:
    """Return a request to write holding registers and then read others (function 23)."""
    return b"\x17" + _words(first, count, at, len(words)) + bytes((2 * len(words),)) + _words(*words)


def echo(token: int) -> bytes:
    """Return a request to send a number back (function 8, sub-function 0)."""
    return b"\x08" + _words(0, token)


def similar_reads(pdu: bytes) -> Iterator[bytes]:
    """Yield reads from the same first entry whose responses have other lengths."""
    if pdu[0] in TABLES:
        step = 8 if pdu[0] in _BITS else 1  # so that the lengths of their responses differ
        yield from (pdu[:3] + _words(count) for count in range(1, 16 * step, step))


def response_prefix(pdu: bytes) -> bytes:
    """Return the known first bytes of the response to a request: at least enough to know its length."""
    function = pdu[0]
    if function in _BITS:
        return bytes((function, (_word(pdu, 3) + 7) // 8 & 0xFF))
    if function in _REGISTERS:
        return bytes((function, 2 * _word(pdu, 3) & 0xFF))
    if function in REPEATED:
        return pdu[: REPEATED[function]]
    return pdu[:1]


def answers_request(answer: bytes, pdu: bytes) -> bool:
    """Return True if function code, length and repeated fields of a response fit a request."""
    return answer.startswith(response_prefix(pdu)) or answer[0] == pdu[0] | EXCEPTION


def read_file(file: int, record: int, count: int) -> bytes:
    """Return a request to read registers of a file (function 20, one group; clause 6.14)."""
    return bytes((20, 7, 6)) + _words(file, record, count)


def file_answer(data: bytes, size: int) -> bytes:
    """Return the registers of a response to `read_file`, which must have `size` bytes. Raises `InvalidResponse`."""
    if len(data) != size + 3 or data[:3] != bytes((size + 2, size + 1, 6)):
        raise InvalidResponse(f"{max(0, len(data) - 3)} bytes of a file came where {size} belong")
    return data[3:]


def read_queue(pointer: int) -> bytes:
    """Return a request to read a FIFO queue, which stays as it is (function 24; clause 6.18)."""
    return bytes((24,)) + _words(pointer)


def queue_answer(data: bytes, size: int) -> bytes:
    """Return the count and the registers of a queue, at most `size` bytes. Raises `InvalidResponse`."""
    whole = len(data) >= 4 and _word(data, 0) == len(data) - 2 <= size  # noqa: PLR2004 - two counts
    if not whole or len(data) != 4 + 2 * _word(data, 2):
        raise InvalidResponse(f"{len(data)} bytes came that are not a queue of at most 31 registers")
    return data[2:]


def report_server_id() -> bytes:
    """Return a request for the server id (function 17; clause 6.13)."""
    return bytes((17,))


def server_id_answer(data: bytes, size: int) -> bytes:
    """Return the bytes of a server id, at most `size`. Raises `InvalidResponse`."""
    if not data or data[0] != len(data) - 1 or data[0] > size:
        raise InvalidResponse(f"{len(data)} bytes came that are not a server id")
    return data[1:]


def identification_answer(data: bytes, size: int) -> bytes:
    """Return a response to `identify`, at most `size` bytes. Raises `InvalidResponse`."""
    if len(data) > size:
        raise InvalidResponse(f"{len(data)} bytes came that are not a device identification")
    return data


def identify(first: int = 0, category: int = 1) -> bytes:
    """Return a request for device identification (function 43, MEI type 14), starting at an object."""
    return bytes((43, 14, category, first))


def identification(data: bytes) -> tuple[dict[int, str], int | None]:
    """Return the objects of an identification response, and the next object id, if any. Raises `InvalidResponse`."""
    if len(data) < 6 or data[0] != 14:  # noqa: PLR2004 - clause 6.21
        raise InvalidResponse("no device identification")
    objects, at = {}, 6
    for _ in range(data[5]):
        if len(data) < at + 2 or len(data) < at + 2 + data[at + 1]:
            raise InvalidResponse("device identification is cut off")
        objects[data[at]] = data[at + 2 : at + 2 + data[at + 1]].decode("latin-1")
        at += 2 + data[at + 1]
    return objects, data[4] if data[3] == 0xFF else None  # noqa: PLR2004 - more follows


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _words(*words: int) -> bytes:
    return b"".join(word.to_bytes(2, "big") for word in words)
