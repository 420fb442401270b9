"""Log once the warnings of devices about requests that they granted with other values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from drivers.timer_grid import wait_for_slot
from gateway.common.text import listed

if TYPE_CHECKING:
    from drivers.base import DeviceWarning, Driver

log = structlog.get_logger(__name__)

ASK_EVERY = 60.0
"""Seconds between two calls of a driver's `warnings`."""

MAX_KNOWN = 10_000
"""Warnings of one device that are remembered; further warnings are not logged."""


class DeviceWarnings:
    """The warnings of one device, over all connections to it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._known: set[DeviceWarning] = set()

    async def follow(self, driver: Driver) -> None:
        """Log the warnings of a connected driver; a driver that never has warnings is not asked again."""
        while (warnings := driver.warnings()) is not None:
            for warning in warnings:
                self._log(warning)
            await wait_for_slot(ASK_EVERY)

    def _log(self, warning: DeviceWarning) -> None:
        if warning in self._known or len(self._known) >= MAX_KNOWN:
            return
        self._known.add(warning)
        points = listed(warning.points)
        log.warning("device.warning", device=self._device, machine=warning.machine, points=points, text=warning.text)
