"""Compute a costly value again only as often as it costs little."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PART = 0.001
"""The part of the processor time of one core that computing a value again may cost."""

LONGEST = 10.0
"""Seconds after which a value is computed again, whatever it costs."""


class CostLimited(Generic[T]):
    """A value that is computed again when that costs little: a sum over a thousand devices less often than one."""

    def __init__(
        self,
        compute: Callable[[], T],
        clock: Callable[[], float] = time.monotonic,
        processor: Callable[[], float] = time.thread_time,
    ) -> None:
        """Prepare; `clock` returns seconds, `processor` the seconds of processor time that this thread has used."""
        self._compute = compute
        self._clock, self._processor = clock, processor
        self._value: T | None = None
        self._due = 0.0

    def __call__(self, *, fresh: bool = False) -> T:
        """Return the value; with `fresh`, compute it now."""
        if self._value is None or fresh or self._clock() >= self._due:
            began = self._processor()
            self._value = self._compute()
            self._due = self._clock() + min((self._processor() - began) / PART, LONGEST)
        return self._value
