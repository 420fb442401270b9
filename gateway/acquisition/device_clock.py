"""How far a device's clock is from ours: its times go into the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from drivers.base import Driver

log = structlog.get_logger()

CLOCKS_APART = 5.0
"""Seconds that a device's clock may differ from ours without a word."""

COMPARE_EVERY = 60.0
"""Seconds between two looks at how far it differs."""


class DeviceClock:
    """The clock of one device, over all connections to it."""

    def __init__(self, device: str) -> None:
        self.ahead: float | None = None
        """Seconds by which it was ahead of ours when it was seen last; None where it is not told."""
        self._device = device
        self._wrong = False

    async def follow(self, driver: Driver) -> None:
        """Compare while the connection stands; a device that does not tell its time is not asked again."""
        while True:
            self._compare(driver.ahead)
            if self.ahead is None:
                return
            await asyncio.sleep(COMPARE_EVERY)

    def _compare(self, ahead: float | None) -> None:
        """Tell of a clock that is far from ours, once until it is right."""
        self.ahead = ahead
        wrong = ahead is not None and abs(ahead) > CLOCKS_APART
        if wrong and not self._wrong:
            log.warning("device.clock_differs", device=self._device, ahead_seconds=round(ahead or 0.0, 1))
        self._wrong = wrong
