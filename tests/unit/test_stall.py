"""Readings that waited in a socket while the process did not run are marked: they do not show their age."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from drivers.base import Connection, Driver, Fault, Group, Quality, Reason, Scan, Source
from gateway.acquisition.device_worker import DeviceWorker
from gateway.common import stall as stall_watch
from gateway.common.stall import LATE, LOOK_EVERY, LOOK_IDLE, StallWatch
from gateway.common.tasks import cancel_and_wait
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

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
        time.sleep(LOOK_EVERY + LATE + 0.2)  # noqa: ASYNC251 - nothing runs meanwhile, as when the process is stopped
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


async def test_a_scan_that_ends_after_a_stall_is_doubted_before_a_look_has_had_its_turn():
    """Its answer is processed before the timers that were due meanwhile."""
    stall = StallWatch()
    running = asyncio.create_task(stall.run())
    await asyncio.sleep(0)
    stall.begin()
    began = asyncio.get_running_loop().time()
    time.sleep(1.5 * LOOK_EVERY + LATE + 0.1)  # noqa: ASYNC251 - nothing runs meanwhile
    stall.end()
    assert stall.stalled_since(began, asyncio.get_running_loop().time())
    assert not stall.stalled_since(asyncio.get_running_loop().time(), asyncio.get_running_loop().time())
    await asyncio.sleep(LOOK_IDLE + 0.3)
    assert stall.stalls == 1, "looks that were due in it count once"
    await cancel_and_wait(running)


async def test_a_stall_while_no_scan_is_under_way_is_counted():
    """It is a fault of the machine, although no reading is in doubt."""
    stall = StallWatch()
    running = asyncio.create_task(stall.run())
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        time.sleep(LOOK_IDLE + LOOK_EVERY + LATE + 0.1)  # noqa: ASYNC251 - as above
        await asyncio.sleep(0.05)
    assert stall.stalls == 1
    assert [log["event"] for log in logs] == ["process.suspended"]
    await cancel_and_wait(running)


async def test_a_machine_that_was_suspended_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch):
    """The monotonic clock did not run, so that no look is late."""
    stall = StallWatch()
    running = asyncio.create_task(stall.run())
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: real(clock) + 3600)
    assert stall.stalled_since(began, asyncio.get_running_loop().time())
    assert stall.stalls == 1
    await cancel_and_wait(running)


async def test_an_idle_process_is_woken_once_a_second(monkeypatch: pytest.MonkeyPatch):
    """A look costs little, and the wake-up for it costs much."""
    looks = 0
    real = stall_watch.seconds_suspended

    def count(now: float) -> float:
        nonlocal looks
        looks += 1
        return real(now)

    monkeypatch.setattr(stall_watch, "seconds_suspended", count)
    stall = StallWatch()
    running = asyncio.create_task(stall.run())
    stall.begin()
    await asyncio.sleep(LOOK_IDLE)
    watched, looks = looks, 0
    stall.end()
    await asyncio.sleep(LOOK_IDLE)
    await cancel_and_wait(running)
    assert watched >= 3
    assert looks <= 2


async def test_a_running_loop_is_not_a_stall():
    """This is true however long nothing happens."""
    stall = StallWatch()
    began = asyncio.get_running_loop().time()
    assert not stall.stalled_since(began, began)
    running = asyncio.create_task(stall.run())
    for _ in range(5):
        await asyncio.sleep(0.05)
        assert not stall.stalled_since(began, asyncio.get_running_loop().time())
    await cancel_and_wait(running)
