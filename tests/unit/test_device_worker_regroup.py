"""A runner whose groups change while it reads: the groups that stay are read on time, and without an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from fakes.virtual_time import run
from structlog.testing import capture_logs

from drivers.base import Connection, Driver, Group, Misconfigured, NotConnected, Scan, Source
from gateway.acquisition.device_worker import DeviceWorker
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from drivers.base import DriverError


def group(machine: str, every: float = 1.0, *, pushed: bool = False) -> Group:
    return Group(machine, Connection(), ("a",), (Source(),), every, pushed=pushed)


ONE, TWO, THREE = group("one"), group("two"), group("three")
PUSHED = group("pushed", pushed=True)


class Device(Driver):
    """A device whose driver reads the groups that it knows."""

    takes_up = True

    def __init__(self, bench: Bench, groups: Sequence[Group]) -> None:
        super().__init__(Connection(), groups, lambda: 0)
        self.bench = bench
        self.closed = False
        self.pushes: asyncio.Queue[Scan] = asyncio.Queue()

    async def connect(self) -> None:
        await asyncio.sleep(self.bench.connecting)
        if self.bench.refuses is not None:
            raise self.bench.refuses

    async def regroup(self, groups: Sequence[Group]) -> bool:
        if not self.takes_up:
            return False
        self.groups = tuple(groups)
        await asyncio.sleep(0.01)
        return True

    async def read(self, group: Group) -> Scan:
        assert not self.closed
        assert group in self.groups, "a driver is asked only for groups that it knows"
        await asyncio.sleep(self.bench.lasts)
        return Scan(group, 0, [1])

    async def receive(self) -> Scan:
        scan = await self.pushes.get()
        assert scan.group in self.groups
        return scan

    def counts(self) -> dict[str, int]:
        return {"requests": 1}

    async def close(self) -> None:
        self.closed = True


class Stubborn(Device):
    """A driver that has to be made again for other groups."""

    takes_up = False


class Bench:
    """A runner, the drivers that were made for it, and what it delivered and when."""

    def __init__(self, *groups: Group, kind: type[Device] = Device) -> None:
        self.drivers: list[Device] = []
        self.delivered: list[tuple[str, float, bool]] = []
        self.lasts = self.connecting = 0.0
        self.refuses: DriverError | None = None
        self.kind = kind
        self.schedules = {name: ScheduleCounts() for name in ("one", "two", "three", "pushed")}
        self.runner = DeviceWorker("device", groups, self._make, self._take, self.schedules, lambda: 0)

    def _make(self, groups: Sequence[Group]) -> Device:
        self.drivers.append(self.kind(self, groups))
        return self.drivers[-1]

    async def _take(self, scan: Scan) -> None:
        self.delivered.append((scan.group.machine, asyncio.get_running_loop().time(), not scan.faults))

    def times(self, machine: str) -> list[float]:
        return [time for name, time, good in self.delivered if name == machine and good]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.runner.run())
        try:
            yield
        finally:
            await self.runner.stop()
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps while a thread works; here drivers are made at once."""

    async def at_once(make: Callable[[Sequence[Group]], Driver], groups: Sequence[Group]) -> Driver:
        return make(groups)

    monkeypatch.setattr("gateway.acquisition.device_worker.asyncio.to_thread", at_once)


def after_change(bench: Bench, groups: Sequence[Group], at: float = 3.5, ends: float = 8.5) -> Bench:
    async def main() -> None:
        async with bench.running():
            await asyncio.sleep(at)
            await bench.runner.regroup(groups)
            await asyncio.sleep(ends - asyncio.get_running_loop().time())

    run(main())
    return bench


