"""Requests for data outside of the tables: files, FIFO queues, the server id and the device identification.

Registers of a file are merged as those of a table are. A queue and the server id are one request each, and so is each
object of an identification: a device sends as many of the objects that follow as fit.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivers.base import Reason, bad
from drivers.modbus import pdu
from drivers.modbus.address import ENTRIES, MOST_QUEUED, FunctionData
from drivers.modbus.codec import compile_registers
from drivers.modbus.raw_types import Raw
from drivers.modbus.values import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from drivers.base import Fault, Value
    from drivers.modbus.source import ModbusSource

    Decode = Callable[[bytes], list[Any]]
    """The payload of a response -> the values of its points, or their faults."""

MOST_BYTES = 252
"""The most bytes of a response behind the function code (clause 4.1)."""


@dataclass(frozen=True, slots=True)
class FunctionRequest:
    """A request for function data, with the fields of `drivers.modbus.plan.Request`."""

    first: int
    count: int
    decode: Decode
    pdu: bytes
    size: int
    unwrap: Callable[[bytes, int], bytes]


def blocks(points: Sequence[ModbusSource], most: int, gap: int, without: Collection[int] = ()) -> Iterator[list[int]]:
    """Yield the positions of the points of each request; a request for a file has at most `most` registers."""
    chosen = [
        i for i, point in enumerate(points) if isinstance(point.address.table, FunctionData) and i not in without
    ]
    chosen.sort(key=lambda i: (points[i].address, points[i].size))
    groups: dict[tuple[object, int], list[int]] = defaultdict(list)
    for i in chosen:
        table, offset = points[i].address
        same = {FunctionData.FIFO: offset // ENTRIES, FunctionData.SERVER_ID: 0, FunctionData.IDENTIFICATION: offset}
        groups[table, same.get(FunctionData(table), 0)].append(i)
    for (kind, _), group in groups.items():
        if kind is FunctionData.FILE:
            yield from _of_files(points, group, min(most, pdu.MOST_FILE_REGISTERS), gap)
        else:
            yield group


def _of_files(points: Sequence[ModbusSource], chosen: Sequence[int], most: int, gap: int) -> Iterator[list[int]]:
    block: list[int] = []
    first = end = 0
    for i in chosen:
        offset, size = points[i].address.offset, points[i].size
        another = offset // ENTRIES != first // ENTRIES
        if block and (another or offset - end > gap or offset + size - first > most):
            yield block
            block = []
        if not block:
            first = end = offset
        block.append(i)
        end = max(end, offset + size)
    if block:
        yield block


def function_request(points: Sequence[ModbusSource]) -> FunctionRequest:
    """Return the request that reads points of one block."""
    match points[0].address.table:
        case FunctionData.FILE:
            return _file_request(points)
        case FunctionData.FIFO:
            first = points[0].address.offset // ENTRIES * ENTRIES
            decode, size = _registers_of_queue(points, first), 2 * (1 + MOST_QUEUED)
            message = pdu.read_queue(first // ENTRIES)
            return FunctionRequest(first, 1 + MOST_QUEUED, decode, message, size, pdu.queue_answer)
        case FunctionData.SERVER_ID:
            reads = [_bytes_reader(point, point.address.offset, "the server id") for point in points]
            message = pdu.report_server_id()
            return FunctionRequest(0, 1, _all(reads), message, MOST_BYTES, pdu.server_id_answer)
        case _:
            return _identification_request(points)


def _file_request(points: Sequence[ModbusSource]) -> FunctionRequest:
    first = min(point.address.offset for point in points)
    count = max(point.address.offset + point.size for point in points) - first
    decode = compile_registers([(point.address.offset - first, point) for point in points])
    message = pdu.read_file(first // ENTRIES, first % ENTRIES, count)
    return FunctionRequest(first, count, decode, message, 2 * count, pdu.file_answer)


def _registers_of_queue(points: Sequence[ModbusSource], first: int) -> Decode:
    places = [2 * (point.address.offset - first) for point in points]
    decoders = [compile_registers([(0, point)]) for point in points]
    ends = [place + 2 * point.size for place, point in zip(places, points, strict=True)]

    def decode(payload: bytes) -> list[Any]:
        held = int.from_bytes(payload[:2], "big")
        short = bad(Reason.NOT_AVAILABLE, f"the queue holds {held}")
        return [
            decoder(payload[place:end])[0] if end <= len(payload) else short
            for decoder, place, end in zip(decoders, places, ends, strict=True)
        ]

    return decode


def _identification_request(points: Sequence[ModbusSource]) -> FunctionRequest:
    entry = points[0].address.offset
    category = 1 if entry < 3 else 2 if entry < 0x80 else 3  # noqa: PLR2004 - basic, regular, extended
    reads = [_bytes_reader(point, 0, "the object") for point in points]
    absent = bad(Reason.NOT_AVAILABLE, f"the device has no object {entry}")

    def decode(payload: bytes) -> list[Any]:
        objects, _ = pdu.identification(payload)
        if entry not in objects:
            return [absent] * len(reads)
        content = objects[entry].encode("latin-1")
        return [read(content) for read in reads]

    message = pdu.identify(entry, category)
    return FunctionRequest(entry, 1, decode, message, MOST_BYTES, pdu.identification_answer)


def _all(reads: Sequence[Callable[[bytes], Value | Fault]]) -> Decode:
    return lambda payload: [read(payload) for read in reads]


def _bytes_reader(point: ModbusSource, first: int, content: str) -> Callable[[bytes], Value | Fault]:
    """Return the reader of a point in bytes, from byte `first` on, up to its length if it has one."""
    end = None if point.length is None else first + 2 * point.length
    read = reader(point)

    def read_bytes(payload: bytes) -> Value | Fault:
        if first >= len(payload) > 0:
            return bad(Reason.NOT_AVAILABLE, f"{content} has {len(payload)} bytes")
        part = payload[first:end]
        match point.raw:
            case Raw.BOOL:
                return (part[:1] > b"\0") != point.invert
            case Raw.UINT8:
                return part[0] if part else bad(Reason.NOT_AVAILABLE, f"{content} is empty")
            case _:
                found: Value | Fault = part.hex() if read is None else read(part)
                return found

    return read_bytes
