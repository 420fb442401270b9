"""Translate every exception of a driver into an exception of the driver contract."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING

import structlog

from drivers.base import DriverError, Misconfigured, NotConnected, Reason, bad

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

MAX_CODE = 120
"""Most characters of an exception's text in the fault of a reading."""


class DriverFault(DriverError):
    """A driver raised an exception outside its contract: a new driver is needed."""

    def __init__(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        code = "".join(letter if letter.isprintable() and letter not in '"\\' else " " for letter in text)
        super().__init__(text, bad(Reason.DRIVER_FAULT, code[:MAX_CODE].rstrip()))
        self.error = error


def is_cancelled() -> bool:
    """Return True if the running task was cancelled: a library may also raise `CancelledError` on its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def translate(error: BaseException) -> DriverError:
    """Translate an exception of a driver, or of a group of its tasks, into the `DriverError` to act on.

    `Misconfigured` has priority over a fault, because it is final. A fault has priority over `NotConnected`, which
    may only be its consequence.
    """
    found = [one if isinstance(one, NotConnected | Misconfigured) else DriverFault(one) for one in _leaves(error)]
    for kind in (Misconfigured, DriverFault):
        for one in found:
            if isinstance(one, kind):
                return one
    return found[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    elif isinstance(error, DriverFault):
        yield error.error
    else:
        yield error


class DriverFaultLog:
    """Log each fault of one device's drivers once, with its traceback, and count all."""

    def __init__(self, device: str) -> None:
        self.count = 0
        self._device = device
        self._known: set[tuple[str, ...]] = set()

    def add(self, fault: DriverFault) -> None:
        """Count a fault, and log it if it comes from a new place in the code."""
        self.count += 1
        error = fault.error
        frames = traceback.extract_tb(error.__traceback__)[-1:]
        key = (type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames))
        if key not in self._known and len(self._known) < MAX_KNOWN:
            self._known.add(key)
            log.error("driver.fault", device=self._device, error=str(fault), exc_info=error)


MAX_KNOWN = 100
"""Most different faults of one device that are logged."""
