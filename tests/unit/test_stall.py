"""Readings that waited in a socket while the process did not run are marked: they do not show their age."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from drivers.base import Connection, Driver, Fault, Group, Quality, Reason, Scan, Source
from gateway.acquisition.device_worker import DeviceWorker
from gateway.common.stall import LONGEST, StallWatch
from gateway.common.tasks import cancel_and_wait
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

STALE = Fault(Quality.UNCERTAIN, Reason.STALE, "process was suspended")
POLLED = Group("m", Connection(), ("a", "b"), (Source(), Source()), 0.05)
PUSHED = Group("m", Connection(), ("c",), (Source(),), 0.05, pushed=True)


class Slow(Driver):
    """A device that answers when a test lets it."""

    def __init__(self, groups: Sequence[Group]) -> None:
        super().__init__(Connection(), groups, lambda: 0)
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.pushes: asyncio.Queue[Scan] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def read(self, group: Group) -> Scan:
        self.asked.set()
        await self.answer.wait()
        return Scan(group, 0, [1, None], {1: Fault(Quality.BAD, Reason.REFUSED)})

    async def receive(self) -> Scan:
        return await self.pushes.get()

    async def close(self) -> None:
        pass


async def test_a_scan_under_way_during_a_stall_is_uncertain_and_the_next_is_not():
    """Its answer may have come at any moment of it."""
    stall, delivered = StallWatch(), asyncio.Queue[Scan]()
    device = Slow([POLLED, PUSHED])
    worker = DeviceWorker(
        "device", [POLLED, PUSHED], lambda _: device, delivered.put, {"m": ScheduleCounts()}, lambda: 0, stall=stall
    )
    with structlog.testing.capture_logs() as logs:
        tasks = [asyncio.create_task(stall.run()), asyncio.create_task(worker.run())]
        await device.asked.wait()
        time.sleep(LONGEST + 0.2)  # noqa: ASYNC251 - nothing runs meanwhile, as when the process is stopped
        device.answer.set()
        device.pushes.put_nowait(Scan(PUSHED, 0, [3]))
        device.pushes.put_nowait(Scan(PUSHED, 0, [4], times=[7]))
        by_values: dict[str, dict[int, Fault]] = {}
        while len(by_values) < 3:
            scan = await delivered.get()
            by_values.setdefault(str(scan.values), scan.faults)
        while 0 in (after := await delivered.get()).faults:
            pass
        await cancel_and_wait(*tasks)
    assert by_values["[1, None]"] == {0: STALE, 1: Fault(Quality.BAD, Reason.REFUSED)}
    assert by_values["[3]"] == {0: STALE}
    assert by_values["[4]"] == {}, "the device says when that was"
    assert after.values == [1, None]
    assert stall.stalls == 1
    assert [log["event"] for log in logs].count("process.suspended") == 1


async def test_a_running_loop_is_not_a_stall():
    """This is true however long nothing happens."""
    stall = StallWatch()
    began = asyncio.get_running_loop().time()
    assert not stall.stalled_since(began)
    running = asyncio.create_task(stall.run())
    for _ in range(5):
        await asyncio.sleep(0.05)
        assert not stall.stalled_since(began)
    await cancel_and_wait(running)
