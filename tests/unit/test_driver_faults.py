"""A driver raises an error outside of its contract: its points are bad, it is replaced, and others read on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fakes.virtual_time import run
from structlog.testing import capture_logs

from drivers.base import (
    Connection,
    Driver,
    Group,
    Misconfigured,
    NotConnected,
    Reason,
    Scan,
    Source,
    WriteFailed,
    bad,
)
from gateway.acquisition.device_worker import CLOSE_SECONDS, FAULT_BACKOFF_MAX, DeviceWorker
from gateway.acquisition.driver_faults import DriverFault, translate
from gateway.model.ledger import ScheduleCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MACHINE = "press-01"


def group(every: float = 1.0, **kind: bool) -> Group:
    return Group(MACHINE, Connection(), ("a", "b"), (Source(), Source()), every, **kind)


class Faulty(Driver):
    """A driver whose named method fails, the first times that it is called."""

    def __init__(self, bench: Bench, groups: Sequence[Group]) -> None:
        super().__init__(Connection(), groups, lambda: 0)
        self.bench = bench
        self.closed = 0
        self._fail("make")

    def _fail(self, method: str) -> None:
        if method == self.bench.method and self.bench.times:
            self.bench.times -= 1
            raise self.bench.error

    async def connect(self) -> None:
        self._fail("connect")

    async def read(self, group: Group) -> Scan:
        self._fail("read")
        return Scan(group, 0, [1, 2])

    async def receive(self) -> Scan:
        self._fail("receive")
        await asyncio.sleep(1.0)
        return Scan(next(one for one in self.groups if one.pushed), 0, [3, 4])

    async def describe(self, group: Group) -> Any:  # noqa: ARG002 - the contract
        self._fail("describe")
        return ()

    async def search(self, group: Group, position: int) -> Any:  # noqa: ARG002 - the contract
        self._fail("search")
        return ()

    async def regroup(self, groups: Sequence[Group]) -> bool:
        self._fail("regroup")
        self.groups = tuple(groups)
        return True

    def warnings(self) -> Any:
        self._fail("warnings")
        return []

    def counts(self) -> Any:
        self._fail("counts")
        return {"requests": 1}

    def now(self, group: Group) -> int:  # noqa: ARG002 - the contract
        self._fail("now")
        return 0

    @property
    def clock_offset(self) -> float | None:
        self._fail("clock_offset")
        return 0.0

    async def close(self) -> None:
        self.closed += 1
        self._fail("close")


class Bench:
    """A worker, the drivers that it made, and the scans that it delivered."""

    def __init__(
        self, method: str, error: BaseException | None = None, times: int = 1, kind: type[Faulty] | None = None
    ) -> None:
        self.method, self.times = method, times
        self.kind = kind or Faulty
        self.error = error or IndexError("list index out of range")
        self.groups = [group(), group(pushed=True), group(search=True)]
        self.drivers: list[Faulty] = []
        self.delivered: list[tuple[float, Scan]] = []
        self.schedule = ScheduleCounts()
        self.worker = DeviceWorker("device", self.groups, self._make, self._take, {MACHINE: self.schedule}, lambda: 0)

    def _make(self, groups: Sequence[Group]) -> Driver:
        self.drivers.append(self.kind(self, groups))
        return self.drivers[-1]

    async def _take(self, scan: Scan) -> None:
        self.delivered.append((asyncio.get_running_loop().time(), scan))

    async def run_for(self, seconds: float) -> list[Any]:
        with capture_logs() as logs:
            running = asyncio.create_task(self.worker.run())
            await asyncio.sleep(seconds)
            assert not running.done(), "nothing that a driver raises ends a worker"
            await self.worker.stop()
            running.cancel()
            await asyncio.wait({running})
        return logs

    @property
    def reasons(self) -> set[Reason]:
        return {fault.reason for _, scan in self.delivered for fault in scan.faults.values()}

    @property
    def good(self) -> list[float]:
        return [at for at, scan in self.delivered if not scan.faults]


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps while a thread works; here drivers are made at once."""

    async def at_once(make: Callable[[Sequence[Group]], Driver], groups: Sequence[Group]) -> Driver:
        return make(groups)

    monkeypatch.setattr("gateway.acquisition.device_worker.asyncio.to_thread", at_once)


@pytest.mark.parametrize("method", ["make", "connect", "read", "receive"])
def test_a_fault_makes_the_points_bad_and_a_new_driver(method: str):
    """A library's bug costs its device some seconds, and never the gateway."""
    bench = Bench(method)
    logs = run(bench.run_for(30.0))
    assert bench.reasons == {Reason.DRIVER_FAULT}
    faulty = [scan for _, scan in bench.delivered if scan.faults]
    assert all(scan.values == [None, None] for scan in faulty)
    assert {scan.faults[0].code for scan in faulty} == {"IndexError: list index out of range"}
    assert max(bench.good) > 28
    [failed] = [log for log in logs if log["event"] == "driver.fault"]
    assert failed["exc_info"] is bench.error
    assert len(bench.drivers) == (1 if method == "make" else 2)
    assert bench.worker.counts()["driver_faults"] == 1
    assert bench.schedule.due == bench.schedule.taken + bench.schedule.missed == 31


