"""Search for the refused points of a block that the device refuses as a whole."""

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
    ExceptionResponse,
)
from drivers.modbus.plan import request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.base import Value
    from drivers.modbus.plan import Limits, Request
    from drivers.modbus.source import ModbusSource

SPLITTABLE = {ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE}
"""Exception codes that can be caused by single entries of a block."""

# clause 7: 10 and 11 come from a gateway that could not reach the unit
_REASONS = {
    DEVICE_FAILURE: Reason.DEVICE_FAULT,
    MEMORY_PARITY: Reason.DEVICE_FAULT,
    PATH_UNAVAILABLE: Reason.NO_RESPONSE,
    TARGET_SILENT: Reason.NO_RESPONSE,
}


def fault_of(error: ExceptionResponse) -> Fault:
    """Return the fault of the requested points for an exception code."""
    return Fault(Quality.BAD, _REASONS.get(error.code, Reason.REFUSED), str(error))


@dataclass(slots=True)
class Isolated:
    """The results of a split block so far, by position in the group.

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
    found: Isolated,
) -> None:
    """Read both halves of a refused block, and split a half that is refused again.

    k refused points of n cost about 2 k log2(n) requests, once. `found` is filled even if an error ends the search.
    """
    middle = len(block) // 2
    for half in (block[:middle], block[middle:]):
        if not half:
            continue
        part = request(points, half, limits)
        try:
            values = await ask(part)
        except ExceptionResponse as error:
            if error.code not in SPLITTABLE or len(half) == 1:
                found.faults |= dict.fromkeys(half, fault_of(error))
            else:
                await isolate(ask, points, limits, half, found)
        else:
            found.values |= zip(part.positions, values, strict=True)
            found.requests.append(part)
