"""Drivers that are read as a device worker reads them: without a task while they can, and then with one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from drivers.modbus.driver import ModbusDriver

if TYPE_CHECKING:
    from drivers.base import Group, Scan


class TasklessModbusDriver(ModbusDriver):
    """A Modbus driver whose scans start without a task; `taskless` counts those that also ended so."""

    taskless = 0

    async def read(self, group: Group[Any, Any]) -> Scan:
        ended: asyncio.Future[Scan | None] = asyncio.get_running_loop().create_future()
        if self.start_read(group, ended.set_result, lambda: ended.set_result(None)):
            scan = await ended
            if scan is not None:
                self.taskless += 1
                return scan
        return await super().read(group)