def test_an_unrequested_cancellation_is_a_fault():
    """Libraries cancel their own futures; the group would never be read again."""
    bench = Bench("read", asyncio.CancelledError())
    run(bench.run_for(30.0))
    assert bench.reasons == {Reason.DRIVER_FAULT}
    assert max(bench.good) > 28


@pytest.mark.parametrize("method", ["describe", "search", "warnings", "clock_offset", "counts", "now", "close"])
def test_a_fault_outside_of_reading_costs_no_reading(method: str):
    """Metadata, warnings and clocks are useful, but not worth a scan."""
    bench = Bench(method, times=1000)

    async def main() -> list[Any]:
        asyncio.get_running_loop().call_later(10.0, bench.worker.counts)
        return await bench.run_for(200.0)

    logs = run(main())
    assert not bench.reasons
    assert bench.schedule.missed == 0
    assert len(bench.drivers) == 1
    logged = [log for log in logs if log["event"] == "helper.failed"]
    assert len(logged) <= 1, "each fault is logged once"
    assert logged or method in {"now", "counts"}


def test_a_fault_in_regrouping_makes_a_new_driver():
    """The groups that stay are read on by it."""
    bench = Bench("regroup")

    async def main() -> None:
        running = asyncio.create_task(bench.run_for(30.0))
        await asyncio.sleep(10.5)
        await bench.worker.regroup([*bench.groups, group(2.0)])
        await running

    run(main())
    assert len(bench.drivers) == 2
    assert bench.schedule.due > 31


def test_an_unrequested_cancellation_after_a_fault_ends_nothing():
    """Before Python 3.13 a task whose task group has failed looks cancelled from then on."""

    class Cancelled(Faulty):
        async def connect(self) -> None:
            if len(self.bench.drivers) == 2:
                raise asyncio.CancelledError
            await super().connect()

    bench = Bench("read", kind=Cancelled)
    run(bench.run_for(30.0))
    assert len(bench.drivers) == 3
    assert max(bench.good) > 28


def test_a_worker_that_is_cancelled_at_the_moment_of_a_fault_ends():
    """Before Python 3.13 a task group then raises the fault alone."""

    async def cancelled() -> bool:
        class Cancelling(Faulty):
            async def read(self, group: Group) -> Scan:
                if self.bench.times:
                    running.cancel()
                return await super().read(group)

        bench = Bench("read", kind=Cancelling)
        running = asyncio.create_task(bench.worker.run())
        await asyncio.wait({running}, timeout=30.0)
        return running.cancelled()

    assert run(cancelled())


def test_repeated_faults_back_off_and_are_logged_once():
    """A driver that can't read at all is tried again, and does not fill the log."""
    bench = Bench("read", times=10_000)
    logs = run(bench.run_for(3600.0))
    assert len([log for log in logs if log["event"] == "driver.fault"]) == 1
    assert 3600 / FAULT_BACKOFF_MAX <= bench.worker.counts()["driver_faults"] < 150
    assert all(driver.closed for driver in bench.drivers)


def test_a_driver_that_never_closes_is_left_alone():
    """Neither a new driver nor the end of the gateway waits for it."""

    class Stuck(Faulty):
        async def close(self) -> None:
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    if self.bench.times == 0:
                        raise

    bench = Bench("read", kind=Stuck)
    run(bench.run_for(30.0))
    assert max(bench.good) > 28
    assert len(bench.drivers) == 2
    assert min(at for at in bench.good if at > 0) < 5 + CLOSE_SECONDS


def test_an_error_of_another_method_is_a_fault_too():
    """`WriteFailed` out of a read breaks the contract as much as an `IndexError`."""
    assert isinstance(translate(WriteFailed("x", bad(Reason.OTHER))), DriverFault)
    lost, final = NotConnected("gone"), Misconfigured("never")
    assert translate(lost) is lost
    assert translate(ExceptionGroup("", [lost, IndexError(), final])) is final
    assert isinstance(translate(ExceptionGroup("", [lost, ExceptionGroup("", [IndexError("x")])])), DriverFault)


def test_the_code_of_a_fault_fits_in_any_message():
    """A library may write any text into its exceptions."""
    fault = DriverFault(ValueError('a "quoted"\nline \\ \x00' + "x" * 500)).fault
    assert fault.code.isprintable()
    assert '"' not in fault.code
    assert "\\" not in fault.code
    assert len(fault.code) <= 120


def test_a_group_of_a_protocol_can_be_made_by_its_own_name():
    """A frozen class with slots can't, in Python 3.11; others' drivers find that out late."""
    made = Group[Connection, Source]("m", Connection(), ("a",), (Source(),), 1.0)
    assert made.machine == "m"
