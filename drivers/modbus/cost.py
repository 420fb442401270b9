"""The cost of a plan: requests, bytes, and expected seconds of a scan on its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.base import Cost
from drivers.modbus.address import ENTRIES, Address, FunctionData
from drivers.modbus.connection import Transport
from drivers.modbus.plan import Limits, apart, check_point, limits_of, plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drivers.modbus.connection import ModbusConnection
    from drivers.modbus.plan import Request
    from drivers.modbus.source import ModbusGroup, ModbusSource

ROUND_TRIP = 0.005
"""Assumed seconds of a request on a network: most devices answer within their own cycle of some milliseconds."""

GATEWAY_HOP = 0.002
"""Assumed seconds of a request and its answer between here and a gateway, beside the serial line behind it."""

TURNAROUND = 0.005
"""Assumed seconds before a device on a serial line answers."""

_TCP_FRAME, _RTU_FRAME = 8, 4  # bytes around a PDU's data: MBAP and function code; unit, function code and CRC
_REQUEST_DATA = 4  # first entry and count
_BITS_A_CHARACTER = 11  # start, 8 data, parity or second stop, stop (Serial Line V1.02, clause 2.5.1)
_SILENCE = 3.5  # characters between two frames (clause 2.5.1.1)


def cost_of(group: ModbusGroup) -> Cost:
    """Return the cost of one scan of a group."""
    connection = group.connection
    points = group.sources
    limits = limits_of(connection)
    requests = plan(points, limits).requests
    if registers := tuple(dict.fromkeys(apart(points, limits).values())):
        requests += 2 * plan(registers, limits).requests  # before and after the values
    size = sum(_bytes(connection, request) for request in requests)
    details = [_described(request) for request in requests]
    return Cost(len(requests), size, _seconds(connection, requests), details)


def _bytes(connection: ModbusConnection, request: Request) -> int:
    """Return the bytes of a request and its answer on the wire."""
    data = _REQUEST_DATA + 1 + request.size
    match connection.transport:
        case Transport.ASCII:
            # a colon, two digits per byte with unit, function code and LRC, and the line's end; both ways
            return 2 * (1 + 2 * 3 + 2) + 2 * data
        case Transport.RTU | Transport.RTU_TCP:
            return 2 * _RTU_FRAME + data
        case _:
            return 2 * _TCP_FRAME + data


def _line_bytes(connection: ModbusConnection, request: Request) -> int:
    """Return the bytes of a request and its answer on the serial line, which may be behind a gateway."""
    if connection.transport is Transport.ASCII:
        return _bytes(connection, request)
    return 2 * _RTU_FRAME + _REQUEST_DATA + 1 + request.size


def _seconds(connection: ModbusConnection, requests: Sequence[Request]) -> float:
    """Return the expected duration of a scan in seconds."""
    pauses = connection.pause * len(requests) + connection.pause_after_connect * connection.close_after_scan
    if (rate := connection.line_rate) is not None:
        character = _BITS_A_CHARACTER / rate
        bytes_ = sum(_line_bytes(connection, request) for request in requests)
        on_line = bytes_ * character + len(requests) * (2 * _SILENCE * character + TURNAROUND)
        hops = 0 if connection.transport.serial else len(requests) + connection.close_after_scan
        return pauses + on_line + hops * GATEWAY_HOP
    rounds = -(-len(requests) // connection.in_flight) + connection.close_after_scan
    return pauses + rounds * ROUND_TRIP


def _described(request: Request) -> str:
    if isinstance(request.table, FunctionData):
        return f"{_function_data(request)} for {len(request.positions)} points"
    last = request.first + request.count - 1
    unit = "bits" if request.table.bits else "registers"
    return f"{request.table} {request.first}..{last}: {request.count} {unit} for {len(request.positions)} points"


def _function_data(request: Request) -> str:
    """Return the data that a request with a function of its own reads."""
    number, first = divmod(request.first, ENTRIES)
    match request.table:
        case FunctionData.FILE:
            return f"file {number} record {first}..{first + request.count - 1}: {request.count} registers"
        case FunctionData.FIFO:
            return f"fifo {number}: the whole queue"
        case FunctionData.SERVER_ID:
            return "server_id"
        case _:
            return str(Address(request.table, request.first))


def check(connection: ModbusConnection, sources: Sequence[ModbusSource]) -> Iterator[tuple[int, str]]:
    """Yield the position in `sources` of each point that can't be read, and the reason."""
    absent = dict(connection.not_available)
    for position, point in enumerate(sources if absent else ()):
        try:
            point.with_absent(absent)
        except ValueError as error:
            yield position, str(error)
    limits = limits_of(connection)
    if limits.max_registers == Limits().max_registers and not limits.forbidden:
        return  # every point fits
    for position, point in enumerate(sources):
        try:
            for one in (point, apart((point,), limits).get(0)):
                if one is not None:
                    table = one.address.table
                    check_point(
                        one, [span for span in limits.forbidden if span.table is table], limits.most(table), one.size
                    )
        except ValueError as error:
            yield position, str(error)
