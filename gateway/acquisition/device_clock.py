"""Compare device clocks with the clock of the gateway, because the times of a device clock are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from drivers.timer_grid import wait_for_slot

if TYPE_CHECKING:
    from drivers.base import Driver

log = structlog.get_logger(__name__)

CLOCKS_APART = 5.0
"""Seconds by which a device's clock may differ from the gateway's before that is logged."""

CLOCK_MOVED = 1.0
"""Seconds by which the difference may change from one comparison to the next: beyond that the clock was set."""

COMPARE_EVERY = 60.0
"""Seconds between two comparisons."""


class DeviceClock:
    """The clock of one device, over all connections to it."""

    def __init__(self, device: str) -> None:
        self.offset: float | None = None
        """Device time minus gateway time in seconds, at the last comparison; None if the device clock is unknown."""
        self._device = device
        self._apart = False

    async def follow(self, driver: Driver) -> None:
        """Compare the clocks while the device is connected; a device without a known clock is not asked again."""
        while True:
            self._compare(driver.clock_offset)
            if self.offset is None:
                return
            await wait_for_slot(COMPARE_EVERY)

    def _compare(self, offset: float | None) -> None:
        """Log each step of the device's clock; and once when the clock drifts, and once when it recovers."""
        before, self.offset = self.offset, offset
        if before is not None and offset is not None and abs(offset - before) > CLOCK_MOVED:
            log.warning("device.clock_stepped", device=self._device, seconds=round(offset - before, 1))
        apart = offset is not None and abs(offset) > CLOCKS_APART
        if apart and not self._apart:
            log.warning("device.clock_differs", device=self._device, ahead_seconds=round(offset or 0.0, 1))
        elif self._apart and not apart:
            log.info("device.clock_agrees", device=self._device)
        self._apart = apart
