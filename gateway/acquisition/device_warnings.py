"""What devices do otherwise than asked to, told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from drivers.base import Driver, Remark

log = structlog.get_logger()

ASK_EVERY = 60.0
"""Seconds between two looks at what a driver has found out."""

NAMED = 20
"""Points that are named in a line of the log; of the others their number is told."""


class DeviceWarnings:
    """The remarks about one device, over all connections to it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._told: set[Remark] = set()

    async def follow(self, driver: Driver) -> None:
        """Tell what a driver remarks while its connection stands; one that never does is not asked again."""
        while (remarks := driver.remarks()) is not None:
            for remark in remarks:
                self._tell(remark)
            await asyncio.sleep(ASK_EVERY)

    def _tell(self, remark: Remark) -> None:
        if remark in self._told:
            return
        self._told.add(remark)
        more = len(remark.points) - NAMED
        named = ", ".join(remark.points[:NAMED]) + (f" and {more} more" if more > 0 else "")
        log.warning("device.remark", device=self._device, machine=remark.machine, points=named, remark=remark.text)
