"""A grid for timers that may fire late: timers that fire at the same time need one wake-up of the process.

A wake-up of an idle processor costs 50 to 150 µs, whatever is done then.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = time.monotonic() - time.time()
"""A time of the event loop at which a second of the wall clock began: gateways of a plant share the grid."""


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of an event loop; that of asyncio's own loops without a call of Python."""
    own = type(loop).time is asyncio.BaseEventLoop.time and "time" not in vars(loop)
    return time.monotonic if own else loop.time


def on_grid(when: float, spacing: float) -> float:
    """Return the first slot that is not before a time of the event loop; slots are `spacing` seconds apart."""
    return ORIGIN + math.ceil((when - ORIGIN) / spacing) * spacing


async def wait_for_slot(spacing: float) -> None:
    """Wait for the next slot, at most `spacing` seconds."""
    now = asyncio.get_running_loop().time()
    due = on_grid(now, spacing)
    await asyncio.sleep(due - now if due - now > spacing / 100 else due - now + spacing)
