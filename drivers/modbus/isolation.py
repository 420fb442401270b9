"""Isolate the points that a device refuses, when it refuses a block as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drivers.base import Fault, NotConnected, Quality, Reason, bad
from drivers.modbus.pdu import (
    ACKNOWLEDGE,
    BUSY,
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    MEMORY_PARITY,
    PATH_UNAVAILABLE,
    TARGET_SILENT,
    ExceptionResponse,
    InvalidResponse,
    ResponseTimeout,
)
from drivers.modbus.plan import request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from drivers.base import Value
    from drivers.modbus.plan import Limits, Request
    from drivers.modbus.source import ModbusSource

SPLITTABLE = {ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE}
"""Exception codes that can be caused by single entries of a block."""

PASSING = {DEVICE_FAILURE, ACKNOWLEDGE, BUSY}
"""Exception codes that may be temporary: the request is repeated."""

SAMPLES = 8
"""Points of a block that are read alone before it is split; if none is answered, single points are not the cause."""

# clause 7: 10 and 11 come from a gateway that could not reach the unit
_REASONS = {
    DEVICE_FAILURE: Reason.DEVICE_FAULT,
    MEMORY_PARITY: Reason.DEVICE_FAULT,
    PATH_UNAVAILABLE: Reason.NO_RESPONSE,
    TARGET_SILENT: Reason.NO_RESPONSE,
}


def fault_of(error: Exception) -> Fault:
    """Return the fault of the points of a request that failed."""
    match error:
        case ExceptionResponse():
            return Fault(Quality.BAD, _REASONS.get(error.code, Reason.REFUSED), str(error))
        case InvalidResponse():
            return bad(Reason.BAD_ANSWER, str(error))
        case NotConnected():
            return error.fault
        case _:
            return bad(Reason.NO_RESPONSE)


@dataclass(slots=True)
class Isolated:
    """The results of a split block so far, by position in the group.

    `requests` are the parts that the device answers, `unresolved` are the parts whose search was not finished.
    """

    values: dict[int, Value] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    unresolved: list[Request] = field(default_factory=list)


async def isolate(
    ask: Callable[[Request], Awaitable[list[Value]]],
    points: Sequence[ModbusSource],
    limits: Limits,
    block: Sequence[int],
    may_go_on: Callable[[], bool],
) -> Isolated:
    """Read both halves of a refused block, and split a half that is refused again.

    k refused points of n cost about 2 k log2(n) requests, once. The search ends early, with its results so far, when
    `may_go_on` returns False or a part gets no response. The result is empty if no single point is answered.
    """
    found = Isolated()
    if await _answers_alone(ask, points, limits, block, found):
        await _halves(ask, points, limits, block, found, may_go_on)
    return found


async def _answers_alone(
    ask: Callable[[Request], Awaitable[list[Value]]],
    points: Sequence[ModbusSource],
    limits: Limits,
    block: Sequence[int],
    found: Isolated,
) -> bool:
    """Return True if any of `SAMPLES` points, spread over a block, is answered."""
    step = max(1, (len(block) - 1) / (SAMPLES - 1))
    for position in dict.fromkeys(block[min(round(i * step), len(block) - 1)] for i in range(SAMPLES)):
        try:
            await ask(request(points, (position,), limits))
        except (ExceptionResponse, InvalidResponse) as error:
            found.faults[position] = fault_of(error)
        except (ResponseTimeout, NotConnected):
            return False
        else:
            found.faults.clear()
            return True
    return False


async def _halves(
    ask: Callable[[Request], Awaitable[list[Value]]],
    points: Sequence[ModbusSource],
    limits: Limits,
    block: Sequence[int],
    found: Isolated,
    may_go_on: Callable[[], bool],
) -> bool:
    """Search both halves of a block; return False if the search must end."""
    middle = len(block) // 2
    going = True
    for half in (block[:middle], block[middle:]):
        if not half:
            continue
        part = request(points, half, limits)
        if not going or not may_go_on():
            found.unresolved.append(part)
            going = False
            continue
        try:
            values = await ask(part)
        except (ExceptionResponse, InvalidResponse) as error:
            if isinstance(error, ExceptionResponse) and error.code not in SPLITTABLE:
                found.unresolved.append(part)
                found.faults |= dict.fromkeys(half, fault_of(error))
            elif len(half) == 1:
                found.faults[half[0]] = fault_of(error)
            else:
                going = await _halves(ask, points, limits, half, found, may_go_on)
        except (ResponseTimeout, NotConnected) as error:
            found.unresolved.append(part)
            found.faults |= dict.fromkeys(half, fault_of(error))
            going = False
        else:
            found.values |= zip(part.positions, values, strict=True)
            found.requests.append(part)
    return going