@pytest.mark.parametrize("kind", [Device, Stubborn])
def test_groups_that_stay_and_new_groups_are_read_on_time(kind: type[Device]):
    """A change to one machine does not disturb the machine beside it, whether or not a new driver has to be made."""
    bench = after_change(Bench(ONE, TWO, kind=kind), [TWO, THREE])
    assert bench.times("one") == pytest.approx([0, 1, 2, 3])
    assert bench.times("two") == pytest.approx(range(9))
    assert bench.times("three") == pytest.approx([4, 5, 6, 7, 8], abs=0.02)
    assert all(good for _, _, good in bench.delivered), "a change is not an outage"
    assert bench.schedules["two"].missed == bench.schedules["three"].missed == 0
    one = bench.schedules["one"]
    assert (one.due, one.taken, one.missed) == (4, 4, 0), "its schedule ends when it is removed"
    assert len(bench.drivers) == (1 if kind is Device else 2)
    assert bench.runner.counts() == {"connects": len(bench.drivers), "requests": len(bench.drivers)}


def test_a_scan_under_way_is_delivered_before_its_group_is_gone():
    """Acquired readings are never discarded."""
    bench = Bench(ONE, TWO)
    bench.lasts = 0.6

    async def main() -> None:
        async with bench.running():
            await asyncio.sleep(3.2)
            await bench.runner.regroup([TWO])
            assert bench.times("one") == pytest.approx([0.6, 1.6, 2.6, 3.6])
            assert asyncio.get_running_loop().time() == pytest.approx(3.61)

    run(main())
    assert bench.times("one") == pytest.approx([0.6, 1.6, 2.6, 3.6])


def test_groups_that_change_while_the_device_is_connected_to_are_read_when_it_is():
    """A driver that was made for other groups is not used."""
    bench = Bench(ONE)
    bench.connecting = 2.0
    after_change(bench, [TWO], at=1.0)
    assert bench.times("one") == []
    assert bench.times("two")
    assert len(bench.drivers) == 2
    assert bench.drivers[0].closed


def test_a_group_that_comes_in_an_outage_is_bad_like_the_others():
    """Otherwise it would be starting for as long as the outage lasts."""
    bench = Bench(ONE)
    bench.refuses = NotConnected("refused")
    after_change(bench, [ONE, TWO])
    assert [(name, good) for name, _, good in bench.delivered] == [("one", False), ("two", False)]


def test_a_device_that_was_misconfigured_is_tried_again_when_that_was_changed():
    """Otherwise only a restart would make it try again."""
    bench = Bench(ONE)
    bench.refuses = Misconfigured("no such unit")

    async def main() -> None:
        async with bench.running():
            await asyncio.sleep(3.5)
            bench.refuses = None
            await bench.runner.regroup([TWO])
            await asyncio.sleep(2)

    run(main())
    assert [(name, good) for name, _, good in bench.delivered][:2] == [("one", False), ("two", False)]
    assert len(bench.times("two")) >= 2


def test_pushed_scans_begin_and_end_with_their_groups():
    """The runner does not wait for a subscription that is no longer requested."""
    bench = Bench(ONE)

    async def main() -> None:
        async with bench.running():
            await asyncio.sleep(1.5)
            await bench.runner.regroup([ONE, PUSHED])
            bench.drivers[0].pushes.put_nowait(Scan(PUSHED, 0, [1]))
            await asyncio.sleep(1)
            await bench.runner.regroup([ONE])
            bench.drivers[0].pushes.put_nowait(Scan(PUSHED, 0, [1]))
            await asyncio.sleep(2)

    run(main())
    assert bench.times("pushed") == pytest.approx([1.51])
    assert bench.times("one") == pytest.approx(range(5))


def test_all_groups_may_change_at_once():
    """The connection stays open in between, with nothing to read."""

    async def main(bench: Bench) -> None:
        async with bench.running():
            await asyncio.sleep(1.5)
            await bench.runner.regroup([])
            await asyncio.sleep(1)
            await bench.runner.regroup([THREE])
            await asyncio.sleep(2)

    bench = Bench(ONE, TWO)
    with capture_logs() as logs:
        run(main(bench))
    assert bench.times("three") == pytest.approx([3, 4], abs=0.02)
    assert [entry["event"] for entry in logs] == ["driver.connected"]
