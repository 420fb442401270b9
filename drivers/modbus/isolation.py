"""Finding the points that are to blame when a device refuses a whole block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.base import Fault, Quality, Reason
from drivers.modbus.pdu import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    MEMORY_PARITY,
    PATH_UNAVAILABLE,
    TARGET_SILENT,
    Refused,
)
from drivers.modbus.plan import request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.base import Value
    from drivers.modbus.plan import Limits, Request
    from drivers.modbus.source import ModbusSource

SPLIT = {ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE}
"""Exceptions that can be the fault of some entries of a block."""

# clause 7: 10 and 11 come from a gateway that could not reach the unit
_REASONS = {
    DEVICE_FAILURE: Reason.DEVICE_FAULT,
    MEMORY_PARITY: Reason.DEVICE_FAULT,
    PATH_UNAVAILABLE: Reason.NO_RESPONSE,
    TARGET_SILENT: Reason.NO_RESPONSE,
}


def fault_of(error: Refused) -> Fault:
    """Return what an exception code says of the points that were asked for."""
    return Fault(Quality.BAD, _REASONS.get(error.code, Reason.REFUSED), str(error))


@dataclass(slots=True)
class Found:
    """What splitting a block has shown so far, by the points' positions in the group.

    `requests` are the parts that the device answers.
    """

    values: dict[int, Value] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)


async def isolate(
    ask: Callable[[Request], Awaitable[list[Value]]],
    points: Sequence[ModbusSource],
    limits: Limits,
    block: Sequence[int],
    found: Found,
) -> None:
    """Ask for both halves of a refused block, and split further what is refused again.

    k bad points among n cost about 2 k log2(n) requests, once. What is learned is in `found` even where an
    error ends the search.
    """
    middle = len(block) // 2
    for half in (block[:middle], block[middle:]):
        if not half:
            continue
        part = request(points, half, limits)
        try:
            values = await ask(part)
        except Refused as error:
            if error.code not in SPLIT or len(half) == 1:
                found.faults |= dict.fromkeys(half, fault_of(error))
            else:
                await isolate(ask, points, limits, half, found)
        else:
            found.values |= zip(part.positions, values, strict=True)
            found.requests.append(part)
