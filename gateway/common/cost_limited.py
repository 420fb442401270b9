"""Compute a costly value again only as often as it costs little."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PART = 0.0001
"""The part of the processor time of one core that computing a value again may cost."""

LONGEST = 10.0
"""Seconds after which a value is computed again, whatever it costs."""

SOON, YOUNG = 0.5, 0.25
"""The longest time while the value is young: seconds, or a part of the time since it was made. Nobody shall
look for ten seconds at the sums of a gateway that had not begun yet."""


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
        self._made = clock()

    def __call__(self, *, fresh: bool = False) -> T:
        """Return the value; with `fresh`, compute it now."""
        if self._value is None or fresh or self._clock() >= self._due:
            began = self._processor()
            self._value = self._compute()
            now = self._clock()
            cost = self._processor() - began
            self._due = now + min(cost / PART, LONGEST, max(SOON, YOUNG * (now - self._made)))
        return self._value
