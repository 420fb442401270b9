"""An event loop that wakes rarely: it handles events that come in quick succession together.

A wake-up of an idle processor costs 50 to 150 µs, whatever is done then: its caches are cold, and a virtual machine
has to be scheduled again. The answers of a hundred devices, one after the other, would cost a hundred wake-ups.
Network cards moderate their interrupts in the same way.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
import time

PAUSE, SHORTEST = 0.004, 0.001
"""Seconds for which events are collected in a burst, at most and at least."""

FEW, MANY = 6, 16
"""Events of a pause after which the next is twice as long, or half as long: devices that are read without end must
not wait for it."""

BURST = 0.01
"""Seconds between two wake-ups in a burst, at most."""

BUSY = 0.0005
"""Seconds of work after a wake-up from which on another wake-up costs little beside it."""

WORTH = 3
"""Events that make a pause worthwhile. One or two are a dialogue with one device, which a pause delays."""

MAX_SKIPPED = 256
"""Pauses that are left out, at most, while they collect too little; the number doubles each time from `WORTH`."""

SLACK, SLACK_FROM = 0.005, 0.02
"""Seconds by which a timer may fire late, so that others fire with it; timers due sooner than the second number are
exact."""


class BatchingSelector(selectors.EpollSelector):
    """A selector that collects events in a burst, and lets timers that are due at nearly the same time fire together.

    The first event after a silence is returned at once. Events that follow closely are collected for `PAUSE` seconds,
    or less where they are many.
    """

    def __init__(self) -> None:
        super().__init__()
        self._woken = self._woken_before = -math.inf
        self._skips = self._skip = 0
        self._length = PAUSE  # of the next pause
        self._nothing = select.epoll()

    def close(self) -> None:
        super().close()
        self._nothing.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        now = time.monotonic()
        if now - self._woken < BUSY and self._woken - self._woken_before < BURST:
            if self._skip:
                self._skip -= 1
            else:
                pause = self._length if timeout is None else min(self._length, timeout)
                found = self._pause(pause)
                if found or pause == timeout:
                    return found
                if timeout is not None:
                    timeout -= pause
                    now += pause
        if timeout is not None and timeout >= SLACK_FROM:
            timeout = math.ceil((now + timeout) / SLACK) * SLACK - now
        found = super().select(timeout)
        self._note_wake_up()
        return found

    def _pause(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep, and return the events that came meanwhile."""
        self._sleep(seconds)
        found = super().select(0)
        if len(found) >= MANY:
            self._length = max(SHORTEST, self._length / 2)
        elif 0 < len(found) < FEW:
            self._length = min(PAUSE, self._length * 2)
        if len(found) >= WORTH:
            self._skips = 0
        elif found:
            self._skip = self._skips = min(max(WORTH, 2 * self._skips), MAX_SKIPPED)
        self._note_wake_up()
        return found

    def _sleep(self, seconds: float) -> None:
        # time.sleep fails where the clock of the process is set by a library, as in tests
        self._nothing.poll(seconds)

    def _note_wake_up(self) -> None:
        self._woken_before, self._woken = self._woken, time.monotonic()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a service that reads many devices, or receives many messages."""
    return asyncio.SelectorEventLoop(BatchingSelector())
